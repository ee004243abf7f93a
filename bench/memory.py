"""Whether memory stays what it is while calls come and go."""

from collections.abc import Callable

import msgspec

from bench.cpu import memory_bytes
from bench.load.jobs import Job, Pairs, UnaryJob, WebhookJob
from bench.measuring import MeasurementFailed, Told
from bench.processes import run_for_json
from bench.results import Memory
from bench.site import Site

_AT_MOST_S = 600.0
_AT_ONCE = 20_000
"""So many calls are prepared at once: deliveries are 2 KB each."""


def measure_memory(site: Site, calls: int, told: Told) -> dict[str, Memory]:
    """Of the service, under Ensure hits; of both under deliveries; and of a client that asks for ever new pairs."""
    told(f"memory, {calls:,} Ensure calls")
    service, front = site.service("grpcio"), site.front("grpcio")

    def hits(count: int) -> Job:
        return UnaryJob(
            address=service.address,
            connections=4,
            streams=16,
            pairs=Pairs(among=site.profiles),
            calls=count,
            seconds=_AT_MOST_S,
        )

    def webhooks(count: int) -> Job:
        return WebhookJob(
            address=front.address,
            senders=64,
            members=site.profiles,
            secret=site.secret,
            calls=count,
            seconds=_AT_MOST_S,
        )

    found = {}
    service_pid, front_pid = service.processes["service"].pid, front.processes["front"].pid
    [found["service"]] = _watched(site, hits, calls, [service_pid])
    told(f"memory, {calls:,} deliveries")
    found["service, deliveries"], found["front"] = _watched(site, webhooks, calls, [service_pid, front_pid])
    told(f"memory, {calls:,} pairs in a client")
    site.database(calls)
    address = site.service("native", calls).address
    found["client"] = msgspec.convert(run_for_json("bench.client_memory", address, str(calls), variables={}), Memory)
    return found


def _watched(site: Site, job: Callable[[int], Job], calls: int, pids: list[int]) -> list[Memory]:
    start = [memory_bytes(pid) for pid in pids]
    _run(site, job, calls // 10)
    after_tenth = [memory_bytes(pid) for pid in pids]
    _run(site, job, calls - calls // 10)
    end = [memory_bytes(pid) for pid in pids]
    return [
        Memory(calls=calls, start=first, after_tenth=tenth, end=last)
        for first, tenth, last in zip(start, after_tenth, end, strict=True)
    ]


def _run(site: Site, job: Callable[[int], Job], calls: int) -> None:
    while calls:
        count = min(calls, _AT_ONCE)
        load = site.generator.run(job(count))
        if load.failures:
            raise MeasurementFailed(f"{load.failures} of {count} calls failed: {load.first_failure}")
        calls -= count
