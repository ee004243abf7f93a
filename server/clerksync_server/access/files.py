"""Files that are read anew when they change, as Kubernetes mounts them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog

_Content = TypeVar("_Content")
_log = structlog.get_logger(__name__)
_LOOK_EVERY_S = 1.0
_MOST_LOOKS = 3


class FileRefused(Exception):
    """The file cannot be used. The text says why, and repeats nothing secret."""


class LookedAtTogether:
    """Files that may be changed in one go, as Kubernetes does it: nobody sees the one anew and the other as before."""

    def __init__(self) -> None:
        self._files: list[ReloadedFile[Any]] = []
        self._looked_at = time.monotonic()

    def add(self, file: "ReloadedFile[Any]") -> None:
        self._files.append(file)

    def look(self) -> None:
        """Reads what has changed, at most once a second."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        # Once more if they are changed meanwhile.
        for _ in range(_MOST_LOOKS):
            if not [file for file in self._files if file.look()]:
                break


class ReloadedFile(Generic[_Content]):
    """The content of a file. A new version that cannot be used is told to the log once, and the one before stays."""

    def __init__(
        self, path: Path, parse: Callable[[bytes], _Content], together: LookedAtTogether | None = None
    ) -> None:
        """`parse` raises FileRefused, and so does this if the file cannot be used now."""
        self._path = path
        self._parse = parse
        self._seen = self._mark()
        self._content = self._read()
        self._together = together or LookedAtTogether()
        self._together.add(self)

    def current(self) -> _Content:
        """At most a second old."""
        self._together.look()
        return self._content

    def look(self) -> bool:
        """Reads it if it has changed, and says whether it has."""
        mark = self._mark()
        if mark == self._seen:
            return False
        self._seen = mark
        try:
            self._content = self._read()
        except FileRefused as error:
            _log.error("a file has changed and cannot be used; what it held before stays", problem=str(error))
        else:
            _log.info("a file has changed and was read", path=str(self._path))
        return True

    def _mark(self) -> tuple[int, ...] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> _Content:
        try:
            data = self._path.read_bytes()
        except OSError as error:
            raise FileRefused(f"{self._path} cannot be read: {error.strerror}") from None
        try:
            return self._parse(data)
        except FileRefused as error:
            raise FileRefused(f"{self._path}: {error}") from None
