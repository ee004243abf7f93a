"""The rules that hold in every framework alike."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from client_middleware.all_apps import SAMPLES
from client_middleware.sample_apps import SampleApp

from clerksync import Identity
from clerksync.testing import FakeSyncService

ORG = "org_1"
PATIENT_S = 10.0
"""A budget that no answer of a healthy fake exceeds, however busy the machine is."""
SOON_S = 0.5
"""What a request may take that must not wait: ten times the default budget, because the machine may be busy."""


def claims(user: str = "user_ada", **more: Any) -> dict[str, Any]:
    return {"sub": user, "iat": int(time.time()), "v": 2, "o": {"id": ORG, "rol": "admin"}, **more}


async def connected(app: SampleApp) -> None:
    """Returns once an answer was kept, so that neither connecting counts nor the drop when the stream opens."""
    deadline = time.monotonic() + 10
    while app.client.silent_for_s > 5 or not app.client.kept:
        await app.get(claims("user_first"))
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    app.stats.unanswered.clear()
    app.handled = 0


def without_profile() -> dict[str, Any]:
    return {"user": None, "role": None, "request_id": None}


async def test_nobody_is_signed_in(sample: Callable[..., Any], fake: FakeSyncService) -> None:
    """Without a user, or without an active organization, SyncService is not asked."""
    app = await sample()

    nobody: list[Any] = [None, {}, {"sub": "user_ada"}, {"sub": "user_ada", "o": None}, {"o": {"id": ORG}}, [1], "x"]
    answers = [await app.get(claims, {"x-request-id": "r-1"}) for claims in nobody]

    assert [(200, without_profile())] * 7 == answers
    assert (7, []) == (app.handled, fake.calls)


async def test_profile_for_the_handlers(sample: Callable[..., Any], fake: FakeSyncService) -> None:
    """Handlers have the profile of whoever is signed in, by version 2 or version 1 of Clerk's tokens."""
    fake.join("user_ada", ORG, role="org:admin")
    fake.join("user_old", ORG, role="org:member")
    app = await sample(budget_s=PATIENT_S)
    await connected(app)
    hits, misses = app.stats.hits, app.stats.misses

    new = await app.get(claims("user_ada"))
    old = await app.get({"sub": "user_old", "iat": int(time.time()), "org_id": ORG, "org_role": "org:member"})
    again = await app.get(claims("user_ada"))

    assert (200, {"user": "user_ada", "role": "org:admin", "request_id": None}) == new == again
    assert (200, {"user": "user_old", "role": "org:member", "request_id": None}) == old
    assert (1, 1) == (fake.times_asked("user_ada", ORG), fake.times_asked("user_old", ORG))
    assert (1, 2, 0) == (app.stats.hits - hits, app.stats.misses - misses, app.stats.denied)


async def test_removed(sample: Callable[..., Any], fake: FakeSyncService) -> None:
    """Whoever was removed is denied: 403 with a body that says why, and the handler does not run."""
    fake.join("user_ada", ORG)
    fake.remove("user_ada", ORG)
    app = await sample(budget_s=PATIENT_S)

    status, body = await app.get(claims(iat=int(time.time()) - 60))

    assert 403 == status
    assert {"error"} == set(body)
    assert "membership_removed" == body["error"]["code"]
    assert "removed" in body["error"]["message"]
    assert (0, 1) == (app.handled, app.stats.denied)


async def test_removed_while_kept(sample: Callable[..., Any], fake: FakeSyncService) -> None:
    """A removal reaches an application that has kept the profile, and the next request is denied."""
    fake.join("user_ada", ORG)
    app = await sample(budget_s=PATIENT_S)
    token = claims(iat=int(time.time()) - 60)
    assert 200 == (await app.get(token))[0]
    await asyncio.to_thread(fake.wait_for_watchers)

    fake.remove("user_ada", ORG)

    deadline = time.monotonic() + 10
    while (await app.get(token))[0] == 200:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_removed_may_continue(sample: Callable[..., Any], fake: FakeSyncService) -> None:
    """With on_removed="continue" nobody is denied: the handler runs, without a profile."""
    fake.delete_user("user_ada")
    app = await sample(budget_s=PATIENT_S, on_removed="continue")

    assert (200, without_profile()) == await app.get(claims())
    assert (1, 0) == (app.handled, app.stats.denied)


@pytest.mark.parametrize("trouble", ["away", "broken", "freeze", "slow", "stopped"])
async def test_trouble(
    sample: Callable[..., Any], fake: FakeSyncService, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With SyncService away, broken, frozen or slow, no request fails or waits; a counter and one log line tell."""
    app = await sample()
    await connected(app)
    begin = getattr(fake, trouble)

    with begin(0.3) if trouble == "slow" else await asyncio.to_thread(begin):
        for number in range(8):
            started = time.monotonic()
            answer = await app.get(claims(f"user_{number}"))
            assert (200, without_profile()) == answer
            assert time.monotonic() - started < SOON_S

    assert (8, 8) == (app.handled, app.stats.unanswered.total())
    # At most one in 10 s; if connecting was slow, it came then.
    lines = [record.getMessage() for record in caplog.records if record.name == "clerksync"]
    assert 1 == len(lines)
    assert "went on without a profile" in lines[0]
    assert not any(known in lines[0] for known in ("user_", ORG))


async def test_circuit_breaker(sample: Callable[..., Any], fake: FakeSyncService) -> None:
    """After failures in a row SyncService is left in peace; once it answers again, so do the profiles return."""
    app = await sample()
    await connected(app)
    with fake.broken():
        for number in range(5):
            await app.get(claims(f"user_{number}"))
        calls = len(fake.calls)
        for number in range(20):
            assert 200 == (await app.get(claims(f"user_{number}")))[0]
        # Of a slow machine, one try after the pause.
        assert len(fake.calls) - calls <= 1
        assert app.stats.unanswered["circuit_open"] >= 19

    deadline = time.monotonic() + 20
    while (await app.get(claims("user_back")))[1]["user"] is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_a_slow_answer_is_kept(sample: Callable[..., Any], fake: FakeSyncService) -> None:
    """An answer that comes after the budget is there for the next request."""
    app = await sample()
    await connected(app)
    with fake.slow(0.3):
        assert (200, without_profile()) == await app.get(claims())
        await asyncio.sleep(0.6)
        assert "user_ada" == (await app.get(claims()))[1]["user"]
    assert 1 == fake.times_asked("user_ada", ORG)


async def test_many_at_once(sample: Callable[..., Any], fake: FakeSyncService) -> None:
    """A hundred simultaneous first requests of one user ask once."""
    app = await sample(budget_s=PATIENT_S)
    await connected(app)
    with fake.slow(0.2):
        answers = await asyncio.gather(*(app.get(claims()) for _ in range(100)))

    assert [(200, "user_ada")] * 100 == [(status, body["user"]) for status, body in answers]
    assert (1, 100) == (fake.times_asked("user_ada", ORG), app.handled)


async def test_own_identify(sample: Callable[..., Any], fake: FakeSyncService) -> None:
    """`identify` replaces the search for claims, and gets the request."""
    got = []

    def identify(request: Any) -> Identity | None:
        got.append(request)
        return Identity("user_own", ORG)

    app = await sample(budget_s=PATIENT_S, identify=identify)

    assert "user_own" == (await app.get())[1]["user"]
    assert 1 <= len(got)


@pytest.mark.parametrize("kind", [kind for kind in SAMPLES if kind.async_identify], indirect=True)
async def test_async_identify(sample: Callable[..., Any]) -> None:
    """`identify` may be async where the framework is (not in Django's settings), and there too None means nobody."""

    async def identify(_: Any) -> Identity | None:
        await asyncio.sleep(0)
        return next(whom)

    whom = iter([Identity("user_own", ORG), None])
    app = await sample(budget_s=PATIENT_S, identify=identify)

    assert ["user_own", None] == [(await app.get())[1]["user"], (await app.get())[1]["user"]]


async def test_a_mistake_in_identify(sample: Callable[..., Any], fake: FakeSyncService) -> None:
    """What `identify` raises is the application's own mistake: it fails the request, as any other would."""

    def identify(_: Any) -> Identity | None:
        raise KeyError("mistake")

    app = await sample(identify=identify)

    assert (500, None) == await app.get(claims())
    assert (0, [], 0) == (app.handled, fake.calls, app.stats.unanswered.total())


async def test_ill_formed_ids(sample: Callable[..., Any], fake: FakeSyncService) -> None:
    """Ids that SyncService would refuse as ill-formed are not sent; the request goes on."""
    app = await sample()

    assert (200, without_profile()) == await app.get(claims("user ada"))
    assert ([], 1) == (fake.calls, app.stats.unanswered["invalid_request"])


async def test_ids_end_with_the_request(sample: Callable[..., Any], kind: type[SampleApp]) -> None:
    """The ids of a request are there for its handler, and not for the next request."""
    app = await sample(budget_s=PATIENT_S)

    first = await app.get(claims(), {"x-request-id": "r-1"})
    second = await app.get()
    third = await app.get(claims())

    # A permission must leave nothing behind in the thread, not even for its view.
    assert (None if "Rest" in kind.__name__ else "r-1") == first[1]["request_id"]
    assert (None, None) == (second[1]["request_id"], third[1]["request_id"])


@pytest.fixture(autouse=True)
def _loggers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
