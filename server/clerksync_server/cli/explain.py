"""`clerksync explain`."""

from typing import Annotated

import typer

from clerksync.v1 import sync_service_pb2, sync_service_pb2_grpc
from clerksync_server.cli.asking import TIMEOUT_S, ask, time_of
from clerksync_server.cli.deliveries import outcome_of
from clerksync_server.cli.showing import print_table, print_values, printable


def explain(
    clerk_user_id: Annotated[str, typer.Argument(help="Clerk's id of the user, user_…")],
    clerk_org_id: Annotated[str, typer.Argument(help="Clerk's id of the organization, org_…")],
) -> None:
    """Tell why a user has a profile in an organization, or why not. Asks SyncService."""
    request = sync_service_pb2.ExplainUserProfileRequest(clerk_user_id=clerk_user_id, clerk_org_id=clerk_org_id)
    response: sync_service_pb2.ExplainUserProfileResponse = ask(
        sync_service_pb2_grpc.SyncServiceStub, lambda stub: stub.ExplainUserProfile(request, timeout=TIMEOUT_S)
    )
    typer.echo(printable(response.summary, but="\n") + "\n")
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
        typer.echo()
        print_table(
            ("committed", "svix-id", "type", "outcome", "because"),
            (
                (
                    time_of(delivery, "commit_time"),
                    delivery.svix_id,
                    delivery.event_type,
                    outcome_of(delivery),
                    delivery.explanation,
                )
                for delivery in response.deliveries
            ),
            title="The last deliveries concerning them",
        )
