"""Loads the named queries from the SQL files."""

import re
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_queries(file_name: str) -> dict[str, str]:
    """The queries of a file in `queries/` by name. Each begins with `-- name: <name>` and ends at the next one."""
    text = (resources.files(__package__) / "queries" / file_name).read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    return {name: query.strip() for name, query in zip(parts[::2], parts[1::2], strict=True)}
