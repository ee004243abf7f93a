"""Writes docs/performance.md: the template, filled with what was measured."""

from pathlib import Path
from string import Template

from bench.bars import BARS
from bench.results import Results
from bench.tables import bars_of, cases_of, memory_of

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
_TEMPLATE = Path(__file__).with_name("performance.md.template")
_NOT_MEASURED = "Not measured in this run."


def write_page(results: Results, file: Path) -> None:
    """Figures that a run has not measured are told as such."""
    text = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(_fields(results))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _fields(results: Results) -> dict[str, str]:
    verdicts = [bar.verdict(results) for bar in BARS]
    fields = {
        "date": results.began_at[:10],
        "minutes": f"{results.took_s / 60:.0f}",
        "rounds": results.options["rounds"],
        "seconds": results.options["seconds each"],
        "machine": "\n".join(f"| {name} | {value} |" for name, value in results.machine.items()),
        "reached": str(verdicts.count("reached")),
        "measured": str(len(verdicts) - verdicts.count("not measured")),
        "bars": bars_of(results).markdown(),
        "memory": memory_of(results).markdown() if results.memory else _NOT_MEASURED,
        "filling": _filling(results),
        "noise": f"{results.noise:.2f}",
    }
    for name in (
        "ensure 1",
        "ensure 16",
        "ensure 64",
        "ensure 256",
        "batches",
        "webhooks 1",
        "webhooks 64",
        "database",
        "client",
        "growth",
    ):
        is_there = name in results.groups
        fields[name.replace(" ", "_")] = cases_of(results, name).markdown() if is_there else _NOT_MEASURED
    return fields


def _filling(results: Results) -> str:
    took = [f"{seconds:,.1f} s for {profiles} profiles" for profiles, seconds in results.filled_s.items()]
    return f"Filling them in by COPY took {', '.join(took)}." if took else ""
