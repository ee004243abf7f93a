"""The real service and the fake, side by side."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

import asyncpg
import bodies
import grpc.aio
from client_testing.callers import failure, told
from stack import Stack

from clerksync.testing import FakeSyncService
from clerksync.v1 import sync_service_pb2, sync_service_pb2_grpc
from clerksync_server.clock import timestamp_of

LOGO = "https://img.clerk.com/acme"
_WITHIN_S = 10.0
_LAST = ("user_last", "org_last")
_OWN = ("id", "create_time", "update_time")


class Both:
    """Takes each step in both, and compares what they answer and hold."""

    def __init__(self, stack: Stack, fake: FakeSyncService, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._stack = stack
        self._fake = fake
        self._connection = connection
        self._began_ms: dict[str, int] = {}
        """When each membership began, by its id."""
        self._twins: dict[str, str] = {}
        """The ids of the rows in the other one, as far as they have been seen."""

    async def __aenter__(self) -> Self:
        self._closing = AsyncExitStack()
        channel = await self._closing.enter_async_context(grpc.aio.insecure_channel(self._fake.target))
        self._sides: list[Any] = [self._stack.sync, sync_service_pb2_grpc.SyncServiceStub(channel)]
        self._heard = [await self._closing.enter_async_context(_Heard(side)) for side in self._sides]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    async def join(self, user: str, org: str, role: str | None, at: int) -> None:
        before = self._membership(user, org)
        self._fake.join(user, org, role, at=timestamp_of(at))
        membership_id = before or self._membership(user, org) or f"orgmem_{at}"
        joined_at = self._began_ms.setdefault(membership_id, at)
        verb = "updated" if before else "created"
        await self._post(
            bodies.membership(verb, user, org, at=at, joined_at=joined_at, role=role, membership_id=membership_id)
        )

    async def remove(self, user: str, org: str, at: int) -> None:
        membership_id = self._membership(user, org) or f"orgmem_{at}"
        joined_at = self._began_ms.get(membership_id, at)
        self._fake.remove(user, org, at=timestamp_of(at))
        body = bodies.membership("deleted", user, org, at=at, joined_at=joined_at, membership_id=membership_id)
        await self._post(body)

    async def delete_user(self, user: str, at: int) -> None:
        self._fake.delete_user(user, at=timestamp_of(at))
        await self._post(bodies.user("deleted", user, at=at))

    async def delete_organization(self, org: str, at: int) -> None:
        self._fake.delete_organization(org, at=timestamp_of(at))
        await self._post(bodies.organization("deleted", org, at=at))

    async def rename_organization(self, org: str, name: str, slug: str | None, at: int) -> None:
        self._fake.rename_organization(org, name, slug=slug, image_url=LOGO, at=timestamp_of(at))
        await self._post(bodies.organization("updated", org, at=at, name=name, slug=slug))

    async def ensure(self, request: sync_service_pb2.EnsureUserProfileRequest) -> None:
        await self._ask("EnsureUserProfile", request, lambda answer: [_shown(answer, answer.user_profile)])

    async def ensure_organization(self, request: sync_service_pb2.EnsureOrganizationRequest) -> None:
        await self._ask("EnsureOrganization", request, lambda answer: [_shown(answer, answer.organization)])

    async def batch(self, requests: Sequence[sync_service_pb2.EnsureUserProfileRequest]) -> None:
        request = sync_service_pb2.BatchEnsureUserProfilesRequest(requests=requests)
        await self._ask(
            "BatchEnsureUserProfiles",
            request,
            lambda answer: [
                told(result.error)
                if result.HasField("error")
                else _shown(result.response, result.response.user_profile)
                for result in answer.results
            ],
        )

    async def compare_rows(self, users: Sequence[str], orgs: Sequence[str]) -> None:
        """What a reader of the database sees is what the author of a test sees."""
        profiles = await self._connection.fetch(
            "select id::text, clerk_user_id, clerk_org_id, role, clerk_membership_id from public.user_profile"
        )
        organizations = await self._connection.fetch(
            "select id::text, clerk_org_id, name, slug, image_url, is_placeholder from public.organization"
        )
        real = {(row["clerk_user_id"], row["clerk_org_id"]): tuple(row.values()) for row in profiles}
        real |= {("", row["clerk_org_id"]): tuple(row.values()) for row in organizations}
        faked: dict[tuple[str, str], tuple[object, ...]] = {}
        for org in orgs:
            if (found := self._fake.organization_row(org)) is not None:
                row_id = self._twin(found.id, real.get(("", org)))
                faked["", org] = (row_id, org, found.name, found.slug, found.image_url, found.is_placeholder)
            for user in users:
                if (profile := self._fake.profile(user, org)) is not None:
                    row_id = self._twin(profile.id, real.get((user, org)))
                    faked[user, org] = (row_id, user, org, profile.role, profile.clerk_membership_id)
        assert real == faked

    async def compare_removals(self, at: int) -> None:
        """What watchers were told, once they have been told all."""
        await self.join(*_LAST, role=None, at=at)
        await self.remove(*_LAST, at=at + 1)
        real, faked = [await heard.until(_LAST) for heard in self._heard]
        assert real == faked

    async def resets(self, position: str) -> list[bool]:
        """Whether each says so to who resumes by this position."""
        request = sync_service_pb2.WatchRemovalsRequest(position=position)
        streams = [side.WatchRemovals(request, timeout=_WITHIN_S) for side in self._sides]
        told = [(await stream.read()).reset for stream in streams]
        for stream in streams:
            stream.cancel()
        return told

    def _twin(self, fake_id: str, real: tuple[object, ...] | None) -> str | None:
        """The id of the real row; None if it has, or has had, another twin."""
        if real is None:
            return None
        real_id = str(real[0])
        are_twins = (self._twins.setdefault(fake_id, real_id), self._twins.setdefault(real_id, fake_id))
        return real_id if are_twins == (real_id, fake_id) else None

    async def _ask(self, method: str, request: object, read: Callable[[Any], list[object]]) -> None:
        real, faked = [await _answer(getattr(side, method)(request, timeout=_WITHIN_S), read) for side in self._sides]
        assert real == faked, request

    def _membership(self, user: str, org: str) -> str | None:
        profile = self._fake.profile(user, org)
        return None if profile is None else profile.clerk_membership_id

    async def _post(self, body: bodies.Body) -> None:
        answer = await self._stack.post(body)
        assert answer.outcome in ("applied", "stale"), answer


class _Heard:
    """What a watcher has heard since it began."""

    def __init__(self, side: Any) -> None:
        self._side = side
        self._removals: list[tuple[str, str]] = []
        self._some = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._stream = self._side.WatchRemovals(sync_service_pb2.WatchRemovalsRequest())
        assert (await asyncio.wait_for(self._stream.read(), _WITHIN_S)).reset
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stream.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    async def until(self, removal: tuple[str, str]) -> list[tuple[str, str]]:
        """Waits for a removal; returns all."""
        while removal not in self._removals:
            self._some.clear()
            await asyncio.wait_for(self._some.wait(), _WITHIN_S)
        return sorted(self._removals)

    async def _listen(self) -> None:
        while True:
            response = await self._stream.read()
            assert not response.reset
            self._removals += [(removal.clerk_user_id, removal.clerk_org_id) for removal in response.removals]
            self._some.set()


async def _answer(call: Awaitable[Any], read: Callable[[Any], list[object]]) -> list[object]:
    try:
        return read(await call)
    except grpc.aio.AioRpcError as error:
        return [failure(error)]


def _shown(answer: Any, row: Any) -> object:
    """What both must have alike: each has ids and a clock of its own."""
    return answer.outcome, [(field.name, value) for field, value in row.ListFields() if field.name not in _OWN]
