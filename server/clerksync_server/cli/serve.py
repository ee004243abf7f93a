"""`clerksync service` and `clerksync front`."""

from clerksync_server.app import serve
from clerksync_server.event_loop import run
from clerksync_server.ops.logs import configure_logs
from clerksync_server.settings import load_settings
from clerksync_server.settings.encryption import asking_problems, serving_problems


def service() -> None:
    """Serve SyncService over gRPC. Needs DATABASE_URL, and a certificate or CLERKSYNC_GRPC_PLAINTEXT=1."""
    settings = load_settings("database_url", serving_problems)
    configure_logs(settings)
    run(serve(settings, service=True))


def front() -> None:
    """Take Clerk's webhooks over HTTP and hand them to SyncService. Needs CLERK_WEBHOOK_SECRET."""
    settings = load_settings("webhook_secrets", asking_problems)
    configure_logs(settings)
    run(serve(settings, front=True))
