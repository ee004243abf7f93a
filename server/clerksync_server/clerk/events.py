"""From a verified body to the facts it tells."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec

from clerksync_server.clerk.bodies import (
    Envelope,
    IdOnly,
    MembershipBody,
    OrganizationBody,
    Time,
    TypeOnly,
)
from clerksync_server.clerk.values import NotUnderstood, checked_id, clean_text, time_ms
from clerksync_server.rules.decisions import Rule
from clerksync_server.rules.facts import (
    Fact,
    Generation,
    MembershipEnded,
    MembershipSnapshot,
    OrganizationDeleted,
    OrganizationMention,
    OrganizationSnapshot,
    UserDeleted,
    UserSeen,
    Version,
)

_MAX_TYPE_LENGTH = 255
_FUTURE_LIMIT_MS = 24 * 60 * 60 * 1000
"""More than any two clocks differ. Svix has timed the attempt, and the front has checked that against its own clock."""
_TO_COME = "lies more than a day after the delivery was sent"
_ORDER_WITHIN_A_SECOND = {"created": 0, "updated": 1, "deleted": 2}
"""Attempts are timed in whole seconds; among bodies without times these milliseconds keep their natural order."""
_Shape = TypeVar("_Shape")


@dataclass(frozen=True, slots=True)
class ClerkEvent:
    """One event, understood. The last fact is about the event's own subject; there is always one if it is `ours`."""

    type: str
    event_at_ms: int | None = None
    clerk_user_id: str | None = None
    clerk_org_id: str | None = None
    facts: tuple[Fact, ...] = ()
    ignored_by: Rule | None = None

    @property
    def ours(self) -> bool:
        return self.ignored_by is None


@dataclass(frozen=True, slots=True)
class _Attempt:
    """When the delivery was attempted, and the latest time that anything it tells of can have."""

    attempted_at_ms: int
    latest_ms: int


@dataclass(frozen=True, slots=True)
class _Times:
    """When an event happened, as well as its body tells; nothing it tells of can be later than `latest_ms`."""

    event_at_ms: int
    removed_at_ms: int
    latest_ms: int

    def snapshot_ms(self, value: Time, place: str) -> int:
        """The time in a snapshot, or that of its event.

        A time to come would win against every real one until then, so it is not believed.
        """
        milliseconds = time_ms(value, place) or self.event_at_ms
        if milliseconds > self.latest_ms:
            raise NotUnderstood(f"{place} {_TO_COME}")
        return milliseconds


def decode_event(
    body: bytes, *, attempted_at_ms: int, instance_id: str | None = None, now_ms: int | None = None
) -> ClerkEvent:
    """Returns what the body tells; an event that is not `ours` if its type is none of the nine.

    With an `instance_id`, events that name another Clerk instance are not `ours` either.

    `attempted_at_ms` is the time of the delivery attempt, by Svix's clock. It stands in for times that the body lacks:
    real bodies have always carried one, hand-written ones seldom do. Times more than a day after it, or after `now_ms`
    if that is later, are not believed.

    Raises NotUnderstood, whose text names the place and never the value.
    """
    event_type = None
    try:
        raw_type = msgspec.json.decode(body, type=TypeOnly).type
        event_type = (clean_text(raw_type) or "")[:_MAX_TYPE_LENGTH]
        decode = _DECODERS.get(raw_type)
        if decode is None:
            return ClerkEvent(event_type, ignored_by=Rule.OTHER_TYPE)
        envelope = msgspec.json.decode(body, type=Envelope)
        if instance_id and envelope.instance_id not in (None, "", instance_id):
            return replace(_event(envelope), ignored_by=Rule.OTHER_INSTANCE)
        latest_ms = max(attempted_at_ms, now_ms or 0) + _FUTURE_LIMIT_MS
        return decode(envelope, _Attempt(attempted_at_ms, latest_ms))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, NotUnderstood) as error:
        not_understood = error if isinstance(error, NotUnderstood) else NotUnderstood(_reason(error))
        not_understood.event_type = event_type
        raise not_understood from None


def _reason(error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        return str(error)
    if isinstance(error, RecursionError):
        return "the JSON is nested too deeply"
    return "the body is not JSON in UTF-8"


def _organization_changed(envelope: Envelope, attempt: _Attempt) -> ClerkEvent:
    organization = _decode_data(envelope, OrganizationBody)
    times = _times(envelope, organization.updated_at, organization.created_at, attempt)
    fact = _organization_fact(organization, times, "data")
    return _event(envelope, clerk_org_id=fact.clerk_org_id, facts=(fact,))


def _organization_deleted(envelope: Envelope, attempt: _Attempt) -> ClerkEvent:
    clerk_org_id = checked_id(_decode_data(envelope, IdOnly).id, "data.id")
    times = _times(envelope, None, None, attempt)
    fact = OrganizationDeleted(clerk_org_id, deleted_at_ms=times.removed_at_ms)
    return _event(envelope, clerk_org_id=clerk_org_id, facts=(fact,))


def _user_changed(envelope: Envelope, attempt: _Attempt) -> ClerkEvent:
    clerk_user_id = checked_id(_decode_data(envelope, IdOnly).id, "data.id")
    return _event(envelope, clerk_user_id=clerk_user_id, facts=(UserSeen(clerk_user_id),))


def _user_deleted(envelope: Envelope, attempt: _Attempt) -> ClerkEvent:
    clerk_user_id = checked_id(_decode_data(envelope, IdOnly).id, "data.id")
    times = _times(envelope, None, None, attempt)
    fact = UserDeleted(clerk_user_id, deleted_at_ms=times.removed_at_ms)
    return _event(envelope, clerk_user_id=clerk_user_id, facts=(fact,))


def _membership_changed(envelope: Envelope, attempt: _Attempt) -> ClerkEvent:
    membership = _decode_data(envelope, MembershipBody)
    times = _times(envelope, membership.updated_at, membership.created_at, attempt)
    organization = _organization_fact(membership.organization, times, "data.organization")
    fact = MembershipSnapshot(
        clerk_user_id=checked_id(membership.public_user_data.user_id, "data.public_user_data.user_id"),
        clerk_org_id=organization.clerk_org_id,
        generation=_generation(membership, times),
        version=Version(times.snapshot_ms(membership.updated_at, "data.updated_at"), times.event_at_ms),
        role=clean_text(membership.role),
    )
    return _event(envelope, fact.clerk_user_id, fact.clerk_org_id, (organization, fact))


def _membership_deleted(envelope: Envelope, attempt: _Attempt) -> ClerkEvent:
    membership = _decode_data(envelope, MembershipBody)
    times = _times(envelope, membership.updated_at, membership.created_at, attempt)
    organization = _organization_fact(membership.organization, times, "data.organization", needed=False)
    fact = MembershipEnded(
        clerk_user_id=checked_id(membership.public_user_data.user_id, "data.public_user_data.user_id"),
        clerk_org_id=organization.clerk_org_id,
        through=_generation(membership, times),
        removed_at_ms=times.removed_at_ms,
    )
    return _event(envelope, fact.clerk_user_id, fact.clerk_org_id, (organization, fact))


def _decode_data(envelope: Envelope, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.json.decode(envelope.data, type=shape)
    except msgspec.ValidationError as error:
        reason = str(error)
        # The library names no place for what is wrong at the top.
        reason = reason.replace("`$", "`data") if "`$" in reason else f"{reason} - at `data`"
        raise NotUnderstood(reason) from None


def _times(envelope: Envelope, updated_at: Time, created_at: Time, attempt: _Attempt) -> _Times:
    """The envelope's time, or the best there is instead.

    A snapshot is as of its own update time. A removal is not: the update time of what was removed may lie days before,
    so only the attempt, which is after the removal, can stand in for it.
    """
    attempted_at_ms = attempt.attempted_at_ms + _ORDER_WITHIN_A_SECOND[envelope.type.rpartition(".")[2]]
    place, told_ms = "timestamp", time_ms(envelope.timestamp, "timestamp")
    stamped_ms = told_ms
    # Each is checked, also where it is not needed.
    for other_place, other in (("data.updated_at", updated_at), ("data.created_at", created_at)):
        other_ms = time_ms(other, other_place)
        if told_ms is None:
            place, told_ms = other_place, other_ms
    if told_ms is not None and told_ms > attempt.latest_ms:
        if not envelope.type.endswith("deleted"):
            raise NotUnderstood(f"{place} {_TO_COME}")
        stamped_ms = told_ms = None  # A deletion must not wait; it was over when it was sent.
    return _Times(
        event_at_ms=told_ms or attempted_at_ms,
        removed_at_ms=stamped_ms or attempted_at_ms,
        latest_ms=attempt.latest_ms,
    )


def _generation(membership: MembershipBody, times: _Times) -> Generation:
    created_at_ms = times.snapshot_ms(membership.created_at, "data.created_at")
    return Generation(created_at_ms, checked_id(membership.id, "data.id"))


def _organization_fact(
    organization: OrganizationBody, times: _Times, place: str, *, needed: bool = True
) -> OrganizationSnapshot | OrganizationMention:
    """The snapshot, or a mention if it tells no name; also if its time is not to be believed and it is not `needed`."""
    clerk_org_id = checked_id(organization.id, f"{place}.id")
    name = clean_text(organization.name)
    updated_at_ms = time_ms(organization.updated_at, f"{place}.updated_at")
    if name is None or (not needed and updated_at_ms is not None and updated_at_ms > times.latest_ms):
        return OrganizationMention(clerk_org_id)
    return OrganizationSnapshot(
        clerk_org_id=clerk_org_id,
        name=name,
        slug=clean_text(organization.slug),
        image_url=clean_text(organization.image_url),
        created_at_ms=time_ms(organization.created_at, f"{place}.created_at"),
        version=Version(times.snapshot_ms(organization.updated_at, f"{place}.updated_at"), times.event_at_ms),
    )


def _event(
    envelope: Envelope,
    clerk_user_id: str | None = None,
    clerk_org_id: str | None = None,
    facts: tuple[Fact, ...] = (),
) -> ClerkEvent:
    return ClerkEvent(
        type=envelope.type,
        event_at_ms=time_ms(envelope.timestamp, "timestamp"),
        clerk_user_id=clerk_user_id,
        clerk_org_id=clerk_org_id,
        facts=facts,
    )


_DECODERS: dict[str, Callable[[Envelope, _Attempt], ClerkEvent]] = {
    "organization.created": _organization_changed,
    "organization.updated": _organization_changed,
    "organization.deleted": _organization_deleted,
    "organizationMembership.created": _membership_changed,
    "organizationMembership.updated": _membership_changed,
    "organizationMembership.deleted": _membership_deleted,
    "user.created": _user_changed,
    "user.updated": _user_changed,
    "user.deleted": _user_deleted,
}

EVENT_TYPES = frozenset(_DECODERS)
"""The nine types that are ours."""
