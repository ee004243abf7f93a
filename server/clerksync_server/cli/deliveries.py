"""`clerksync deliveries`: the ledger of webhook deliveries, through SyncService."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from clerksync.v1 import delivery_service_pb2, delivery_service_pb2_grpc, resources_pb2
from clerksync_server.cli.asking import TIMEOUT_S, CallRefused, ask, time_of
from clerksync_server.cli.showing import console, print_table, print_values, printable
from clerksync_server.database.connection import Database
from clerksync_server.database.deliveries import Outcome
from clerksync_server.database.wire import tell_of_plaintext
from clerksync_server.grpc_api.resources import DELIVERY_OUTCOMES
from clerksync_server.ops.logs import configure_logs
from clerksync_server.settings import load_settings
from clerksync_server.sync.body_keys import BodyKeys
from clerksync_server.sync.reencryption import Reencrypted, reencrypt

if TYPE_CHECKING:
    from clerksync.v1.delivery_service_pb2_grpc import DeliveryServiceAsyncStub

_PREFIX = "DELIVERY_OUTCOME_"
_Answer = TypeVar("_Answer")
_SvixId = Annotated[str, typer.Argument(help="The delivery's svix-id, msg_…")]

app = typer.Typer(help="Read the ledger of webhook deliveries, and re-apply what is quarantined.", no_args_is_help=True)


class ListedOutcome(Enum):
    """The outcomes that the ledger knows."""

    APPLIED = "applied"
    STALE = "stale"
    IGNORED = "ignored"
    QUARANTINED = "quarantined"


@app.command("list")
def list_(
    outcome: Annotated[ListedOutcome | None, typer.Option(help="Only those with this outcome.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many.")] = 50,
) -> None:
    """List deliveries, the latest received first."""
    request = delivery_service_pb2.ListDeliveriesRequest(page_size=limit)
    if outcome is not None:
        request.outcome = DELIVERY_OUTCOMES[Outcome(outcome.value)]
    response = _ask(lambda stub: stub.ListDeliveries(request, timeout=TIMEOUT_S))
    print_table(
        ("received", "svix-id", "type", "outcome", "reason"),
        (
            (
                time_of(delivery, "receive_time"),
                delivery.svix_id,
                delivery.event_type or "-",
                outcome_of(delivery),
                delivery.quarantine_reason,
            )
            for delivery in response.deliveries
        ),
    )
    if response.next_page_token:
        console().print(f"… and more: raise --limit above {limit} to see them.")


@app.command()
def show(
    svix_id: _SvixId,
    body: Annotated[
        bool, typer.Option("--body", help="Print the quarantined body too. It holds personal data.")
    ] = False,
) -> None:
    """Show one delivery."""
    request = delivery_service_pb2.GetDeliveryRequest(svix_id=svix_id, include_body=body)
    response = _ask(lambda stub: stub.GetDelivery(request, timeout=TIMEOUT_S))
    _print(response.delivery)
    if body:
        text = response.delivery.body.decode(errors="backslashreplace")
        # A file gets it byte for byte.
        typer.echo(printable(text, but="\n\t") if sys.stdout.isatty() else text)


@app.command()
def redrive(
    svix_id: Annotated[str | None, typer.Argument(help="The delivery's svix-id, msg_…")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every delivery in quarantine.")] = False,
) -> None:
    """Apply a quarantined delivery again, now that the code understands it. Exits with 1 if any stays in quarantine."""
    if (svix_id is None) is not everything:
        raise typer.BadParameter("name one svix-id, or --all")
    ids = [svix_id] if svix_id is not None else _quarantined_ids()
    stuck = 0
    for quarantined_id in ids:
        try:
            response = _redrive(quarantined_id)
        except CallRefused as error:
            # The others may well be applied.
            typer.echo(f"{quarantined_id}: quarantined ({error})")
            stuck += 1
            continue
        reason = response.delivery.quarantine_reason
        typer.echo(f"{quarantined_id}: {outcome_of(response.delivery)}{f' ({printable(reason)})' if reason else ''}")
        stuck += response.delivery.outcome == resources_pb2.DELIVERY_OUTCOME_QUARANTINED
    if not ids:
        typer.echo("nothing is quarantined")
    if stuck:
        raise typer.Exit(1)


@app.command("reencrypt")
def reencrypt_() -> None:
    """Encrypt all bodies in quarantine with the first key of CLERKSYNC_QUARANTINE_KEY; afterwards the others may go.

    Needs DATABASE_URL too, and does not ask SyncService. Exits with 1 if some of the bodies cannot be opened.
    """
    settings = load_settings("database_url", "quarantine_keys")
    configure_logs(settings)
    assert settings.database_url is not None
    tell_of_plaintext(settings.database_urls)
    database = Database(settings.database_url.get_secret_value(), pool_size=1)
    keys = BodyKeys(settings.quarantine_key_texts)

    async def run() -> Reencrypted:
        await database.open()
        try:
            return await reencrypt(database, keys)
        finally:
            await database.close()

    result = asyncio.run(run())
    typer.echo(f"encrypted {result.done} bodies with the key {keys.current}")
    for svix_id, reason in result.unreadable.items():
        typer.echo(f"{svix_id}: {reason}")
    if result.unreadable:
        raise typer.Exit(1)


def _redrive(svix_id: str) -> delivery_service_pb2.RedriveDeliveryResponse:
    request = delivery_service_pb2.RedriveDeliveryRequest(svix_id=svix_id)
    return _ask(lambda stub: stub.RedriveDelivery(request, timeout=TIMEOUT_S))


def _quarantined_ids() -> list[str]:
    ids: list[str] = []
    request = delivery_service_pb2.ListDeliveriesRequest(
        page_size=1000, outcome=resources_pb2.DELIVERY_OUTCOME_QUARANTINED
    )
    while True:
        response = _ask(lambda stub: stub.ListDeliveries(request, timeout=TIMEOUT_S))
        ids += [delivery.svix_id for delivery in response.deliveries]
        if not response.next_page_token:
            return ids
        request.page_token = response.next_page_token


def _ask(call: "Callable[[DeliveryServiceAsyncStub], Awaitable[_Answer]]") -> _Answer:
    return ask(delivery_service_pb2_grpc.DeliveryServiceStub, call)


def _print(delivery: resources_pb2.Delivery) -> None:
    values = {
        "svix-id": delivery.svix_id,
        "outcome": outcome_of(delivery),
        "because": delivery.explanation,
        "reason": delivery.quarantine_reason,
        "type": delivery.event_type,
        "event time": time_of(delivery, "event_time"),
        "received": time_of(delivery, "receive_time"),
        "committed": time_of(delivery, "commit_time"),
        "user": delivery.clerk_user_id,
        "organization": delivery.clerk_org_id,
        "body sha-256": delivery.body_sha256.hex(),
    }
    print_values(values)


def outcome_of(delivery: resources_pb2.Delivery) -> str:
    return resources_pb2.DeliveryOutcome.Name(delivery.outcome).removeprefix(_PREFIX).lower()
