"""Verifies the signature of a delivery, with the svix library."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from svix.webhooks import Webhook

from clerksync_server.clerk.values import is_id

_HEADER_FAMILIES = ("svix", "webhook")
"""Clerk sends `svix-*`; Standard Webhooks, which Svix can also send, names the same headers `webhook-*`."""
_SECRET = re.compile(r"whsec_(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2,3}={0,2})")


class InvalidSignature(Exception):
    """The delivery is not from Clerk, or not as it was sent. The text says what to look at, and repeats no input."""


@dataclass(frozen=True, slots=True)
class VerifiedDelivery:
    """What the headers tell of a delivery, once its signature has been verified."""

    svix_id: str
    attempted_at_s: int


class SignatureVerifier:
    """Accepts a delivery that is signed with any of the secrets, so that they can be rotated.

    Raises ValueError when made with a secret that cannot be one.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets:
            raise ValueError("at least one secret is needed")
        self._webhooks = [_webhook(secret) for secret in secrets]

    def verify(self, body: bytes, headers: Mapping[str, str]) -> VerifiedDelivery:
        """Verifies the raw bytes. `headers` is looked up without regard to case (an aiohttp multidict does that).

        The timestamp may be 5 minutes off either way. Raises InvalidSignature, whatever is wrong.
        """
        family = next((family for family in _HEADER_FAMILIES if f"{family}-signature" in headers), None)
        if family is None:
            raise InvalidSignature("the header svix-signature (or webhook-signature) is missing")
        signed = {}
        for part in ("id", "timestamp", "signature"):
            value = headers.get(f"{family}-{part}")
            if not value:
                raise InvalidSignature(f"the header {family}-{part} is missing")
            signed[f"svix-{part}"] = value
        if not is_id(signed["svix-id"]):
            raise InvalidSignature(f"the header {family}-id is not 1 to 255 printable ASCII characters")
        if not any(_accepts(webhook, body, signed) for webhook in self._webhooks):
            raise InvalidSignature(
                "the signature does not match: check the signing secret, that the body arrives unaltered, and the clock"
            )
        return VerifiedDelivery(signed["svix-id"], attempted_at_s=math.floor(float(signed["svix-timestamp"])))


def _webhook(secret: str) -> Webhook:
    # The library would take anything, and skip what is not base64: then no delivery would ever match.
    if _SECRET.fullmatch(secret) is None:
        raise ValueError("not a signing secret: expected whsec_ and base64, as Clerk's dashboard shows it")
    return Webhook(secret)


def _accepts(webhook: Webhook, body: bytes, headers: dict[str, str]) -> bool:
    try:
        webhook.verify(body, headers)
    except Exception:  # noqa: BLE001
        # Hostile headers make the library raise more than its own error: ValueError, binascii.Error,
        # UnicodeDecodeError, OverflowError. All of them mean that the delivery is not to be trusted.
        return False
    return True
