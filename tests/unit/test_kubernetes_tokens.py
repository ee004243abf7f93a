"""Service-account tokens of Kubernetes: whom a good one names, and that no other names anybody."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tokens import (
    CLUSTER,
    JwksServer,
    Signer,
    jwks_of,
    service_account_claims,
    session_claims,
    signed_with_public_key,
    unsigned,
)

from clerksync_server.access.kubernetes import KubernetesTokens, kubernetes_tokens_of
from clerksync_server.errors import KeysUnavailable, Unauthenticated

SIGNER, OTHER = Signer(), Signer("key-2")
Make = Callable[[], str]


@pytest.fixture
async def server() -> AsyncIterator[JwksServer]:
    async with JwksServer(SIGNER) as running:
        yield running


def verifier_at(server: JwksServer, load: Any) -> KubernetesTokens:
    made = kubernetes_tokens_of(load(CLERKSYNC_KUBERNETES_ISSUER=CLUSTER, CLERKSYNC_KUBERNETES_JWKS=server.url))
    assert made is not None
    return made


@pytest.fixture
async def verifier(server: JwksServer, load: Any) -> AsyncIterator[KubernetesTokens]:
    made = verifier_at(server, load)
    await made.start()
    yield made
    await made.close()


async def test_a_good_token_names_its_service_account(verifier: KubernetesTokens, server: JwksServer) -> None:
    """Namespace and name are the identity, however often the token comes."""
    token = SIGNER.sign(service_account_claims())

    assert ["kubernetes:shop/orders"] * 3 == [await verifier.identity_of(token) for _ in range(3)]
    assert 1 == server.asked


async def test_several_audiences_are_fine_if_one_is_ours(verifier: KubernetesTokens) -> None:
    """A token may be for others as well, and may name its audience without a list."""
    for audience in (["vault", "clerksync"], "clerksync"):
        token = SIGNER.sign(service_account_claims(aud=audience))
        assert "kubernetes:shop/orders" == await verifier.identity_of(token)


@pytest.mark.parametrize(
    "make",
    [
        lambda: "",
        lambda: "hunter2",
        lambda: "a.b.c",
        lambda: "\ud800",
        lambda: "x" * 100_000,
        lambda: SIGNER.sign(session_claims()),
        lambda: SIGNER.sign(service_account_claims(iss=None)),
        lambda: SIGNER.sign(service_account_claims(iss=CLUSTER + "/")),
        lambda: SIGNER.sign(service_account_claims(padding="x" * 8192)),
        lambda: unsigned(service_account_claims()),
    ],
)
async def test_what_is_not_of_the_cluster_is_left_to_others(
    make: Make, verifier: KubernetesTokens, server: JwksServer
) -> None:
    """It may be a static token: nobody is asked for keys because of it."""
    assert await verifier.identity_of(make()) is None
    assert 1 == server.asked, "but for the look-up at the start"


def changed(**claims: Any) -> Make:
    return lambda: SIGNER.sign(service_account_claims(**claims))


@pytest.mark.parametrize(
    "make",
    [
        lambda: SIGNER.sign(service_account_claims(exp=int(time.time()) - 11)),
        lambda: SIGNER.sign(service_account_claims(nbf=int(time.time()) + 12)),
        lambda: SIGNER.sign(service_account_claims(iat=int(time.time()) + 12)),
        lambda: OTHER.sign(service_account_claims(), kid="key-1"),
        lambda: OTHER.sign(service_account_claims()),
        lambda: SIGNER.sign(service_account_claims(), kid=None),
        lambda: signed_with_public_key(service_account_claims(), SIGNER),
        lambda: unsigned(service_account_claims()) + "eHg",
        changed(aud=["https://kubernetes.default.svc"]),
        changed(aud=None),
        changed(aud=[]),
        changed(aud={"clerksync": 1}),
        changed(exp=None),
        changed(iat=None),
        changed(sub=None),
        changed(sub="system:node:worker-1"),
        changed(sub="system:serviceaccount:shop"),
        changed(sub="system:serviceaccount:shop:orders:more"),
        changed(sub="system:serviceaccount:shop/x:orders"),
        changed(sub="system:serviceaccount:*:orders"),
        changed(sub="system:serviceaccount:shop:orders\n"),
    ],
)
async def test_a_token_of_the_cluster_that_is_not_valid_is_refused(make: Make, verifier: KubernetesTokens) -> None:
    """Each is Unauthenticated, also the second time, with a text that repeats nothing of it."""
    for _ in range(2):
        with pytest.raises(Unauthenticated) as caught:
            await verifier.identity_of(make())
        assert not caught.value.missing
        assert not any(value in str(caught.value) for value in ("shop", "orders", "eyJ", CLUSTER))


async def test_clocks_may_differ_a_little(verifier: KubernetesTokens) -> None:
    """10 s are allowed between the cluster's clock and ours."""
    claims = service_account_claims(exp=int(time.time()) - 7)

    assert "kubernetes:shop/orders" == await verifier.identity_of(SIGNER.sign(claims))


async def test_the_cluster_rotates_its_keys(load: Any, tmp_path: Path) -> None:
    """Tokens of a new key are taken once it is named, and those of a key that is named no longer are refused."""
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks_of(SIGNER))
    verifier = kubernetes_tokens_of(
        load(
            CLERKSYNC_KUBERNETES_ISSUER=CLUSTER, CLERKSYNC_KUBERNETES_JWKS=str(file), CLERKSYNC_KUBERNETES_AUDIENCE="x"
        )
    )
    assert verifier is not None
    claims = service_account_claims(aud="x")
    old, new = SIGNER.sign(claims), OTHER.sign(claims)
    assert "kubernetes:shop/orders" == await verifier.identity_of(old)

    file.write_bytes(jwks_of(OTHER))

    assert "kubernetes:shop/orders" == await verifier.identity_of(new)
    with pytest.raises(Unauthenticated):
        await verifier.identity_of(old)


async def test_a_token_ends_with_its_key(monkeypatch: pytest.MonkeyPatch, server: JwksServer, load: Any) -> None:
    """Also one that was verified before, and that is shown again and again: nobody else has to ask for keys."""
    monkeypatch.setattr("clerksync_server.access.jwks.MAX_AGE_S", 0.02)
    verifier = verifier_at(server, load)
    await verifier.start()
    token = SIGNER.sign(service_account_claims())
    assert "kubernetes:shop/orders" == await verifier.identity_of(token)

    server.body = jwks_of(OTHER)

    with pytest.raises(Unauthenticated, match="key that the cluster does not name"):
        async with asyncio.timeout(10):
            while await verifier.identity_of(token):
                await asyncio.sleep(0.01)
    await verifier.close()


async def test_until_the_cluster_names_its_keys_nobody_can_tell(
    monkeypatch: pytest.MonkeyPatch, server: JwksServer, load: Any
) -> None:
    """An outage of the API server at the start lets nobody in and calls no token bad; soon after it, all is well."""
    monkeypatch.setattr("clerksync_server.access.jwks.FIRST_RETRY_S", 0.02)
    server.status = 503
    verifier = verifier_at(server, load)
    await verifier.start()
    token = SIGNER.sign(service_account_claims())
    for _ in range(3):
        with pytest.raises(KeysUnavailable, match="CLERKSYNC_KUBERNETES_JWKS"):
            await verifier.identity_of(token)
    assert await verifier.identity_of("hunter2") is None

    server.status = 200
    async with asyncio.timeout(10):
        while True:
            with suppress(KeysUnavailable):
                assert "kubernetes:shop/orders" == await verifier.identity_of(token)
                break
            await asyncio.sleep(0.01)
    await verifier.close()


def test_without_an_issuer_there_is_no_verifier(load: Any) -> None:
    """Service-account tokens are taken only where the issuer is named."""
    assert kubernetes_tokens_of(load()) is None
