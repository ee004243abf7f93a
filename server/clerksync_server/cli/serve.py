"""`clerksync service` and `clerksync front`."""

from clerksync_server.app import serve
from clerksync_server.event_loop import run
from clerksync_server.ops.logs import configure_logs
from clerksync_server.settings import load_settings


def service() -> None:
    """Serve SyncService over gRPC. Needs DATABASE_URL."""
    settings = load_settings("database_url")
    configure_logs(settings)
    run(serve(settings, service=True))


def front() -> None:
    """Take Clerk's webhooks over HTTP and hand them to SyncService. Needs CLERK_WEBHOOK_SECRET."""
    settings = load_settings("webhook_secrets")
    configure_logs(settings)
    run(serve(settings, front=True))
