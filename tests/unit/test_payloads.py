"""What real bodies, and bodies that Clerk has published, are understood to tell."""

from pathlib import Path

import pytest

from clerksync_server.clerk.events import EVENT_TYPES, decode_event
from clerksync_server.rules.facts import (
    Fact,
    Generation,
    MembershipEnded,
    MembershipSnapshot,
    OrganizationDeleted,
    OrganizationSnapshot,
    UserDeleted,
    UserSeen,
    Version,
)

PAYLOADS = Path(__file__).parents[1] / "payloads"
IMAGE = "https://img.clerk.com/xxxxxx"
ATTEMPTED_AT = 1_767_225_600_000
"""Long after every body: where it shows up, a time was not found."""

REAL_ORG, OLD_ORG, NEW_ORG = (
    "org_2o9RAVkGMEfjA4f90OznAdaR1dx",
    "org_29w9IfBrPmcpi0IeBVaKtA7R94W",
    "org_2g7np7Hrk0SN6kj5EDMLDaKNL0S",
)
REAL_NAME, REAL_SLUG = "Confederacy of Independent Systems", "confederacy-of-independent-systems"
NEW_MEMBER, NEW_MEMBERSHIP = "user_2h8op3Isl1QR7tKu5FGNfaLKEoU", "orgmem_2g7np7Hrk0SN6kj5EDMLDaKNL0S"
NEW_MS = 1_716_883_200_000
"""The envelopes of the newest published examples count in seconds, their data in milliseconds."""

EXPECTED: dict[str, tuple[int, tuple[Fact, ...]]] = {
    "organization.created--andrictham-clerk-webhooks-inconsistent-payloads--1": (
        1_730_279_661_541,
        (
            OrganizationSnapshot(
                REAL_ORG, REAL_NAME, REAL_SLUG, IMAGE, 1_730_279_661_537, Version(1_730_279_661_537, 1_730_279_661_541)
            ),
        ),
    ),
    "organization.created--andrictham-clerk-webhooks-inconsistent-payloads--2": (
        1_654_013_202_977,
        (
            OrganizationSnapshot(
                OLD_ORG, "Acme Inc", "acme-inc", IMAGE, 1_654_013_202_977, Version(1_654_013_202_977, 1_654_013_202_977)
            ),
        ),
    ),
    "organization.created--clerk-openapi-specs--1": (
        NEW_MS,
        (OrganizationSnapshot(NEW_ORG, "Acme Corp", "acme-corp", IMAGE, NEW_MS, Version(NEW_MS, NEW_MS)),),
    ),
    "organization.updated--clerk-openapi-specs--1": (
        NEW_MS,
        (
            OrganizationSnapshot(
                NEW_ORG,
                "Acme Corp Updated",
                "acme-corp-updated",
                "https://img.clerk.com/yyyyyy",
                NEW_MS,
                Version(1_716_883_500_000, NEW_MS),
            ),
        ),
    ),
    "organization.deleted--clerk-openapi-specs--1": (NEW_MS, (OrganizationDeleted(NEW_ORG, NEW_MS),)),
    "organizationMembership.created--andrictham-clerk-webhooks-inconsistent-payloads--1": (
        1_730_279_661_570,
        (
            OrganizationSnapshot(
                REAL_ORG, REAL_NAME, REAL_SLUG, IMAGE, 1_730_279_661_537, Version(1_730_279_661_537, 1_730_279_661_570)
            ),
            MembershipSnapshot(
                "user_2o9QUL1HBjwFSVmJt9Jo1yA3PAl",
                REAL_ORG,
                Generation(1_730_279_661_554, "orgmem_2o9RAV6JzBIn92oN15jhs2cIijL"),
                Version(1_730_279_661_554, 1_730_279_661_570),
                "org:admin",
            ),
        ),
    ),
    "organizationMembership.updated--clerk-openapi-specs--1": (
        NEW_MS,
        (
            OrganizationSnapshot(NEW_ORG, "Acme Corp", "acme-corp", IMAGE, NEW_MS, Version(1_716_883_500_000, NEW_MS)),
            MembershipSnapshot(
                NEW_MEMBER, NEW_ORG, Generation(NEW_MS, NEW_MEMBERSHIP), Version(1_716_883_500_000, NEW_MS), "org:admin"
            ),
        ),
    ),
    "organizationMembership.deleted--andrictham-clerk-webhooks-inconsistent-payloads--1": (
        1_730_711_921_915,
        (
            OrganizationSnapshot(
                REAL_ORG, REAL_NAME, REAL_SLUG, IMAGE, 1_730_279_661_537, Version(1_730_709_918_694, 1_730_711_921_915)
            ),
            MembershipEnded(
                "user_2giUfelO6nqMouDtVZQOolP7eXN",
                REAL_ORG,
                Generation(1_730_282_804_492, "orgmem_2o9XXSriW8J9VdELquuqyZPAvYJ"),
                1_730_711_921_915,
            ),
        ),
    ),
    "organizationMembership.deleted--andrictham-clerk-webhooks-inconsistent-payloads--2": (
        1_654_013_847_054,
        (
            OrganizationSnapshot(
                OLD_ORG, "Acme Inc", "acme-inc", IMAGE, 1_654_013_202_977, Version(1_654_013_567_994, 1_654_013_847_054)
            ),
            MembershipEnded(
                "user_29wACSk1DjeUCwsS6SbbgIgilMy",
                OLD_ORG,
                Generation(1_654_013_847_054, "orgmem_29wAbjiJs6aZuPq7AzmkW9dwmyl"),
                1_654_013_847_054,
            ),
        ),
    ),
    "organizationMembership.deleted--clerk-openapi-specs--1": (
        NEW_MS,
        (
            OrganizationSnapshot(NEW_ORG, "Acme Corp", "acme-corp", IMAGE, NEW_MS, Version(NEW_MS, NEW_MS)),
            MembershipEnded(NEW_MEMBER, NEW_ORG, Generation(NEW_MS, NEW_MEMBERSHIP), NEW_MS),
        ),
    ),
    "user.created--andrictham-clerk-webhooks-inconsistent-payloads--1": (
        1_730_279_325_035,
        (UserSeen("user_2o9QUL1HBjwFSVmJt9Jo1yA3PAl"),),
    ),
    "user.created--clerk-clerk-docs--1": (1_654_012_591_835, (UserSeen("user_29w83sxmDNGwOuEthce5gg56FcC"),)),
    "user.created--unnamed--1": (1_744_276_393_644, (UserSeen("user_2vX11zP5ojq7cTRY58xT6oJqmRG"),)),
    "user.updated--andrictham-clerk-webhooks-inconsistent-payloads--1": (
        1_730_115_008_725,
        (UserSeen("user_2nhHMVwjQOw3wThowNX4ZveCjwB"),),
    ),
    "user.deleted--clerk-openapi-specs--1": (NEW_MS, (UserDeleted("user_2g7np7Hrk0SN6kj5EDMLDaKNL0S", NEW_MS),)),
}


@pytest.mark.parametrize(("name", "event_at_ms", "facts"), [(name, *expected) for name, expected in EXPECTED.items()])
def test_each_body_tells_its_facts(name: str, event_at_ms: int, facts: tuple[Fact, ...]) -> None:
    """Every body that was seen in the wild tells exactly the facts that a person reads out of it."""
    event = decode_event((PAYLOADS / f"{name}.json").read_bytes(), attempted_at_ms=ATTEMPTED_AT)

    assert facts == event.facts
    assert event_at_ms == event.event_at_ms
    assert name.partition("--")[0] == event.type


@pytest.mark.parametrize("name", EXPECTED)
def test_each_body_names_whom_it_concerns(name: str) -> None:
    """The ids that the ledger is searched by are those of the event's own subject, which is its last fact."""
    event = decode_event((PAYLOADS / f"{name}.json").read_bytes(), attempted_at_ms=ATTEMPTED_AT)
    subject = event.facts[-1]

    assert getattr(subject, "clerk_user_id", None) == event.clerk_user_id
    assert getattr(subject, "clerk_org_id", None) == event.clerk_org_id


def test_no_body_is_left_out() -> None:
    """The table holds every body there is, and among them one of each of the nine types."""
    names = {path.stem for path in PAYLOADS.glob("*.json")}

    assert names == EXPECTED.keys()
    assert {name.partition("--")[0] for name in names} == EVENT_TYPES
