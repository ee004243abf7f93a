"""How figures are made of what was counted."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import results as kept
from bench.bars import BARS
from bench.cpu import family_cpu_s, memory_bytes
from bench.report import PAGE, write_page
from bench.results import Group, Results, Round

_RESULTS = Path(__file__).parents[2] / "bench" / "results" / "latest.json"


def test_a_ratio_is_one_of_the_same_rounds() -> None:
    """Rounds are compared one by one, so a machine that slows down for all changes no ratio."""
    results = _results({"fast": [1000, 100, 10], "slow": [100, 10, 1]})

    assert 10 == results.ratio("group", "fast", "slow", lambda measured: measured.per_second)


def test_what_was_not_measured_is_no_figure() -> None:
    """A bar without its measurement is neither reached nor missed."""
    assert {"not measured"} == {bar.verdict(_results({"fast": [1.0]})) for bar in BARS}


@pytest.mark.parametrize(("seen", "verdict"), [(86.0, "reached"), (84.0, "missed")])
def test_a_bar_is_reached_or_missed(seen: float, verdict: str) -> None:
    """A bar of 0.85 is reached by 0.86 and missed by 0.84."""
    results = _results({"hit, grpcio": [seen], "echo, grpcio": [100.0]}, group="ensure 64")

    assert verdict == BARS[0].verdict(results)


def test_results_survive_their_file(tmp_path: Path) -> None:
    """What is read is what was written."""
    results = _results({"case": [1.5]})
    kept.write(results, tmp_path / "results.json")

    assert results == kept.read(tmp_path / "results.json")


def test_the_page_tells_what_is_missing(tmp_path: Path) -> None:
    """A page is made of any run, and says of what it lacks that it was not measured."""
    write_page(_results({"case": [1.5]}), tmp_path / "page.md")

    page = (tmp_path / "page.md").read_text()
    assert "Not measured in this run." in page
    assert "$" not in page


def test_the_page_is_written_and_not_edited(tmp_path: Path) -> None:
    """docs/performance.md is what the latest results make."""
    write_page(kept.read(_RESULTS), tmp_path / "page.md")

    assert (tmp_path / "page.md").read_text() == PAGE.read_text(), "run `python -m bench report`"


def test_cpu_of_ended_children_counts() -> None:
    """The CPU of a family holds that of children that have ended."""
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()

        assert 0.25 <= family_cpu_s(process.pid) < 5  # Precise to 10 ms for each process.
        assert memory_bytes(process.pid) > 1_000_000


def test_cpu_of_living_children_counts() -> None:
    """The CPU of a family holds that of children that run."""
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.05)

            assert 0.25 <= family_cpu_s(process.pid) < 5
        finally:
            process.kill()


def _results(rates: dict[str, list[float]], group: str = "group") -> Results:
    rounds = {
        case: [
            Round(per_second=rate, p50_us=1, p99_us=2, calls=10, failures=0, cpu_us={"service": 1.0}) for rate in each
        ]
        for case, each in rates.items()
    }
    return Results(
        began_at="2026-11-22T12:00:00+00:00",
        options={"rounds": "1", "seconds each": "1"},
        machine={"Python": "3"},
        groups={group: Group(title="Group", floor=None, rounds=rounds)},
    )
