"""Brings all bodies in quarantine under one key, so that another one can be thrown away."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clerksync_server.database.connection import Database
from clerksync_server.database.deliveries import lock_bodies_of_other_keys, write_body
from clerksync_server.errors import BodyUnreadable
from clerksync_server.sync.body_keys import BodyKeys

if TYPE_CHECKING:
    from clerksync_server.database.connection import Connection

_BATCH = 20
"""Bodies have up to 1 MiB, and all of a batch are in memory at once."""


@dataclass(frozen=True, slots=True)
class Reencrypted:
    """What became of the bodies that the current key had not encrypted."""

    done: int
    unreadable: dict[str, str]
    """The svix_ids of those that cannot be opened, each with the reason; they stay as they are."""


async def reencrypt(database: Database, keys: BodyKeys) -> Reencrypted:
    """Encrypts with the first of the keys what is in quarantine under another key, or under none. May be repeated.

    A batch a transaction, while SyncService is at work. Needs a key. Raises DatabaseUnavailable.
    """
    assert keys.current is not None
    current = keys.current
    done, unreadable, last = 0, dict[str, str](), ""

    async def work(connection: "Connection") -> tuple[str | None, int, dict[str, str]]:
        kept = await lock_bodies_of_other_keys(connection, current, after=last, limit=_BATCH)
        failed: dict[str, str] = {}
        for each in kept:
            try:
                body, key = keys.seal(keys.open(each.body, each.key, each.sha256))
            except BodyUnreadable as error:
                failed[each.svix_id] = str(error)
            else:
                await write_body(connection, each.svix_id, body, key)
        return (kept[-1].svix_id if kept else None), len(kept) - len(failed), failed

    while True:
        reached, written, failed = await database.transaction(work)
        done += written
        unreadable |= failed
        if reached is None:
            return Reencrypted(done, unreadable)
        last = reached
