"""The policy file: what it may say, and what is refused."""

import pytest

from clerksync_server.access.files import FileRefused
from clerksync_server.access.policy import ROLES, Policy, parse_policy

ENSURE = "clerksync.v1.SyncService/EnsureUserProfile"


NO_SPIFFE_IDS = (
    "spiffe://",
    "spiffe:///a",
    "spiffe://*",
    "SPIFFE://d/a",
    "spiffe://D/a",
    "spiffe://d:8080/a",
    "spiffe://user@d/a",
    "spiffe://d/",
    "spiffe://d/a/",
    "spiffe://d//a",
    "spiffe://d/./a",
    "spiffe://d/a/..",
    "spiffe://d/../*",
    "spiffe://d/a?x",
    "spiffe://d/a#x",
    "spiffe://d/%61",
    f"spiffe://{'d' * 256}",
    f"spiffe://d/{'a' * 2038}",
)


def caller(*lines: str, identity: str = "token:a") -> str:
    return "\n".join(["[[callers]]", f'identity = "{identity}"', *lines, ""])


def parse(*callers: str) -> Policy:
    return parse_policy("\n".join(callers).encode())


@pytest.mark.parametrize(
    "identity",
    [
        "dns:front.example.org",
        "spiffe://example.org/ns/a/sa/b",
        "spiffe://a_b-1.example/..a/A.-_",
        "token:a",
        "kubernetes:shop/cart",
        "anonymous",
    ],
)
def test_each_kind_of_identity(identity: str) -> None:
    """An identity is known by all of its text, and by nothing that only begins or ends like it."""
    policy = parse(caller('roles = ["sibling"]', identity=identity))

    assert ENSURE in policy.of(identity).methods  # type: ignore[union-attr]
    assert (policy.of(f"{identity}x"), policy.of(identity[1:]), policy.of("")) == (None, None, None)


def test_what_begins_alike() -> None:
    """An identity that ends in a star stands for all below it, and one that says more wins."""
    policy = parse(
        caller('roles = ["sibling"]', identity="kubernetes:shop/*"),
        caller('roles = ["operator"]', identity="kubernetes:shop/admin"),
        caller('roles = ["sibling"]', "must_prove_sessions = true", identity="spiffe://a/*"),
        caller('roles = ["front"]', identity="spiffe://a/front/*"),
    )

    grants = [policy.of(identity) for identity in ("kubernetes:shop/cart", "kubernetes:shop/admin", "spiffe://a/x")]
    assert [grant and grant.methods for grant in grants] == [ROLES["sibling"], ROLES["operator"], ROLES["sibling"]]
    assert policy.of("spiffe://a/front/1").methods == ROLES["front"]  # type: ignore[union-attr]
    assert (policy.of("kubernetes:shopping/cart"), policy.of("spiffe://a")) == (None, None)


def test_roles_and_methods_add_up() -> None:
    """A caller may have several roles, and single methods beside them."""
    grant = parse(caller('roles = ["front"]', f'methods = ["{ENSURE}"]', "calls_per_second = 5")).of("token:a")

    assert grant is not None
    assert (grant.methods, grant.calls_per_second) == (ROLES["front"] | {ENSURE}, 5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "callers"),
        ("x = [", ""),
        ("callers = 5", "callers"),
        (caller('rolls = ["front"]'), "rolls"),
        (caller(), "expected roles, methods, or both"),
        (caller('roles = ["admin"]'), "callers[0].roles: 'admin' is none of front, operator, sibling"),
        (caller('methods = ["EnsureUserProfile"]'), "callers[0].methods"),
        (caller('roles = ["front"]') * 2, "callers[1].identity: is there already"),
        (caller('roles = ["front"]', "calls_per_second = 0"), "callers[0].calls_per_second"),
        (caller('roles = ["front"]', 'must_prove_sessions = "no"'), "must_prove_sessions"),
        *[
            (caller('roles = ["front"]', identity=identity), "callers[0].identity: expected dns:NAME")
            for identity in ("", "front", "dns:", "dns:*", "dns:a b", "kubernetes:a", "token:*", "*", *NO_SPIFFE_IDS)
        ],
        ("\N{LATIN SMALL LETTER E WITH ACUTE}", ""),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    """What the file may not say is refused with its place, so that no slip grants or takes away silently."""
    with pytest.raises(FileRefused) as refused:
        parse_policy(text.encode("latin-1"))

    assert problem in str(refused.value)
