"""Session tokens of Clerk: what a good one proves, and that no other proves anything."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokens import (
    CLERK,
    ORG,
    USER,
    JwksServer,
    Signer,
    jwks_of,
    session_claims,
    signed_with_public_key,
    unsigned,
)

from clerksync_server.access.jwks import PAUSE_S, Jwks
from clerksync_server.access.jwks_source import JwksSource
from clerksync_server.access.jwts import MAX_LENGTH, VerifiedTokens
from clerksync_server.access.public_keys import keys_in_pem
from clerksync_server.access.session_tokens import SessionProof, SessionTokens, session_tokens_of
from clerksync_server.errors import SessionTokenProblem, SessionTokenRefused

SIGNER, OTHER, CURVE = Signer(), Signer(), Signer("key-2", algorithm="ES256")
PARTY = "https://app.example.com"
Make = Callable[[], str]


def tokens(**settings: Any) -> SessionTokens:
    return SessionTokens(
        **({"keys": keys_in_pem(SIGNER.pem), "issuer": CLERK, "authorized_parties": [PARTY]} | settings)
    )


def refusal(verifier: SessionTokens, token: str) -> str:
    with pytest.raises(SessionTokenRefused) as caught:
        verifier.verify(token)
    assert caught.value.problem is SessionTokenProblem.INVALID
    return str(caught.value).removeprefix("session_token: ")


@pytest.mark.parametrize(
    ("changes", "organization"),
    [
        ({}, ORG),
        ({"v": None, "o": None, "org_id": ORG}, ORG),
        ({"v": None, "o": {"id": "org_own"}, "org_id": ORG}, ORG),
        ({"v": None, "o": {"id": ORG}}, None),
        ({"v": "2", "o": {"id": ORG}}, None),
        ({"v": 2.0}, ORG),
        ({"o": None}, None),
        ({"o": None, "org_id": ORG}, None),
        ({"o": {"rol": "member"}, "org_id": ORG}, None),
        ({"o": {"id": 5}}, None),
        ({"o": {"id": ""}}, None),
    ],
)
def test_a_good_token_proves_user_organization_and_time(changes: dict[str, Any], organization: str | None) -> None:
    """Both versions of the claims are read; the other version's place for the organization is an application's own."""
    claims = session_claims(**changes)
    proof = tokens().verify(SIGNER.sign(claims))

    assert SessionProof(USER, organization, claims["iat"] * 1000) == proof


def long_lived(seconds: int) -> Make:
    return lambda: SIGNER.sign(session_claims(exp=int(time.time()) + seconds))


def of_template() -> str:
    """As for a third party: Clerk gives such tokens no session and no version, and whatever else they are to hold."""
    claims = session_claims(v=None, sid=None, sts=None, o=None, aud="hasura", org_id=ORG)
    return SIGNER.sign(claims)


def changed(**claims: Any) -> Make:
    return lambda: SIGNER.sign(session_claims(**claims))


def at(**seconds: int) -> Make:
    return lambda: SIGNER.sign(session_claims(**{name: int(time.time()) + s for name, s in seconds.items()}))


def tampered() -> str:
    head, _, signature = SIGNER.sign(session_claims()).split(".")
    _, body, _ = SIGNER.sign(session_claims(sub="user_eve")).split(".")
    return f"{head}.{body}.{signature}"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (at(exp=-6), "has expired"),
        (at(nbf=7), "is not valid yet"),
        (at(iat=7), "is not valid yet"),
        (lambda: OTHER.sign(session_claims()), "is not signed by a key of its issuer"),
        (tampered, "is not signed by a key of its issuer"),
        (lambda: CURVE.sign(session_claims()), "is signed with an algorithm that its key is not for"),
        (lambda: signed_with_public_key(session_claims(), SIGNER), "is signed with an algorithm"),
        (lambda: unsigned(session_claims()), "is not a JWT"),
        (lambda: unsigned(session_claims()) + "eHg", "is signed with an algorithm"),
        (changed(iss="https://clerk.evil.example"), "is of another issuer"),
        (changed(iss=None), "lacks the claim iss"),
        (changed(azp="https://evil.example.com"), "was issued for a party (azp) that is not accepted"),
        (changed(azp=PARTY + ".evil.com"), "was issued for a party (azp) that is not accepted"),
        (changed(azp=[PARTY]), "lacks the claim azp"),
        (changed(azp=None), "lacks the claim azp"),
        (changed(exp=None), "lacks the claim exp"),
        (changed(iat=None), "lacks the claim iat"),
        (changed(sub=None), "lacks the claim sub"),
        (of_template, "lacks the claim sid"),
        (changed(sid=""), "lacks the claim sid"),
        (changed(sid=["sess_1"]), "lacks the claim sid"),
        (long_lived(66), "lives longer than CLERKSYNC_MAX_TOKEN_AGE allows"),
        (long_lived(315_360_000), "lives longer than CLERKSYNC_MAX_TOKEN_AGE allows"),
        (changed(iat=True), "lives longer than CLERKSYNC_MAX_TOKEN_AGE allows"),
        (changed(iat=-1e300), "lives longer than CLERKSYNC_MAX_TOKEN_AGE allows"),
        (changed(sub=5), "is ill-formed"),
        (changed(exp="soon"), "is ill-formed"),
        (changed(exp=[1]), "is ill-formed"),
        (changed(exp=float("inf")), "is ill-formed"),
        (changed(iat=float("nan")), "is ill-formed"),
        (changed(sts="pending"), "is of a session that is pending: the user still has to do something"),
        (lambda: SIGNER.sign(session_claims(), typ="at+jwt"), "is not a session token"),
        (lambda: SIGNER.sign(session_claims(), crit=["exp"]), "is not a JWT"),
        (changed(padding="x" * MAX_LENGTH), "is not a JWT"),
        (lambda: "hunter2", "is not a JWT"),
        (lambda: "a.b.c", "is not a JWT"),
        (lambda: SIGNER.sign(session_claims()) + "\n", "is not a JWT"),
        (lambda: " " + SIGNER.sign(session_claims()), "is not a JWT"),
        (lambda: "\ud800.\x00.é", "is not a JWT"),
        (lambda: f"{'W1tb' * 400}.{'W1tb' * 400}.c2ln", "is not a JWT"),
    ],
)
def test_no_other_token_proves_anything(make: Make, why: str) -> None:
    """Each is refused with the reason, also the second time, and nothing of it is repeated."""
    verifier = tokens()

    for _ in range(2):
        text = refusal(verifier, make())
        assert text.startswith(why)
        assert not any(value in text for value in (USER, ORG, "evil", "hunter2", "eyJ"))


@pytest.mark.parametrize("seconds", [{"exp": -3}, {"nbf": 3}, {"iat": 3}])
def test_clocks_may_differ_a_little(seconds: dict[str, int]) -> None:
    """Clerk's own libraries allow 5 s."""
    assert tokens().verify(at(**seconds)()).clerk_user_id == USER


def test_how_long_tokens_live_is_configured(load: Any) -> None:
    """CLERKSYNC_MAX_TOKEN_AGE bounds it, and an application's own audience or claims beside it are fine."""
    verifier = session_tokens_of(load(CLERK_JWT_KEY=SIGNER.pem, CLERKSYNC_MAX_TOKEN_AGE="3600"))

    assert verifier is not None
    now = int(time.time())
    assert verifier.verify(SIGNER.sign(session_claims(iat=now - 3000, exp=now + 600, aud="x"))).clerk_user_id == USER
    assert refusal(verifier, long_lived(3606)()).startswith("lives longer than CLERKSYNC_MAX_TOKEN_AGE allows")


def test_what_is_not_configured_is_not_looked_at() -> None:
    """Without an issuer and without parties the key alone decides."""
    token = SIGNER.sign(session_claims(iss=None, azp=None))

    assert tokens(issuer=None, authorized_parties=()).verify(token).clerk_user_id == USER


def test_several_keys_may_be_configured() -> None:
    """While keys change, tokens of both are taken, whatever they call their key."""
    verifier = tokens(keys=keys_in_pem(OTHER.pem + CURVE.pem + SIGNER.pem))

    for signer in (SIGNER, OTHER, CURVE):
        assert verifier.verify(signer.sign(session_claims(), kid="whatever")).clerk_user_id == USER


@given(st.text(max_size=300) | st.from_regex(r"[\w-]{1,40}\.[\w-]{1,40}\.[\w-]{0,40}", fullmatch=True))
def test_whatever_is_sent_is_refused_in_words(token: str) -> None:
    """No bytes make the verifier raise anything but a refusal."""
    refusal(tokens(), token)


def test_a_token_is_verified_once() -> None:
    """The same token comes with many requests: what it proved the first time is remembered."""
    verifier, token = tokens(), SIGNER.sign(session_claims())

    assert verifier.verify(token) is verifier.verify(token)
    assert verifier.verify(token) is not verifier.verify(SIGNER.sign(session_claims(sid="sess_2")))


def test_what_is_remembered_is_bounded_and_ends() -> None:
    """As many tokens as there is room for, the latest, until each expires; and none that keys which are gone signed."""
    now = 100.0
    kept: VerifiedTokens[int] = VerifiedTokens(2, now=lambda: now)
    for number in range(3):
        kept.add(f"token-{number}", number, expires_at=110.0 + number, generation=1)

    assert [None, 1, 2] == [kept.get(f"token-{number}", generation=1) for number in range(3)]
    now = 111.0
    assert [None, 2] == [kept.get(f"token-{number}", generation=1) for number in (1, 2)]
    assert kept.get("token-2", generation=2) is None
    assert 0 == len(kept)


async def test_keys_are_looked_up_at_the_start_and_never_waited_for() -> None:
    """With a JWKS nothing is asked while answering: a new key serves from the next token on."""
    new = Signer("key-9")
    now = 1000.0
    async with JwksServer(SIGNER) as server:
        jwks = Jwks(JwksSource(server.url), variable="KEYS", now=lambda: now)
        verifier = tokens(keys=(), jwks=jwks)
        await verifier.start()
        token = SIGNER.sign(session_claims())
        assert verifier.verify(token).clerk_user_id == USER
        assert "is not signed by a key that is known" == refusal(verifier, new.sign(session_claims()))
        assert "is not signed by a key that is known" == refusal(verifier, SIGNER.sign(session_claims(), kid=None))
        assert 1 == server.asked

        server.body = jwks_of(new)
        now += PAUSE_S
        refusal(verifier, new.sign(session_claims()))
        async with asyncio.timeout(5):
            while jwks.generation < 2:
                await asyncio.sleep(0.01)

        assert verifier.verify(new.sign(session_claims())).clerk_user_id == USER
        # What was verified by the key that has gone was forgotten with it.
        assert "is not signed by a key that is known" == refusal(verifier, token)
        await verifier.close()


def test_nothing_is_verified_without_a_key(load: Any) -> None:
    """Where neither key nor JWKS is configured, there is no verifier."""
    assert session_tokens_of(load()) is None


async def test_both_kinds_of_keys_serve(load: Any, tmp_path: Path) -> None:
    """While an operator goes over from one to the other, tokens of either are taken."""
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks_of(CURVE))
    verifier = session_tokens_of(
        load(CLERK_JWT_KEY=SIGNER.pem, CLERKSYNC_CLERK_JWKS=str(file), CLERKSYNC_AUTHORIZED_PARTIES=f"{PARTY}, x")
    )

    assert verifier is not None
    for signer in (SIGNER, CURVE):
        assert verifier.verify(signer.sign(session_claims())).clerk_user_id == USER
