"""The kept JWKS: when it is looked up, and what happens while its source is away."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from tokens import JwksServer, Signer, jwks_of

from clerksync_server.access.jwks import MAX_AGE_S, PAUSE_S, Jwks
from clerksync_server.access.jwks_source import MAX_BYTES, JwksSource
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


def jwks_at(server: JwksServer, clock: Clock) -> Jwks:
    return Jwks(JwksSource(server.url), variable="KEYS", now=clock)


async def test_keys_are_looked_up_once(server: JwksServer, clock: Clock) -> None:
    """Many who ask for keys at the same time share one look-up, and later ones need none."""
    jwks = jwks_at(server, clock)

    keys = await asyncio.gather(*(jwks.found("old") for _ in range(50)))

    assert {"RS256"} == {key.algorithm for key in keys if key}
    assert jwks.known("old") is not None
    assert 1 == server.asked


async def test_unknown_keys_are_looked_up_at_most_once_in_a_while(server: JwksServer, clock: Clock) -> None:
    """Whoever makes up key ids does not make us ask more often than once in 30 s."""
    jwks = jwks_at(server, clock)
    await jwks.found("old")

    for number in range(50):
        assert await jwks.found(f"made-up-{number}") is None
    assert 1 == server.asked

    clock.now += PAUSE_S
    assert await asyncio.gather(*(jwks.found(f"made-up-{number}") for number in range(50))) == [None] * 50
    assert 2 == server.asked


async def test_a_new_key_is_found_when_it_is_first_used(server: JwksServer, clock: Clock) -> None:
    """The issuer rotates its keys: a look-up brings the new one, and the old one ends."""
    jwks = jwks_at(server, clock)
    await jwks.found("old")
    before = jwks.generation
    server.body = jwks_of(NEW)
    clock.now += PAUSE_S

    assert await jwks.found("new") is not None
    assert jwks.known("old") is None
    assert before + 1 == jwks.generation


async def test_nobody_waits_for_keys_that_are_only_old(server: JwksServer, clock: Clock) -> None:
    """After an hour they are looked up anew, while those that are known still serve."""
    jwks = jwks_at(server, clock)
    await jwks.found("old")
    server.body = jwks_of(OLD, NEW)
    clock.now += MAX_AGE_S

    assert jwks.known("old") is not None
    assert await jwks.found("new") is not None
    assert 2 == server.asked


@pytest.mark.parametrize("trouble", ["status", "garbage", "empty", "huge", "redirect", "compressed"])
async def test_an_outage_keeps_the_keys(trouble: str, server: JwksServer, clock: Clock) -> None:
    """Whatever the source answers instead of keys, those that are known stay, and it is asked again later."""
    jwks = jwks_at(server, clock)
    await jwks.found("old")
    good = server.body
    match trouble:
        case "status":
            server.status = 503
        case "garbage":
            server.body = b"<html>"
        case "empty":
            server.body = b'{"keys": []}'
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


async def test_a_source_that_is_away_stops_nobody_from_starting(clock: Clock) -> None:
    """Keys are asked for again, and found once the source is there."""
    async with JwksServer(OLD) as server:
        port = server.port
    jwks = Jwks(JwksSource(server.url), variable="KEYS", now=clock)
    await jwks.start()
    assert jwks.known("old") is None

    async with JwksServer(OLD, port=port):
        clock.now += PAUSE_S
        assert await jwks.found("old") is not None
    await jwks.close()


async def test_a_source_that_hangs_is_given_up(
    monkeypatch: pytest.MonkeyPatch, server: JwksServer, clock: Clock
) -> None:
    """A source that accepts and says nothing costs a look-up its time-out, and no more."""
    monkeypatch.setattr("clerksync_server.access.jwks_source.TIMEOUT_S", 0.1)
    server.moving.clear()

    async with asyncio.timeout(3):
        assert await jwks_at(server, clock).found("old") is None
    assert 1 == server.asked


async def test_who_stops_waiting_does_not_end_the_look_up(server: JwksServer, clock: Clock) -> None:
    """A caller that goes away does not take along what others wait for."""
    jwks = jwks_at(server, clock)
    impatient, patient = asyncio.create_task(jwks.found("old")), asyncio.create_task(jwks.found("old"))
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


@pytest.mark.parametrize("content", [None, b"hunter2", b" " * (MAX_BYTES + 1)])
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

        found = await jwks.found("old") is not None

    assert (trusted, ["Bearer second"] if trusted else []) == (found, server.authorizations)
