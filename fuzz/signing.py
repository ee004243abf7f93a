"""Signs bodies that are no UTF-8 too, which the svix library refuses to."""

import base64
import hashlib
import hmac
import time

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  (the example of Svix's documentation)


def signature_headers(svix_id: str, body: bytes, *, family: str = "svix") -> dict[str, str]:
    """The three headers of an attempt made now."""
    timestamp = str(int(time.time()))
    signed = f"{svix_id}.{timestamp}.".encode() + body
    digest = hmac.digest(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256)
    return {
        f"{family}-id": svix_id,
        f"{family}-timestamp": timestamp,
        f"{family}-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
