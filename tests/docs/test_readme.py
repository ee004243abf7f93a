"""README.md shows what happens."""

import asyncio
from typing import Any

import httpx
from docs.pages import page
from stack import Stack, now_ms

from clerksync_server.dev.story import Story

README = page("README.md")


def test_the_story_is_shown_as_it_is_played() -> None:
    """The output in the README has each delivery of the story that `make run` plays, in its order."""
    expected = [[delivery.what_happens.strip(), delivery.event["type"]] for delivery in Story().deliveries()]

    shown = [line for block in README.blocks("text") for line in block.splitlines() if '"outcome"' in line]

    assert expected == [[line[:44].strip(), line[44:].split()[0]] for line in shown]


async def test_the_python_makes_a_profile(stack: Stack) -> None:
    """The Python in the README makes the profile of a user whose webhook was lost, and serves it."""
    (code,) = README.blocks("python")
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(code.replace("dns:///clerksync:50051", stack.target), namespace)
    claims = {"sub": "user_1", "o": {"id": "org_1"}, "iat": now_ms() // 1000}

    async def authenticated(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["claims"] = claims
        await namespace["app"](scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(authenticated), base_url="http://service") as browser:
        await namespace["client"].ready()
        async with asyncio.timeout(10):
            # The budget is short for a machine that is busy with other tests.
            while (served := (await browser.get("/")).json()) == {"profile": None}:
                await asyncio.sleep(0.1)
    await namespace["client"].close()

    assert [served["profile"]] == [row["id"] for row in await stack.rows("select id::text as id from user_profile")]
