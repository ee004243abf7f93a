"""The event loop of the commands that serve."""

import asyncio

import pytest

from clerksync_server import event_loop


@pytest.fixture
def loops() -> list[str]:
    """The modules of the loops that a coroutine was run on."""
    return []


def test_uvloop_where_there_is_one(loops: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """They run on uvloop if it is installed, and on asyncio's own loop else."""

    async def main() -> None:
        loops.append(type(asyncio.get_running_loop()).__module__.partition(".")[0])

    pytest.importorskip("uvloop", reason="uvloop is not installed: there is none for Windows")
    event_loop.run(main())
    monkeypatch.setattr(event_loop, "_new_event_loop", None)
    event_loop.run(main())

    assert ["uvloop", "asyncio"] == loops
