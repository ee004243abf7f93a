"""One guard for a client, however many pieces of middleware use it: they share its one log line."""

from weakref import WeakValueDictionary

from clerksync.client import SyncClient
from clerksync.policy import Guard, OnRemoved

# A guard keeps its client alive, so an id is not used again while it stands here.
_guards: WeakValueDictionary[tuple[int, float, str], Guard] = WeakValueDictionary()


def guard_of(client: SyncClient, budget_s: float, on_removed: OnRemoved) -> Guard:
    """The guard with these rules. Litestar, for one, makes each route a middleware of its own."""
    key = (id(client), budget_s, on_removed)
    guard = _guards.get(key)
    if guard is None:
        guard = _guards[key] = Guard(client, budget_s=budget_s, on_removed=on_removed)
    return guard
