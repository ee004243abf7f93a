"""What was measured, as it is kept in bench/results."""

import statistics
from collections.abc import Callable
from pathlib import Path

import msgspec

CLIENT = "client"
"""The part that calls."""


class Round(msgspec.Struct, kw_only=True):
    """One case in one round."""

    per_second: float
    p50_us: float
    p99_us: float
    calls: int
    failures: int
    first_failure: str = ""
    cpu_us: dict[str, float]
    """For each call, by part: front, service, postgres, CLIENT."""
    generator_cpu_us: float = 0.0
    others_cpu: float | None = None
    """How many processors' worth of time others used meanwhile; None where that was not looked at."""
    ran_out: bool = False

    @property
    def all_cpu_us(self) -> float:
        """Of all parts that serve; of the client where it alone was measured."""
        serving = [cpu_us for part, cpu_us in self.cpu_us.items() if part != CLIENT]
        return sum(serving or self.cpu_us.values())


class Group(msgspec.Struct, kw_only=True):
    """Cases that were measured in turns."""

    title: str
    floor: str | None
    """The case that the others are compared with."""
    rounds: dict[str, list[Round]]


class Memory(msgspec.Struct, kw_only=True):
    """What a process had in memory, in bytes."""

    calls: int
    start: int
    after_tenth: int
    end: int


class Results(msgspec.Struct, kw_only=True):
    """One run of the bench."""

    began_at: str
    took_s: float = 0.0
    options: dict[str, str]
    machine: dict[str, str]
    groups: dict[str, Group] = {}
    filled_s: dict[str, float] = {}
    """How many seconds it took to fill in so many profiles."""
    notes: dict[str, str] = {}
    memory: dict[str, Memory] = {}

    def rounds(self, group: str, case: str) -> list[Round]:
        """Empty if it was not measured."""
        return self.groups[group].rounds.get(case, []) if group in self.groups else []

    def median(self, group: str, case: str, figure: Callable[[Round], float]) -> float | None:
        rounds = self.rounds(group, case)
        return statistics.median(map(figure, rounds)) if rounds else None

    def ratio(self, group: str, case: str, floor: str, figure: Callable[[Round], float]) -> float | None:
        """The median of the ratios of the same rounds; None if one of them was not measured."""
        pairs = zip(self.rounds(group, case), self.rounds(group, floor), strict=False)
        ratios = [figure(one) / figure(other) for one, other in pairs if figure(other)]
        return statistics.median(ratios) if ratios else None

    @property
    def noise(self) -> float:
        """How many processors others used meanwhile, on average."""
        shares = [
            measured.others_cpu
            for group in self.groups.values()
            for rounds in group.rounds.values()
            for measured in rounds
            if measured.others_cpu is not None
        ]
        return statistics.mean(shares) if shares else 0.0


def read(file: Path) -> Results:
    """Raises OSError, msgspec.ValidationError."""
    return msgspec.json.decode(file.read_bytes(), type=Results)


def write(results: Results, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
