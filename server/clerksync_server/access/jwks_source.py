"""Where a JWKS is read from: a file, or an https:// URL. Bounded in size and in time."""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

import aiohttp

MAX_BYTES = 256 * 1024
"""Ten times what key sets take."""
TIMEOUT_S = 5.0


class SourceUnavailable(Exception):
    """The source cannot be read now. The text is for the log, and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class JwksSource:
    """A path, or a URL; the rest is for URLs."""

    location: str
    ca_file: Path | None = None
    """Certificates to trust instead of the system's."""
    token_file: Path | None = None
    """Holds the bearer token to ask with. Read each time, because it is renewed."""

    @property
    def is_url(self) -> bool:
        return "://" in self.location

    def check(self) -> None:
        """Raises SourceUnavailable if one of the files cannot be used."""
        for file in (self.ca_file, self.token_file):
            if file is not None:
                _bounded(file)
        if self.ca_file is not None:
            _trusting(self.ca_file)

    def content(self) -> bytes:
        """What is in the file. Raises SourceUnavailable."""
        return _bounded(Path(self.location))

    async def read(self) -> bytes:
        """Raises SourceUnavailable."""
        if not self.is_url:
            return await asyncio.to_thread(self.content)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._get()
        except TimeoutError:
            raise SourceUnavailable(f"no answer within {TIMEOUT_S:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Their texts may name addresses, and what was sent.
            raise SourceUnavailable(f"cannot be asked: {type(error).__name__}") from None

    async def _get(self) -> bytes:
        headers = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}
        if self.token_file is not None:
            token = (await asyncio.to_thread(_bounded, self.token_file)).decode("ascii").strip()
            headers["Authorization"] = f"Bearer {token}"
        trusted = True if self.ca_file is None else await asyncio.to_thread(_trusting, self.ca_file)
        # Compressed or redirected it is refused: nothing else is asked for, and the token is for this address only.
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.get(self.location, headers=headers, ssl=trusted, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise SourceUnavailable(f"HTTP {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise SourceUnavailable(f"the answer holds more than {MAX_BYTES} bytes")
            return bytes(body)


def _bounded(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SourceUnavailable(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise SourceUnavailable(f"{path} holds more than {MAX_BYTES} bytes")
    return content


def _trusting(ca_file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError):
        raise SourceUnavailable(f"{ca_file} holds no certificates in PEM") from None
