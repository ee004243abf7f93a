"""Signatures: what Svix signs is accepted, and whatever else comes is InvalidSignature."""

import base64
import hashlib
import hmac
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from clerksync_server.clerk.signature import InvalidSignature, SignatureVerifier, VerifiedDelivery

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = b'{"type": "user.created", "data": {"id": "user_1"}}  \n'
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
VERIFIER = SignatureVerifier([SECRET])


def signature(secret: str, svix_id: str, timestamp: object, body: bytes) -> str:
    """By the published recipe: HMAC-SHA256 over id, timestamp and raw body."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{svix_id}.{timestamp}.".encode("utf-8", "surrogatepass") + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def now() -> int:
    return int(time.time())


def headers(
    secret: str = SECRET,
    *,
    family: str = "svix",
    svix_id: str = ID,
    timestamp: Any = None,
    body: bytes = BODY,
    **changes: str,
) -> CIMultiDict[str]:
    """Signed headers; `changes` are made after the signing."""
    stamp = now() if timestamp is None else timestamp
    parts = {"id": svix_id, "timestamp": str(stamp), "signature": signature(secret, svix_id, stamp, body)} | changes
    return CIMultiDict({f"{family}-{part}": value for part, value in parts.items()})


def refusal(received: CIMultiDict[str], body: bytes = BODY, verifier: SignatureVerifier = VERIFIER) -> str:
    with pytest.raises(InvalidSignature) as caught:
        verifier.verify(body, received)
    return str(caught.value)


def test_the_signer_of_these_tests_is_right() -> None:
    """It makes the signature that Svix publishes as an example."""
    made = signature(SECRET, ID, 1614265330, b'{"test": 2432232314}')

    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("family", ["svix", "webhook"])
@pytest.mark.parametrize("style", [str.lower, str.upper, str.title])
def test_a_good_signature_is_accepted(family: str, style: Any) -> None:
    """Both families of headers are read, in any case, and tell the delivery's id and the time of the attempt."""
    stamp = now()
    signed = headers(family=family, timestamp=stamp)
    received = CIMultiDict({style(name): value for name, value in signed.items()})

    assert VerifiedDelivery(ID, stamp) == VERIFIER.verify(BODY, received)


@pytest.mark.parametrize("body", [b"", b"{}", b"not JSON", "Grüße 🎉 \x00".encode(), b" " * 1_000_000])
def test_the_raw_bytes_are_signed(body: bytes) -> None:
    """Whatever the bytes are, as long as they are UTF-8, their signature is good."""
    assert VERIFIER.verify(body, headers(body=body)).svix_id == ID


@pytest.mark.parametrize("secret", [SECRET, OTHER_SECRET])
def test_any_of_several_secrets_will_do(secret: str) -> None:
    """While a secret is being rotated, deliveries signed with either are accepted."""
    assert SignatureVerifier([SECRET, OTHER_SECRET]).verify(BODY, headers(secret)).svix_id == ID


@pytest.mark.parametrize(
    "pattern", ["{good}", "v1,AAAA {good}", "{good} v1,AAAA", "v1a,AAAA {good}", "v2,{good} {good}", "{good} {good}"]
)
def test_any_of_several_signatures_will_do(pattern: str) -> None:
    """Svix signs with every key that is valid; other versions are skipped."""
    stamp = now()
    good = signature(SECRET, ID, stamp, BODY)
    several = pattern.replace("v2,{good}", good.replace("v1,", "v2,")).replace("{good}", good)

    assert VERIFIER.verify(BODY, headers(timestamp=stamp, signature=several)).svix_id == ID


def test_another_secret_is_refused() -> None:
    """A signature by a secret that is not ours is worth nothing."""
    assert "does not match" in refusal(headers(OTHER_SECRET))


@pytest.mark.parametrize("body", [BODY + b" ", BODY[:-1], b"", BODY.replace(b"user_1", b"user_2")])
def test_an_altered_body_is_refused(body: bytes) -> None:
    """A single byte more, less or different breaks the signature."""
    assert "does not match" in refusal(headers(), body)


def test_a_signature_belongs_to_its_id_and_time() -> None:
    """Neither can be replaced: ids tell repeats apart, and the time ends a signature's life."""
    later = headers(timestamp=now() - 10)
    later["svix-timestamp"] = str(now())

    assert "does not match" in refusal(headers(id="msg_other"))
    assert "does not match" in refusal(later)


@pytest.mark.parametrize("off", [-310, 310, -86_400, 86_400, -1_700_000_000, 10**9, 10**12])
def test_a_time_that_is_off_is_refused(off: int) -> None:
    """More than 5 minutes, in either direction, is too much."""
    assert "the clock" in refusal(headers(timestamp=now() + off))


@pytest.mark.parametrize("off", [-290, 0, 290])
def test_a_time_within_five_minutes_is_accepted(off: int) -> None:
    """Clocks may differ by up to 5 minutes."""
    stamp = now() + off

    assert VerifiedDelivery(ID, stamp) == VERIFIER.verify(BODY, headers(timestamp=stamp))


@pytest.mark.parametrize("family", ["svix", "webhook"])
@pytest.mark.parametrize("part", ["id", "timestamp", "signature"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_header_is_told(family: str, part: str, value: str | None) -> None:
    """The text says which header is missing; an empty one is missing too."""
    received = headers(family=family)
    del received[f"{family}-{part}"]
    if value is not None:
        received[f"{family}-{part}"] = value

    assert f"{part}" in refusal(received)
    assert "is missing" in refusal(received)


def test_without_any_header() -> None:
    """A request that was never signed is told what it lacks."""
    assert "svix-signature" in refusal(CIMultiDict())


def test_the_families_are_not_mixed() -> None:
    """A signature counts only with the id and the time of its own family."""
    mixed = headers()
    mixed["webhook-signature"] = mixed.pop("svix-signature")

    assert "webhook-id" in refusal(mixed)


@pytest.mark.parametrize("svix_id", ["m sg", "msg\t1", "x" * 256, "msg_ü", "msg_\x00", "msg_\n", " "])
def test_an_id_that_cannot_be_one_is_refused_although_signed(svix_id: str) -> None:
    """The id is the ledger's key, so it has to be 1 to 255 printable ASCII characters."""
    assert "svix-id" in refusal(headers(svix_id=svix_id))


@pytest.mark.parametrize(
    "value",
    [
        "v1",
        "v1,",
        ",",
        " ",
        "  ",
        "v1,AAAA,AAAA",
        "v1,AAAA  v1,AAAA",
        "v1,A",
        "v1,====",
        "v1,ÄÖÜ=",
        "v1,\udcff",
        "v1,\x00",
        "V1,AAAA",
        "v1 AAAA",
        "v1a,AAAA",
        "v1,AAAA" * 10_000,
        "🎉",
    ],
)
def test_a_hostile_signature_is_refused(value: str) -> None:
    """No comma, two commas, two spaces, odd base64, other alphabets: refused like any other, and never repeated."""
    assert refusal(headers(signature=value)) == refusal(headers(OTHER_SECRET))


@pytest.mark.parametrize(
    "value",
    [
        "nan",
        "NaN",
        "inf",
        "-inf",
        "1e400",
        "1e308",
        "-1",
        "0",
        "9" * 400,
        "0x10",
        "now",
        "1,5",
        "\x00",
        "\udcff",
        "٣",
        "--1",
    ],
)
def test_a_hostile_timestamp_is_refused_although_signed(value: str) -> None:
    """What is no time, or no time near now, is refused even with a signature over it."""
    assert "does not match" in refusal(headers(timestamp=value))


def test_a_body_that_is_not_utf_8_is_refused() -> None:
    """Clerk sends JSON in UTF-8 only."""
    body = b'{"type": "\xff\xfe"}'

    assert "does not match" in refusal(headers(body=body), body)


unruly = st.text(st.characters(exclude_categories=()), max_size=30)
tokens = st.lists(unruly | st.sampled_from(["v1", ",", " ", "v1,", "="]), max_size=6).map("".join)


@given(unruly, unruly, tokens, st.binary(max_size=50), st.sampled_from(["svix", "webhook"]))
def test_arbitrary_headers_are_refused(svix_id: str, timestamp: str, signed: str, body: bytes, family: str) -> None:
    """Headers at random never raise anything else."""
    parts = {"id": svix_id, "timestamp": timestamp, "signature": signed}
    refusal(CIMultiDict({f"{family}-{part}": value for part, value in parts.items()}), body)


@given(
    st.sampled_from(["id", "timestamp", "signature"]), unruly | tokens | st.floats().map(str) | st.integers().map(str)
)
def test_one_arbitrary_header_is_refused(part: str, value: str) -> None:
    """A delivery that is right but for one header is refused."""
    received = headers()
    received[f"svix-{part}"] = value

    refusal(received)


@given(tokens, tokens)
def test_what_surrounds_a_good_signature_never_breaks(before: str, after: str) -> None:
    """Beside a good signature anything may stand: the delivery is accepted or refused, and nothing else."""
    stamp = now()
    good = signature(SECRET, ID, stamp, BODY)
    try:
        delivery = VERIFIER.verify(BODY, headers(timestamp=stamp, signature=f"{before} {good} {after}"))
    except InvalidSignature:
        return

    assert VerifiedDelivery(ID, stamp) == delivery


@pytest.mark.parametrize("secret", ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLQ==", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLQ"])
def test_padding_is_optional(secret: str) -> None:
    """Both ways of writing base64 are the same secret."""
    signed = headers("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLQ==")

    assert SignatureVerifier([secret]).verify(BODY, signed).svix_id == ID
