"""Posts signed deliveries, by senders of one connection each."""

import asyncio
import itertools

from bench.load.clock import Clock
from bench.load.deliveries import deliveries
from bench.load.http1 import Sender
from bench.load.jobs import Load, WebhookJob

_EACH_SECOND = 25_000
"""As many are prepared where each is sent once, since a repeat is less work for Postgres."""
_REPEATED = 5_000


async def run_webhooks(job: WebhookJob) -> Load:
    count = _REPEATED if job.repeats else job.calls or int((job.warm_up_s + job.seconds) * _EACH_SECOND)
    prepared = deliveries(address=job.address, secret=job.secret, members=job.members, count=count)
    requests = itertools.cycle(prepared) if job.repeats else iter(prepared)
    clock = Clock(job)
    connecting: set[asyncio.Task[None]] = set()
    senders: list[Sender] = []

    def next_request() -> tuple[bytes, int] | None:
        if not clock.running:
            return None
        following = next(requests, None)
        if following is None:
            clock.run_out()
            return None
        return following, clock.sent()

    async def connect() -> None:
        host, _, port = job.address.rpartition(":")
        _, sender = await asyncio.get_running_loop().create_connection(
            lambda: Sender(next_request=next_request, answered=clock.answered, failed=clock.failed, lost=connect_anew),
            host,
            int(port),
        )
        senders.append(sender)

    def connect_anew() -> None:
        if clock.running:
            task = asyncio.create_task(connect())
            connecting.add(task)
            task.add_done_callback(connecting.discard)

    for _ in range(job.senders):
        await connect()
    load = await clock.run()
    for sender in senders:
        sender.close()
    return load
