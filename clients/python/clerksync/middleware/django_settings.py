"""What settings.CLERKSYNC says, checked, and what is made of it: one client and one guard for the process."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

import clerksync
from clerksync import blocking, policy
from clerksync.breaker import CircuitBreaker
from clerksync.identity import Identity
from clerksync.options import ClientOptions, Options
from clerksync.stats import ClientStats

Identify: TypeAlias = Callable[[Any], Identity | None]

_OPTIONS = {name.upper(): name for name in ClientOptions.__annotations__}
_RULES = {"BUDGET_S": "budget_s", "ON_REMOVED": "on_removed"}
_KNOWN = ("TARGET", "IDENTIFY", "PASS_SESSION_TOKEN", *_RULES, *_OPTIONS)
_EXPECTED_TARGET = "expected a gRPC target, for example dns:///clerksync:50051"
_EXPECTED_FUNCTION = "expected a function, or the dotted path of one, that takes the request and is not async"


@dataclass(frozen=True)
class Configured:
    """Nothing in it has connected or started a thread before it is used, so a server may fork after it was made."""

    identify: Identify | None
    pass_session_token: bool
    client: blocking.SyncClient
    guard: blocking.Guard
    # Under ASGI a miss must neither block the event loop nor queue for one of a few threads, where the budget would
    # not hold. So requests on an event loop have a client of their own. A project uses one of the two, as a rule; the
    # other one then never connects.
    async_client: clerksync.SyncClient
    async_guard: policy.Guard


@functools.cache
def configured() -> Configured:
    """Raises ImproperlyConfigured, and names the key."""
    given = getattr(settings, "CLERKSYNC", None)
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured('CLERKSYNC: expected a dict, for example {"TARGET": "dns:///clerksync:50051"}')
    for key in given:
        if key not in _KNOWN:
            raise ImproperlyConfigured(f"CLERKSYNC[{key!r}]: there is no such key; there are {', '.join(_KNOWN)}")
    target = given.get("TARGET")
    if not isinstance(target, str) or not target:
        raise ImproperlyConfigured(f"CLERKSYNC['TARGET']: {_EXPECTED_TARGET}")
    options = {name: _checked(key, given[key], name, Options) for key, name in _OPTIONS.items() if key in given}
    make_policy = functools.partial(
        policy.Policy, ClientStats(), CircuitBreaker(), budget_s=policy.BUDGET_S, on_removed="refuse"
    )
    rules = {name: _checked(key, given[key], name, make_policy) for key, name in _RULES.items() if key in given}
    client = blocking.SyncClient(target, **options)
    async_client = clerksync.SyncClient(target, **options)
    async_client.stats = client.stats  # One process, one count.
    return Configured(
        identify=_identify(given.get("IDENTIFY")),
        pass_session_token=_flag("PASS_SESSION_TOKEN", given.get("PASS_SESSION_TOKEN", False)),
        client=client,
        guard=blocking.Guard(client, **rules),
        async_client=async_client,
        async_guard=policy.Guard(async_client, **rules),
    )


def _checked(key: str, value: object, name: str, make: Callable[..., object]) -> Any:
    """The value, which is tried out by itself, so that an error can name its key."""
    try:
        make(**{name: value})
    except (TypeError, ValueError) as error:
        reason = str(error).partition(": ")[2] or f"{type(value).__name__} is the wrong type"
        raise ImproperlyConfigured(f"CLERKSYNC[{key!r}]: {reason}") from error
    return value


def _flag(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ImproperlyConfigured(f"CLERKSYNC[{key!r}]: expected True or False")
    return value


def _identify(given: object) -> Identify | None:
    if given is None:
        return None
    if isinstance(given, str):
        try:
            given = import_string(given)
        except ImportError as error:
            raise ImproperlyConfigured(f"CLERKSYNC['IDENTIFY']: {error}") from error
    if not callable(given) or iscoroutinefunction(given):
        raise ImproperlyConfigured(f"CLERKSYNC['IDENTIFY']: {_EXPECTED_FUNCTION}")
    return given


def _forget(*, setting: str, **_: object) -> None:
    """For tests that override the setting."""
    if setting == "CLERKSYNC":
        if configured.cache_info().currsize:
            configured().client.close()
        configured.cache_clear()


setting_changed.connect(_forget)
