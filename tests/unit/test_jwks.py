"""The kept JWKS: when it is looked up, and what happens while its source is away."""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from structlog.testing import capture_logs
from tokens import JwksServer, Signer, jwks_of

from clerksync_server.access.jwks import MAX_AGE_S, PAUSE_S, Jwks
from clerksync_server.access.jwks_source import MAX_BYTES, JwksSource
from clerksync_server.errors import KeysUnavailable
from clerksync_server.settings import InvalidSettings

OLD, NEW = Signer("old"), Signer("new")


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server() -> AsyncIterator[JwksServer]:
    async with JwksServer(OLD) as running:
        yield running


@pytest.fixture
async def jwks(server: JwksServer, clock: Clock) -> AsyncIterator[Jwks]:
    """Of the server's keys, and started."""
    async with started(server.url, clock) as kept:
        yield kept


@asynccontextmanager
async def started(location: str, clock: Clock) -> AsyncIterator[Jwks]:
    kept = Jwks(JwksSource(location), variable="KEYS", now=clock)
    await kept.start()
    yield kept
    await kept.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


async def test_keys_are_looked_up_once(jwks: Jwks, server: JwksServer) -> None:
    """Whoever asks for keys after the start needs no look-up."""
    keys = await asyncio.gather(*(jwks.found("old") for _ in range(50)))

    assert {"RS256"} == {key.algorithm for key in keys if key}
    assert jwks.known("old") is not None
    assert 1 == server.asked


async def test_unknown_keys_are_looked_up_at_most_once_in_a_while(jwks: Jwks, server: JwksServer, clock: Clock) -> None:
    """Whoever makes up key ids does not make us ask more often than once in 5 s."""
    for number in range(50):
        assert await jwks.found(f"made-up-{number}") is None
    assert 1 == server.asked

    clock.now += PAUSE_S
    assert await asyncio.gather(*(jwks.found(f"made-up-{number}") for number in range(50))) == [None] * 50
    assert 2 == server.asked


async def test_a_new_key_is_found_when_it_is_first_used(jwks: Jwks, server: JwksServer, clock: Clock) -> None:
    """The issuer rotates its keys: a look-up brings the new one, and the old one ends."""
    before = jwks.generation
    server.body = jwks_of(NEW)
    clock.now += PAUSE_S

    assert await jwks.found("new") is not None
    assert jwks.known("old") is None
    assert before + 1 == jwks.generation


async def test_nobody_waits_for_keys_that_are_only_old(jwks: Jwks, server: JwksServer, clock: Clock) -> None:
    """After an hour they are looked up anew, while those that are known still serve."""
    server.body = jwks_of(OLD, NEW)
    clock.now += MAX_AGE_S

    assert jwks.known("old") is not None
    assert await jwks.found("new") is not None
    assert 2 == server.asked


@pytest.mark.parametrize("trouble", ["status", "garbage", "no-set", "huge", "redirect", "compressed"])
async def test_an_outage_keeps_the_keys(trouble: str, jwks: Jwks, server: JwksServer, clock: Clock) -> None:
    """Whatever the source answers instead of keys, those that are known stay, and it is asked again later."""
    good = server.body
    match trouble:
        case "status":
            server.status = 503
        case "garbage":
            server.body = b"<html>"
        case "no-set":
            server.body = b'{"keys": null}'
        case "huge":
            server.body = good + b" " * MAX_BYTES
        case "redirect":
            server.status, server.headers = 302, {"Location": server.url}
        case "compressed":
            server.body, server.headers = gzip.compress(jwks_of(NEW)), {"Content-Encoding": "gzip"}
    clock.now += MAX_AGE_S

    assert await jwks.found("new") is None
    assert await jwks.found("old") is not None
    assert 2 == server.asked

    server.status, server.headers, server.body = 200, {}, jwks_of(NEW)
    clock.now += PAUSE_S
    assert await jwks.found("new") is not None


@pytest.mark.parametrize("listed", [[], [{**OLD.jwk, "alg": "RS512"}], [{"kty": "oct", "kid": "old", "k": "x"}]])
async def test_a_set_without_usable_keys_ends_those_that_were(
    listed: list[Any], jwks: Jwks, server: JwksServer, clock: Clock
) -> None:
    """An issuer that takes all its keys back is heard, and the log warns that none is left."""
    before = jwks.generation
    server.body = json.dumps({"keys": listed}).encode()
    clock.now += PAUSE_S

    with capture_logs() as lines:
        assert await jwks.found("new") is None

    assert jwks.known("old") is None
    assert before + 1 == jwks.generation
    assert [("the key set holds no usable key", "warning")] == [(line["event"], line["log_level"]) for line in lines]
    jwks.check_read()


async def test_keys_are_kept_fresh_without_anybody_who_asks(
    monkeypatch: pytest.MonkeyPatch, server: JwksServer
) -> None:
    """Those who show tokens that were verified before ask for no keys: the keys are looked up anew all the same."""
    monkeypatch.setattr("clerksync_server.access.jwks.MAX_AGE_S", 0.02)
    async with started(server.url, Clock()) as jwks:
        server.body = jwks_of(NEW)
        await until(lambda: jwks.generation > 1)

        assert jwks.known("old") is None


async def test_a_source_that_is_away_at_the_start_is_asked_until_it_is_there(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """It stops nobody from starting, and nobody who comes meanwhile waits, or makes us ask more often."""
    monkeypatch.setattr("clerksync_server.access.jwks.FIRST_RETRY_S", 0.02)
    async with JwksServer(OLD) as server:
        pass
    async with started(server.url, clock) as jwks:
        with pytest.raises(KeysUnavailable, match="KEYS"):
            jwks.check_read()
        async with JwksServer(OLD, port=server.port) as back:
            back.status = 503
            await until(lambda: back.asked > 1)
            assert [None] * 50 == await asyncio.gather(*(jwks.found(f"made-up-{number}") for number in range(50)))
            assert back.asked < 10
            back.status = 200
            await until(lambda: jwks.known("old") is not None)
        jwks.check_read()


async def test_a_source_that_hangs_is_given_up(
    monkeypatch: pytest.MonkeyPatch, server: JwksServer, clock: Clock
) -> None:
    """A source that accepts and says nothing costs the start its time-out, and those who come meanwhile nothing."""
    monkeypatch.setattr("clerksync_server.access.jwks_source.TIMEOUT_S", 0.1)
    monkeypatch.setattr("clerksync_server.access.jwks.FIRST_RETRY_S", 0.0)
    server.moving.clear()

    async with asyncio.timeout(5), started(server.url, clock) as jwks:
        monkeypatch.setattr("clerksync_server.access.jwks_source.TIMEOUT_S", 60.0)
        await until(lambda: server.asked > 1)
        assert await jwks.found("old") is None


async def test_whatever_goes_wrong_with_a_source_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, server: JwksServer, clock: Clock
) -> None:
    """Also what nobody has thought of: keys are looked up by one task for as long as the process lives."""

    async def fail(_: JwksSource) -> bytes:
        raise RuntimeError("secret")

    monkeypatch.setattr("clerksync_server.access.jwks.FIRST_RETRY_S", 0.02)
    with monkeypatch.context() as broken, capture_logs() as lines:
        broken.setattr(JwksSource, "read", fail)
        jwks = Jwks(JwksSource(server.url), variable="KEYS", now=clock)
        await jwks.start()
    await until(lambda: jwks.known("old") is not None)
    await jwks.close()

    assert "RuntimeError" == lines[0]["error"]


async def test_who_stops_waiting_does_not_end_the_look_up(jwks: Jwks, server: JwksServer, clock: Clock) -> None:
    """A caller that goes away does not take along what others wait for."""
    server.body = jwks_of(NEW)
    clock.now += PAUSE_S
    impatient, patient = asyncio.create_task(jwks.found("new")), asyncio.create_task(jwks.found("new"))
    await asyncio.sleep(0)
    impatient.cancel()

    assert await patient is not None


async def test_a_file_is_read_at_once_and_anew(tmp_path: Path, clock: Clock) -> None:
    """Keys in a file are there from the start, and a file that changes is read like a source that does."""
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks_of(OLD))
    jwks = Jwks(JwksSource(str(file)), variable="KEYS", now=clock)
    assert jwks.known("old") is not None

    file.write_bytes(jwks_of(NEW))
    assert await jwks.found("new") is not None
    assert jwks.known("old") is None


async def test_a_file_is_read_again_and_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock) -> None:
    """As the kubelet swaps it, behind a link; while it is not there, or half written, the keys stay."""
    monkeypatch.setattr("clerksync_server.access.jwks.FILE_MAX_AGE_S", 0.02)
    for version, signer in (("1", OLD), ("2", NEW)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "jwks.json").write_bytes(jwks_of(signer))
    data, file = tmp_path / "..data", tmp_path / "jwks.json"
    data.symlink_to("1")
    file.symlink_to("..data/jwks.json")

    with capture_logs() as lines:
        async with started(str(file), clock) as jwks:
            (tmp_path / "1" / "jwks.json").write_bytes(jwks_of(OLD)[:50])
            clock.now += 1
            await until(lambda: any(line["event"] == "keys not read" for line in lines))
            data.unlink()
            assert jwks.known("old") is not None
            (tmp_path / "..data_tmp").symlink_to("2")
            (tmp_path / "..data_tmp").rename(data)
            await until(lambda: jwks.generation > 1)
            assert jwks.known("old") is None
            assert jwks.known("new") is not None


@pytest.mark.parametrize("content", [None, b"hunter2", b'{"keys": []}', b" " * (MAX_BYTES + 1)])
def test_a_file_without_keys_is_told_at_the_start(content: bytes | None, tmp_path: Path) -> None:
    """A setting that names a file of no use is an error that names the variable, and repeats no content."""
    file = tmp_path / "jwks.json"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(InvalidSettings) as caught:
        Jwks(JwksSource(str(file)), variable="KEYS")

    assert str(caught.value).startswith("KEYS: ")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("which", ["ca_file", "token_file"])
def test_files_for_the_source_are_checked_at_the_start(which: str, tmp_path: Path) -> None:
    """Certificates and a token that are not there are told before the source is asked."""
    with pytest.raises(InvalidSettings, match=r"KEYS: .*missing"):
        Jwks(JwksSource("https://127.0.0.1/jwks", **{which: tmp_path / "missing"}), variable="KEYS")


@pytest.mark.parametrize("trusted", [True, False])
async def test_the_source_has_to_prove_who_it_is(trusted: bool, tmp_path: Path, clock: Clock) -> None:
    """Over TLS the certificate has to be of the authority that is named; then the Pod's present token goes along."""
    authority, other = trustme.CA(), trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    (authority if trusted else other).cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    (tmp_path / "token").write_text("first\n")
    async with JwksServer(OLD, tls=tls) as server:
        source = JwksSource(server.url, tmp_path / "ca.crt", tmp_path / "token")
        jwks = Jwks(source, variable="KEYS", now=clock)
        (tmp_path / "token").write_text("second\n")

        await jwks.start()
        found = jwks.known("old") is not None
        await jwks.close()

    assert (trusted, ["Bearer second"] if trusted else []) == (found, server.authorizations)
