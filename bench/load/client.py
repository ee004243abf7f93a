"""Calls of the Python client, as a sibling service makes them."""

import asyncio

from bench.load.clock import Clock
from bench.load.jobs import ClientJob, Load
from bench.load.unary import pairs_of
from clerksync import ClerksyncError, SyncClient


async def run_client(job: ClientJob) -> Load:
    pairs = pairs_of(job.pairs, job.calls or 10_000_000)
    async with SyncClient(job.address, cache_size=job.cache_size) as client:
        await client.ready()
        clock = Clock(job)

        async def call() -> None:
            while clock.running:
                sent_ns = clock.sent()
                try:
                    await client.ensure_user_profile(*next(pairs))
                except ClerksyncError as error:
                    clock.failed(type(error).__name__)
                else:
                    clock.answered(sent_ns)

        callers = [asyncio.create_task(call()) for _ in range(job.callers)]
        load = await clock.run()
        await asyncio.gather(*callers)
    return load
