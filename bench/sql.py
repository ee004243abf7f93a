"""Loads the named queries of SQL files."""

import re
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_queries(file: Path) -> dict[str, str]:
    """Each begins with `-- name: <name>` and ends at the next one."""
    parts = _NAME.split(file.read_text(encoding="utf-8"))[1:]
    return {name: query.strip() for name, query in zip(parts[::2], parts[1::2], strict=True)}
