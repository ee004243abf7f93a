"""When a transaction is run again."""

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from clerksync_server.database.errors import RETRYABLE

_ATTEMPTS = 5


def repeated_if_lost() -> AsyncRetrying:
    """Attempts at a transaction, for as long as it loses against others; the last one raises what it raises."""
    return AsyncRetrying(
        retry=retry_if_exception_type(RETRYABLE),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.01, max=0.25),
        reraise=True,
    )
