"""What is measured: the groups, and their cases."""

from bench.load.jobs import ClientJob, Pairs, UnaryJob, WebhookJob
from bench.measuring import Case
from bench.site import TRANSPORTS, Site

IN_FLIGHT = {1: (1, 1), 16: (4, 4), 64: (4, 16), 256: (8, 32)}
"""Connections, and streams on each."""


def ensure_cases(site: Site, in_flight: int, seconds: float) -> list[Case]:
    """Echo, hit and miss of both transports, and the naive twin."""
    connections, streams = IN_FLIGHT[in_flight]

    def job(address: str, pairs: Pairs, expect: str) -> UnaryJob:
        return UnaryJob(
            address=address,
            connections=connections,
            streams=streams,
            pairs=pairs,
            seconds=seconds,
            expect="created" if expect == "created" else "existed",
        )

    known, new = Pairs(among=site.profiles), Pairs(new=True)
    cases = []
    for transport in TRANSPORTS:
        echo, service = site.grpc_echo(transport), site.service(transport)
        cases += [
            Case(f"echo, {transport}", echo, job(echo.address, known, "existed")),
            Case(f"hit, {transport}", service, job(service.address, known, "existed")),
            Case(f"miss, {transport}", service, job(service.address, new, "created")),
        ]
    naive = site.naive_service()
    return [
        *cases,
        Case("hit, naive twin", naive, job(naive.address, known, "existed")),
        Case("miss, naive twin", naive, job(naive.address, new, "created")),
    ]


def batch_cases(site: Site, seconds: float) -> list[Case]:
    """Our client's batches, and batches as such, against the bare unary echo."""
    known = Pairs(among=site.profiles)
    echo = site.grpc_echo("grpcio")
    cases = [
        Case(
            "echo, grpcio",
            echo,
            UnaryJob(address=echo.address, connections=4, streams=16, pairs=known, seconds=seconds),
        )
    ]
    for transport in TRANSPORTS:
        service = site.service(transport)
        cases += [
            Case(
                f"client, {callers} caller{'s' * (callers > 1)}, {transport}",
                service,
                ClientJob(address=service.address, callers=callers, pairs=known, seconds=seconds),
            )
            for callers in (1, 256)
        ]
        cases += [
            Case(
                f"batches of {size:,}, {transport}",
                service,
                UnaryJob(
                    address=service.address,
                    connections=2,
                    streams=2,
                    pairs=known,
                    batch=size,
                    expect="existed",
                    seconds=seconds,
                ),
                calls_each=size,
            )
            for size in (64, 1000)
        ]
    return cases


def webhook_cases(site: Site, senders: int, seconds: float) -> list[Case]:
    """From an echo to the whole way, stage by stage, and the naive twin."""
    servers = {stage: site.http(stage) for stage in ("echo", "read", "verify")}
    for transport in TRANSPORTS:
        servers[f"front, no database, {transport}"] = site.front_without_database(transport)
        servers[f"durable, {transport}"] = site.front(transport)
    servers["durable, naive twin"] = site.naive_front()
    return [
        Case(
            name,
            server,
            WebhookJob(
                address=server.address,
                senders=senders,
                members=site.profiles,
                secret=site.secret,
                repeats=server.postgres is None,
                seconds=seconds,
            ),
        )
        for name, server in servers.items()
    ]


def growth_cases(site: Site, sizes: list[int], seconds: float) -> list[Case]:
    """The same at each size; a database, a service and a front for each."""
    cases = []
    for size in sizes:
        service, front = site.service("grpcio", size), site.front("grpcio", size)
        hit = UnaryJob(
            address=service.address,
            connections=4,
            streams=16,
            pairs=Pairs(among=size),
            expect="existed",
            seconds=seconds,
        )
        webhook = WebhookJob(address=front.address, senders=64, members=size, secret=site.secret, seconds=seconds)
        cases += [Case(f"hit, {size:,}", service, hit), Case(f"webhook, {size:,}", front, webhook)]
    return cases
