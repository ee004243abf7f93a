"""The floor of durable writes: pgbench, upserting one row in each transaction."""

import re
from pathlib import Path

from bench.cpu import family_cpu_s
from bench.measuring import Told
from bench.processes import run_tool
from bench.results import Round
from bench.site import Site
from clerksync_server.dev.postgres_binaries import find_binaries

_SCRIPT = Path(__file__).with_name("upsert.pgbench.sql")
_FIGURES = re.compile(r"actually processed: (\d+).*failed transactions: (\d+).*tps = ([\d.]+)", re.DOTALL)
CONNECTIONS = (1, 16)


def pgbench() -> Path | None:
    """Comes with the embedded Postgres, but not with every other."""
    program = find_binaries(None)[0] / "pgbench"
    return program if program.exists() else None


def measure_upserts(site: Site, program: Path, rounds: int, seconds: float, told: Told) -> dict[str, list[Round]]:
    """By so many connections. Whole seconds, as pgbench counts them."""
    dsn = site.database()
    measured: dict[str, list[Round]] = {}
    for _ in range(rounds):
        for connections in CONNECTIONS:
            name = f"pgbench, {connections} connection" + "s" * (connections > 1)
            told(name)
            cpu_s = family_cpu_s(site.postgres.pid)
            count = ("-c", str(connections), "-j", "1", "-T", str(max(1, round(seconds))))
            profiles = ("-D", f"profiles={site.profiles}")
            output = run_tool((str(program), "-n", "-M", "prepared", *count, *profiles, "-f", str(_SCRIPT), dsn), {})
            cpu_s = family_cpu_s(site.postgres.pid) - cpu_s
            found = _FIGURES.search(output)
            assert found is not None, output
            calls, failures, per_second = int(found[1]), int(found[2]), float(found[3])
            measured.setdefault(name, []).append(
                Round(
                    per_second=per_second,
                    p50_us=0,
                    p99_us=0,
                    calls=calls,
                    failures=failures,
                    cpu_us={"postgres": cpu_s * 1e6 / max(1, calls)},
                )
            )
    return measured
