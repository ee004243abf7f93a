"""What the figures were measured on."""

import os
import platform
from importlib import metadata
from pathlib import Path

_PACKAGES = ("aiohttp", "asyncpg", "grpcio", "msgspec", "protobuf", "pygrpc-native", "svix", "uvloop")


def machine() -> dict[str, str]:
    """Names nobody: no host name, no paths."""
    found = {
        "processors": f"{len(os.sched_getaffinity(0))}, {_processor()}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
