"""What a command says when it cannot do its work."""

from clerksync_server.database.migrate import MigrationError
from clerksync_server.dev.embedded_postgres import EmbeddedPostgresError
from clerksync_server.errors import ClerksyncError
from clerksync_server.grpc_api.server import CannotListen, ServerEnded
from clerksync_server.settings import InvalidSettings
from clerksync_server.settings.encryption import UnusableSettingFile


class CommandFailed(Exception):
    """A command cannot go on. The text says why, and what to do."""


KNOWN_FAILURES = (
    CommandFailed,
    InvalidSettings,
    CannotListen,
    ServerEnded,
    ClerksyncError,
    EmbeddedPostgresError,
    MigrationError,
    UnusableSettingFile,
)


def exit_code_of(error: BaseException) -> int:
    """2 for what is wrong in the environment, as for a wrong command line; 1 for anything else."""
    return 2 if isinstance(error, InvalidSettings | UnusableSettingFile) else 1
