"""Starts what is measured and what loads it, each as a process of its own, and ends all of them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.load.jobs import Job, Load

_ROOT: Final = Path(__file__).resolve().parents[1]
_READY_WITHIN_S = 30.0
_ENDS_WITHIN_S = 5.0
# Ends with the one that started it, however that ends. 1 is PR_SET_PDEATHSIG, which only Linux has.
_LAUNCHER = """
import ctypes, runpy, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
module = sys.argv.pop(1)
sys.argv[0] = module
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


class ProcessFailed(Exception):
    """A process did not start, or ended while it was measured. The text holds the end of what it wrote."""


class Process:
    """A Python module that runs. What it writes goes to a file, emptied after each round before it reaches the disk."""

    def __init__(
        self, name: str, module: str, *arguments: str, variables: Mapping[str, str] | None = None, pipes: bool = False
    ) -> None:
        """With `pipes` its standard input and output are pipes of ours."""
        self.name = name
        self._log = tempfile.TemporaryFile(prefix="clerksync-bench-")  # noqa: SIM115  (closed by `end`)
        # Emptied by us, the file is written on from its new end.
        descriptor = os.open(f"/proc/self/fd/{self._log.fileno()}", os.O_WRONLY | os.O_APPEND)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("CLERK", "DATABASE_", "PG"))}
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _LAUNCHER, module, *arguments],
                cwd=_ROOT,
                env=kept | dict(variables or {}),
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else descriptor,
                stderr=descriptor,
                start_new_session=True,  # Ctrl-C is for us, who end it.
            )
        finally:
            os.close(descriptor)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace")

    def check(self) -> None:
        """Raises ProcessFailed if it has ended."""
        if self.process.poll() is not None:
            raise ProcessFailed(f"{self.name} ended with {self.process.returncode}:\n{self.output[-3000:]}")

    def forget_output(self) -> None:
        os.ftruncate(self._log.fileno(), 0)

    def port(self) -> int:
        """Waits for the line that tells where one of the bench's own servers listens."""
        deadline = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < deadline:
            for line in self.output.splitlines():
                if line.isdigit():
                    return int(line)
            self.check()
            time.sleep(0.02)
        raise ProcessFailed(f"{self.name} does not listen after {_READY_WITHIN_S:g} s:\n{self.output[-3000:]}")

    def wait_ready(self, ops_address: str, address: str) -> None:
        """Waits until a process of clerksync says that it is ready, and listens."""
        host, _, port = address.rpartition(":")
        deadline = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                urllib.request.urlopen(f"http://{ops_address}/readyz", timeout=1).close()
                socket.create_connection((host, int(port)), timeout=1).close()
                return
            time.sleep(0.02)
        raise ProcessFailed(f"{self.name} is not ready after {_READY_WITHIN_S:g} s:\n{self.output[-3000:]}")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._log.close()


class Generator:
    """A process of load generators."""

    def __init__(self) -> None:
        self._process = Process("the load generator", "bench.load", pipes=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, job: Job) -> Load:
        """Raises ProcessFailed."""
        pipes = self._process.process
        assert pipes.stdin is not None
        assert pipes.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            pipes.stdin.write(msgspec.json.encode(job) + b"\n")
            pipes.stdin.flush()
        line = pipes.stdout.readline()
        if not line:
            pipes.wait()
            self._process.check()
        return msgspec.json.decode(line, type=Load)

    def end(self) -> None:
        self._process.end()


def free_port() -> int:
    """One that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_for_json(module: str, *arguments: str, variables: Mapping[str, str]) -> object:
    """Runs a module to its end; what it wrote. Raises ProcessFailed."""
    process = Process(module, module, *arguments, variables=variables, pipes=True)
    try:
        assert process.process.stdout is not None
        written = process.process.stdout.read()
        if process.process.wait() != 0:
            process.check()
        return json.loads(written)
    finally:
        process.end()


def run_tool(command: Sequence[str], variables: Mapping[str, str]) -> str:
    """Runs a program to its end; what it wrote. Raises ProcessFailed."""
    done = subprocess.run(command, env=os.environ | dict(variables), capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProcessFailed(f"{Path(command[0]).name} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout
