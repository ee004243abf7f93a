"""What a client has in memory that is asked for ever new pairs, and may keep a tenth of the answers.

`python -m bench.client_memory ADDRESS PAIRS` prints it as JSON.
"""

import asyncio
import os
import sys
from collections.abc import Iterator

import msgspec

from bench import ids
from bench.cpu import memory_bytes
from bench.results import Memory
from clerksync import SyncClient

_CALLERS = 256


async def measure(address: str, pairs: int) -> Memory:
    tenth = pairs // 10
    async with SyncClient(address, cache_size=tenth) as client:
        await client.ready()

        async def ask(numbers: Iterator[int]) -> None:
            for number in numbers:
                await client.ensure_user_profile(*ids.pair(number))

        async def ask_all(numbers: range) -> int:
            following = iter(numbers)
            await asyncio.gather(*(ask(following) for _ in range(_CALLERS)))
            return memory_bytes(os.getpid())

        start = memory_bytes(os.getpid())
        after_tenth = await ask_all(range(tenth))
        end = await ask_all(range(tenth, pairs))
        assert client.kept == tenth, "the answers were not kept"
    return Memory(calls=pairs, start=start, after_tenth=after_tenth, end=end)


if __name__ == "__main__":
    memory = asyncio.run(measure(sys.argv[1], int(sys.argv[2])))
    sys.stdout.buffer.write(msgspec.json.encode(memory))
