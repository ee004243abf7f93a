"""Every error path is driven with marked values, and none of them stands in anything that comes out."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import asyncpg
import bodies
import grpc
import pytest
from running import Running, run
from security.marks import MARKS, SECRET, Outputs
from stack import new_svix_id, now_ms

from clerksync.v1 import delivery_service_pb2, sync_service_pb2
from clerksync_server.access.tokens import line_of
from clerksync_server.dev.sender import signed_headers
from clerksync_server.settings import ENVIRONMENT_NAMES
from fuzz.grpc_port import METHODS

EMAIL, NAME, ODD = MARKS["e-mail"], MARKS["name"], MARKS["ill-formed id"]
RAISING = {
    "message": "raise '%', new.name;",
    "every text": "raise '%', new.name using detail = new.name, hint = new.name, column = new.name, "
    "constraint = new.name, table = new.name, schema = new.name, datatype = new.name, errcode = 'ZZ001';",
    "rights": "raise insufficient_privilege using message = new.name;",
    "unavailable": "raise '%', new.name using errcode = '57P01';",
    "a number": "perform new.name::int;",
    "dynamic": "execute 'select ' || quote_literal(new.name) || '::uuid';",
    "notice": "raise warning '%', new.name; raise notice '%', new.name;",
}
CONSTRAINTS = [
    "alter table public.organization add constraint no_marks check (name not like 'Marked%')",
    "create unique index on public.organization (name)",
    "alter table public.organization alter column name type varchar(5) using left(name, 5)",
]
TRIGGER = """
create or replace function public.odd() returns trigger language plpgsql as $$ begin {body} return new; end $$;
create or replace trigger odd before insert or update on public.organization for each row execute function public.odd();
"""


@pytest.fixture
def tokens(tmp_path: Path) -> dict[str, str]:
    """The marked bearer token is one that SyncService knows."""
    file = tmp_path / "tokens"
    file.write_text(line_of("known", MARKS["bearer token"]))
    return {"CLERKSYNC_TOKENS_FILE": str(file)}


def environment(database_url: str) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "CLERK_WEBHOOK_SECRET": SECRET, "CLERKSYNC_LOG_LEVEL": "debug"}


def marked_bodies() -> list[bytes]:
    """Bodies with marks in every place, well and ill formed."""
    good = bodies.membership(
        "created",
        "user_1",
        "org_1",
        at=now_ms(),
        joined_at=now_ms(),
        role=NAME,
        nested=bodies.snapshot("org_1", name=NAME, slug=NAME, updated_at=now_ms()),
    )
    good["data"]["public_user_data"] |= {"identifier": EMAIL, "first_name": NAME}
    text = json.dumps(good)
    spoilt = [text[: len(text) // 2], text.replace("user_1", ODD), text.replace(str(good["timestamp"]), f'"{EMAIL}"')]
    spoilt += [json.dumps({"type": "user.created", "data": value}) for value in (EMAIL, [NAME], {"id": {NAME: EMAIL}})]
    spoilt += [json.dumps({EMAIL: NAME}), EMAIL, f'{{"type": "user.deleted", "data": {{"id": "{EMAIL} \\ud800"}}}}']
    return [part.encode() for part in (text, *spoilt)]


async def post(outputs: Outputs, url: str, body: bytes, headers: dict[str, str]) -> int:
    async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=headers) as answer:
        outputs.add("an answer of the front", answer.headers, await answer.text())
        return answer.status


async def deliver(outputs: Outputs, url: str, *all_bodies: bytes) -> list[int]:
    """Signed, with marks in headers that nobody reads."""
    strange = {
        "authorization": f"Bearer {MARKS['bearer token']}",
        "cookie": f"a={MARKS['session token']}",
        "x-a": EMAIL,
    }
    return [
        await post(outputs, url, body, signed_headers(SECRET, new_svix_id(), body) | strange) for body in all_bodies
    ]


async def call_everything(outputs: Outputs, target: str) -> set[grpc.StatusCode]:
    """Each method with good, bad and undecodable messages; the codes."""
    token = MARKS["session token"]
    ensure = sync_service_pb2.EnsureUserProfileRequest
    messages: dict[str, list[Any]] = {
        "EnsureUserProfile": [
            ensure(clerk_user_id=ODD, clerk_org_id=EMAIL + " ", session_token=token),
            ensure(clerk_user_id="user_1", clerk_org_id="org_1", session_token=token),
            ensure(clerk_user_id=ODD, clerk_org_id=EMAIL + " "),
            ensure(clerk_user_id="user_1", clerk_org_id="org_1"),
            ensure(clerk_user_id="user_9", clerk_org_id="org_9"),
        ],
        "BatchEnsureUserProfiles": [
            sync_service_pb2.BatchEnsureUserProfilesRequest(requests=[ensure(clerk_user_id=ODD, session_token=token)])
        ],
        "EnsureOrganization": [sync_service_pb2.EnsureOrganizationRequest(clerk_org_id=ODD, session_token=token)],
        "ApplyClerkEvent": [sync_service_pb2.ApplyClerkEventRequest(svix_id=ODD, body=EMAIL.encode())],
        "ApplyClerkEvents": [
            sync_service_pb2.ApplyClerkEventsRequest(
                requests=[sync_service_pb2.ApplyClerkEventRequest(svix_id=ODD, body=EMAIL.encode())]
            )
        ],
        "ExplainUserProfile": [sync_service_pb2.ExplainUserProfileRequest(clerk_user_id=ODD, clerk_org_id=EMAIL + " ")],
        "ListDeliveries": [
            delivery_service_pb2.ListDeliveriesRequest(page_token=EMAIL),
            delivery_service_pb2.ListDeliveriesRequest(page_size=1000),
        ],
        "GetDelivery": [delivery_service_pb2.GetDeliveryRequest(svix_id=ODD)],
        "RedriveDelivery": [delivery_service_pb2.RedriveDeliveryRequest(svix_id=ODD)],
        "WatchRemovals": [sync_service_pb2.WatchRemovalsRequest(position=EMAIL)],
    }
    known = MARKS["bearer token"]
    metadata = [("x-request-id", ODD), ("traceparent", ODD), ("x-a", EMAIL)]
    codes = set()
    async with grpc.aio.insecure_channel(target) as channel:
        for path, streaming in [*METHODS, (f"/clerksync.v1.SyncService/{NAME}", False)]:
            for message in [*messages.get(path.rpartition("/")[2], []), b"\x0a\x7f" + EMAIL.encode()]:
                raw = message if isinstance(message, bytes) else message.SerializeToString()
                for credential in (f"Bearer {known}", f"Bearer {known} of nobody", f"Basic {known}"):
                    method: Any = (channel.unary_stream if streaming else channel.unary_unary)(path)
                    call = method(raw, metadata=[*metadata, ("authorization", credential)], timeout=10)
                    try:
                        answer = await (call.read() if streaming else call)
                        codes.add(grpc.StatusCode.OK)
                        if "Ensure" not in path:  # What is asked for by its caller is meant to come out.
                            outputs.add(f"an answer of {path}", answer)
                    except grpc.aio.AioRpcError as error:
                        codes.add(error.code())
                        # grpcio tells the caller the path it has asked for.
                        told = error.details() if NAME not in path else ""
                        outputs.add(f"a status of {path}", told, *error.trailing_metadata())
                    call.cancel()
    return codes


def ask_commands(outputs: Outputs, ids: list[str], variables: dict[str, str]) -> None:
    commands = [["deliveries", "list"], ["doctor"], ["migrate"], ["prune"]]
    commands += [["deliveries", "show", svix_id] for svix_id in ids] + [["deliveries", "redrive", "--all"]] * bool(ids)
    for command in commands:
        ended = run(*command, environment=variables)
        outputs.add(f"clerksync {' '.join(command)}", ended.stdout, ended.stderr)


async def test_of_rows_requests_and_secrets(
    database_url: str, connection: "asyncpg.Connection[asyncpg.Record]", tokens: dict[str, str]
) -> None:
    """No log, answer, status, trailer, metric or command repeats a marked value, whatever fails."""
    outputs, variables = Outputs(), environment(database_url) | tokens
    outputs.more_marks["database password"] = urlsplit(database_url).password or "no password"
    async with Running("service", environment=variables) as service:
        addresses = await service.listening()
        variables |= {"CLERKSYNC_SERVICE_TARGET": addresses["grpc"]}
        async with Running("front", environment=variables) as front:
            webhooks = f"http://{(await front.listening())['http']}/webhooks/clerk"
            statuses = await deliver(outputs, webhooks, *marked_bodies())
            assert {200, 202} == set(statuses)
            wrong = {"svix-id": ODD, "svix-timestamp": EMAIL, "svix-signature": f"v1,{MARKS['bearer token']}"}
            assert [400, 400] == [
                await post(outputs, webhooks, EMAIL.encode(), headers)
                for headers in (wrong, wrong | {"svix-id": "msg_1"})
            ]
            for number, body in enumerate(RAISING.values()):
                await connection.execute(TRIGGER.format(body=body))
                await deliver(outputs, webhooks, *refused_bodies(number))
                await call_everything(outputs, addresses["grpc"])
            await connection.execute("drop function public.odd cascade")
            for number, statement in enumerate(CONSTRAINTS, len(RAISING)):
                await connection.execute("delete from public.organization")
                await connection.execute(statement)
                await deliver(outputs, webhooks, *refused_bodies(number))
            # A defect: what the code reads is not what it was made for.
            await deliver(outputs, webhooks, organization("created", "org_d", "A"))
            await connection.execute("update public.organization set clerk_updated_at = '-infinity'")
            await deliver(outputs, webhooks, organization("updated", "org_d", NAME))
            codes = await call_everything(outputs, addresses["grpc"])
            assert grpc.StatusCode.INVALID_ARGUMENT in codes
            ids = await connection.fetch("select svix_id from clerksync.webhook_delivery where outcome = 'quarantined'")
            await asyncio.to_thread(ask_commands, outputs, [row["svix_id"] for row in ids][:5], variables)
            await connection.execute("alter schema clerksync rename to gone")
            assert [503] == await deliver(outputs, webhooks, marked_bodies()[0])
            for where in ("metrics", "readyz", "livez"):
                for process in (service, front):
                    ops = (await process.listening())["ops"]
                    async with aiohttp.ClientSession() as http, http.get(f"http://{ops}/{where}") as answer:
                        outputs.add(where, await answer.text())
            await front.stop()
            outputs.add("the front's log", front.out, front.err)
        await service.stop()
        outputs.add("the service's log", service.out, service.err)
        assert service.log("defect")
    assert "raised by a function or trigger" in str(outputs.texts)
    assert outputs.leaks() == []


def organization(verb: str, clerk_org_id: str, name: str) -> bytes:
    return json.dumps(bodies.organization(verb, clerk_org_id, at=now_ms(), name=name, slug=EMAIL)).encode()


def refused_bodies(number: int) -> list[bytes]:
    """Two organizations of one marked name, and one that is changed."""
    events = [("created", f"org_{number}_1"), ("created", f"org_{number}_2"), ("updated", f"org_{number}_1")]
    return [organization(verb, org, NAME) for verb, org in events]


@pytest.mark.parametrize("trouble", ["wrong password", "unknown host", "nobody listens"])
async def test_of_a_database_that_is_not_there(database_url: str, trouble: str, tokens: dict[str, str]) -> None:
    """Nor does anything repeat the password of a URL that leads nowhere."""
    url, password = urlsplit(database_url), quote(MARKS["password"])
    host = {"unknown host": "no-such-host.invalid", "nobody listens": "127.0.0.1:1"}.get(
        trouble, f"{url.hostname}:{url.port}"
    )
    variables = environment(url._replace(netloc=f"{url.username}:{password}@{host}").geturl()) | tokens
    outputs = Outputs()
    async with Running("service", environment=variables) as service:
        addresses = await service.listening()
        codes = await call_everything(outputs, addresses["grpc"])
        assert grpc.StatusCode.UNAVAILABLE in codes
        await asyncio.to_thread(ask_commands, outputs, [], variables | {"CLERKSYNC_SERVICE_TARGET": addresses["grpc"]})
        await service.stop()
        outputs.add("the service's log", service.out, service.err)

    assert outputs.leaks() == []


@pytest.mark.parametrize("name", sorted(ENVIRONMENT_NAMES.values()))
def test_of_settings_that_are_none(name: str) -> None:
    """What is wrong about a setting is told without the value, for every setting."""
    outputs, marked = Outputs(), " ".join(MARKS.values())
    ended = run("migrate", environment=environment("postgresql://u@127.0.0.1:1/d") | {name: f"{marked}://\x01"})
    outputs.add("clerksync migrate", ended.stdout, ended.stderr)

    assert ended.returncode != 0
    assert "clerksync: " in ended.stderr
    assert outputs.leaks() == []
