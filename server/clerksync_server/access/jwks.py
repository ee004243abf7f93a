"""The keys of an issuer, as its JWKS names them: kept, and looked up anew when they are old or one is unknown.

Whoever has a token can make up a key id, so nobody makes us ask a URL more often than once in 5 s, and one look-up is
under way at a time. While the source cannot be read, the keys that are known stay. Until it was read for the first time
nothing can be told of any token; it is asked every few seconds then, and nobody waits for it.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextvars import Context

import structlog

from clerksync_server.access.jwks_source import JwksSource, SourceUnavailable
from clerksync_server.access.public_keys import PublicKey, UnusableKeys, keys_in_jwks
from clerksync_server.errors import KeysUnavailable
from clerksync_server.settings import InvalidSettings

_log = structlog.get_logger(__name__)
MAX_AGE_S = 3600.0
"""Keys of a URL that are older are looked up anew."""
PAUSE_S = 5.0
"""The least time between two look-ups at a URL because of unknown keys: new keys are good that soon."""
AFTER_FAILURE_S = 30.0
"""Until the next look-up after one that failed."""
FILE_MAX_AGE_S, FILE_PAUSE_S = 30.0, 1.0
"""The same for a file, which costs next to nothing."""
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 8.0
"""Between look-ups while there was never an answer; each pause is twice the one before."""


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
        self._max_age_s, self._pause_s = (MAX_AGE_S, PAUSE_S) if source.is_url else (FILE_MAX_AGE_S, FILE_PAUSE_S)
        self._keys: dict[str, PublicKey] = {}
        self._asked_at = self._read_at = float("-inf")
        self._was_read = False
        self._asking: asyncio.Task[None] | None = None
        self._keeping_fresh: asyncio.Task[None] | None = None
        self.generation = 0
        """Grows when the keys change: what was verified by keys that are gone has to be verified anew."""
        try:
            source.check()
            if not source.is_url:
                self._take(source.content())
                if not self._keys:
                    raise UnusableKeys("holds no RS256 or ES256 key with a kid")
        except (SourceUnavailable, UnusableKeys) as error:
            raise InvalidSettings(f"{variable}: {error}") from None

    def check_read(self) -> None:
        """Raises KeysUnavailable if the keys were never read: then that one is unknown tells nothing."""
        if not self._was_read:
            raise KeysUnavailable(self._variable)

    def known(self, kid: str) -> PublicKey | None:
        """The key, if it is known by now. If not, or if the keys are old, they are looked up meanwhile."""
        key = self._keys.get(kid)
        if self._was_read and (key is None or self._now() - self._read_at >= self._max_age_s):
            self._ask_at_times()
        return key

    async def found(self, kid: str) -> PublicKey | None:
        """The key, after a look-up if it is unknown."""
        key = self.known(kid)
        if key is None and self._was_read and self._asking is not None:
            # It is others' as well: whoever stops waiting does not end it.
            await asyncio.shield(self._asking)
            key = self._keys.get(kid)
        return key

    async def start(self) -> None:
        """Looks the keys up if the source is a URL, and from now on either kind again and again."""
        if self._source.is_url:
            await asyncio.wait((self._ask(),))
        self._keeping_fresh = _in_background(self._keep_fresh(), "keys kept fresh")

    async def close(self) -> None:
        tasks = [task for task in (self._keeping_fresh, self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_fresh(self) -> None:
        """For all who show tokens that were verified before: they never ask for keys."""
        retry_s = FIRST_RETRY_S
        while True:
            if not self._was_read:
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, LONGEST_RETRY_S)
            else:
                failed = self._read_at < self._asked_at
                await asyncio.sleep(min(AFTER_FAILURE_S, self._max_age_s) if failed else self._max_age_s)
            await asyncio.wait((self._ask(),))

    def _ask_at_times(self) -> None:
        if self._asking is None and self._now() - self._asked_at >= self._pause_s:
            self._ask()

    def _ask(self) -> "asyncio.Task[None]":
        """The look-up that is under way, or a new one. It raises nothing."""
        if self._asking is None:
            self._asked_at = self._now()
            self._asking = _in_background(self._read(), "keys")
        return self._asking

    async def _read(self) -> None:
        try:
            self._take(await self._source.read())
        except (SourceUnavailable, UnusableKeys) as error:
            self._tell_failure(str(error))
        except Exception as error:  # noqa: BLE001  (whatever a source makes the libraries raise, the next may do better)
            self._tell_failure(type(error).__name__)
        finally:
            self._asking = None

    def _tell_failure(self, why: str) -> None:
        _log.warning("keys not read", setting=self._variable, error=why, keys_known=len(self._keys))

    def _take(self, document: bytes) -> None:
        keys = keys_in_jwks(document)
        self._read_at = self._now()
        news = keys != self._keys or not self._was_read
        self._was_read = True
        if not news:
            return
        self._keys = keys
        self.generation += 1
        if keys:
            _log.info("keys read", setting=self._variable, keys_known=len(keys))
        else:
            _log.warning("the key set holds no usable key", setting=self._variable)


def _in_background(work: Coroutine[None, None, None], name: str) -> "asyncio.Task[None]":
    """In a context of its own: it belongs to no request, whichever happened to start it."""
    return asyncio.get_running_loop().create_task(work, name=name, context=Context())
