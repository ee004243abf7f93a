"""The pages of the documentation, for the tests that hold them against the code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Page:
    """One page of Markdown."""

    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def prose(self) -> str:
        """The text without its code blocks."""
        return _FENCE.sub("", self.text)

    def blocks(self, language: str) -> list[str]:
        """The code blocks in a language."""
        return [code for found, code in _FENCE.findall(self.text) if found == language]

    def code_lines(self) -> Iterator[str]:
        """What is set as code: the lines of shell blocks, those that go on joined, and the code within the prose."""
        for block in self.blocks("sh"):
            yield from block.replace("\\\n", " ").splitlines()
        yield from _SPAN.findall(self.prose)

    def table(self, *header: str) -> list[list[str]]:
        """The rows of the one table with this header."""
        lines = self.prose.splitlines()
        starts = [number for number, line in enumerate(lines) if _cells(line) == list(header)]
        assert len(starts) == 1, f"{self.path.name} has {len(starts)} tables with the header {header}"
        rows = []
        for line in lines[starts[0] + 2 :]:
            if not line.strip().startswith("|"):
                break
            rows.append(_cells(line))
        return rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().split("|")[1:-1]]


def page(name: str) -> Page:
    """A page by its path from the top of the repository."""
    return Page(ROOT / name)


def all_pages() -> list[Page]:
    """The pages at the top of the repository, and those in docs/."""
    return [Page(path) for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])]
