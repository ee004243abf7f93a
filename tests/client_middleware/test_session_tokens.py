"""The request's own session token travels to SyncService where an application asks for that, and else never."""

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from client_middleware.sample_apps import SampleApp
from google.rpc import error_details_pb2, status_pb2

from clerksync import Identity
from clerksync.middleware.session_tokens import tokens_in
from clerksync.testing.statuses import refused
from clerksync.testing.waiting import fail
from clerksync.v1 import resources_pb2, sync_service_pb2, sync_service_pb2_grpc
from clerksync_server.rules.evidence import Verdict

CLAIMS: dict[str, Any] = {"sub": "user_ada", "iat": 1_795_305_600, "v": 2, "o": {"id": "org_1"}}
ADA = Identity("user_ada", "org_1", datetime.fromtimestamp(CLAIMS["iat"], UTC))


def token(signature: str = "c2ln-_", **changed: Any) -> str:
    """A JWT with these claims; what is None is left out."""
    claims = {name: value for name, value in (CLAIMS | changed).items() if value is not None}
    return f"eyJhbGciOi.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.{signature}"


TOKEN, FORGED = token(), token("Zm9yZ2Vk")
OLDER = token(iat=CLAIMS["iat"] - 1)


def token_refused() -> status_pb2.Status:
    status = status_pb2.Status(code=grpc.StatusCode.UNAUTHENTICATED.value[0])
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="SESSION_TOKEN_INVALID", domain="clerksync"))
    return status


class Recorder(sync_service_pb2_grpc.SyncServiceServicer):
    """Answers with any profile, and remembers the tokens that came along. It has no stream of removals."""

    def __init__(self) -> None:
        self.target = ""
        self.good: str | None = None
        """If set, other tokens are refused, and whoever asks without one, or with it, was removed."""
        self.tokens: list[str] = []

    def EnsureUserProfile(  # noqa: N802
        self, request: sync_service_pb2.EnsureUserProfileRequest, context: Any
    ) -> sync_service_pb2.EnsureUserProfileResponse:
        self.tokens.append(request.session_token)
        if self.good is not None:
            is_removed = request.session_token in {"", self.good}
            fail(context, refused(Verdict.MEMBERSHIP_REMOVED) if is_removed else token_refused())
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

    cookies = [f"__session=a.b.c; __session={OLDER}; __session_abc={TOKEN}", f"__session={TOKEN}"]
    for user, cookie in zip(["user_ada", "user_bob"], cookies, strict=True):
        answer = await app.get(CLAIMS | {"sub": user}, {"cookie": cookie})
        assert user == answer[1]["user"]

    assert [TOKEN if passing else "", ""] == recorder.tokens


async def test_a_refused_token_undoes_no_removal(kind: type[SampleApp], serve: Any, recorder: Recorder) -> None:
    """Who was removed is denied in every framework, whatever token the request carries beside the good one."""
    recorder.good = TOKEN
    app = await serve(kind, recorder.target, budget_s=10, pass_session_token=True)

    for cookie in (f"__session={FORGED}; __session_abc={TOKEN}", f"__session={FORGED}"):
        assert 403 == (await app.get(CLAIMS, {"cookie": cookie}))[0]

    assert [FORGED, "", FORGED, ""] == recorder.tokens
    assert 0 == app.handled


@pytest.mark.parametrize(
    ("headers", "tokens"),
    [
        ([("authorization", f"Bearer {TOKEN}")], [TOKEN]),
        ([("Authorization", f"bearer  {TOKEN} ")], [TOKEN]),
        ([("cookie", f"__session={TOKEN}"), ("authorization", f"Bearer {FORGED}")], [FORGED, TOKEN]),
        ([("authorization", f"Bearer {FORGED}"), ("authorization", f"Bearer {TOKEN}")], [FORGED, TOKEN]),
        ([("cookie", f"a=b;__session={TOKEN}; c=d")], [TOKEN]),
        ([("Cookie", f"__session={FORGED},__session_a1B-_={TOKEN}; __session={TOKEN}")], [FORGED, TOKEN]),
        ([("cookie", "__session=a.b.c"), ("cookie", f"__session={TOKEN}")], [TOKEN]),
        ([("authorization", "Bearer ak_key_of_an_api"), ("cookie", f"__session={TOKEN}")], [TOKEN]),
        ([("authorization", f"Basic {TOKEN}")], []),
        ([("authorization", TOKEN)], []),
        ([("authorization", "Bearer")], []),
        ([("authorization", f"Bearer {TOKEN}é")], []),
        ([("authorization", f"Bearer {TOKEN}{'x' * 8192}")], []),
        ([("cookie", f"__sessions={TOKEN}; __client={TOKEN}")], []),
        ([("cookie", "__session; __session=; __session=a.b")], []),
        ([], []),
    ],
)
def test_where_tokens_are_found(headers: list[tuple[str, str]], tokens: list[str]) -> None:
    """Where Clerk's libraries look: the bearer token, then the cookies, the suffixed ones too; each token once."""
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]

    assert tokens == list(tokens_in(ADA, headers)) == list(tokens_in(ADA, pairs))


@pytest.mark.parametrize(
    ("carried", "counts"),
    [
        (token(), True),
        (token(v=1, o=None, org_id="org_1"), True),
        (token(sub="user_eve"), False),
        (token(o={"id": "org_2"}), False),
        (token(o=None), False),
        (OLDER, False),
        (token(iat=None), False),
        (token(iat="soon"), False),
        (f"a.{'W1tb' * 2000}.c", False),  # [[[[…
        ("a.W10.c", False),  # []
        ("a._____.c", False),
    ],
)
def test_which_tokens_count(carried: str, counts: bool) -> None:
    """Those that say the same user, organization and time as the identity, by either version of Clerk's tokens."""
    assert counts is bool(tokens_in(ADA, [("authorization", f"Bearer {carried}")]))


def test_an_identity_without_a_time() -> None:
    """A token of any time counts where the application does not tell when its own was issued."""
    assert [OLDER] == list(tokens_in(Identity("user_ada", "org_1"), [("cookie", f"__session={OLDER}")]))


def test_an_identity_does_not_show_its_token() -> None:
    """No log line that shows an identity holds a token."""
    assert TOKEN not in repr(Identity("user_ada", "org_1", session_token=TOKEN))
