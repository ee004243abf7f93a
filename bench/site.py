"""All that runs during the measurements: started when it is first needed, ended together."""

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from bench.cpu import family_cpu_s, process_cpu_s
from bench.database import Postgres
from bench.processes import Generator, Process, free_port

Transport = Literal["grpcio", "native"]
TRANSPORTS: tuple[Transport, ...] = ("grpcio", "native")
_POLICY = Path(__file__).parent / "policy.toml"
_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  (made up)


@dataclass(frozen=True)
class Server:
    """Something that is loaded, and whose CPU is counted."""

    address: str
    processes: Mapping[str, Process]
    """By what they are in the results."""
    postgres: Postgres | None = None

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far, by part."""
        seconds = {name: process_cpu_s(process.pid) for name, process in self.processes.items()}
        if self.postgres is not None:
            seconds["postgres"] = family_cpu_s(self.postgres.pid)
        return seconds

    def check(self) -> None:
        """Raises ProcessFailed if a process has ended."""
        for process in self.processes.values():
            process.check()

    def forget_output(self) -> None:
        for process in self.processes.values():
            process.forget_output()


class Site:
    """Postgres with its databases, the servers, and a process of load generators."""

    def __init__(self, profiles: int) -> None:
        """`profiles` is how many the usual database has."""
        self.profiles = profiles
        self.secret = _SECRET
        self._closing = ExitStack()
        self._databases: dict[int | None, str] = {}
        self._servers: dict[tuple[object, ...], Server] = {}

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            folder = Path(starting.enter_context(tempfile.TemporaryDirectory(prefix="clerksync-bench-")))
            folder.chmod(0o755)  # Started by root, Postgres runs as another user, who has to get here.
            self.postgres = Postgres(folder / "postgres")
            starting.callback(self.postgres.stop)
            self.postgres.start()
            self.generator = Generator()
            starting.callback(self.generator.end)
            self._closing = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.close()

    def database(self, profiles: int | None = None) -> str:
        """How to connect to the usual database, or to another one with so many profiles; made when first asked for."""
        if profiles not in self._databases:
            name = "usual" if profiles is None else f"filled_{profiles}"
            self._databases[profiles] = self.postgres.database(name, profiles or self.profiles)
        return self._databases[profiles]

    def grpc_echo(self, transport: Transport) -> Server:
        return self._once(("grpc_echo", transport), lambda: self._bare("bench.servers.grpc_echo", transport))

    def answering(self, transport: Transport) -> Server:
        """A SyncService without Postgres."""
        return self._once(("answering", transport), lambda: self._bare("bench.servers.answering", transport))

    def http(self, stage: str) -> Server:
        return self._once(("http", stage), lambda: self._bare("bench.servers.http_echo", stage))

    def service(self, transport: Transport, profiles: int | None = None) -> Server:
        return self._once(("service", transport, profiles), lambda: self._service(transport, profiles))

    def front(self, transport: Transport, profiles: int | None = None) -> Server:
        """The whole way of a delivery."""
        return self._once(("front", transport, profiles), lambda: self._front(self.service(transport, profiles)))

    def front_without_database(self, transport: Transport) -> Server:
        return self._once(("front alone", transport), lambda: self._front(self.answering(transport)))

    def naive_service(self) -> Server:
        def start() -> Server:
            process = self._started("the naive service", "bench.naive.service", DATABASE_URL=self.database())
            return Server(f"127.0.0.1:{process.port()}", {"service": process}, self.postgres)

        return self._once(("naive service",), start)

    def naive_front(self) -> Server:
        def start() -> Server:
            service = self.naive_service()
            process = self._started(
                "the naive front",
                "bench.naive.front",
                CLERK_WEBHOOK_SECRET=self.secret,
                CLERKSYNC_SERVICE_TARGET=service.address,
            )
            return Server(f"127.0.0.1:{process.port()}", {"front": process, **service.processes}, self.postgres)

        return self._once(("naive front",), start)

    def _once(self, key: tuple[object, ...], start: Callable[[], Server]) -> Server:
        if key not in self._servers:
            self._servers[key] = start()
        return self._servers[key]

    def _started(self, name: str, module: str, *arguments: str, **variables: str) -> Process:
        process = Process(name, module, *arguments, variables=variables)
        self._closing.callback(process.end)
        return process

    def _bare(self, module: str, argument: str) -> Server:
        process = self._started(f"{module} {argument}", module, argument, CLERK_WEBHOOK_SECRET=self.secret)
        return Server(f"127.0.0.1:{process.port()}", {"service": process})

    def _service(self, transport: Transport, profiles: int | None) -> Server:
        address, ops = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        process = self._started(
            f"SyncService ({transport})",
            "clerksync_server",
            "service",
            DATABASE_URL=self.database(profiles),
            CLERKSYNC_GRPC_LISTEN=address,
            CLERKSYNC_GRPC_PLAINTEXT="1",
            CLERKSYNC_GRPC_TRANSPORT=transport,
            CLERKSYNC_OPS_LISTEN=ops,
            CLERKSYNC_POLICY_FILE=str(_POLICY),
        )
        process.wait_ready(ops, address)
        return Server(address, {"service": process}, self.postgres)

    def _front(self, service: Server) -> Server:
        address, ops = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        process = self._started(
            "the front",
            "clerksync_server",
            "front",
            CLERK_WEBHOOK_SECRET=self.secret,
            CLERKSYNC_SERVICE_TARGET=service.address,
            CLERKSYNC_HTTP_LISTEN=address,
            CLERKSYNC_OPS_LISTEN=ops,
        )
        process.wait_ready(ops, address)
        return Server(address, {"front": process, **service.processes}, service.postgres)
