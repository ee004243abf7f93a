"""How the operators' commands show values, which others may have chosen."""

import sys
import unicodedata
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table

_HARMFUL = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""What a terminal obeys, what turns the direction of a line, and what ends one."""
_JOINERS = "\u200c\u200d"
"""Many languages, and emojis, need them."""


def printable(text: str, *, but: str = "") -> str:
    r"""The text on one line, with what no terminal should get as an escape, as \x1b. `but` stays as it is."""
    if text.isascii() and text.isprintable():
        return text
    spared = _JOINERS + but
    return "".join(
        each.encode("unicode_escape").decode()
        if unicodedata.category(each) in _HARMFUL and each not in spared
        else each
        for each in text
    )


def console() -> Console:
    # Off a terminal, lines are for grep: wide enough not to be folded.
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 250)


def print_values(values: Mapping[str, str]) -> None:
    """A line for each value that there is."""
    table = Table(box=None, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in values.items():
        if value:
            table.add_row(name, printable(value))
    console().print(table)


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]], *, title: str | None = None) -> None:
    """A line for each row."""
    table = Table(box=None, title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(printable, row))
    console().print(table)
