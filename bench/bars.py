"""The bars that clerksync is to reach, as ratios within one run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.results import Results, Round

Verdict = Literal["reached", "missed", "not measured"]


@dataclass(frozen=True)
class Bar:
    """Something that is to be at least or at most so much."""

    what: str
    limit: float
    value: Callable[[Results], float | None]
    at_most: bool = False
    unit: str = "×"

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


def _ratio(group: str, case: str, floor: str) -> Callable[[Results], float | None]:
    return lambda results: results.ratio(group, case, floor)


def _latency(group: str, case: str, floor: str, figure: Callable[[Round], float]) -> Callable[[Results], float | None]:
    return lambda results: results.ratio(group, case, floor, figure)


def _growth(kind: str) -> Callable[[Results], float | None]:
    """Ten million against ten thousand; less if that was not measured is no answer."""
    return lambda results: results.ratio(
        "growth", f"{kind}, 10,000,000", f"{kind}, 10,000", lambda measured: measured.all_cpu_us
    )


def _flat(process: str) -> Callable[[Results], float | None]:
    """The end against the first tenth, over a million calls."""

    def value(results: Results) -> float | None:
        memory = results.memory.get(process)
        return memory.end / memory.after_tenth if memory is not None and memory.calls >= 1_000_000 else None

    return value


def _p50(measured: Round) -> float:
    return measured.p50_us


def _p99(measured: Round) -> float:
    return measured.p99_us


def _elsewhere(results: Results) -> None:
    """Is measured against servers that are not in here."""


BARS = (
    Bar(
        "Ensure hit, 64 in flight, grpcio : echo of grpc.aio", 0.85, _ratio("ensure 64", "hit, grpcio", "echo, grpcio")
    ),
    Bar(
        "Ensure hit, 64 in flight, native : echo of pygrpc-native",
        0.6,
        _ratio("ensure 64", "hit, native", "echo, native"),
    ),
    Bar("Ensure hit, 64 in flight, native : echo of grpc.aio", 3, _ratio("ensure 64", "hit, native", "echo, grpcio")),
    Bar("Ensure hit, 64 in flight, native : Node grpc-js with pg", 2, _elsewhere),
    Bar(
        "Ensure hit by our client, 256 callers, grpcio : echo of grpc.aio",
        10,
        _ratio("batches", "client, 256 callers, grpcio", "echo, grpcio"),
    ),
    Bar(
        "Ensure hit by our client, 256 callers, native : echo of grpc.aio",
        10,
        _ratio("batches", "client, 256 callers, native", "echo, grpcio"),
    ),
    Bar(
        "client cache hit, CPU",
        2,
        lambda results: results.median("client", "hit", lambda measured: measured.all_cpu_us),
        at_most=True,
        unit="µs",
    ),
    *(
        Bar(f"webhooks, durable, 64 senders, {transport} : {floor}", limit, _ratio("webhooks 64", case, other))
        for transport in ("grpcio", "native")
        for case in (f"durable, {transport}",)
        for floor, other, limit in (
            ("aiohttp's echo", "echo", 0.35),
            ("naive twin", "durable, naive twin", 4.0),
        )
    ),
    Bar("webhooks, durable, 64 senders : Fastify with svix and pg", 2.5, _elsewhere),
    Bar(
        "webhooks, durable, 64 senders, grpcio : naive twin, p99",
        0.5,
        _latency("webhooks 64", "durable, grpcio", "durable, naive twin", _p99),
        at_most=True,
    ),
    *(
        Bar(
            f"Ensure miss, 64 in flight, {transport} : naive twin",
            4,
            _ratio("ensure 64", f"miss, {transport}", "miss, naive twin"),
        )
        for transport in ("grpcio", "native")
    ),
    *(
        Bar(
            f"lone Ensure hit, {transport} : naive twin, p50",
            1.25,
            _latency("ensure 1", f"hit, {transport}", "hit, naive twin", _p50),
            at_most=True,
        )
        for transport in ("grpcio", "native")
    ),
    Bar("10,000,000 : 10,000 profiles, Ensure hit, CPU", 1.2, _growth("hit"), at_most=True),
    Bar("10,000,000 : 10,000 profiles, webhook, CPU", 1.2, _growth("webhook"), at_most=True),
    *(
        Bar(f"memory of the {process}, end : first tenth of a million calls", 1.05, _flat(process), at_most=True)
        for process in ("service", "front", "client")
    ),
)
"""What is compared with servers of other languages is measured elsewhere."""
