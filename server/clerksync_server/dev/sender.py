"""Signs and posts deliveries as Svix does."""

from datetime import UTC, datetime

import aiohttp
from svix.webhooks import Webhook

_TIMEOUT = aiohttp.ClientTimeout(total=15)
"""As long as Svix waits."""


def signed_headers(secret: str, svix_id: str, body: bytes, *, family: str = "svix") -> dict[str, str]:
    """The headers of an attempt made now. The body has to be UTF-8."""
    now = datetime.now(UTC)
    return {
        "content-type": "application/json",
        f"{family}-id": svix_id,
        f"{family}-timestamp": str(int(now.timestamp())),
        f"{family}-signature": Webhook(secret).sign(svix_id, now, body.decode()),
    }


async def post_event(url: str, secret: str, svix_id: str, body: bytes) -> tuple[int, str]:
    """Returns the status and the text of the answer. Raises aiohttp.ClientError or TimeoutError if there is none."""
    async with (
        aiohttp.ClientSession(timeout=_TIMEOUT) as session,
        session.post(url, data=body, headers=signed_headers(secret, svix_id, body), allow_redirects=False) as response,
    ):
        return response.status, (await response.text()).strip()
