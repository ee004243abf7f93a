"""The webhook secret that `clerksync dev` makes when none is given."""

import base64
import os
import secrets
from pathlib import Path

_FILE = "webhook-secret"


def read_webhook_secret(data_dir: Path) -> str | None:
    """The secret made earlier, if there is one that this user can read."""
    try:
        return (data_dir / _FILE).read_text(encoding="ascii").strip() or None
    except OSError:
        return None


def make_webhook_secret(data_dir: Path) -> str:
    """Makes a secret and keeps it, readable by its owner alone, so that the next start has the same."""
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    descriptor = os.open(data_dir / _FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secret + "\n")
    return secret
