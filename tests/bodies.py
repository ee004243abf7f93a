"""Bodies of Clerk's webhooks, as far as they are needed."""

from typing import Any

Body = dict[str, Any]


def organization(
    verb: str, org: str, *, at: int, name: str = "Acme Inc", slug: str | None = "acme", updated_at: int | None = None
) -> Body:
    """`at` is the envelope's time in ms."""
    if verb == "deleted":
        return envelope("organization.deleted", {"id": org, "object": "organization", "deleted": True}, at)
    data = snapshot(org, name=name, slug=slug, updated_at=at if updated_at is None else updated_at)
    return envelope(f"organization.{verb}", data, at)


def snapshot(org: str, *, updated_at: int, name: str = "Acme Inc", slug: str | None = "acme") -> Body:
    return {
        "id": org,
        "object": "organization",
        "name": name,
        "slug": slug,
        "image_url": "https://img.clerk.com/acme",
        "created_at": 1_730_000_000_000,
        "updated_at": updated_at,
    }


def membership(
    verb: str,
    user: str,
    org: str,
    *,
    at: int,
    joined_at: int,
    role: str | None = "org:member",
    membership_id: str | None = None,
    updated_at: int | None = None,
    nested: Body | None = None,
) -> Body:
    """`at` is the envelope's time, `joined_at` the membership's created_at. A deletion leaves updated_at alone."""
    default_update = joined_at if verb == "deleted" else at
    data = {
        "id": membership_id or f"orgmem_{user}_{joined_at}",
        "object": "organization_membership",
        "role": role,
        "created_at": joined_at,
        "updated_at": default_update if updated_at is None else updated_at,
        "organization": nested or {"id": org},
        "public_user_data": {"user_id": user, "identifier": f"{user}@example.com", "first_name": None},
    }
    return envelope(f"organizationMembership.{verb}", data, at)


def user(verb: str, user_id: str, *, at: int) -> Body:
    data = {"id": user_id, "object": "user", "first_name": None, "last_name": None, "updated_at": at}
    if verb == "deleted":
        data = {"id": user_id, "object": "user", "deleted": True}
    return envelope(f"user.{verb}", data, at)


def envelope(event_type: str, data: Body, at: int | None) -> Body:
    body: Body = {"object": "event", "type": event_type, "data": data}
    if at is not None:
        body["timestamp"] = at
    return body
