"""Measures what other organizations' deliveries notice while an organization of 100,000 members is deleted.

`python -m bench.large_organization [MEMBERS]` starts a Postgres, two SyncServices and a front of its own, and prints
a small table.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from crash.large_organization import measure
from crash.site import Site

from clerksync_server.database.migrate import migrate
from clerksync_server.dev.embedded_postgres import EmbeddedPostgres

MEMBERS = 100_000


async def table(folder: Path, members: int) -> str:
    with EmbeddedPostgres(folder / "postgres") as postgres:
        await migrate(postgres.dsn)
        async with Site(postgres.dsn, fronts=1) as site:
            return (await measure(site, postgres.dsn, members)).table()


def main(members: int) -> None:
    with tempfile.TemporaryDirectory(prefix="clerksync-bench-") as folder:
        Path(folder).chmod(0o755)  # Started by root, Postgres runs as another user, who has to get here.
        sys.stdout.write(f"{asyncio.run(table(Path(folder), members))}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else MEMBERS)
