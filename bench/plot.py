"""The results as a picture."""

import statistics
from pathlib import Path
from typing import Any

from bench.results import Results, Round

_PANELS = ("ensure 64", "batches", "webhooks 64", "growth")
_COLORS = {"echo": "#b0b0b0", "naive": "#d98c5f"}
_OURS = "#3b7dd8"


def draw(results: Results, file: Path) -> bool:
    """Writes an SVG; returns False, and writes none, where matplotlib is not installed (`make bench` installs it)."""
    try:
        import matplotlib as mpl  # noqa: PLC0415  (in a group of its own)
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ModuleNotFoundError:
        return False
    panels = [name for name in _PANELS if name in results.groups]
    if not panels:
        return False
    # Text stays text, and a run that found the same is the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "clerksync", "font.size": 9}):
        heights = [len(results.groups[name].rounds) + 2 for name in panels]
        figure = Figure(figsize=(9, 0.26 * sum(heights)), layout="constrained")
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
        for (axis,), name in zip(axes, panels, strict=True):
            _draw_group(axis, results, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="svg", metadata={"Date": None})
    return True


def _draw_group(axis: Any, results: Results, name: str) -> None:
    group = results.groups[name]
    grows = name == "growth"
    cases = list(reversed(group.rounds))
    figures = [sorted(map(_cpu if grows else _rate, group.rounds[case])) for case in cases]
    medians = [statistics.median(each) for each in figures]
    spread = [
        [median - each[0] for median, each in zip(medians, figures, strict=True)],
        [each[-1] - median for median, each in zip(medians, figures, strict=True)],
    ]
    axis.barh(cases, medians, xerr=spread, color=[_color(case) for case in cases], error_kw={"linewidth": 0.8})
    axis.set_title(f"{group.title}: {'µs of CPU each' if grows else 'a second'}", loc="left")
    axis.margins(x=0.12)
    axis.spines[["top", "right"]].set_visible(False)
    for row, (median, each) in enumerate(zip(medians, figures, strict=True)):
        axis.annotate(f"{median:,.0f}", (each[-1], row), xytext=(4, 0), textcoords="offset points", va="center")


def _rate(measured: Round) -> float:
    return measured.per_second


def _cpu(measured: Round) -> float:
    return measured.all_cpu_us


def _color(case: str) -> str:
    return next((color for word, color in _COLORS.items() if word in case), _OURS)
