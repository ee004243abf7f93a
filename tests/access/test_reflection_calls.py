"""Reflection is a call like others: it is told to the log, counted, and ended when a replica stops."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog
from access.conftest import POLICY, TOKENS
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from stack import Stack, error_info
from structlog.testing import capture_logs
from transports import TRANSPORTS

QUESTION = reflection_pb2.ServerReflectionRequest(list_services="")
pytestmark = pytest.mark.parametrize("transport", TRANSPORTS)


def ask(stack: Stack, caller: str, *questions: Any) -> Any:
    """A stream of answers."""

    async def requests() -> AsyncIterator[Any]:
        for question in questions:
            yield question

    metadata = (("authorization", f"Bearer {TOKENS[caller]}"),)
    return reflection_pb2_grpc.ServerReflectionStub(stack.channel).ServerReflectionInfo(
        requests(), metadata=metadata, timeout=10
    )


async def answers_of(stream: Any) -> tuple[int, str]:
    """How many there are, and the reason why there are no more."""
    number = 0
    try:
        async for _ in stream:
            number += 1
    except grpc.aio.AioRpcError as error:
        return number, error_info(error).reason
    return number, ""


async def test_one_line_a_call(guarded: Stack) -> None:
    """Each stream leaves one line with its caller, also of one that is turned away."""
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        told = [await answers_of(ask(guarded, caller, QUESTION, QUESTION)) for caller in ("operator", "sibling")]

    assert told == [(2, ""), (0, "METHOD_NOT_ALLOWED")]
    assert [(line["method"], line["caller"], line["code"]) for line in lines if line["event"] == "call"] == [
        ("ServerReflectionInfo", "token:operator", "OK"),
        ("ServerReflectionInfo", "token:sibling", "PERMISSION_DENIED"),
    ]


async def test_each_question_counts(start_stack: Any, files: dict[str, str]) -> None:
    """A caller's limit holds for its questions, on one stream or on several."""
    limited = POLICY.replace('roles = ["operator"]', 'roles = ["operator"]\ncalls_per_second = 3')
    Path(files["CLERKSYNC_POLICY_FILE"]).write_text(limited)
    stack = await start_stack(**files)

    first, second, third = [await answers_of(ask(stack, "operator", QUESTION, QUESTION)) for _ in range(3)]

    assert (first, second, third) == ((2, ""), (1, "RATE_LIMITED"), (0, "RATE_LIMITED"))


async def test_what_is_no_question(guarded: Stack) -> None:
    """Bytes that are no question are the caller's fault."""
    stub: Any = guarded.channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    stream = stub(iter([b"\x0a\x7f"]), metadata=(("authorization", f"Bearer {TOKENS['operator']}"),), timeout=10)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream.read()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_replica_that_stops(guarded: Stack) -> None:
    """A stream that is open then is ended, with the reason."""
    metadata = (("authorization", f"Bearer {TOKENS['operator']}"),)
    stream: Any = reflection_pb2_grpc.ServerReflectionStub(guarded.channel).ServerReflectionInfo(metadata=metadata)
    await stream.write(QUESTION)
    await stream.read()

    await guarded.application.stop()

    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await stream.read()
    assert error_info(ended.value).reason == "SHUTTING_DOWN"
