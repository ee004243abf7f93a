"""Signing secrets: what can be one, and which variables hold them."""

from typing import Any

import pytest

from clerksync_server.clerk.signature import SignatureVerifier

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
MARK = "hunter2"
"""Part of every value that must not be repeated."""


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


@pytest.mark.parametrize("name", ["CLERK_WEBHOOK_SECRET", "CLERK_WEBHOOK_SIGNING_SECRET"])
@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        (SECRET, [SECRET]),
        (f"{SECRET},{OTHER_SECRET}", [SECRET, OTHER_SECRET]),
        (f" {SECRET} ,\t{OTHER_SECRET}, ", [SECRET, OTHER_SECRET]),
    ],
)
def test_one_secret_or_several(name: str, text: str, secrets: list[str], load: Any) -> None:
    """Either variable holds one secret, or several with commas in between, spaces allowed."""
    assert secrets == load("webhook_secrets", **{name: text}).webhook_secret_texts


def test_both_secret_variables_at_once_are_refused(load: Any, problems: Any) -> None:
    """One of them would be dropped in silence, and its deliveries with it; an empty one does not count."""
    [problem] = problems(CLERK_WEBHOOK_SECRET=SECRET, CLERK_WEBHOOK_SIGNING_SECRET=OTHER_SECRET)

    assert problem.startswith("CLERK_WEBHOOK_SIGNING_SECRET: is set beside CLERK_WEBHOOK_SECRET")
    assert [OTHER_SECRET] == load(
        "webhook_secrets", CLERK_WEBHOOK_SECRET="", CLERK_WEBHOOK_SIGNING_SECRET=OTHER_SECRET
    ).webhook_secret_texts


@pytest.mark.parametrize("text", [None, "", ",", " ", " , "])
def test_a_secret_that_is_needed_must_be_there(text: str | None, problems: Any) -> None:
    """Commas and spaces alone are no secret: the front would refuse every delivery."""
    variables = {} if text is None else {"CLERK_WEBHOOK_SECRET": text}

    [problem] = problems("webhook_secrets", **variables)

    told = "holds no secret" if text else "is not set, and this command needs it"
    assert problem.startswith(f"CLERK_WEBHOOK_SECRET: {told}")


@pytest.mark.parametrize("name", ["CLERK_WEBHOOK_SECRET", "CLERK_WEBHOOK_SIGNING_SECRET"])
def test_a_wrong_secret_is_told_by_the_variable_that_holds_it(name: str, problems: Any) -> None:
    """Whoever has set the one variable need not look for the other."""
    [problem] = problems("webhook_secrets", **{name: MARK})

    assert f"{name}:" == problem.split()[0]
    assert MARK not in problem
