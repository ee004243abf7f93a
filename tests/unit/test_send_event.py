"""Where `clerksync send-event` posts to, of which no password may be told."""

import traceback
from pathlib import Path

import pytest

from clerksync_server.cli.failure import CommandFailed
from clerksync_server.cli.send_event import send_event

MARK = "hunter2"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NO_URLS = [
    "ftp://user:hunter2 word@127.0.0.1/x",
    "ftp://user:hunter2é@127.0.0.1/",
    "http:/user:hunter2@h/",
    "//user:hunter2@127.0.0.1/",
    "http://user:hunter2@[::1/",
    "http://user:hunter2@127.0.0.1:99999/",
    "http://user:hunter2@127.0.0.1:port/",
    "http://user:hunter2/word@127.0.0.1/",
    "http://user:1/hunter2@127.0.0.1/",
    "http://user:1?hunter2@127.0.0.1/",
    "http://user:1#hunter2@127.0.0.1/",
    "http://user:hunter2@/",
    "hunter2",
    "user:hunter2@127.0.0.1:1/x",
    "user:1?hunter2@127.0.0.1:1/x",
]
NOBODY_THERE = [
    "http://user:hunter2@127.0.0.1:1/x",
    "http://user:hunter2é word@127.0.0.1:1/x",
    "http://user:hunter2@x@127.0.0.1:1/x",
    "http://127.0.0.1:1/x?key=hunter2",
    "https://user:hunter2@127.0.0.1:1/x",
]


def refusal(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CLERK_WEBHOOK_SECRET", SECRET)
    with pytest.raises(CommandFailed) as caught:
        send_event(sample="organization.created", url=url)
    assert MARK not in "".join(traceback.format_exception_only(caught.value))
    return str(caught.value)


@pytest.mark.parametrize("url", NO_URLS)
def test_what_is_no_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL that cannot be posted to is refused with what is expected, and without a part of it."""
    assert refusal(url, monkeypatch).startswith("--url: ")


@pytest.mark.parametrize("url", NOBODY_THERE)
def test_where_nobody_listens(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not answer, and why, is told without user, password and query."""
    place = f"{url.partition(':')[0]}://127.0.0.1:1/x"
    assert refusal(url, monkeypatch) == f"{place} could not be reached: Connection refused"


def test_what_cannot_be_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not UTF-8 is refused for that, and not for a front that could not be reached."""
    monkeypatch.setenv("CLERK_WEBHOOK_SECRET", SECRET)
    (tmp_path / "body").write_bytes(b"\xff")
    with pytest.raises(CommandFailed, match="body is not UTF-8"):
        send_event(file=tmp_path / "body", url="http://127.0.0.1:1/")
