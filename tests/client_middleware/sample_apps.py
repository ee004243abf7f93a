"""A sample application for each framework, which all do the same, so that all can be held to the same rules.

`authorization` carries the claims as JSON; the sample believes it, and leaves the claims where a real integration of
Clerk would. The one route answers with the profile that the middleware has brought.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any, ClassVar, Self, TypeAlias

from clerksync import SyncClient, UserProfile, blocking
from clerksync.metadata import request_ids
from clerksync.stats import ClientStats

Claims: TypeAlias = Mapping[str, Any]
Answer: TypeAlias = tuple[int, Any]


class SampleApp(ABC):
    """An application that is being served."""

    async_identify: ClassVar[bool] = True
    """Whether `identify` may be async."""
    client: SyncClient | blocking.SyncClient

    def __init__(self, target: str, rules: Mapping[str, Any]) -> None:
        self.target = target
        self.rules = rules
        self.handled = 0
        """How often the route's handler has run."""
        self.stop = AsyncExitStack()

    @property
    def stats(self) -> ClientStats:
        return self.client.stats

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.stop.aclose)
            await self.start()
            undo.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop.aclose()

    async def get(self, claims: Claims | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """The status and the body of an answer; claims are those of the user who is signed in."""
        signed_in = {} if claims is None else {"authorization": json.dumps(claims)}
        return await self.request({**signed_in, **(headers or {})})

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def request(self, headers: Mapping[str, str]) -> Answer: ...

    def answer(self, profile: UserProfile | None) -> dict[str, str | None]:
        """What the handlers answer with."""
        self.handled += 1
        ids = request_ids.get()
        return {
            "user": None if profile is None else profile.clerk_user_id,
            "role": None if profile is None else profile.role,
            "request_id": None if ids is None else ids.request_id,
        }


class ThreadedApp(SampleApp):
    """An application for threads: each of up to 100 requests at a time has one."""

    async_identify = False

    async def start(self) -> None:
        self._threads = ThreadPoolExecutor(100)
        self.stop.callback(self._threads.shutdown)

    async def request(self, headers: Mapping[str, str]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.request_in_thread, headers)

    @abstractmethod
    def request_in_thread(self, headers: Mapping[str, str]) -> Answer: ...


def claims_of(authorization: str | None) -> Any:
    return None if authorization is None else json.loads(authorization)
