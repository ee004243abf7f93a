"""What each kind of delivery is answered, and what it leaves in the tables."""

import json
from pathlib import Path
from typing import Any

import bodies
import pytest
from stack import Stack, new_svix_id, now_ms

PAYLOADS = sorted((Path(__file__).parents[1] / "payloads").glob("*.json"))
ORG, ADA = "org_1", "user_ada"


async def profile_roles(stack: Stack) -> dict[tuple[str, str], str | None]:
    rows = await stack.rows("select clerk_user_id, clerk_org_id, role from public.user_profile")
    return {(row["clerk_user_id"], row["clerk_org_id"]): row["role"] for row in rows}


async def test_the_life_of_a_membership(stack: Stack) -> None:
    """Joining, changing role and leaving each change the one row of the pair."""
    t = now_ms() - 60_000

    answers = [await stack.post(bodies.organization("created", ORG, at=t))]
    answers.append(await stack.post(bodies.membership("created", ADA, ORG, at=t + 1, joined_at=t + 1)))
    joined = await profile_roles(stack)
    changed_body = bodies.membership("updated", ADA, ORG, at=t + 2, joined_at=t + 1, role="org:admin")
    answers.append(await stack.post(changed_body))
    changed = await profile_roles(stack)
    answers.append(await stack.post(bodies.membership("deleted", ADA, ORG, at=t + 3, joined_at=t + 1)))

    assert [(answer.status, answer.outcome) for answer in answers] == [(200, "applied")] * 4
    assert joined == {(ADA, ORG): "org:member"}
    assert changed == {(ADA, ORG): "org:admin"}
    assert await profile_roles(stack) == {}


async def test_organization_last_writer_wins(stack: Stack) -> None:
    """An older name of an organization that arrives late is stale."""
    t = now_ms() - 60_000

    new = await stack.post(bodies.organization("updated", ORG, at=t + 10, name="New", slug=None))
    old = await stack.post(bodies.organization("created", ORG, at=t, name="Old"))

    assert (new.outcome, old.outcome) == ("applied", "stale")
    rows = await stack.rows("select name, slug, is_placeholder, settings from public.organization")
    assert rows == [{"name": "New", "slug": None, "is_placeholder": False, "settings": "{}"}]


async def test_organization_deleted_takes_everything_along(stack: Stack) -> None:
    """A deleted organization and its profiles are gone for good, whatever arrives later."""
    t = now_ms() - 60_000
    await stack.post(bodies.organization("created", ORG, at=t))
    await stack.post(bodies.membership("created", ADA, ORG, at=t + 1, joined_at=t + 1))
    await stack.post(bodies.membership("created", ADA, "org_2", at=t + 1, joined_at=t + 1))

    deleted = await stack.post(bodies.organization("deleted", ORG, at=t + 5))
    late = [
        await stack.post(bodies.organization("updated", ORG, at=t + 9)),
        await stack.post(bodies.membership("created", "user_bob", ORG, at=t + 9, joined_at=t + 9)),
        await stack.post(bodies.organization("deleted", ORG, at=t + 5)),
    ]

    assert deleted.outcome == "applied"
    assert [answer.outcome for answer in late] == ["stale"] * 3
    assert await profile_roles(stack) == {(ADA, "org_2"): "org:member"}
    assert await stack.rows("select clerk_org_id from public.organization") == [{"clerk_org_id": "org_2"}]


async def test_organization_deleted_first(stack: Stack) -> None:
    """A deletion that arrives before everything else still wins."""
    t = now_ms() - 60_000

    outcomes = [
        (await stack.post(bodies.organization("deleted", ORG, at=t + 5))).outcome,
        (await stack.post(bodies.membership("created", ADA, ORG, at=t + 1, joined_at=t + 1))).outcome,
        (await stack.post(bodies.organization("created", ORG, at=t))).outcome,
    ]

    assert outcomes == ["applied", "stale", "stale"]
    assert await stack.rows("select id from public.organization") == []
    assert await stack.rows("select id from public.user_profile") == []


async def test_user_events(stack: Stack) -> None:
    """A new or changed user changes no profile; a deleted one loses all of them for good."""
    t = now_ms() - 60_000
    for org in (ORG, "org_2"):
        await stack.post(bodies.membership("created", ADA, org, at=t, joined_at=t))
        await stack.post(bodies.membership("created", "user_bob", org, at=t, joined_at=t))
    before = await stack.rows("select * from public.user_profile order by id")

    seen = [(await stack.post(bodies.user(verb, ADA, at=t + 1))).outcome for verb in ("created", "updated")]
    unchanged = await stack.rows("select * from public.user_profile order by id")
    deleted = await stack.post(bodies.user("deleted", ADA, at=t + 2))
    late = await stack.post(bodies.membership("created", ADA, "org_3", at=t + 3, joined_at=t + 3))
    again = await stack.post(bodies.user("updated", ADA, at=t + 4))

    assert seen == ["applied", "applied"]
    assert before == unchanged
    assert (deleted.outcome, late.outcome, again.outcome) == ("applied", "stale", "stale")
    assert {("user_bob", ORG), ("user_bob", "org_2")} == set(await profile_roles(stack))


async def test_leave_and_join_again(stack: Stack) -> None:
    """A late deletion of an earlier membership does not remove who has joined again."""
    t = now_ms() - 60_000
    first: dict[str, Any] = {"joined_at": t + 1}
    second: dict[str, Any] = {"joined_at": t + 50, "role": "org:admin"}

    outcomes = [
        (await stack.post(bodies.membership("created", ADA, ORG, at=t + 1, **first))).outcome,
        (await stack.post(bodies.membership("created", ADA, ORG, at=t + 50, **second))).outcome,
        (await stack.post(bodies.membership("deleted", ADA, ORG, at=t + 20, **first))).outcome,
        (await stack.post(bodies.membership("updated", ADA, ORG, at=t + 10, **first))).outcome,
    ]

    assert outcomes == ["applied", "applied", "stale", "stale"]
    assert await profile_roles(stack) == {(ADA, ORG): "org:admin"}


async def test_membership_before_its_organization(stack: Stack) -> None:
    """A membership whose organization is not known yet gets a placeholder, which the organization's event fills."""
    t = now_ms() - 60_000

    await stack.post(bodies.membership("created", ADA, ORG, at=t + 1, joined_at=t + 1))
    placeholder = await stack.rows("select name, is_placeholder from public.organization")
    await stack.post(bodies.organization("created", ORG, at=t))
    filled = await stack.rows("select name, is_placeholder from public.organization")

    assert placeholder == [{"name": ORG, "is_placeholder": True}]
    assert filled == [{"name": "Acme Inc", "is_placeholder": False}]


async def test_nested_organization_is_a_snapshot(stack: Stack) -> None:
    """The organization inside a membership's body counts like any other snapshot, older or newer."""
    t = now_ms() - 60_000
    await stack.post(bodies.organization("created", ORG, at=t, name="First"))
    nested = bodies.snapshot(ORG, name="Second", updated_at=t + 5)
    await stack.post(bodies.membership("created", ADA, ORG, at=t + 6, joined_at=t + 6, nested=nested))
    second = await stack.rows("select name from public.organization")
    nested = bodies.snapshot(ORG, name="Zeroth", updated_at=t - 5)
    await stack.post(bodies.membership("created", "user_bob", ORG, at=t + 7, joined_at=t + 7, nested=nested))

    assert second == [{"name": "Second"}]
    assert second == await stack.rows("select name from public.organization")


async def test_a_repeat_is_a_duplicate(stack: Stack) -> None:
    """The same svix-id is applied once; repeats are told so and leave a single entry in the ledger."""
    t = now_ms() - 60_000
    svix_id = new_svix_id()
    body = bodies.membership("created", ADA, ORG, at=t, joined_at=t)

    first = await stack.post(body, svix_id=svix_id)
    await stack.post(bodies.membership("deleted", ADA, ORG, at=t + 1, joined_at=t))
    repeat = await stack.post(body, svix_id=svix_id)

    assert ((first.status, first.outcome), (repeat.status, repeat.outcome)) == ((200, "applied"), (200, "duplicate"))
    assert await profile_roles(stack) == {}
    ledger = await stack.rows("select outcome from clerksync.webhook_delivery where svix_id = $1", svix_id)
    assert ledger == [{"outcome": "applied"}]


@pytest.mark.parametrize("event_type", ["session.created", "organizationInvitation.accepted", "no.such.event"])
async def test_other_types_are_ignored(stack: Stack, event_type: str) -> None:
    """A type that is not ours is success and changes nothing, whatever its data."""
    answer = await stack.post({"type": event_type, "data": [1, None, "x"], "timestamp": "long ago"})

    assert (answer.status, answer.outcome) == (200, "ignored")
    assert await stack.rows("select outcome, body from clerksync.webhook_delivery") == [
        {"outcome": "ignored", "body": None}
    ]


async def test_other_instances_are_ignored(start_stack: Any) -> None:
    """With an instance set, events that name another one are ignored; those that name none are ours."""
    stack = await start_stack(CLERK_INSTANCE_ID="ins_ours")
    t = now_ms() - 60_000
    body = bodies.organization("created", ORG, at=t)

    other = await stack.post(body | {"instance_id": "ins_other"})
    unnamed = await stack.post(body)
    ours = await stack.post(bodies.organization("created", "org_2", at=t) | {"instance_id": "ins_ours"})

    assert [other.outcome, unnamed.outcome, ours.outcome] == ["ignored", "applied", "applied"]


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
async def test_real_and_published_bodies(stack: Stack, path: Path) -> None:
    """Every body that Clerk was seen to send, or publishes as an example, is applied."""
    answer = await stack.post(path.read_bytes())

    assert (answer.status, answer.outcome) == (200, "applied")


async def test_bodies_with_next_to_nothing(stack: Stack) -> None:
    """Hand-written bodies with ids and a role, without any time, are applied in the order of their attempts."""
    data = {"id": "orgmem_1", "organization": {"id": ORG}, "public_user_data": {"user_id": ADA}}

    created = await stack.post({"type": "organizationMembership.created", "data": data | {"role": "org:member"}})
    updated = await stack.post({"type": "organizationMembership.updated", "data": data | {"role": "org:admin"}})
    roles = await profile_roles(stack)
    deleted = await stack.post({"type": "organizationMembership.deleted", "data": data})

    assert [created.outcome, updated.outcome, deleted.outcome] == ["applied"] * 3
    assert roles == {(ADA, ORG): "org:admin"}
    assert await profile_roles(stack) == {}


async def test_text_that_postgres_refuses(stack: Stack) -> None:
    """A NUL character in a name is left out instead of failing the delivery."""
    body = json.dumps(bodies.organization("created", ORG, at=now_ms())).replace("Acme Inc", "Ac\\u0000me").encode()

    answer = await stack.post(body)

    assert answer.outcome == "applied"
    assert await stack.rows("select name from public.organization") == [{"name": "Acme"}]
