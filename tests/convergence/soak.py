"""Plays histories for as long as one likes, then reports. `scripts/soak --help` tells the options."""

import argparse
import asyncio
import itertools
import logging
import multiprocessing
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import structlog
from clerk_model.history import tell
from convergence.deployment import in_process
from convergence.play import Figures, WrongEnd, play
from stack import now_ms
from transports import HAS_NATIVE, NAMES, VARIABLE

from clerksync_server.database.migrate import migrate
from clerksync_server.dev.embedded_postgres import EmbeddedPostgres

_SIDE_BY_SIDE = 3
"""Histories that one worker plays at a time."""
Message = Figures | tuple[int, str]
"""The figures of a history, or the seed of one that failed and what was wrong."""


@dataclass
class Report:
    """What the convergence part came to."""

    figures: Figures = field(default_factory=Figures)
    failures: dict[int, str] = field(default_factory=dict)

    def add(self, message: Message) -> None:
        if isinstance(message, Figures):
            self.figures += message
        else:
            seed, text = message
            self.failures[seed] = text
            print(f"seed {seed}: {text}", flush=True)

    def __str__(self) -> str:
        names = {"refused_calls": "of them refused", "repeats": "of them repeats", "calls": "Ensure calls"}
        lines = [f"{names.get(name, name):>16} {value:>10,}" for name, value in vars(self.figures).items()]
        lines.append(f"{'wrong ends':>16} {len(self.failures):>10,}")
        if self.failures:
            lines.append(f"  failing seeds: {', '.join(map(str, sorted(self.failures)))}")
        return "\n".join(lines)


async def _play_until(end: float, dsn: str, seeds: range, put: Callable[[Message], None], *, long_lived: bool) -> None:
    """Plays seed after seed, some at a time, in a database of their own."""
    remaining = iter(seeds)

    async def play_on() -> None:
        for seed in remaining:
            if time.monotonic() >= end:
                return
            try:
                put(await play(tell(seed, now_ms(), long_lived_tokens=long_lived), deployment))
            except Exception as error:  # noqa: BLE001  whatever it is, the seed has failed, and the soak goes on
                put((seed, str(error) if isinstance(error, WrongEnd) else repr(error)))

    async with in_process(dsn, long_lived_tokens=long_lived) as deployment, asyncio.TaskGroup() as tasks:
        for _ in range(min(_SIDE_BY_SIDE, len(seeds))):
            tasks.create_task(play_on())


async def _new_database(server_dsn: str) -> str:
    name = f"soak_{secrets.token_hex(4)}"
    connection = await asyncpg.connect(server_dsn)
    await connection.execute(f"create database {name} template template0")
    await connection.execute(f"alter database {name} set synchronous_commit = off")
    await connection.close()
    dsn = urlsplit(server_dsn)._replace(path=f"/{name}").geturl()
    await migrate(dsn)
    return dsn


def _hush() -> None:
    """Only errors are worth a line of the log here."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def _work(
    server_dsn: str, seeds: range, seconds: float, long_lived: bool, transport: str, messages: "Queue[Message]"
) -> None:
    _hush()
    os.environ[VARIABLE] = transport

    async def work() -> None:
        dsn = await _new_database(server_dsn)
        await _play_until(time.monotonic() + seconds, dsn, seeds, messages.put, long_lived=long_lived)

    asyncio.run(work())


def _transports(options: argparse.Namespace) -> list[str]:
    """Those that take turns."""
    if options.transport is not None:
        return [options.transport]
    return [name for name in NAMES if HAS_NATIVE or name != "native"]


def _converge(options: argparse.Namespace) -> bool:
    """Returns whether every history ended right."""
    if options.seed is not None:
        ranges, long_lived = [range(options.seed, options.seed + 1)], [options.long_lived_tokens]
    else:
        first = options.first_seed
        print(f"histories from seed {first:,} on, {options.workers} workers, {options.minutes:g} minutes", flush=True)
        ranges = [range(first + worker, first + 10**9, options.workers) for worker in range(options.workers)]
        # Every fourth worker has tokens that live long; a failing seed says so.
        long_lived = [worker % 4 == 3 for worker in range(options.workers)]
    transports = itertools.cycle(_transports(options))
    report = Report()
    spawn = multiprocessing.get_context("spawn")
    messages: Queue[Message] = spawn.Queue()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="clerksync-soak-"))
        Path(folder).chmod(0o755)  # Started by root, Postgres runs as another user, who has to get here.
        settings = {"max_connections": "500"}
        postgres = stack.enter_context(EmbeddedPostgres(Path(folder) / "postgres", settings=settings))
        workers = [
            spawn.Process(target=_work, args=(postgres.dsn, seeds, options.minutes * 60, long, transport, messages))
            for seeds, long, transport in zip(ranges, long_lived, transports, strict=False)
        ]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers) or not messages.empty():
            time.sleep(0.1)
            while not messages.empty():
                report.add(messages.get())
        crashed = [worker.exitcode for worker in workers if worker.exitcode != 0]
    print(report)
    if crashed:
        print(f"  workers that broke down: {len(crashed)}")
    return not report.failures and not crashed and report.figures.histories > 0


def _crash(options: argparse.Namespace) -> bool:
    """The kill tests, again and again, each time with another seed and many kills."""
    end = time.monotonic() + options.minutes * 60
    for seed in itertools.count(options.first_seed):
        if time.monotonic() >= end:
            return True
        # By chance and not in turns: a short soak is over after the first.
        transport = random.Random(seed).choice(_transports(options))
        command = [sys.executable, "-m", "pytest", "tests/crash", "-q", "-s", "--transport", transport]
        print(f"seed {seed:,} with {transport}", flush=True)
        environment = os.environ | {"CRASH_SEED": str(seed), "CRASH_KILLS": "100"}
        if subprocess.run(command, check=False, env=environment).returncode != 0:
            print(f"play it again: CRASH_SEED={seed} CRASH_KILLS=100 {' '.join(command)}")
            return False
    raise AssertionError("unreachable")


PARTS: dict[str, Callable[[argparse.Namespace], bool]] = {"convergence": _converge, "crash": _crash}
"""Each part plays for the minutes given, prints its own report, and returns whether all went well."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Plays the long runs and reports.")
    parser.add_argument("--minutes", type=float, default=10, help="how long each part plays (default: 10)")
    parser.add_argument(
        "--workers", type=int, default=max(2, os.cpu_count() or 2), help="processes that play histories"
    )
    parser.add_argument("--first-seed", type=int, default=int(time.time()) * 1000, help="default: from the clock")
    parser.add_argument("--seed", type=int, help="plays the history of this seed alone")
    parser.add_argument("--long-lived-tokens", action="store_true", help="with --seed: as its failure says")
    parser.add_argument(
        "--transport", choices=NAMES, help="carries the calls of every SyncService (default: workers take turns)"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    options = parser.parse_args()
    if options.transport == "native" and not HAS_NATIVE:
        parser.error("--transport native: pygrpc-native is not installed; the extra `native` has it")
    _hush()
    results = {}
    for part in options.parts:
        print(f"== {part}", flush=True)
        results[part] = PARTS[part](options)
    failed = [part for part, well in results.items() if not well]
    print(f"== {'failed: ' + ', '.join(failed) if failed else 'all went well'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
