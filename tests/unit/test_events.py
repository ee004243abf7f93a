"""Bodies are read leniently: only what no fact can do without is required."""

import json
from typing import Any

import pytest

from clerksync_server.clerk.events import EVENT_TYPES, ClerkEvent, decode_event
from clerksync_server.rules.decisions import Rule
from clerksync_server.rules.facts import OrganizationDeleted, OrganizationMention, UserDeleted, UserSeen

USER, ORG, INSTANCE = "user_1", "org_1", "ins_1"
AT = 1_700_000_000_000


def decode(event_type: str, data: Any, *, instance_id: str | None = None, **envelope: Any) -> ClerkEvent:
    body = json.dumps({"type": event_type, "data": data, "timestamp": AT, **envelope}).encode()
    return decode_event(body, attempted_at_ms=AT, instance_id=instance_id)


def membership(**changes: Any) -> dict[str, Any]:
    return {
        "id": "orgmem_1",
        "role": "org:member",
        "created_at": AT,
        "updated_at": AT,
        "organization": {"id": ORG, "name": "Acme", "created_at": AT, "updated_at": AT},
        "public_user_data": {"user_id": USER},
        **changes,
    }


def subject(event: ClerkEvent) -> Any:
    return event.facts[-1]


def test_the_nine_types() -> None:
    """Three things that happen to three kinds of subjects are ours, and nothing else."""
    subjects, verbs = ("organization", "organizationMembership", "user"), ("created", "updated", "deleted")

    assert {f"{subject}.{verb}" for subject in subjects for verb in verbs} == EVENT_TYPES


@pytest.mark.parametrize(
    "event_type",
    [
        "session.created",
        "organizationInvitation.accepted",
        "organizationDomain.deleted",
        "organization_membership.created",
        "organization.invitation.accepted",
        "Organization.created",
        "organization.created ",
        "organization.Created",
        "user.updated.deleted",
        "deleted",
        ".deleted",
        "",
        "something.new",
    ],
)
@pytest.mark.parametrize("data", [{"id": USER}, None, "anything", [[]]])
def test_a_type_that_is_not_ours_tells_nothing(event_type: str, data: Any) -> None:
    """Unknown types are told apart and never refused, whatever they carry."""
    event = decode(event_type, data, timestamp="not even a time", instance_id=INSTANCE)

    assert ClerkEvent(event_type, ignored_by=Rule.OTHER_TYPE) == event
    assert not event.ours


def test_a_type_that_is_not_ours_needs_no_data() -> None:
    """Only the type of an unknown event is read."""
    event = decode_event(b'{"type":"email.created"}', attempted_at_ms=AT)

    assert ClerkEvent("email.created", ignored_by=Rule.OTHER_TYPE) == event


def test_a_long_type_is_cut() -> None:
    """The ledger keeps no more than 255 characters of a type."""
    assert decode("x" * 1_000, {}).type == "x" * 255


@pytest.mark.parametrize(
    ("ours", "theirs", "accepted"),
    [
        pytest.param(INSTANCE, INSTANCE, True, id="the same"),
        pytest.param(INSTANCE, "ins_2", False, id="another"),
        pytest.param(INSTANCE, None, True, id="the body's is null"),
        pytest.param(INSTANCE, "", True, id="the body's is empty"),
        pytest.param(None, "ins_2", True, id="ours is not set"),
        pytest.param("", "ins_2", True, id="ours is empty"),
    ],
)
@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_events_of_another_instance_are_not_ours(
    event_type: str, ours: str | None, theirs: str | None, accepted: bool
) -> None:
    """Only an event that names an instance, and not ours, is none of ours."""
    data = membership(name="Acme")
    event = decode_event(
        json.dumps({"type": event_type, "data": data, "timestamp": AT, "instance_id": theirs}).encode(),
        attempted_at_ms=AT,
        instance_id=ours,
    )

    assert accepted == event.ours
    assert accepted == bool(event.clerk_user_id or event.clerk_org_id)
    assert (event_type, AT) == (event.type, event.event_at_ms)


def test_a_body_without_an_instance_is_ours() -> None:
    """Bodies of 2024 and before name no instance."""
    assert decode("user.created", {"id": USER}, instance_id=INSTANCE).ours


def test_the_data_of_another_instance_is_not_read() -> None:
    """What is none of ours need not be understood."""
    body = b'{"type":"user.deleted","data":{"id":5},"instance_id":"ins_2"}'

    event = decode_event(body, attempted_at_ms=AT, instance_id=INSTANCE)

    assert ClerkEvent("user.deleted", ignored_by=Rule.OTHER_INSTANCE) == event


@pytest.mark.parametrize("name", [None, ""])
@pytest.mark.parametrize("event_type", ["organization.created", "organization.updated"])
def test_an_organization_without_a_name_is_a_mention(event_type: str, name: str | None) -> None:
    """Without a name there is nothing to show, only an id: enough for a placeholder."""
    event = decode(event_type, {"id": ORG, "name": name, "slug": "acme", "updated_at": AT})

    assert (OrganizationMention(ORG),) == event.facts


@pytest.mark.parametrize("nested", [{"id": ORG}, {"id": ORG, "name": None}, {"id": ORG, "name": "", "slug": None}])
def test_a_membership_needs_only_the_id_of_its_organization(nested: dict[str, Any]) -> None:
    """A nested organization may be no more than an id."""
    event = decode("organizationMembership.created", membership(organization=nested))

    assert event.facts[0] == OrganizationMention(ORG)
    assert (event.clerk_user_id, event.clerk_org_id) == (USER, ORG)


@pytest.mark.parametrize("key", ["slug", "image_url"])
@pytest.mark.parametrize("value", [None, ""])
def test_an_empty_text_is_none(key: str, value: str | None) -> None:
    """Slugs may be switched off, and images missing: null and empty are the same."""
    event = decode("organization.created", {"id": ORG, "name": "Acme", key: value, "updated_at": AT})

    assert getattr(subject(event), key) is None


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("org:admin", "org:admin"),
        ("org:billing_manager", "org:billing_manager"),
        ("admin", "admin"),
        ("basic_member", "basic_member"),
        ("guest_member", "guest_member"),
        ("Gäste 🎉", "Gäste 🎉"),
        ("", None),
        (None, None),
    ],
)
def test_a_role_is_taken_as_it_is(role: str | None, expected: str | None) -> None:
    """Legacy and custom roles are kept to the letter; an empty one is none."""
    event = decode("organizationMembership.updated", membership(role=role))

    assert expected == subject(event).role


@pytest.mark.parametrize("extra", [{}, {"deleted": True}, {"slug": None, "external_id": 5, "object": []}])
def test_a_deletion_needs_only_an_id(extra: dict[str, Any]) -> None:
    """Deleted users and organizations come as stubs, with or without more."""
    assert (OrganizationDeleted(ORG, AT),) == decode("organization.deleted", {"id": ORG, **extra}).facts
    assert (UserDeleted(USER, AT),) == decode("user.deleted", {"id": USER, **extra}).facts


@pytest.mark.parametrize("event_type", ["user.created", "user.updated"])
def test_of_a_user_only_the_id_is_read(event_type: str) -> None:
    """Names, addresses and times of a user change no row, so they may hold anything."""
    data: dict[str, Any] = {
        "id": USER,
        "email_addresses": None,
        "verification": [],
        "created_at": "yesterday",
        "first_name": 5,
    }

    assert (UserSeen(USER),) == decode(event_type, data).facts


def test_keys_that_are_not_needed_may_hold_anything() -> None:
    """What Clerk adds or changes elsewhere does not concern us."""
    plain = decode("organizationMembership.created", membership())
    odd = membership(permissions=None, role_name=5, public_metadata=[], object={"a": 1}, novelty=1e300)
    odd["public_user_data"] = {"user_id": USER, "identifier": None, "banned": "perhaps", "username": []}
    odd["organization"] |= {"members_count": "many", "logo_url": None, "created_by": 5, "max_allowed_memberships": None}

    assert plain.facts == decode("organizationMembership.created", odd, object=5, event_attributes="none").facts


def test_the_last_of_duplicate_keys_counts() -> None:
    """As everywhere else in JSON; type and data are read by the same rule."""
    body = b'{"type":"user.deleted","type":"user.created","data":{"id":"a"},"data":{"id":"a","id":"b"}}'

    assert (UserSeen("b"),) == decode_event(body, attempted_at_ms=AT).facts


@pytest.mark.parametrize("clerk_id", ["x", "!", "~", "x" * 255, "org_1;drop", "29w83sxmDNGwOuEthce5gg56FcC"])
def test_ids_need_no_prefix(clerk_id: str) -> None:
    """An id is 1 to 255 printable ASCII characters without spaces, whatever it begins with."""
    assert (UserSeen(clerk_id),) == decode("user.created", {"id": clerk_id}).facts
