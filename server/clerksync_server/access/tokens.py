"""Bearer tokens from a mounted file, which holds only their hashes."""

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Final

from clerksync_server.access.files import FileRefused

_LINE = re.compile(r"(?P<name>[\w.-]+)\s+sha256:(?P<hash>[0-9a-f]{64})", re.ASCII)
_EXPECTED: Final = "expected NAME sha256:HASH, as `clerksync token NAME` prints it"
_RANDOM_BYTES = 32


def new_token() -> str:
    """256 random bits: nobody guesses one from its hash, so a slow hash would add nothing."""
    return f"cks_{secrets.token_urlsafe(_RANDOM_BYTES)}"


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def line_of(name: str, token: str) -> str:
    """The line of the file."""
    return f"{name} sha256:{hash_of(token)}"


def parse_tokens(data: bytes) -> Mapping[str, str]:
    """The names by the hashes of their tokens; a name may have several, while one replaces the other.

    Raises FileRefused, with the number of the line where there is one.
    """
    names: dict[str, str] = {}
    for number, raw in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise FileRefused(f"line {number}: {_EXPECTED}")
        if names.setdefault(match["hash"], match["name"]) != match["name"]:
            raise FileRefused(f"line {number}: another name has this token already")
    if not names:
        raise FileRefused("holds no token; where none are to be taken, leave the setting out")
    return names
