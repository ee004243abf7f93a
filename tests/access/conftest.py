"""A SyncService with a policy, and a token for each kind of caller."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stack import Stack

from clerksync_server.access.tokens import line_of

TOKENS = {role: f"token-of-the-{role}" for role in ("front", "sibling", "operator", "stranger")}
POLICY = """
[[callers]]
identity = "token:front"
roles = ["front"]

[[callers]]
identity = "token:sibling"
roles = ["sibling"]

[[callers]]
identity = "token:operator"
roles = ["operator"]
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The variables that name a policy and the tokens of its callers, and of a stranger to it."""
    policy, tokens = tmp_path / "policy.toml", tmp_path / "tokens"
    policy.write_text(POLICY)
    tokens.write_text("\n".join(line_of(name, token) for name, token in TOKENS.items()))
    return {"CLERKSYNC_POLICY_FILE": str(policy), "CLERKSYNC_TOKENS_FILE": str(tokens)}


@pytest.fixture
async def guarded(start_stack: Callable[..., Any], files: dict[str, str]) -> Stack:
    """SyncService that asks who calls."""
    stack: Stack = await start_stack(**files)
    return stack
