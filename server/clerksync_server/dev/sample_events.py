"""Sample events, in the shape of real ones."""

import copy
import json
import time
from collections.abc import Mapping
from importlib import resources
from typing import Any

_FOLDER = resources.files("clerksync_server") / "samples"
_SUFFIX = ".json"

SAMPLE_NAMES = tuple(
    sorted(entry.name.removesuffix(_SUFFIX) for entry in _FOLDER.iterdir() if entry.name.endswith(_SUFFIX))
)
"""One for each of the nine types of event that are applied."""


def sample_event(name: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The sample of a type of event, as if it had happened now.

    `changes` maps dotted paths to values: `{"data.organization.id": "org_1"}`. Raises KeyError for a path through
    something that is not an object.
    """
    event: dict[str, Any] = json.loads((_FOLDER / (name + _SUFFIX)).read_text(encoding="utf-8"))
    now_ms = time.time_ns() // 1_000_000
    event["timestamp"] = now_ms
    if "updated_at" in event["data"] and not name.endswith("deleted"):
        event["data"]["updated_at"] = now_ms
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        place = event
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise KeyError(path)
        place[last] = copy.deepcopy(value)
    return event
