"""Reads jobs from standard input, a line of JSON each, and answers each by a line on standard output."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import Any

import msgspec
import uvloop

from bench.load.client import run_client
from bench.load.jobs import ClientJob, Job, Load, UnaryJob
from bench.load.unary import run_unary
from bench.load.webhooks import run_webhooks


async def _run(job: Job) -> Load:
    asyncio.get_running_loop().set_exception_handler(_end)
    return await _load(job)


def _end(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A defect in here must not become a figure."""
    loop.default_exception_handler(context)
    os._exit(1)


def _load(job: Job) -> Coroutine[Any, Any, Load]:
    if isinstance(job, UnaryJob):
        return run_unary(job)
    if isinstance(job, ClientJob):
        return run_client(job)
    return run_webhooks(job)


def main() -> None:
    decoder = msgspec.json.Decoder(Job)
    for line in sys.stdin.buffer:
        load = uvloop.run(_run(decoder.decode(line)))
        sys.stdout.buffer.write(msgspec.json.encode(load) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
