"""README.md shows what happens."""

from typing import Any

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
    """The Python in the README makes the profile of a user whose webhook was lost."""
    namespace: dict[str, Any] = {}
    exec("\n".join(README.blocks("python")), namespace)
    claims = {"sub": "user_1", "o": {"id": "org_1"}, "iat": now_ms() // 1000}

    profile = await namespace["user_profile"](stack.channel, claims)

    assert ("user_1", "org_1") == (profile.clerk_user_id, profile.clerk_org_id)
