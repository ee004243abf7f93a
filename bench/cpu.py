"""CPU time and memory of processes, as Linux counts them."""

import os
from pathlib import Path
from typing import Final

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def process_cpu_s(pid: int) -> float:
    """Of a process and of those of its children that have ended. Precise to 10 ms."""
    return sum(_times(_fields(pid))) * _TICK_S


def family_cpu_s(pid: int) -> float:
    """Of a process and all its children. Those that have ended were waited for, and so are counted as its own."""
    seconds = process_cpu_s(pid)
    for child in _children(pid):
        try:
            seconds += sum(_times(_fields(child))) * _TICK_S
        except (FileNotFoundError, ProcessLookupError):  # It has ended since: this little is missed.
            continue
    return seconds


def machine_busy_s() -> float:
    """Of all processors, whoever used them, since the start of the machine."""
    first = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    user, nice, system, _idle, _iowait, irq, softirq, *_ = (int(field) for field in first.split()[1:])
    return (user + nice + system + irq + softirq) * _TICK_S


def memory_bytes(pid: int) -> int:
    """What a process has in memory (resident)."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES


def _fields(pid: int) -> list[str]:
    """Those after the name (which may hold anything): the state, the parent, and so on."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _times(fields: list[str]) -> list[int]:
    """The utime and stime of the process itself, and those of children that were waited for."""
    return [int(field) for field in fields[11:15]]


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]
