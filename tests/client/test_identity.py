"""Who a session token tells of."""

from datetime import UTC, datetime

import pytest

from clerksync import Identity, identity_from_claims

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "user_1", "v": 2, "o": {"id": "org_1", "rol": "admin"}, "iat": AT.timestamp()},
        {"sub": "user_1", "org_id": "org_1", "org_role": "org:admin", "iat": int(AT.timestamp())},
    ],
    ids=["version 2", "version 1"],
)
def test_both_versions_of_tokens_are_understood(claims: dict[str, object]) -> None:
    """User, organization and time of issue are found in tokens of both versions."""
    assert Identity("user_1", "org_1", AT) == identity_from_claims(claims)


@pytest.mark.parametrize(
    "claims",
    [
        None,
        {},
        "user_1",
        ["sub"],
        {"sub": "user_1"},
        {"sub": "user_1", "o": None},
        {"sub": "user_1", "o": {}},
        {"sub": "user_1", "o": {"id": ""}},
        {"sub": "user_1", "o": {"id": 5}},
        {"sub": "user_1", "org_id": None},
        {"sub": None, "org_id": "org_1"},
        {"sub": "", "org_id": "org_1"},
        {"org_id": "org_1"},
    ],
)
def test_without_user_and_organization_there_is_nobody(claims: object) -> None:
    """Claims without a user or without an active organization, whatever their shape, name nobody."""
    assert identity_from_claims(claims) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("iat", [None, "1763812800", True, float("nan"), float("inf"), 1e300, -1e300, {}, 10**400])
def test_a_time_of_issue_that_is_none_is_left_out(iat: object) -> None:
    """An ill-formed time counts as absent, and the identity stays."""
    assert Identity("user_1", "org_1", None) == identity_from_claims({"sub": "user_1", "org_id": "org_1", "iat": iat})
