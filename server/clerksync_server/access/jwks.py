"""The keys of an issuer, as its JWKS names them: kept, and looked up anew when they are old or one is unknown.

Whoever has a token can make up a key id, so the source is asked at most once in 30 s, by one task at a time. While it
cannot be reached, the keys that are known stay.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextvars import Context

import structlog

from clerksync_server.access.jwks_source import JwksSource, SourceUnavailable
from clerksync_server.access.public_keys import PublicKey, UnusableKeys, keys_in_jwks
from clerksync_server.settings import InvalidSettings

_log = structlog.get_logger(__name__)
MAX_AGE_S = 3600.0
"""Keys that are older are looked up anew."""
PAUSE_S = 30.0
"""The least time between two look-ups."""


class Jwks:
    """Lives in one event loop."""

    def __init__(self, source: JwksSource, *, variable: str, now: Callable[[], float] = time.monotonic) -> None:
        """`variable` is the setting that names the source, for log lines and errors.

        Raises InvalidSettings if the source is a file that holds no keys. An issuer that cannot be reached stops
        nobody from starting: it is asked again.
        """
        self._source = source
        self._variable = variable
        self._now = now
        self._keys: dict[str, PublicKey] = {}
        self._asked_at = self._read_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._keeping_fresh: asyncio.Task[None] | None = None
        self.generation = 0
        """Grows when the keys change: what was verified by keys that are gone has to be verified anew."""
        try:
            source.check()
            if not source.is_url:
                self._take(source.content())
        except (SourceUnavailable, UnusableKeys) as error:
            raise InvalidSettings(f"{variable}: {error}") from None

    def known(self, kid: str) -> PublicKey | None:
        """The key, if it is known by now. If not, or if the keys are old, they are looked up meanwhile."""
        key = self._keys.get(kid)
        if key is None or self._now() - self._read_at >= MAX_AGE_S:
            self._ask()
        return key

    async def found(self, kid: str) -> PublicKey | None:
        """The key, after a look-up if it is unknown."""
        key = self.known(kid)
        if key is None and self._asking is not None:
            # It is others' as well: whoever stops waiting does not end it.
            await asyncio.shield(self._asking)
            key = self._keys.get(kid)
        return key

    async def start(self) -> None:
        """Looks the keys up if the source is a URL, and from now on either kind once an hour."""
        if self._source.is_url:
            self._ask()
        if self._asking is not None:
            await self._asking
        self._keeping_fresh = _in_background(self._keep_fresh(), "keys kept fresh")

    async def close(self) -> None:
        tasks = [task for task in (self._keeping_fresh, self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(MAX_AGE_S)
            self._ask()

    def _ask(self) -> None:
        if self._asking is None and self._now() - self._asked_at >= PAUSE_S:
            self._asked_at = self._now()
            self._asking = _in_background(self._read(), "keys")

    async def _read(self) -> None:
        try:
            self._take(await self._source.read())
        except (SourceUnavailable, UnusableKeys) as error:
            _log.warning("keys not read", setting=self._variable, error=str(error), keys_known=len(self._keys))
        finally:
            self._asking = None

    def _take(self, document: bytes) -> None:
        keys = keys_in_jwks(document)
        self._read_at = self._now()
        if keys != self._keys:
            self._keys = keys
            self.generation += 1
            _log.info("keys read", setting=self._variable, keys_known=len(keys))


def _in_background(work: Coroutine[None, None, None], name: str) -> "asyncio.Task[None]":
    """In a context of its own: it belongs to no request, whichever happened to start it."""
    return asyncio.get_running_loop().create_task(work, name=name, context=Context())
