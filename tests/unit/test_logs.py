"""Logs: one renderer for all, and no texts of exceptions, which may hold values of rows."""

import asyncio
import gc
import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from clerksync_server.ops.logs import configure_logs, frames_of
from clerksync_server.settings import Settings

MARK = "s3cr3t"
"""Part of the text of every exception."""
FORMATS = ["json", "console"]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Puts the loggers back as pytest has set them up."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    levels = {name: logging.getLogger(name).level for name in ("alembic", "aiohttp.access")}
    yield
    root.handlers = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    structlog.reset_defaults()


def configure(log_format: str, log_level: str = "info") -> logging.Logger:
    configure_logs(Settings.model_validate({"CLERKSYNC_LOG_FORMAT": log_format, "CLERKSYNC_LOG_LEVEL": log_level}))
    return logging.getLogger("a.library")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def fail() -> None:
    raise ValueError(MARK)


def fail_with_a_cause() -> None:
    try:
        fail()
    except ValueError as error:
        raise RuntimeError(f"{MARK} again") from error


def fail_with_a_context() -> None:
    try:
        fail()
    except ValueError:
        raise KeyError(MARK)  # noqa: B904


def fail_with_a_note() -> None:
    error = ValueError("text")
    error.add_note(MARK)
    raise error


def fail_as_a_group() -> None:
    raise ExceptionGroup(MARK, [ValueError(MARK), KeyError(MARK)])


FAILURES = [fail, fail_with_a_cause, fail_with_a_context, fail_with_a_note, fail_as_a_group]


def test_our_own_line_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A line is one JSON object with the event, its level, its logger, the time in UTC, and what was bound to it."""
    configure("json")
    structlog.get_logger("ours").info("delivery", svix_id="msg_1", status=200)
    [line] = lines(capsys)
    timestamp = line.pop("timestamp")

    assert {"event": "delivery", "level": "info", "logger": "ours", "svix_id": "msg_1", "status": 200} == line
    assert timestamp.endswith("Z")


def test_a_log_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody takes the lines any more, writing one fails nothing."""

    class Gone(io.TextIOBase):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    configure("json")
    for write in (structlog.get_logger("ours").info, structlog.get_logger("ours").error):
        write("delivery")


def test_a_foreign_line_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of libraries go through the same renderer."""
    configure("json").warning("%s of %d", "one", 2)
    [line] = lines(capsys)
    del line["timestamp"]

    assert {"event": "one of 2", "level": "warning", "logger": "a.library"} == line


def test_a_line_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Line breaks in a text cannot forge a second line."""
    logger = configure("json")
    logger.error('first\n{"event": "forged"}')
    structlog.get_logger().error("ours\nforged", value="a\r\nb")

    assert 2 == len(lines(capsys))


@pytest.mark.parametrize("log_format", FORMATS)
def test_what_is_bound_to_the_context_is_in_every_line(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of libraries tell to which request they belong, too."""
    logger = configure(log_format)
    with structlog.contextvars.bound_contextvars(request_id="req_1"):
        logger.warning("theirs")
        structlog.get_logger().warning("ours")

    assert 2 == capsys.readouterr().err.count("req_1")


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_keeps_its_kind_and_place(failure: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Of an exception that a library logs, its class and where it was raised remain."""
    logger = configure("json")
    try:
        failure()
    except Exception as error:
        logger.exception("it failed")
        kind = type(error).__name__
    [line] = lines(capsys)

    assert ("it failed", kind) == (line["event"], line["error"])
    assert any(frame.startswith("test_logs.py:") and failure.__name__ in frame for frame in line["frames"])


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_loses_its_text(failure: Any, log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the text of an exception nor that of its causes, notes or parts is written, however it is passed."""
    logger = configure(log_format)
    try:
        failure()
    except Exception as error:
        logger.exception("in the handler")
        logger.critical("as an argument", exc_info=error)
        logger.warning("as true", exc_info=True)
        record = logging.LogRecord("a.library", logging.ERROR, __file__, 1, "formatted before", None, sys.exc_info())
        record.exc_text = f"Traceback: {MARK}"
        logger.handle(record)
    written = capsys.readouterr().err

    for text in ("in the handler", "as an argument", "as true", "formatted before"):
        assert text in written
    assert MARK not in written


@pytest.mark.parametrize("log_format", FORMATS)
def test_a_task_that_nobody_awaits_loses_its_text(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Asyncio's own line about it shows the task, whose repr would show the exception."""

    async def main() -> None:
        async def forgotten() -> None:
            fail()

        task = asyncio.create_task(forgotten())
        await asyncio.wait([task])
        del task
        gc.collect()

    configure(log_format)
    asyncio.run(main())
    written = capsys.readouterr().err

    assert "never retrieved" in written
    assert MARK not in written


@pytest.mark.parametrize("log_format", FORMATS)
def test_no_failure_where_there_is_none(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A library that logs an exception outside of a handler gets its line as well."""
    configure(log_format).exception("nothing was raised")

    assert "nothing was raised" in capsys.readouterr().err


@pytest.mark.parametrize("log_format", FORMATS)
def test_the_frames_of_an_error_of_ours_is_written(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In both formats a defect is logged by kind and place."""
    configure(log_format)
    try:
        fail()
    except ValueError as error:
        structlog.get_logger().error("defect", error="ValueError", frames=frames_of(error))
    written = capsys.readouterr().err

    assert "fail" in written
    assert "test_logs.py:" in written
    assert MARK not in written


@pytest.mark.parametrize(("log_level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_holds_for_all(log_level: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Less severe lines are not written, neither ours nor those of libraries."""
    theirs, ours = configure("json", log_level), structlog.get_logger("ours")
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        theirs.log(level, "theirs")
        ours.log(level, "ours")

    assert ["theirs", "ours"] * count == [line["event"] for line in lines(capsys)]


@pytest.mark.parametrize("name", ["alembic.runtime.migration", "aiohttp.access"])
def test_libraries_that_chatter_are_quiet(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each request and each migration of theirs would repeat ours."""
    configure("json", "debug")
    logging.getLogger(name).info("chatter")
    logging.getLogger(name).warning("something is wrong")

    assert ["something is wrong"] == [line["event"] for line in lines(capsys)]
