"""`python -m bench` measures; `python -m bench report` writes docs/performance.md from what was measured."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench import results as kept
from bench.measuring import MeasurementFailed
from bench.plot import draw
from bench.processes import ProcessFailed
from bench.report import PAGE, write_page
from bench.running import FULL, GROUPS, QUICK, Options, Run, failures_of, steps
from bench.site import Site
from bench.tables import show

_RESULTS = Path(__file__).with_name("results")
_PARTIAL = Path(".clerksync/bench")
_JSON, _PLOT = "latest.json", "latest.svg"

app = typer.Typer(add_completion=False, help="Measures clerksync against its floors.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def measure(
    context: typer.Context,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Only this group; may be given several times: {', '.join(GROUPS)}.")
    ] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="One short round: to see that it works.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Also 10 million profiles, and a million calls for memory: about an hour.")
    ] = False,
    rounds: Annotated[int | None, typer.Option(min=1, help="How often each case is measured; 5 by default.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="How long, each time; 1.5 by default.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where the JSON and the plot go. By default bench/results, and .clerksync/bench for a part."),
    ] = None,
) -> None:
    """Measures everything (about twenty minutes), and writes JSON and a plot."""
    if context.invoked_subcommand is not None:
        return
    if unknown := set(only or ()) - set(GROUPS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: there are {', '.join(GROUPS)}", param_hint="--only")
    options = QUICK if quick else FULL if full else Options()
    if only:
        options = replace(options, only=tuple(only))
    options = replace(options, rounds=rounds or options.rounds, seconds=seconds or options.seconds)
    console = Console()
    results, problem = _measured(options, console)
    show(results, console)
    for failure in failures_of(results):
        console.print(failure, markup=False, style="red")
    folder = out or (_PARTIAL if only or quick or problem else _RESULTS)
    kept.write(results, folder / _JSON)
    plot = draw(results, folder / _PLOT)
    console.print(f"Written: {folder / _JSON}" + (f" and {folder / _PLOT}" if plot else ""), soft_wrap=True)
    if problem:
        console.print(problem, markup=False, style="red")
        raise typer.Exit(1)


@app.command()
def report(
    results: Annotated[Path, typer.Option(help="What was measured.")] = _RESULTS / _JSON,
    out: Annotated[Path, typer.Option(help="The page.")] = PAGE,
) -> None:
    """Writes docs/performance.md."""
    write_page(kept.read(results), out)


def _measured(options: Options, console: Console) -> tuple[kept.Results, str | None]:
    """What was measured, and what kept it from going on."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    columns = [TextColumn("{task.description:42}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("starting Postgres", total=steps(options))

        def told(what: str) -> None:
            progress.update(task, description=what, advance=1)

        with Site(options.profiles) as site:
            run = Run(site, options, told)
            try:
                run.all()
            except (MeasurementFailed, ProcessFailed) as error:
                return run.results, str(error)
            return run.results, None


if __name__ == "__main__":
    app()
