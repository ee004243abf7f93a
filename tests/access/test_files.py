"""Policy and tokens as files: reloaded, and checked at the start."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from access.conftest import POLICY, TOKENS
from access.test_every_method import call
from running import LOOPBACK, Running, run, until
from stack import Stack
from structlog.testing import capture_logs

from clerksync_server.access.files import FileRefused, LookedAtTogether, ReloadedFile
from clerksync_server.access.tokens import hash_of, line_of, parse_tokens

METHOD = "clerksync.v1.SyncService/EnsureUserProfile"


def replace(path: str, text: str) -> None:
    """As Kubernetes does: another file takes the name."""
    new = Path(f"{path}.new")
    new.write_text(text)
    new.replace(path)


async def told(stack: Stack, caller: str, expected: str) -> str:
    """What the caller is told, once it is what is expected, or after two seconds."""
    for _ in range(40):
        if (answer := (await call(stack.channel, METHOD, caller))[0]) == expected:
            break
        await asyncio.sleep(0.05)
    return answer


async def test_a_policy_that_changes(guarded: Stack, files: dict[str, str]) -> None:
    """A new policy holds without a restart; one that cannot be read is told to the log, and changes nothing."""
    assert "let in" == await told(guarded, "sibling", "let in")
    replace(files["CLERKSYNC_POLICY_FILE"], POLICY.replace('"token:sibling"', '"token:stranger"'))
    assert "PERMISSION_DENIED" == await told(guarded, "sibling", "PERMISSION_DENIED")
    assert "let in" == await told(guarded, "a stranger", "let in")

    with capture_logs() as logs:
        replace(files["CLERKSYNC_POLICY_FILE"], "callers = []\nnonsense")
        await asyncio.sleep(1.1)
        for _ in range(3):
            assert "let in" == await told(guarded, "a stranger", "let in")
        Path(files["CLERKSYNC_POLICY_FILE"]).unlink()
        await asyncio.sleep(1.1)
        assert "let in" == await told(guarded, "a stranger", "let in")
    assert [line["log_level"] for line in logs if "cannot be used" in line["event"]] == ["error", "error"]


async def test_a_token_is_replaced(guarded: Stack, files: dict[str, str]) -> None:
    """While one token replaces another both are good; without its line the old one is not."""
    lines = Path(files["CLERKSYNC_TOKENS_FILE"]).read_text()
    replace(files["CLERKSYNC_TOKENS_FILE"], f"{lines}\n# the next one\n{line_of('sibling', 'token-of-nobody')}\n")
    assert "let in" == await told(guarded, "a wrong token", "let in")
    assert "let in" == await told(guarded, "sibling", "let in")

    replace(files["CLERKSYNC_TOKENS_FILE"], line_of("sibling", "token-of-nobody"))
    assert "UNAUTHENTICATED" == await told(guarded, "sibling", "UNAUTHENTICATED")
    assert "let in" == await told(guarded, "a wrong token", "let in")


async def test_an_emptied_tokens_file_is_not_used(guarded: Stack, files: dict[str, str]) -> None:
    """A file without a token turns nobody away: it is told to the log, and the tokens before stay."""
    with capture_logs() as logs:
        replace(files["CLERKSYNC_TOKENS_FILE"], "# nobody\n")
        await asyncio.sleep(1.1)
        assert "let in" == await told(guarded, "sibling", "let in")

    assert ["error"] == [line["log_level"] for line in logs if "cannot be used" in line["event"]]


def test_files_changed_together_are_seen_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sees the one file anew sees the other anew as well, whichever is asked for first."""
    now = 0.0
    monkeypatch.setattr("clerksync_server.access.files.time.monotonic", lambda: now)
    paths = [tmp_path / "policy", tmp_path / "tokens"]
    for path in paths:
        path.write_text("old")
    together = LookedAtTogether()
    first, second = (ReloadedFile(path, bytes.decode, together) for path in paths)
    now = 0.9
    for path in paths:
        replace(str(path), "new")
    assert "old" == first.current()
    now = 1.0

    assert ["new", "new"] == [second.current(), first.current()]


def test_the_file_holds_no_token() -> None:
    """`clerksync token` prints a token, another one each time, and a line for the file that holds only its hash."""
    shown = [run("token", "shop").stdout.splitlines() for _ in range(2)]
    tokens, lines = [text[1].strip() for text in shown], [text[4].strip() for text in shown]

    assert len(set(tokens)) == 2
    assert all(len(token) >= 40 for token in tokens)
    assert parse_tokens("\n".join(lines).encode()) == {hash_of(token): "shop" for token in tokens}
    assert not any(token in line for token in tokens for line in lines)
    assert run("token", "two words").returncode == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("shop secret", "line 1: expected NAME sha256:HASH"),
        (f"# shop\n\nshop sha256:{'g' * 64}", "line 3"),
        (f"shop sha256:{'A' * 64}", "line 1"),
        (f"a sha256:{'0' * 64}\nb sha256:{'0' * 64}", "line 2: another name has this token already"),
    ],
)
def test_lines_that_are_refused(text: str, problem: str) -> None:
    """An ill-formed line is refused with its number, and not repeated: it may be a token."""
    with pytest.raises(FileRefused) as refused:
        parse_tokens(text.encode())

    assert problem in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("name", ["CLERKSYNC_POLICY_FILE", "CLERKSYNC_TOKENS_FILE"])
def test_a_file_that_cannot_be_used_at_the_start(tmp_path: Path, database_url: str, name: str) -> None:
    """The service does not start, and names the variable, the file and what is wrong."""
    broken = tmp_path / "broken"
    broken.write_text("nonsense")
    for path, problem in ((broken, "broken: "), (tmp_path / "absent", "absent cannot be read: No such file")):
        done = run("service", environment={**LOOPBACK, "DATABASE_URL": database_url, name: str(path)})
        assert (done.returncode, done.stdout) == (2, "")
        assert f"clerksync: {name}: {tmp_path}/" in done.stderr
        assert problem in done.stderr


async def test_without_a_policy(database_url: str) -> None:
    """`clerksync service` that was told no policy serves nobody but health, and says which variable it needs."""
    environment = {"DATABASE_URL": database_url, "CLERKSYNC_POLICY_FILE": ""}
    async with Running("service", environment=environment) as service:
        target = (await service.listening())["grpc"]
        async with grpc.aio.insecure_channel(target) as channel:
            answers = [(await call(channel, name, "nobody"))[0] for name in (METHOD, "grpc.health.v1.Health/Check")]
        (warning,) = service.log("every call is turned away")

    assert answers == ["UNAUTHENTICATED", "let in"]
    assert "CLERKSYNC_POLICY_FILE" in warning["hint"]


@pytest.mark.parametrize(
    ("reflection", "answers"),
    [
        ("operators", {"nobody": "UNAUTHENTICATED", "sibling": "PERMISSION_DENIED", "operator": "let in"}),
        ("everyone", {"nobody": "let in", "sibling": "let in", "operator": "let in"}),
    ],
)
async def test_reflection(start_stack: Any, files: dict[str, str], reflection: str, answers: dict[str, str]) -> None:
    """Reflection answers operators, or everyone, as the setting says."""
    stack = await start_stack(**files, CLERKSYNC_REFLECTION=reflection)
    name = "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

    assert {caller: (await call(stack.channel, name, caller))[0] for caller in answers} == answers


async def test_no_reflection(start_stack: Any, files: dict[str, str]) -> None:
    """Switched off, reflection is not there for anybody."""
    stack = await start_stack(**files, CLERKSYNC_REFLECTION="off")
    stub = stack.channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub(iter([b""]), metadata=(("authorization", f"Bearer {TOKENS['operator']}"),), timeout=5).read()
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_log_names_the_caller(database_url: str, files: dict[str, str]) -> None:
    """A call's log line tells whose it was, if that is known, and never the token."""
    async with Running("service", environment={"DATABASE_URL": database_url} | files) as service:
        async with grpc.aio.insecure_channel((await service.listening())["grpc"]) as channel:
            for caller in ("sibling", "front", "a wrong token"):
                await call(channel, METHOD, caller)
        await until(lambda: len(service.log("call")) == 3, 5)
        lines, output = service.log("call"), service.out + service.err

    assert [line.get("caller") for line in lines] == ["token:sibling", "token:front", None]
    assert [line["code"] for line in lines] == ["INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAUTHENTICATED"]
    assert not any(token in output for token in TOKENS.values())


async def test_a_caller_that_has_to_prove_sessions(start_stack: Any, files: dict[str, str]) -> None:
    """Whom the policy has prove sessions is refused without the end user's token, and others are not."""
    front = '[[callers]]\nidentity = "token:front"\nroles = ["sibling"]\n'
    policy = f'{front}\n[[callers]]\nidentity = "token:sibling"\nroles = ["sibling"]\nmust_prove_sessions = true\n'
    replace(files["CLERKSYNC_POLICY_FILE"], policy)
    stack = await start_stack(**files)

    assert ("UNAUTHENTICATED", "SESSION_TOKEN_MISSING") == await call(stack.channel, METHOD, "sibling")
    assert ("let in", "") == await call(stack.channel, METHOD, "front")


async def test_what_anybody_may(start_stack: Any, files: dict[str, str]) -> None:
    """A call that the policy lets anybody make is also let in with a token, but not with a wrong one."""
    replace(files["CLERKSYNC_POLICY_FILE"], '[[callers]]\nidentity = "anonymous"\nroles = ["sibling"]\n')
    stack = await start_stack(**files)

    told = {caller: (await call(stack.channel, METHOD, caller))[0] for caller in ("nobody", "front", "a wrong token")}
    assert told == {"nobody": "let in", "front": "let in", "a wrong token": "UNAUTHENTICATED"}
