"""SPIFFE ids, the names of workloads: https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md."""

import re

_MAX_BYTES = 2048
# No port, query or fragment, and no segment that a reader of paths would take for another one.
_SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|$))[a-zA-Z0-9._-]+)*")


def is_spiffe_id(text: str) -> bool:
    """Whether it is one by the standard: what begins like one need not be."""
    return len(text) <= _MAX_BYTES and _SPIFFE_ID.fullmatch(text) is not None
