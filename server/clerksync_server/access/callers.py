"""The caller of the present call."""

from contextvars import ContextVar
from dataclasses import dataclass

ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call, as far as it has been proven."""

    identity: str
    """`dns:NAME` or `spiffe://…` of a certificate, `token:NAME`, `kubernetes:NAMESPACE/NAME`, or `anonymous`."""
    must_prove_sessions: bool = False
    """Whether Ensure calls have to carry the end user's session token."""
    calls_per_second: int | None = None
    """How many calls it may make in the long run, 1 or more; the items of a batch count each. None: any number."""


_NOBODY = Caller(ANONYMOUS)
_present: ContextVar[Caller] = ContextVar("caller")


def present_caller() -> Caller:
    """Who makes the call that this task works for."""
    return _present.get(_NOBODY)


def set_present_caller(caller: Caller) -> None:
    _present.set(caller)
