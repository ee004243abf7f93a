"""The stream of removals: what it ends, and what happens while it does not speak."""

import asyncio
import time
from typing import Any

import grpc
import grpc.aio
import pytest

import clerksync
from clerksync import SyncClient
from clerksync.cache import SILENCE_S
from clerksync.testing import FakeSyncService
from clerksync.v1 import sync_service_pb2_grpc
from client.waiting import in_step, until


@pytest.mark.parametrize("what", ["membership", "user", "organization"])
async def test_a_removal_ends_the_kept_answer_at_once(client: SyncClient, fake: FakeSyncService, what: str) -> None:
    """Who was removed is asked for again within a moment, and refused."""
    fake.join("user_1", "org_1")
    await client.ensure_user_profile("user_1", "org_1")
    match what:
        case "membership":
            fake.remove("user_1", "org_1")
        case "user":
            fake.delete_user("user_1")
        case "organization":
            fake.delete_organization("org_1")
    await until(lambda: client.kept_user_profile("user_1", "org_1") is None, within_s=1)

    with pytest.raises(clerksync.Refused):
        await client.ensure_user_profile("user_1", "org_1")
    assert 1 == client.stats.removals


async def test_a_deleted_organization_is_not_kept_either(client: SyncClient, fake: FakeSyncService) -> None:
    """The answer about an organization ends with the organization."""
    await client.ensure_organization("org_1")
    fake.delete_organization("org_1")
    await until(lambda: client.stats.removals == 1)

    with pytest.raises(clerksync.OrganizationDeleted):
        await client.ensure_organization("org_1")


async def test_an_answer_overtaken_by_a_removal_is_not_kept(client: SyncClient, fake: FakeSyncService) -> None:
    """An answer that is on its way while its subject's removal is told is returned, but not kept."""
    with fake.slow(0.3):
        asked = asyncio.create_task(client.ensure_user_profile("user_1", "org_1"))
        await until(lambda: len(fake.calls) == 1)
        fake.delete_organization("org_2")
        fake.join("user_1", "org_1")
        fake.remove("user_1", "org_1")
        fake.join("user_1", "org_1")
        await until(lambda: client.stats.removals >= 1)
        answer = await asked

    assert "user_1" == answer.profile.clerk_user_id
    assert client.kept_user_profile("user_1", "org_1") is None


async def test_a_cut_stream_is_resumed_where_it_was(client: SyncClient, fake: FakeSyncService) -> None:
    """After a cut nothing is dropped but what was removed meanwhile."""
    for user in ("user_1", "user_2"):
        fake.join(user, "org_1")
        await client.ensure_user_profile(user, "org_1")
    resets = client.stats.resets
    with fake.stopped():
        fake.remove("user_1", "org_1")
    await until(lambda: client.stats.removals == 1)

    assert client.kept_user_profile("user_1", "org_1") is None
    assert client.kept_user_profile("user_2", "org_1") is not None
    assert resets == client.stats.resets


async def test_a_position_that_is_too_old_drops_everything(client: SyncClient, fake: FakeSyncService) -> None:
    """If what was missed cannot be told any more, nothing that was kept is used."""
    await client.ensure_user_profile("user_1", "org_1")
    resets = client.stats.resets
    with fake.stopped():
        fake.forget_positions()
    await until(lambda: client.stats.resets == resets + 1)

    assert 0 == client.kept


async def test_a_removal_while_the_stream_is_stuck_is_noticed_within_seconds(
    client: SyncClient, fake: FakeSyncService
) -> None:
    """Where the stream stays open and says nothing, the removed are refused no later than after the allowed silence."""
    fake.join("user_1", "org_1")
    await client.ensure_user_profile("user_1", "org_1")
    with fake.mute_watchers():
        fake.remove("user_1", "org_1")
        started = time.monotonic()
        async with asyncio.timeout(SILENCE_S + 2):
            while True:
                try:
                    await client.ensure_user_profile("user_1", "org_1")
                except clerksync.MembershipRemoved:
                    break
                await asyncio.sleep(0.05)

    assert SILENCE_S - 1 < time.monotonic() - started < SILENCE_S + 1


async def test_a_stuck_stream_is_left_for_another(client: SyncClient, fake: FakeSyncService) -> None:
    """A stream that says nothing for too long is cancelled, and another is opened."""
    breaks = client.stats.breaks
    with fake.mute_watchers():
        await until(lambda: client.stats.breaks > breaks, within_s=SILENCE_S + 2)
    await in_step(client)

    assert 1 == fake.watchers


async def test_a_quiet_stream_keeps_answers_good(client: SyncClient, fake: FakeSyncService) -> None:
    """As long as the stream says that nothing happens, an answer outlives the allowed silence."""
    await client.ensure_user_profile("user_1", "org_1")
    await asyncio.sleep(SILENCE_S + 0.5)
    await client.ensure_user_profile("user_1", "org_1")

    assert 1 == len(fake.calls)


async def test_without_a_cache_there_is_no_stream(fake: FakeSyncService) -> None:
    """A client that keeps nothing does not listen for removals, and asks each time."""
    async with SyncClient(fake.target, cache_size=0) as client:
        for _ in range(3):
            await client.ensure_user_profile("user_1", "org_1")

        assert (0, 3) == (fake.watchers, len(fake.calls))


async def test_closing_ends_the_stream(fake: FakeSyncService) -> None:
    """A client that is closed leaves no stream behind at SyncService."""
    async with SyncClient(fake.target) as client:
        await in_step(client)
    await until(lambda: fake.watchers == 0)


class Older(sync_service_pb2_grpc.SyncServiceServicer):
    """A SyncService from before there was a stream of removals."""

    def __init__(self) -> None:
        self.asked = 0

    async def WatchRemovals(self, _: object, context: Any) -> Any:  # type: ignore[override]  # noqa: N802
        self.asked += 1
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")


async def test_a_service_without_the_stream_is_asked_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SyncService has no stream of removals, it is asked for again after half a minute at the earliest."""
    older, server = Older(), grpc.aio.server()  # type: ignore[abstract]
    sync_service_pb2_grpc.add_SyncServiceServicer_to_server(older, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    later_s = 0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: time.monotonic() + later_s)
    async with SyncClient(f"127.0.0.1:{port}") as client:
        await until(lambda: client.stats.breaks == 1)
        later_s = 29
        await asyncio.sleep(0.3)
        assert 1 == older.asked
        later_s = 61
        await until(lambda: older.asked == 2)
    await server.stop(None)
