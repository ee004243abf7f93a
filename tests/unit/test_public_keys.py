"""Public keys: which are taken from PEM and from a JWKS, and for which algorithm."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tokens import Signer, jwks_of

from clerksync_server.access.public_keys import MAX_KEYS, UnusableKeys, keys_in_jwks, keys_in_pem

RSA, EC = Signer("rsa"), Signer("ec", algorithm="ES256")
WEAK = Signer("weak", bits=1024)


def pem_of(private: Any) -> str:
    return str(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def private_jwk() -> dict[str, Any]:
    numbers = RSA.private.private_numbers()
    return {**RSA.jwk, "d": str(numbers.d)}


def test_several_keys_stand_in_one_text() -> None:
    """Each PEM block is a key, for the one algorithm that fits it."""
    assert ["RS256", "ES256"] == [key.algorithm for key in keys_in_pem(RSA.pem + "\n" + EC.pem)]


def test_line_ends_may_be_written_out() -> None:
    r"""Files of variables hold a key in one line, with `\n` for its line ends."""
    assert keys_in_pem(RSA.pem) == keys_in_pem(RSA.pem.replace("\n", "\\n"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        RSA.pem.replace("PUBLIC", "PRIVATE"),
        "-----BEGIN PUBLIC KEY-----\nhunter2\n-----END PUBLIC KEY-----",
        WEAK.pem,
        RSA.pem + WEAK.pem,
        pem_of(ec.generate_private_key(ec.SECP384R1())),
        pem_of(ed25519.Ed25519PrivateKey.generate()),
    ],
)
def test_a_key_that_cannot_be_used_is_told(text: str) -> None:
    """One bad key spoils the setting, which is told without repeating any of it."""
    with pytest.raises(UnusableKeys) as caught:
        keys_in_pem(text)
    assert "hunter2" not in str(caught.value)


def test_a_jwks_names_keys_of_both_kinds() -> None:
    """RSA keys are for RS256, those on P-256 for ES256."""
    assert {"rsa": "RS256", "ec": "ES256"} == {
        kid: key.algorithm for kid, key in keys_in_jwks(jwks_of(RSA, EC)).items()
    }


@pytest.mark.parametrize(
    "other",
    [
        17,
        {},
        {"kid": "x"},
        {"kid": "x", "kty": ["RSA"]},
        {"kid": "x", "kty": "oct", "k": "c2VjcmV0", "alg": "HS256"},
        {**RSA.jwk, "kid": None},
        {**RSA.jwk, "kid": "x", "use": "enc"},
        {**RSA.jwk, "kid": "x", "alg": "HS256"},
        {**RSA.jwk, "kid": "x", "alg": "RS512"},
        {**RSA.jwk, "kid": "x", "n": None},
        {**RSA.jwk, "kid": "x", "n": 5},
        {**RSA.jwk, "kid": "x", "n": "AQ"},
        {**RSA.jwk, "kid": "x", "n": "é"},
        {**RSA.jwk, "kid": "x", "e": "AA"},
        {**EC.jwk, "kid": "x", "crv": "P-384"},
        {**EC.jwk, "kid": "x", "x": EC.jwk["y"], "y": EC.jwk["x"]},
        {**EC.jwk, "kid": "x", "x": "AQ"},
        {**WEAK.jwk, "kid": "x"},
    ],
)
def test_other_keys_are_passed_over(other: Any) -> None:
    """What is ill-formed, weak or for another purpose does not spoil the rest."""
    assert ["rsa"] == list(keys_in_jwks(json.dumps({"keys": [other, RSA.jwk]}).encode()))


@pytest.mark.parametrize("document", [b'{"keys": []}', jwks_of(WEAK)])
def test_a_key_set_may_hold_no_key(document: bytes) -> None:
    """Whoever takes back all keys, or has none that could be used, is heard."""
    assert {} == keys_in_jwks(document)


def test_a_private_key_is_read_as_its_public_half() -> None:
    """Whoever publishes too much by mistake has no private key in our memory."""
    assert keys_in_jwks(jwks_of(RSA)) == keys_in_jwks(json.dumps({"keys": [private_jwk()]}).encode())


@pytest.mark.parametrize(
    "document",
    [b"", b"\xff", b"hunter2", b"[]", b"{}", b'{"keys": {}}', b'{"keys": null}', b"[" * 100_000],
)
def test_a_document_that_is_no_key_set_is_told(document: bytes) -> None:
    """It is an error, and none of it is repeated."""
    with pytest.raises(UnusableKeys) as caught:
        keys_in_jwks(document)
    assert "hunter2" not in str(caught.value)


def test_the_number_of_keys_is_bounded() -> None:
    """A source that has gone mad does not fill the memory."""
    jwks = {"keys": [{**RSA.jwk, "kid": str(number)} for number in range(MAX_KEYS + 50)]}
    assert MAX_KEYS == len(keys_in_jwks(json.dumps(jwks).encode()))
