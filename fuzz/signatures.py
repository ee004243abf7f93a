"""Signatures: whatever the headers hold, a delivery is verified or InvalidSignature, and no stranger's is verified."""

from clerksync_server.clerk.signature import InvalidSignature, SignatureVerifier
from clerksync_server.clerk.values import is_id
from fuzz.signing import SECRET, signature_headers

_VERIFIER = SignatureVerifier([SECRET, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"])
_FAMILIES = ("svix", "webhook")


def target(data: bytes) -> None:
    """Four lines: id, timestamp, signature, and the body, which may have more. Headers are decoded as aiohttp does."""
    svix_id, timestamp, signature, body = (*data.split(b"\n", 3), b"", b"", b"")[:4]
    texts = [part.decode("utf-8", "surrogateescape") for part in (svix_id, timestamp, signature)]
    _check_forged(body, texts)
    _check_genuine(body, texts[0])


def _check_forged(body: bytes, texts: list[str]) -> None:
    """Nobody who does not know the secret makes a signature; nor does one for other bytes, or another id, do."""
    for family in _FAMILIES:
        headers = dict(zip((f"{family}-id", f"{family}-timestamp", f"{family}-signature"), texts, strict=True))
        assert not _accepted(body, headers)
        genuine = signature_headers("msg_1", b"another body", family=family)
        assert not _accepted(body, genuine) or body == b"another body"
        assert not _accepted(b"another body", genuine | {f"{family}-id": texts[0]}) or texts[0] == "msg_1"
        assert _accepted(b"another body", genuine | {f"{family}-signature": _beside(genuine, family, texts[2])})


def _beside(genuine: dict[str, str], family: str, other: str) -> str:
    """The genuine signature after another one, as while a secret is rotated; `other` must not hide it."""
    return (
        f"v1,AAAA {genuine[f'{family}-signature']}"
        if "," not in other or " " in other
        else (f"{genuine[f'{family}-signature']} {other}")
    )


def _check_genuine(body: bytes, svix_id: str) -> None:
    if is_id(svix_id):
        assert _accepted(body, signature_headers(svix_id, body)) == _is_utf_8(body)


def _accepted(body: bytes, headers: dict[str, str]) -> bool:
    try:
        verified = _VERIFIER.verify(body, headers)
    except InvalidSignature as error:
        assert str(error).isascii()
        return False
    assert is_id(verified.svix_id)
    assert verified.attempted_at_s > 0
    return True


def _is_utf_8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
