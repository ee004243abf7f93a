"""One run: which groups, how long, and what comes of it."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from bench import plan
from bench.floors import CONNECTIONS, measure_upserts, pgbench
from bench.machine import machine
from bench.measuring import Case, Told, measure
from bench.memory import measure_memory
from bench.processes import run_for_json
from bench.results import Group, Results, Round
from bench.site import Site

GROUPS = ("ensure", "batches", "webhooks", "database", "client", "memory", "growth")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much is measured."""

    only: Sequence[str] = GROUPS
    rounds: int = 5
    seconds: float = 1.5
    profiles: int = 10_000
    """In the database that most is measured with."""
    in_flight: Sequence[int] = tuple(plan.IN_FLIGHT)
    senders: Sequence[int] = (1, 64)
    sizes: Sequence[int] = (10_000, 1_000_000)
    """Of the databases that show growth."""
    calls: int = 100_000
    """Over which memory is watched."""
    client_calls: int = 100_000


QUICK = Options(
    rounds=1,
    seconds=0.3,
    profiles=1_000,
    in_flight=(64,),
    senders=(64,),
    sizes=(1_000, 2_000),
    calls=2_000,
    client_calls=2_000,
)
FULL = Options(sizes=(10_000, 1_000_000, 10_000_000), calls=1_000_000)


class Run:
    """Measures group by group."""

    def __init__(self, site: Site, options: Options, told: Told) -> None:
        self._site = site
        self._options = options
        self._told = told
        self.results = Results(
            began_at=datetime.now(UTC).isoformat(timespec="seconds"),
            options={"rounds": str(options.rounds), "seconds each": f"{options.seconds:g}"},
            machine=machine() | {f"Postgres {name}": value for name, value in site.postgres.settings().items()},
        )

    def all(self) -> None:
        """Everything that was asked for. Raises MeasurementFailed, ProcessFailed; `results` has what came before."""
        began = time.monotonic()
        for name in self._options.only:
            getattr(self, f"_{name}")()
            self.results.took_s = time.monotonic() - began

    def _ensure(self) -> None:
        for in_flight in self._options.in_flight:
            cases = plan.ensure_cases(self._site, in_flight, self._options.seconds)
            self._measure(f"ensure {in_flight}", f"EnsureUserProfile, {in_flight} in flight", "echo, grpcio", cases)

    def _batches(self) -> None:
        cases = plan.batch_cases(self._site, self._options.seconds)
        self._measure("batches", "Ensure hits in batches", "echo, grpcio", cases)

    def _webhooks(self) -> None:
        for senders in self._options.senders:
            cases = plan.webhook_cases(self._site, senders, self._options.seconds)
            title = f"Webhooks, {senders} sender" + "s" * (senders > 1)
            self._measure(f"webhooks {senders}", title, "echo", cases)

    def _database(self) -> None:
        program = pgbench()
        if program is None:
            self.results.notes["database"] = "not measured: this Postgres has no pgbench"
            return
        rounds = measure_upserts(self._site, program, self._options.rounds, self._options.seconds, self._told)
        self._keep("database", "Postgres alone: pgbench, one row upserted and committed", None, rounds)

    def _client(self) -> None:
        self._told("client cache")
        counts = str(self._options.rounds), str(self._options.client_calls)
        written = run_for_json("bench.client_cost", self._site.service("grpcio").address, *counts, variables={})
        rounds = msgspec.convert(written, dict[str, list[Round]])
        self._keep("client", "The Python client: answers that it has kept", None, rounds)

    def _memory(self) -> None:
        self.results.memory = measure_memory(self._site, self._options.calls, self._told)

    def _growth(self) -> None:
        sizes = list(self._options.sizes)
        for size in sizes:
            self._told(f"filling {size:,} profiles")
            self._site.database(size)
        self.results.filled_s = {f"{size:,}": self._site.postgres.filled_s[size] for size in sizes}
        cases = plan.growth_cases(self._site, sizes, self._options.seconds)
        self._measure("growth", "Ensure hits and webhooks by the number of profiles", None, cases)

    def _measure(self, name: str, title: str, floor: str | None, cases: list[Case]) -> None:
        self._keep(name, title, floor, measure(self._site, cases, self._options.rounds, self._told))

    def _keep(self, name: str, title: str, floor: str | None, rounds: dict[str, list[Round]]) -> None:
        self.results.groups[name] = Group(title=title, floor=floor, rounds=rounds)


def steps(options: Options) -> int:
    """How often `told` will be called, for a progress bar."""
    each = {
        "ensure": 8 * len(options.in_flight) * options.rounds,
        "batches": 9 * options.rounds,
        "webhooks": 8 * len(options.senders) * options.rounds,
        "database": len(CONNECTIONS) * options.rounds,
        "client": 1,
        "memory": 3,
        "growth": len(options.sizes) * (1 + 2 * options.rounds),
    }
    return sum(each[name] for name in options.only)


def failures_of(results: Results) -> Iterable[str]:
    """What went wrong in measurements whose figures were kept, in words."""
    for name, group in results.groups.items():
        for case, rounds in group.rounds.items():
            failed = sum(measured.failures for measured in rounds)
            if failed:
                first = next(measured.first_failure for measured in rounds if measured.failures)
                yield f"{name}: {case}: {failed} of {sum(m.calls for m in rounds)} calls failed ({first})"
