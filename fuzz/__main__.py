"""`python -m fuzz`: fuzzes each target in a process of its own, on an embedded Postgres, and tells what was found."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from clerksync_server.dev.embedded_postgres import EmbeddedPostgres
from fuzz.inputs import TARGETS

_OUT = Path(".clerksync/fuzz")
_SETTLE_S = 120
"""What a process is given beside its time: to start, to replay its corpus, and to finish an input."""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def fuzz(
    only: Annotated[
        list[str] | None, typer.Option(help=f"Only this target; may be given several times: {', '.join(TARGETS)}.")
    ] = None,
    seconds: Annotated[int, typer.Option(min=1, help="How long, each target.")] = 600,
    out: Annotated[Path, typer.Option(help="Where corpus and findings go.")] = _OUT,
) -> None:
    """Fuzzes each target, one after the other. Exits with 1 if anything was found."""
    if unknown := set(only or ()) - set(TARGETS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: there are {', '.join(TARGETS)}", param_hint="--only")
    out.mkdir(parents=True, exist_ok=True)
    failed = []
    with EmbeddedPostgres(out / "postgres") as postgres:
        for target in only or TARGETS:
            typer.echo(f"{target}: {seconds} s")
            if not _run(target, seconds, out / target, postgres.dsn):
                failed.append(target)
    findings = [path for target in TARGETS for path in sorted((out / target / "findings").glob("*"))]
    for path in findings:
        typer.echo(f"found: {path}")
    typer.echo(f"failed: {', '.join(failed)}" if failed else "nothing was found")
    if failed:
        raise typer.Exit(1)


def _run(target: str, seconds: int, folder: Path, dsn: str) -> bool:
    """Whether it found nothing."""
    environment = os.environ | {"FUZZ_DATABASE_URL": dsn}
    command = [sys.executable, "-m", "fuzz.run", target, str(seconds), str(folder)]
    try:
        return subprocess.run(command, env=environment, check=False, timeout=seconds + _SETTLE_S).returncode == 0
    except subprocess.TimeoutExpired:
        typer.echo(f"{target}: hangs")
        return False


if __name__ == "__main__":
    app()
