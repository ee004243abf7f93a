"""What the pages refer to is there: links, make targets, commands and their options."""

import re
import shlex
from typing import Any

import pytest
import typer
from docs.pages import ROOT, Page, all_pages

from clerksync_server import cli

PAGES = all_pages()
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"(?:^|-- |[;&|(] *|[A-Z_]+=\S+ +|bin/)clerksync +([a-z].*)$")
_TARGET = re.compile(r"(?:^|[;&|(] *|[A-Z_]+=\S+ +)make +([a-z-]+)")


def _anchors(page: Page) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_every_relative_link_leads_somewhere(page: Page) -> None:
    """Each relative link of a page names a file of the repository, and a heading of it if it names one."""
    for link in _LINK.findall(page.prose):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.path.parent / name).resolve() if name else page.path
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in _anchors(Page(target)), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_every_make_target_exists(page: Page) -> None:
    """Each `make` target that a page names is in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    named = {target for line in page.code_lines() for target in _TARGET.findall(line)}

    assert set() == named - targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_every_command_exists(page: Page) -> None:
    """Each `clerksync` command that a page names exists, and takes the options that are given to it."""
    for line in page.code_lines():
        for arguments in _COMMAND.findall(line):
            command: Any = typer.main.get_command(cli._app)
            words = shlex.split(arguments, comments=True)
            while hasattr(command, "commands") and words:
                assert words[0] in command.commands, line
                command = command.commands[words.pop(0)]
            known = {"--help", *(option for parameter in command.params for option in parameter.opts)}
            assert {word for word in words if word.startswith("--")} <= known, line


def test_every_page_is_on_the_map() -> None:
    """docs/index.md links to each page of the documentation."""
    linked = set(_LINK.findall(Page(ROOT / "docs" / "index.md").prose))

    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"} <= linked
