"""Structured logs to standard error: one line a request, without personal data."""

import contextlib
import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from clerksync_server.settings import Settings


def configure_logs(settings: Settings) -> None:
    """Sends our own lines and those of the libraries through one renderer."""
    console = settings.log_format == "console" or (settings.log_format is None and sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if console
        else structlog.processors.JSONRenderer(serializer=_json)
    )
    # Ours do not take the way of the standard library: there is one for each delivery, and it would cost a third of
    # the front's time.
    structlog.configure(
        processors=[*shared, renderer],
        logger_factory=_Lines,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _without_messages_of_exceptions],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for chatty in ("alembic", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # It calls every malformed request of a stranger an error; ours are logged by the front itself.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    keep_metadata_out()


def keep_metadata_out() -> None:
    """Has gRPC's own lines hold no values, wherever they go: commands that write no log leave them to Python."""
    logging.getLogger("grpc._cython.cygrpc").addFilter(_without_metadata)


def _without_metadata(record: logging.LogRecord) -> bool:
    """Leaves out the values: metadata that is not UTF-8, be it a token. Who sends such makes no error of ours."""
    if record.args:
        record.msg, record.args = str(record.msg).replace("%s", "…"), ()
    if record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError):
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return logging.getLogger(record.name).isEnabledFor(record.levelno)


class _Lines(structlog.WriteLogger):
    """Writes finished lines; one for each module, by whose name they are told apart."""

    def __init__(self, name: str = "") -> None:
        super().__init__(sys.stderr)
        self.name = name

    def msg(self, message: str) -> None:
        # Whoever reads the log may have gone away, or the disk may be full: no request is to fail for that.
        with contextlib.suppress(OSError, ValueError):
            super().msg(message)

    debug = info = warning = error = critical = msg


def _json(line: structlog.typing.EventDict, default: Callable[[Any], Any]) -> str:
    return msgspec.json.encode(line, enc_hook=default).decode()


def frames_of(error: BaseException) -> list[str]:
    """Where an error was raised: file, line and function. Its text is left out, for it may hold values."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


def _without_messages_of_exceptions(
    logger: object, name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Libraries log tracebacks with the texts of exceptions, which may hold values: keep kind and place."""
    info = event.pop("exc_info", None)
    if isinstance(info, tuple) and isinstance(info[1], BaseException):
        event["error"] = type(info[1]).__name__
        event["frames"] = frames_of(info[1])
    if event.get("logger") == "asyncio":
        # Its further lines show the task or the future, and with it the exception.
        event["event"] = str(event["event"]).partition("\n")[0]
    return event
