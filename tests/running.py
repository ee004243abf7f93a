"""Runs `clerksync` as a process of its own, as operators do."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

STARTUP_S = 30.0
POLICY_FOR_ALL = Path(__file__).parent / "policy_for_all.toml"
LOOPBACK = {
    "CLERKSYNC_GRPC_LISTEN": "127.0.0.1:0",
    "CLERKSYNC_GRPC_PLAINTEXT": "1",
    "CLERKSYNC_HTTP_LISTEN": "127.0.0.1:0",
    "CLERKSYNC_OPS_LISTEN": "127.0.0.1:0",
    "CLERKSYNC_LOG_FORMAT": "json",
}
COMMAND = (sys.executable, "-m", "clerksync_server")


class Running:
    """A `clerksync` process. Its output goes to files, so that it never blocks."""

    def __init__(self, *arguments: str, environment: Mapping[str, str], command: tuple[str, ...] = COMMAND) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="clerksync-process-")
        self._out = Path(self._folder.name) / "out"
        self._err = Path(self._folder.name) / "err"
        own = {"CLERKSYNC_POLICY_FILE": str(POLICY_FOR_ALL)} if arguments[:1] == ("service",) else {}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=os.environ | {"PYTHONWARNINGS": "error"} | LOOPBACK | own | dict(environment),
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if kind is not None:
            print(self.out, self.err)
        self._folder.cleanup()

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def log(self, event: str) -> list[dict[str, Any]]:
        """The log lines of an event."""
        lines = [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    async def listening(self) -> dict[str, str]:
        """Waits until it listens; the addresses by `grpc`, `http` and `ops`."""
        return (await self.logged("listening"))[0]

    async def logged(self, event: str) -> list[dict[str, Any]]:
        """Waits until an event was logged."""
        await until(lambda: self.log(event) or self.process.poll() is not None, STARTUP_S)
        lines = self.log(event)
        assert lines, f"{event!r} was not logged; the process {self.process.poll()=} said:\n{self.err}"
        return lines

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Sends the signal; returns how many seconds it took to end."""
        started = time.monotonic()
        self.process.send_signal(number)
        await self.ended()
        return time.monotonic() - started

    async def ended(self) -> int:
        """Waits until the process has ended; its exit code."""
        await until(lambda: self.process.poll() is not None, STARTUP_S)
        return self.process.wait()


async def until(condition: Any, within_s: float, every_s: float = 0.05) -> None:
    """Waits until the condition (a plain or async callable) holds."""
    deadline = time.monotonic() + within_s
    while True:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return
        assert time.monotonic() < deadline, f"not within {within_s} s"
        await asyncio.sleep(every_s)


def run(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"COLUMNS": "200"} | dict(environment or {}),
    )
