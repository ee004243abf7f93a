"""Which session tokens of a request SyncService may be asked with.

A request may carry several, and whoever sends it chooses which. So only those count that say what the identity says,
which the application has verified; what else they hold, and whether they are signed, is for SyncService to tell.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final, TypeAlias

from clerksync.identity import Identity, identity_from_claims
from clerksync.middleware.incoming import text_of
from clerksync.policy import FindTokens

Pairs: TypeAlias = Iterable[tuple[str | bytes, str | bytes]]
"""Names and values of headers, as every framework has them."""

_COOKIE: Final = "__session"
_BETWEEN_COOKIES: Final = re.compile("[;,]")
"""Django joins the values of several headers by commas, these too."""
_JWT: Final = re.compile(r"[\w-]+\.([\w-]+)\.[\w-]+", re.ASCII)
_LONGEST: Final = 8192


def finder(identity: Identity, headers: Pairs, *, wanted: bool) -> FindTokens | None:
    """For `Guard.check`: looks for them when it is called. None if they are not wanted."""
    return partial(tokens_in, identity, headers) if wanted else None


def tokens_in(identity: Identity, headers: Pairs) -> Sequence[str]:
    """The different tokens that say what the identity says.

    Looked for where Clerk's libraries do: in `Authorization: Bearer …`, then in the cookies `__session` and
    `__session_…`.
    """
    return tuple(token for token in dict.fromkeys(_carried(headers)) if _says_the_same(token, identity))


def _carried(headers: Pairs) -> Iterator[str]:
    cookies = []
    for name, value in headers:
        match text_of(name).lower():
            case "authorization":
                scheme, _, token = text_of(value).partition(" ")
                if scheme.lower() == "bearer":
                    yield token.strip()
            case "cookie":
                cookies.append(text_of(value))
    for cookie in cookies:  # HTTP/2 may send several.
        for part in _BETWEEN_COOKIES.split(cookie):
            name, _, value = part.strip().partition("=")
            if name == _COOKIE or name.startswith(f"{_COOKIE}_"):
                yield value


def _says_the_same(token: str, identity: Identity) -> bool:
    """Without a look at its signature. Other tokens, such as keys of an API, are nobody's session."""
    parts = _JWT.fullmatch(token) if len(token) <= _LONGEST else None
    if parts is None:
        return False
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return False
    said = identity_from_claims(claims)
    return (
        said is not None
        and (said.clerk_user_id, said.clerk_org_id) == (identity.clerk_user_id, identity.clerk_org_id)
        and identity.token_issued_at in (None, said.token_issued_at)
    )
