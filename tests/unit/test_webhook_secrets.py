"""What can be a signing secret."""

import pytest

from clerksync_server.clerk.signature import SignatureVerifier

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "secret",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_MfKQ9r8G*KYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS=w",
        "whsec_MfKQ9",
        "whsec_MfKQ====",
        "whsec_====",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-_",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
        " whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSü",
        "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "sk_test_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    ],
)
def test_what_is_no_secret_is_told_and_not_repeated(secret: str) -> None:
    """A verifier that could never accept anything is not made, also if another secret is good."""
    with pytest.raises(ValueError, match="whsec_ and base64") as caught:
        SignatureVerifier([SECRET, secret])

    assert "MfKQ" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_verifier_needs_a_secret() -> None:
    """Without one, nothing could be told from a forgery."""
    with pytest.raises(ValueError, match="at least one"):
        SignatureVerifier([])
