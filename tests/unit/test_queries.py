"""The SQL files: all that is in them can be loaded by name, is described, and is used."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import clerksync_server
from clerksync_server.database.sql import load_queries

SERVER = Path(clerksync_server.__file__).parent
FILES = sorted((SERVER / "database" / "queries").glob("*.sql"))
QUERIES = [(path.name, name) for path in FILES for name in load_queries(path.name)]

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
each_query = pytest.mark.parametrize(("file_name", "name"), QUERIES)


class Use(NamedTuple):
    """A module that loads a file of queries, and what it may take from it."""

    module: str
    file_name: str
    taken: frozenset[str]
    texts: frozenset[str]


@each_file
def test_every_name_in_a_file_is_loaded_once(path: Path) -> None:
    """Each line that is meant as a name is one, in the one format, and no name of the file comes twice."""
    text = path.read_text(encoding="utf-8")
    meant = re.findall(r"^[ \t]*--[ \t]*name\b.*$", text, re.MULTILINE | re.IGNORECASE)

    assert [f"-- name: {name}" for name in load_queries(path.name)] == meant


@each_file
def test_nothing_but_comments_comes_before_the_first_name(path: Path) -> None:
    """What stands before it would be loaded by nobody."""
    preamble = path.read_text(encoding="utf-8").partition("-- name:")[0]

    assert "" == re.sub(r"^--.*$", "", preamble, flags=re.MULTILINE).strip()


@each_query
def test_a_query_is_one_statement(file_name: str, name: str) -> None:
    """A prepared statement holds one statement, and `;` ends it."""
    statement = without_comments(load_queries(file_name)[name])

    assert statement.endswith(";")
    assert 1 == statement.count(";")
    assert statement.split(maxsplit=1)[0] in {"select", "insert", "update", "delete", "with"}


@each_query
def test_every_parameter_is_explained(file_name: str, name: str) -> None:
    """The parameters count from $1 without a gap, and the comment says what each of them is."""
    query = load_queries(file_name)[name]
    used = numbers_in(without_comments(query))
    explained = numbers_in("\n".join(re.findall(r"^--.*$", query, re.MULTILINE)))

    assert list(range(1, len(used) + 1)) == used
    assert used == explained


@each_query
def test_every_query_is_used(file_name: str, name: str) -> None:
    """A query that no module takes from its file is dead."""
    takers = [use for use in USES if use.file_name == file_name and (name in use.taken or name in use.texts)]

    assert takers


def test_every_query_that_is_taken_is_there() -> None:
    """No module asks for a name that its file does not hold."""
    missing = {(use.module, name) for use in USES for name in use.taken if name not in load_queries(use.file_name)}

    assert set() == missing


def test_every_file_is_loaded() -> None:
    """A file that no module loads is dead, and every file that is loaded is there."""
    assert {path.name for path in FILES} == {use.file_name for use in USES}


def test_names_that_two_files_share_are_told_apart() -> None:
    """A module that loads several files binds each to a name of its own, so equal names of queries cannot clash."""
    for path, tree in modules():
        bound = [variable for variable, _ in loads_in(tree)]

        assert len(set(bound)) == len(bound), path


def test_a_missing_file_is_an_error() -> None:
    """A misspelt name shows at import, not at the first query."""
    with pytest.raises(FileNotFoundError):
        load_queries("nothing.sql")


def without_comments(query: str) -> str:
    return re.sub(r"--.*$", "", query, flags=re.MULTILINE).strip()


def numbers_in(text: str) -> list[int]:
    return sorted({int(number) for number in re.findall(r"\$(\d+)", text)})


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SERVER.rglob("*.py")):
        yield str(path.relative_to(SERVER)), ast.parse(path.read_text(encoding="utf-8"))


def loads_in(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The names that query files are bound to, and the files."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(
                targets=[ast.Name(id=variable)],
                value=ast.Call(func=ast.Name(id="load_queries"), args=[ast.Constant(value=str(file_name))]),
            ):
                yield variable, file_name


def names_in(key: ast.expr, texts: frozenset[str]) -> Iterator[str]:
    """The names that the key of a subscript can stand for."""
    match key:
        case ast.Constant(value=str(name)):
            yield name
        case ast.IfExp(body=body, orelse=orelse):
            yield from names_in(body, texts)
            yield from names_in(orelse, texts)
        case ast.JoinedStr(values=[ast.Constant(value=str(prefix)), ast.FormattedValue()]):
            yield from (f"{prefix}{text}" for text in texts)


def uses() -> Iterator[Use]:
    for module, tree in modules():
        texts = frozenset(
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )
        for variable, file_name in loads_in(tree):
            taken, computed = set[str](), set[str]()
            for node in ast.walk(tree):
                match node:
                    case ast.Subscript(value=ast.Name(id=subject), slice=key) if subject == variable:
                        if isinstance(key, ast.Constant | ast.IfExp):
                            taken |= set(names_in(key, texts))
                        elif isinstance(key, ast.JoinedStr):
                            computed |= set(names_in(key, texts))
                        else:
                            computed |= texts
            yield Use(module, file_name, frozenset(taken), frozenset(computed))


USES = list(uses())
