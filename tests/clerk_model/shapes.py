"""Bodies as Clerk really shapes them. What some real bodies lack is here and missing by chance."""

import json
import random
from typing import Any

from clerk_model.records import Membership, Organization, User

Json = dict[str, Any]
INSTANCE = "ins_2vTtqQ1hS8kV3mZrW5xY7aBcDeF"
_PERMISSIONS = ["org:sys_memberships:read", "org:sys_memberships:manage"]


def envelope(chance: random.Random, event_type: str, data: Json, *, at_ms: int) -> bytes:
    body: Json = {"data": data, "type": event_type, "object": "event", "timestamp": at_ms}
    if chance.random() < 0.5:
        body["instance_id"] = INSTANCE
    if chance.random() < 0.8:
        body["event_attributes"] = {
            "http_request": {
                "client_ip": chance.choice(["", "192.0.2.7", "2001:db8::7"]),
                "user_agent": "clerk/clerk-sdk-go@v2.0.0",
            }
        }
    return json.dumps(body, ensure_ascii=chance.random() < 0.5).encode()


def organization(chance: random.Random, now: Organization) -> Json:
    """At the top of an event of its own."""
    data = _organization(now) | {"created_by": now.created_by, "private_metadata": {}}
    return data | _perhaps(chance, {"members_count": 1, "last_active_at": now.updated_at_ms, "role_set_key": None})


def nested_organization(chance: random.Random, now: Organization, members: int) -> Json:
    """Inside a membership."""
    return _organization(now) | _perhaps(chance, {"members_count": members, "pending_invitations_count": 0})


def _organization(now: Organization) -> Json:
    name, slug, image_url = now.content
    return {
        "id": now.id,
        "name": name,
        "slug": slug,
        "object": "organization",
        "logo_url": None,
        "has_image": False,
        "image_url": image_url,
        "created_at": now.created_at_ms,
        "updated_at": now.updated_at_ms,
        "public_metadata": {},
        "admin_delete_enabled": True,
        "max_allowed_memberships": 5,
    }


def membership(chance: random.Random, now: Membership, inside: Organization, user: User, members: int) -> Json:
    """The same whole object for a deletion."""
    data = {
        "id": now.id,
        "role": now.role,
        "object": "organization_membership",
        "created_at": now.created_at_ms,
        "updated_at": now.updated_at_ms,
        "permissions": chance.choice([_PERMISSIONS, [], None]),
        "organization": nested_organization(chance, inside, members),
        "public_metadata": {},
        "public_user_data": {
            "user_id": user.id,
            "has_image": False,
            "image_url": "https://img.clerk.com/xxxxxx",
            "last_name": None,
            "first_name": user.first_name,
            "identifier": f"{user.id}@example.com",
        },
    }
    return data | _perhaps(chance, {"role_name": now.role.removeprefix("org:").title(), "private_metadata": {}})


def user(chance: random.Random, now: User) -> Json:
    data: Json = {
        "id": now.id,
        "object": "user",
        "username": None,
        "first_name": now.first_name,
        "last_name": None,
        "image_url": "https://img.clerk.com/xxxxxx",
        "has_image": False,
        "primary_email_address_id": None,
        "email_addresses": [],
        "phone_numbers": [],
        "external_accounts": [],
        "external_id": None,
        "last_sign_in_at": None,
        "banned": False,
        "locked": False,
        "public_metadata": {},
        "created_at": now.created_at_ms,
        "updated_at": now.updated_at_ms,
    }
    return data | _perhaps(chance, {"private_metadata": {}, "unsafe_metadata": {}, "passkeys": [], "locale": None})


def stub(chance: random.Random, kind: str, deleted_id: str) -> Json:
    """All that is told of a deleted user or organization."""
    data = {"id": deleted_id, "object": kind, "deleted": True}
    return data | _perhaps(chance, {"slug": "acme"} if kind == "organization" else {"external_id": None})


def _perhaps(chance: random.Random, optional: Json) -> Json:
    return {key: value for key, value in optional.items() if chance.random() < 0.5}
