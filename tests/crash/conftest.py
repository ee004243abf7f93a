"""A Postgres for each test that does it harm."""

import functools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.site import free_ports

from clerksync_server.dev import postgres_binaries
from clerksync_server.dev.embedded_postgres import EmbeddedPostgres

_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 2 * 1024**3


@pytest.fixture
def crash_folder() -> Iterator[Path]:
    """Where clusters go: in memory where there is room, as that outlives every process and starts again quickly."""
    open_to_all = _MEMORY.is_dir() and _MEMORY.stat().st_mode & 0o005 == 0o005
    in_memory = open_to_all and shutil.disk_usage(_MEMORY).free > _ENOUGH_BYTES
    with tempfile.TemporaryDirectory(prefix="clerksync-crash-", dir=_MEMORY if in_memory else None) as folder:
        Path(folder).chmod(0o755)  # Started by root, Postgres runs as another user, who has to get here.
        yield Path(folder)


@pytest.fixture
def fragile_postgres(crash_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedPostgres]:
    """A server of its own, to be killed at will."""
    # What the server's user may do is tried by forking, once: later, with gRPC at work in threads, forks may crash.
    monkeypatch.setattr(postgres_binaries, "can_reach", functools.cache(postgres_binaries.can_reach))
    monkeypatch.setattr(f"{EmbeddedPostgres.__module__}.can_execute", functools.cache(postgres_binaries.can_execute))
    # Its port is its own: on a usual one another server might answer while it is dead.
    with EmbeddedPostgres(crash_folder / "postgres", port=next(free_ports())) as server:
        yield server
