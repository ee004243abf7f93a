"""The request's own session token travels to SyncService where an application asks for that, and else never."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from client_middleware.sample_apps import SampleApp

from clerksync import Identity
from clerksync.middleware.incoming import with_token_in_headers, with_token_in_pairs
from clerksync.v1 import resources_pb2, sync_service_pb2, sync_service_pb2_grpc

TOKEN, OTHER = "eyJhbGciOi.eyJzdWIiOi.c2ln-_", "eyJvdGhlciI.eyJ.eyJ"
ADA = Identity("user_ada", "org_1")


class Recorder(sync_service_pb2_grpc.SyncServiceServicer):
    """Answers with any profile, and remembers the tokens that came along. It has no stream of removals."""

    def __init__(self) -> None:
        self.target = ""
        self.tokens: list[str] = []

    def EnsureUserProfile(  # noqa: N802
        self, request: sync_service_pb2.EnsureUserProfileRequest, context: Any
    ) -> sync_service_pb2.EnsureUserProfileResponse:
        self.tokens.append(request.session_token)
        profile = resources_pb2.UserProfile(id="1", clerk_user_id=request.clerk_user_id, clerk_org_id="org_1")
        return sync_service_pb2.EnsureUserProfileResponse(user_profile=profile)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()  # type: ignore[abstract]  # what is missing is UNIMPLEMENTED
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads)
        sync_service_pb2_grpc.add_SyncServiceServicer_to_server(recorder, server)
        recorder.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield recorder
        server.stop(None).wait()


@pytest.mark.parametrize("passing", [True, False])
async def test_tokens_travel_if_that_is_asked_for(
    passing: bool, kind: type[SampleApp], serve: Any, recorder: Recorder
) -> None:
    """With `pass_session_token` a miss carries the request's token, in every framework; without it none does."""
    app = await serve(kind, recorder.target, budget_s=10, **({"pass_session_token": True} if passing else {}))

    for number, cookie in enumerate([f"a=b; __session={TOKEN}", "a=b"]):
        claims = {"sub": f"user_{number}", "iat": int(time.time()), "o": {"id": "org_1"}}
        answer = await app.get(claims, {"cookie": cookie})
        assert f"user_{number}" == answer[1]["user"]

    assert [TOKEN if passing else "", ""] == recorder.tokens


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({"authorization": f"Bearer {TOKEN}"}, TOKEN),
        ({"authorization": f"bearer  {TOKEN} "}, TOKEN),
        ({"authorization": f"Bearer {TOKEN}", "cookie": f"__session={OTHER}"}, TOKEN),
        ({"cookie": f"a=b;__session={TOKEN}; c=d"}, TOKEN),
        ({"authorization": "Bearer ak_key_of_an_api", "cookie": f"__session={TOKEN}"}, TOKEN),
        ({"authorization": f"Basic {TOKEN}"}, None),
        ({"authorization": TOKEN}, None),
        ({"authorization": "Bearer"}, None),
        ({"authorization": "Bearer a.b.é"}, None),
        ({"authorization": f"Bearer {TOKEN}{'x' * 8192}"}, None),
        ({"cookie": f"__session_abc={TOKEN}"}, None),
        ({"cookie": "__session"}, None),
        ({"cookie": "__session=a.b"}, None),
        ({}, None),
    ],
)
def test_where_the_token_is_found(headers: dict[str, str], token: str | None) -> None:
    """As Clerk's libraries do: the bearer token if it is a JWT, else the cookie."""
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]

    assert token == with_token_in_headers(ADA, headers).session_token
    assert token == with_token_in_pairs(ADA, pairs).session_token
    assert token == with_token_in_pairs(ADA, headers.items()).session_token


def test_an_identity_keeps_its_token_and_does_not_show_it() -> None:
    """What `identify` has found counts, and no log line that shows an identity holds a token."""
    known = Identity("user_ada", "org_1", session_token=OTHER)
    headers = {"authorization": f"Bearer {TOKEN}"}

    assert known == with_token_in_headers(known, headers) == with_token_in_pairs(known, headers.items())
    assert OTHER not in repr(known)
