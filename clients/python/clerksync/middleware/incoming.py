"""What the middleware reads of a request: the claims that authentication has left there, and its ids."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol, TypeAlias

from clerksync.identity import Identity, identity_from_claims
from clerksync.metadata import RequestIds

Claims: TypeAlias = Mapping[str, Any]

NAMES: Final = ("clerk_auth", "clerk_claims", "clerk_payload", "clerk", "clerk_user", "claims", "auth", "user")
"""Under which names integrations of Clerk leave something on a request; in this order."""
_WITHIN: Final = ("payload", "decoded", "claims", "clerk_claims", "decoded_token")
"""And where in it the claims are, if it is not the claims themselves."""


def identity_among(get: Callable[[str], object]) -> Identity | None:
    """Who is signed in, according to the first of `NAMES` that tells of a user with an active organization."""
    for name in NAMES:
        left = get(name)
        if left is not None and (identity := identity_in(left)) is not None:
            return identity
    return None


def identity_in(left: object) -> Identity | None:
    """Who is signed in, according to what authentication has left: verified claims, or something that holds them."""
    return identity_from_claims(_claims_in(left))


def _claims_in(left: Any) -> Claims | None:
    try:
        if isinstance(left, Mapping):
            if "sub" in left:
                return left
            return next((found for name in _WITHIN if _is_claims(found := left.get(name))), None)
        return next((found for name in _WITHIN if _is_claims(found := getattr(left, name, None))), _as_attributes(left))
    except Exception:  # noqa: BLE001  (objects of others, whose attributes may do anything, a query included)
        return None


def _is_claims(found: object) -> bool:
    return isinstance(found, Mapping) and "sub" in found


def _as_attributes(left: Any) -> Claims | None:
    """Claims as an object: the SDK's `to_auth()`, Litestar's Token (the rest is in `extras`), models of one's own."""
    if not isinstance(getattr(left, "sub", None), str):
        return None
    issued_at = getattr(left, "iat", None)
    extras = getattr(left, "extras", None)
    return {
        "sub": left.sub,
        "o": getattr(left, "o", None),
        "org_id": getattr(left, "org_id", None),
        **(extras if isinstance(extras, Mapping) else {}),
        "iat": issued_at.timestamp() if isinstance(issued_at, datetime) else issued_at,
    }


class Headers(Protocol):
    """Headers of a request, whatever the framework; the case of names does not matter."""

    def get(self, name: str, /) -> str | None: ...


def ids_in_headers(headers: Headers) -> RequestIds:
    return RequestIds(headers.get("x-request-id"), headers.get("traceparent"))


def ids_in_pairs(pairs: Iterable[tuple[str | bytes, str | bytes]]) -> RequestIds:
    """From names in lower case and values, as ASGI and gRPC have them."""
    request_id = traceparent = None
    for name, value in pairs:
        if name in {b"x-request-id", "x-request-id"}:
            request_id = text_of(value)
        elif name in {b"traceparent", "traceparent"}:
            traceparent = text_of(value)
    return RequestIds(request_id, traceparent)


def text_of(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
