"""The bars that clerksync is to reach, as ratios within one run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.results import Results, Round
from bench.site import TRANSPORTS

Verdict = Literal["reached", "missed", "not measured"]


@dataclass(frozen=True)
class Bar:
    """Something that is to be at least or at most so much."""

    what: str
    limit: float
    value: Callable[[Results], float | None]
    at_most: bool = False
    unit: str = "×"
    by_cpu: Callable[[Results], float | None] | None = None
    """What the ratio would be if only CPU time counted, that of all parts."""

    def verdict(self, results: Results) -> Verdict:
        value = self.value(results)
        if value is None:
            return "not measured"
        return "reached" if (value <= self.limit if self.at_most else value >= self.limit) else "missed"

    @property
    def limit_text(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.limit:g} {self.unit}"

    def value_text(self, results: Results) -> str:
        value = self.value(results)
        return "–" if value is None else f"{value:.2f} {self.unit}"

    def cpu_text(self, results: Results) -> str:
        value = self.by_cpu(results) if self.by_cpu else None
        return "" if value is None else f"{value:.2f} {self.unit}"


def _per_second(measured: Round) -> float:
    return measured.per_second


def _cpu(measured: Round) -> float:
    return measured.all_cpu_us


def _p50(measured: Round) -> float:
    return measured.p50_us


def _p99(measured: Round) -> float:
    return measured.p99_us


def _ratio(group: str, case: str, floor: str, figure: Callable[[Round], float]) -> Callable[[Results], float | None]:
    return lambda results: results.ratio(group, case, floor, figure)


def _rate(what: str, limit: float, group: str, case: str, floor: str) -> Bar:
    """At least so many times as many a second."""
    return Bar(what, limit, _ratio(group, case, floor, _per_second), by_cpu=_ratio(group, floor, case, _cpu))


def _flat(process: str) -> Callable[[Results], float | None]:
    """The end against the first tenth, over a million calls."""

    def value(results: Results) -> float | None:
        memory = results.memory.get(process)
        return memory.end / memory.after_tenth if memory is not None and memory.calls >= 1_000_000 else None

    return value


def _elsewhere(results: Results) -> None:
    """Is measured against servers that are not in here."""


BARS = (
    _rate("Ensure hit, 64 in flight, grpcio : echo of grpc.aio", 0.85, "ensure 64", "hit, grpcio", "echo, grpcio"),
    _rate("Ensure hit, 64 in flight, native : echo of pygrpc-native", 0.6, "ensure 64", "hit, native", "echo, native"),
    _rate("Ensure hit, 64 in flight, native : echo of grpc.aio", 3, "ensure 64", "hit, native", "echo, grpcio"),
    Bar("Ensure hit, 64 in flight, native : Node grpc-js with pg", 2, _elsewhere),
    *(
        _rate(
            f"Ensure hit by our client, 256 callers, {transport} : echo of grpc.aio",
            10,
            "batches",
            f"client, 256 callers, {transport}",
            "echo, grpcio",
        )
        for transport in TRANSPORTS
    ),
    Bar("client cache hit, CPU", 2, lambda results: results.median("client", "hit", _cpu), at_most=True, unit="µs"),
    *(
        _rate(
            f"webhook, durable, 64 senders, {transport} : {name}", limit, "webhooks 64", f"durable, {transport}", floor
        )
        for transport in TRANSPORTS
        for name, floor, limit in (("aiohttp's echo", "echo", 0.35), ("naive twin", "durable, naive twin", 4))
    ),
    Bar("webhook, durable, 64 senders : Fastify with svix and pg", 2.5, _elsewhere),
    *(
        Bar(
            f"webhook, durable, 64 senders, {transport} : naive twin, p99",
            0.5,
            _ratio("webhooks 64", f"durable, {transport}", "durable, naive twin", _p99),
            at_most=True,
        )
        for transport in TRANSPORTS
    ),
    *(
        _rate(
            f"Ensure miss, 64 in flight, {transport} : naive twin",
            4,
            "ensure 64",
            f"miss, {transport}",
            "miss, naive twin",
        )
        for transport in TRANSPORTS
    ),
    *(
        Bar(
            f"lone Ensure hit, {transport} : naive twin, p50",
            1.25,
            _ratio("ensure 1", f"hit, {transport}", "hit, naive twin", _p50),
            at_most=True,
        )
        for transport in TRANSPORTS
    ),
    *(
        Bar(
            f"10,000,000 : 10,000 profiles, {kind}, CPU",
            1.2,
            _ratio("growth", f"{kind}, 10,000,000", f"{kind}, 10,000", _cpu),
            at_most=True,
        )
        for kind in ("hit", "webhook")
    ),
    *(
        Bar(f"memory of the {process}, end : first tenth of a million calls", 1.05, _flat(process), at_most=True)
        for process in ("service", "front", "client")
    ),
)
"""Those about servers in other languages are measured elsewhere."""
