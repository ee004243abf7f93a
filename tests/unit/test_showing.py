"""What the operators' commands show of values that others have chosen."""

import pytest

from clerksync_server.cli.showing import print_table, print_values, printable

HARMFUL = {
    "an escape": "a\x1b[2Jb",
    "its short form": "a\x9b2Jb",
    "a bell": "a\x07",
    "a line": "a\nb\rc\u2028d",
    "a direction": "a\u202eb\u2066c",
    "a half of a pair": "a\ud800",
}


@pytest.mark.parametrize("text", ["Acme Inc.", "Ärzte & Söhne", "株式会社", "👩\u200d👩\u200d👦", "a\xa0b", r"a\b", ""])
def test_what_people_write(text: str) -> None:
    """Names of all languages are shown as they are."""
    assert printable(text) == text


@pytest.mark.parametrize("text", HARMFUL.values(), ids=HARMFUL)
def test_what_a_terminal_would_obey(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a terminal would obey is shown as an escape, in values and in tables, and can be printed."""
    print_values({"organization": text})
    print_table(("reason",), [(text,)])
    lines = capsys.readouterr().out.splitlines()

    assert len(lines) == 3
    assert all(printable(line) == line for line in lines)


def test_a_body_has_lines() -> None:
    """Of a body, lines and tabulators stay."""
    assert printable("a\n\tb\x1b", but="\n\t") == "a\n\tb\\x1b"
