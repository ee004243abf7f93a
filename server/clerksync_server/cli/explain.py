"""`clerksync explain`."""

from typing import Annotated

import typer
from rich.table import Table

from clerksync.v1 import sync_service_pb2, sync_service_pb2_grpc
from clerksync_server.cli.asking import TIMEOUT_S, ask, console, print_values, time_of
from clerksync_server.cli.deliveries import outcome_of


def explain(
    clerk_user_id: Annotated[str, typer.Argument(help="Clerk's id of the user, user_…")],
    clerk_org_id: Annotated[str, typer.Argument(help="Clerk's id of the organization, org_…")],
) -> None:
    """Tell why a user has a profile in an organization, or why not. Asks SyncService."""
    request = sync_service_pb2.ExplainUserProfileRequest(clerk_user_id=clerk_user_id, clerk_org_id=clerk_org_id)
    response: sync_service_pb2.ExplainUserProfileResponse = ask(
        sync_service_pb2_grpc.SyncServiceStub, lambda stub: stub.ExplainUserProfile(request, timeout=TIMEOUT_S)
    )
    typer.echo(response.summary + "\n")
    print_values(
        {
            "role": response.user_profile.role,
            "membership": response.user_profile.clerk_membership_id,
            "membership since": time_of(response.membership_times, "create_time"),
            "last change": time_of(response.membership_times, "update_time"),
            "evidence": time_of(response, "evidence_time"),
            "organization": response.organization.name,
            "removed": time_of(response.tombstone, "remove_time"),
            "removed membership": response.tombstone.through_membership_id,
            "user deleted": time_of(response, "user_delete_time"),
            "organization deleted": time_of(response, "organization_delete_time"),
            "Ensure would answer": response.ensure_now,
        }
    )
    if response.deliveries:
        table = Table(box=None, title="The last deliveries concerning them", title_justify="left")
        for column in ("committed", "svix-id", "type", "outcome", "because"):
            table.add_column(column, overflow="fold")
        for delivery in response.deliveries:
            committed = time_of(delivery, "commit_time")
            table.add_row(committed, delivery.svix_id, delivery.event_type, outcome_of(delivery), delivery.explanation)
        console().print()
        console().print(table)
