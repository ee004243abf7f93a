"""Plays Svix and the sibling services: keeps sending until it is told that a delivery was taken."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Iterator

import aiohttp
import grpc.aio
from crash.history import Delivery, Ended, Expectation, Pair
from crash.site import Site
from stack import WEBHOOK_SECRET, error_info

from clerksync_server.dev.sender import signed_headers

_TIMEOUT = aiohttp.ClientTimeout(total=15)
_NOT_NOW = (aiohttp.ClientError, TimeoutError, ConnectionError)
TRANSIENT = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


class Sender:
    """Sends signed deliveries through any front, each until it is answered 2xx, and some of them again after that."""

    def __init__(
        self,
        site: Site,
        seed: int,
        expectation: Expectation,
        *,
        repeats: float = 0.1,
        refusals: frozenset[int] = frozenset({503}),
    ) -> None:
        """`refusals` are the answers upon which Svix tries again that are no surprise."""
        self._urls = site.webhook_urls
        self._random = random.Random(seed)
        self._repeats = repeats
        self._refusals = refusals
        self._expectation = expectation
        self.acknowledged: dict[str, str] = {}
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []

    @property
    def attempts(self) -> int:
        return self.answers.total()

    async def send_all(self, deliveries: Iterable[Delivery], *, at_once: int) -> None:
        """Returns when every delivery has been acknowledged."""
        waiting = iter(deliveries)
        async with aiohttp.ClientSession(timeout=_TIMEOUT, connector=aiohttp.TCPConnector(limit=0)) as http:
            await asyncio.gather(*(self._work(http, waiting) for _ in range(at_once)))

    async def _work(self, http: aiohttp.ClientSession, waiting: Iterator[Delivery]) -> None:
        for delivery in waiting:
            while not await self._attempt(http, delivery):
                await asyncio.sleep(self._random.uniform(0.05, 0.3))
            if self._random.random() < self._repeats:
                await self._attempt(http, delivery)

    async def _attempt(self, http: aiohttp.ClientSession, delivery: Delivery) -> bool:
        known = delivery.svix_id in self.acknowledged
        try:
            headers = signed_headers(WEBHOOK_SECRET, delivery.svix_id, delivery.raw)
            async with http.post(self._random.choice(self._urls), data=delivery.raw, headers=headers) as answer:
                status, text = answer.status, await answer.text()
        except _NOT_NOW:
            self.answers["none"] += 1
            return False
        self.answers[str(status)] += 1
        if status not in (200, 202):
            if status not in self._refusals:
                self.wrong.append(f"{delivery.svix_id} was answered {status}: {text}")
            return False
        if known and '"duplicate"' not in text:
            self.wrong.append(f"{delivery.svix_id} was sent again and answered {text}")
        if not known:
            self.acknowledged[delivery.svix_id] = text
            self._expectation.acknowledge(delivery.svix_id)
        return True


class Asker:
    """Sibling services that Ensure profiles, with tokens issued before anybody was removed."""

    def __init__(
        self,
        site: Site,
        seed: int,
        issued_at_ms: int,
        *,
        transient: frozenset[grpc.StatusCode] = TRANSIENT,
    ) -> None:
        """`transient` are the failures that are no surprise."""
        self._channels = site.channels
        self._random = random.Random(seed)
        self._issued_at_ms = issued_at_ms
        self._transient = transient
        self.asked: set[Pair] = set()
        self.promised: set[Pair] = set()
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def ask(self, pair: Pair, gone: Ended) -> bool:
        """One call; `gone` tells who must not come back. Returns whether the profile was promised."""
        was_gone = pair in gone
        try:
            answer = await self._random.choice(self._channels).ensure_profile(*pair, self._issued_at_ms)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                self.answers[error_info(error).reason] += 1
            else:
                self.answers[error.code().name] += 1
                if error.code() not in self._transient:
                    self.wrong.append(f"Ensure {pair}: {error.code().name} {error.details()}")
            return False
        self.answers["OK"] += 1
        if was_gone:
            self.wrong.append(f"Ensure {pair}: brought back, {answer}")
        return True

    async def ask_for_guest(self, org: str) -> None:
        """A call for somebody of whom no delivery tells: once it is answered, the profile must stay."""
        pair = (f"guest_{len(self.asked)}", org)
        self.asked.add(pair)
        if await self.ask(pair, Ended()):
            self.promised.add(pair)
