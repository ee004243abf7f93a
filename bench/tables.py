"""The results as tables, for terminals and for Markdown."""

import statistics
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench.bars import BARS
from bench.results import CLIENT, Group, Memory, Results, Round

_NOISY = 0.2
"""So many processors of others, on average, are told."""
_STYLES = {"reached": "green", "missed": "red", "not measured": "dim"}


@dataclass(frozen=True)
class Rows:
    """A table, as text."""

    header: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        lines = [self.header, ["---", *["---:"] * (len(self.header) - 1)], *self.rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def bars_of(results: Results) -> Rows:
    return Rows(
        ["what", "bar", "seen", "by CPU", ""],
        [
            [bar.what, bar.limit_text, bar.value_text(results), bar.cpu_text(results), bar.verdict(results)]
            for bar in BARS
        ],
    )


def cases_of(results: Results, name: str) -> Rows:
    """Medians of a group, and the ratio to its floor."""
    group = results.groups[name]
    parts = [part for part in ("front", "service", "postgres", CLIENT) if _has(group, part)]
    header = ["", "a second", *([f": {group.floor}"] if group.floor else []), *(f"CPU {part}" for part in parts)]
    has_latency = any(measured.p50_us for rounds in group.rounds.values() for measured in rounds)
    header += ["p50", "p99"] if has_latency else []
    rows = []
    for case, rounds in group.rounds.items():
        cells = [case, f"{statistics.median(measured.per_second for measured in rounds):,.0f}"]
        if group.floor:
            ratio = results.ratio(name, case, group.floor, lambda measured: measured.per_second)
            cells.append("–" if ratio is None else f"{ratio:.2f} ×")
        cells += [_cpu(rounds, part) for part in parts]
        if has_latency:
            cells += [_latency([measured.p50_us for measured in rounds]), _latency([m.p99_us for m in rounds])]
        rows.append(cells)
    return Rows(header, rows)


def memory_of(results: Results) -> Rows:
    def cells(process: str, memory: Memory) -> list[str]:
        sizes = (memory.start, memory.after_tenth, memory.end)
        return [process, f"{memory.calls:,}", *(f"{size / 2**20:,.1f} MiB" for size in sizes)]

    header = ["", "calls", "at the start", "after a tenth", "at the end"]
    return Rows(header, [cells(process, memory) for process, memory in results.memory.items()])


def show(results: Results, console: Console) -> None:
    """All of it on a terminal."""
    for name, group in results.groups.items():
        _print(console, group.title, cases_of(results, name))
    if results.memory:
        _print(console, "Memory", memory_of(results))
    _print(console, "The bars", bars_of(results))
    if results.noise > _NOISY:
        console.print(f"Others used {results.noise:.1f} processors meanwhile: trust the CPU more than the rates.")


def _print(console: Console, title: str, rows: Rows) -> None:
    table = Table(title=title, title_justify="left", header_style="bold")
    for number, name in enumerate(rows.header):
        table.add_column(name, justify="right" if number else "left")
    for cells in rows.rows:
        table.add_row(*cells, style=_STYLES.get(cells[-1]))
    console.print(table)


def _has(group: Group, part: str) -> bool:
    return any(part in measured.cpu_us for rounds in group.rounds.values() for measured in rounds)


def _cpu(rounds: list[Round], part: str) -> str:
    figures = [measured.cpu_us[part] for measured in rounds if part in measured.cpu_us]
    return f"{statistics.median(figures):,.{1 if statistics.median(figures) >= 10 else 2}f} µs" if figures else "–"


def _latency(figures_us: list[float]) -> str:
    median = statistics.median(figures_us)
    return f"{median / 1000:,.2f} ms" if median else "–"
