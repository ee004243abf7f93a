"""`python -m bench` as a whole, without looking at how fast anything is."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import results as kept

_ROOT = Path(__file__).parents[2]


def bench(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts it; what it leaves behind would lie in the folder."""
    temporary = folder / "temporary"
    temporary.mkdir(mode=0o755, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments],
        cwd=_ROOT,
        env=os.environ | {"TMPDIR": str(temporary), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left_by(folder: Path) -> list[str]:
    """Processes of its Postgres, of its servers and generators, that still run."""
    mark = str(folder).encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes() or mark in (process / "cmdline").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # It has ended since, or is not ours.
            continue
    return found


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Postgres, started by root as another user, gets as well."""
    folder = tmp_path_factory.mktemp("bench")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    return folder


@pytest.mark.timeout(300)  # It starts 16 processes one after the other.
def test_a_quick_run_tells_everything(folder: Path) -> None:
    """A run ends with tables, with JSON that holds every round, with a page, and without a process."""
    process = bench(folder, "--quick", "--only", "ensure", "--only", "webhooks", "--out", str(folder))
    output, _ = process.communicate(timeout=280)

    assert process.returncode == 0, output
    assert "Ensure hit, 64 in flight, grpcio" in output
    assert [] == left_by(folder)
    results = kept.read(folder / "latest.json")
    assert {"ensure 64", "webhooks 64"} == results.groups.keys()
    assert "on" == results.machine["Postgres fsync"]
    rounds = [(case, each) for group in results.groups.values() for case, each in group.rounds.items()]
    assert len(rounds) == 16
    for case, each in rounds:
        assert [(1, 0)] == [(min(1, measured.calls), measured.failures) for measured in each], (case, each)
        assert all(measured.all_cpu_us > 0 for measured in each), case

    page = folder / "performance.md"
    subprocess.run(
        [sys.executable, "-m", "bench", "report", "--results", str(folder / "latest.json"), "--out", str(page)],
        cwd=_ROOT,
        check=True,
    )
    assert "| hit, grpcio |" in page.read_text()


def test_ctrl_c_leaves_nothing(folder: Path) -> None:
    """Ctrl-C ends everything that a run has started."""
    process = bench(folder, "--only", "webhooks", "--out", str(folder))
    deadline = time.monotonic() + 60
    while not any("bench.servers.http_echo" in command for command in left_by(folder)):
        assert time.monotonic() < deadline, "it did not start"
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    assert process.returncode != 0
    assert [] == left_by(folder)
    assert not (folder / "latest.json").exists()


def test_an_unknown_group_is_told(folder: Path) -> None:
    """A group that there is not is named, with those that there are."""
    process = bench(folder, "--only", "everything")
    output, _ = process.communicate(timeout=30)

    assert process.returncode == 2
    assert "everything: there are ensure, batches, webhooks" in output
