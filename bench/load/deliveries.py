"""Signed deliveries as Clerk sends them: the samples' bodies, 2 KB each, about many users of many organizations."""

import base64
import hmac
import json
import random
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench import ids
from clerksync_server.dev.sample_events import sample_event

_MIX = ("updated",) * 12 + ("created",) * 6 + ("deleted", "organization")
"""Of twenty deliveries: memberships that change, that are new, and that end, and an organization that changes."""
_PERMISSIONS = [f"org:{area}:{verb}" for area in ("sys_memberships", "sys_domains", "reports", "invoices", "projects")
                for verb in ("read", "manage", "delete")]  # fmt: skip
_BODY_BYTES = 2048
_STAY = 100
"""How many others join between somebody's joining and leaving."""


def deliveries(*, address: str, secret: str, members: int, count: int) -> list[bytes]:
    """Whole requests, each with an id of its own, for a database with so many members. Signed now."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    run = secrets.token_hex(5)
    timestamp = str(int(time.time())).encode()
    bodies = _bodies(members, run)
    head = (
        f"POST /webhooks/clerk HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
        "User-Agent: Svix-Webhooks/1.77.0\r\nAccept: */*\r\nsvix-timestamp: "
    ).encode() + timestamp
    requests = []
    for number in range(count):
        body = next(bodies)
        svix_id = b"msg_2%b%016d" % (run.encode(), number)
        digest = hmac.digest(key, svix_id + b"." + timestamp + b"." + body, "sha256")
        requests.append(
            b"%b\r\nsvix-id: %b\r\nsvix-signature: v1,%b\r\nContent-Length: %d\r\n\r\n%b"
            % (head, svix_id, base64.b64encode(digest), len(body), body)
        )
    return requests


def _bodies(members: int, run: str) -> Iterator[bytes]:
    chance = random.Random(run)
    membership = {verb: _template(f"organizationMembership.{verb}") for verb in ("created", "updated", "deleted")}
    organization = _template("organization.updated")
    organizations = max(1, members // ids.MEMBERS_EACH)
    new, began_ms = 0, time.time_ns() // 1_000_000 - 3_600_000
    while True:
        for kind in chance.sample(_MIX, len(_MIX)):
            now_ms = time.time_ns() // 1_000_000
            number = chance.randrange(members)
            user, org = ids.pair(number)
            if kind == "organization":
                yield organization(USER=user, ORG=org, MEMBERSHIP="", JOINED=ids.JOINED_AT_MS, NOW=now_ms)
                continue
            joined_ms, membership_id = ids.JOINED_AT_MS, ids.membership_id(number)
            if kind == "created":
                new += 1
            if kind != "updated":
                # Those who were there at the start stay: Ensure calls of the same run ask for them.
                nth = new if kind == "created" else max(1, new - _STAY)
                user, org = f"user_2{run}{nth:015d}", ids.org_id(nth % organizations)
                joined_ms, membership_id = began_ms + nth, f"orgmem_2{run}{nth:014d}"
            yield membership[kind](USER=user, ORG=org, MEMBERSHIP=membership_id, JOINED=joined_ms, NOW=now_ms)


def _template(name: str) -> Callable[..., bytes]:
    """A body to be filled in. The metadata makes it as long as those of Clerk, on average."""
    is_organization = name.startswith("organization.")
    snapshot = "data." if is_organization else "data.organization."
    changes: dict[str, Any] = {
        "timestamp": "@NOW@",
        f"{snapshot}id": "@ORG@",
        f"{snapshot}name": "Organization @ORG@",
        f"{snapshot}created_at": "@JOINED0@",
        f"{snapshot}updated_at": "@NOW@" if is_organization else "@JOINED0@",
    }
    if not is_organization:
        changes |= {
            "data.id": "@MEMBERSHIP@",
            "data.created_at": "@JOINED@",
            "data.updated_at": "@JOINED@" if name.endswith("deleted") else "@NOW@",
            "data.permissions": _PERMISSIONS,
            "data.public_user_data.user_id": "@USER@",
            "data.public_user_data.identifier": "@USER@@example.com",
        }
    event = sample_event(name, changes)
    event["data"]["public_metadata"] = {"note": "x" * max(0, _BODY_BYTES - 150 - len(json.dumps(event)))}
    text = json.dumps(event).replace("%", "%%").replace('"@JOINED0@"', str(ids.JOINED_AT_MS))
    for field in ("NOW", "JOINED"):
        text = text.replace(f'"@{field}@"', f"%({field})d")
    for field in ("USER", "ORG", "MEMBERSHIP"):
        text = text.replace(f"@{field}@", f"%({field})s")

    def fill(**values: Any) -> bytes:
        return (text % values).encode()

    return fill
