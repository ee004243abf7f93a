"""Reads the settings from the environment: checked at the start, every problem told at once."""

import difflib
import os
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from pydantic import ValidationError

from clerksync_server.settings.encryption import contradictions
from clerksync_server.settings.model import ENVIRONMENT_NAMES, SECRET_NAMES, Settings, variables_of

_OF_A_SERVICE = re.compile(r"_(SERVICE_HOST|SERVICE_PORT\w*|PORT(_\d+_\w+)?)$")


class InvalidSettings(Exception):
    """The environment does not make settings. The text has a line for each problem, and no values."""


def _source_of(variable: str) -> str:
    """The variable that a value came from; pydantic names the first of those it may come from."""
    for name in Settings.model_fields:
        names = variables_of(name)
        if variable in names:
            return next((candidate for candidate in names if os.environ.get(candidate)), variable)
    return variable


def _misspelt() -> list[str]:
    """Variables that look like one of ours. Those that Kubernetes makes of a Service's name are none."""
    known = [variable for name in Settings.model_fields for variable in variables_of(name)]
    return [
        f"{variable}: is no setting; is {meant} meant?"
        for variable in os.environ
        if variable.startswith("CLERK") and variable not in known and _OF_A_SERVICE.search(variable) is None
        for meant in difflib.get_close_matches(variable, known, n=1, cutoff=0.9)
    ]


def _halves(settings: Settings) -> list[str]:
    """Settings that do nothing without another one."""
    needs = {
        "kubernetes_issuer": "kubernetes_jwks",
        "kubernetes_jwks": "kubernetes_issuer",
        "kubernetes_ca": "kubernetes_jwks",
        "kubernetes_token_file": "kubernetes_jwks",
    }
    problems = [
        f"{ENVIRONMENT_NAMES[name]}: does nothing without {ENVIRONMENT_NAMES[other]}, which is not set"
        for name, other in needs.items()
        if getattr(settings, name) is not None and getattr(settings, other) is None
    ]
    if not (settings.clerk_jwt_key or settings.clerk_jwks):
        problems += [
            f"{ENVIRONMENT_NAMES[name]}: does nothing without CLERK_JWT_KEY or CLERKSYNC_CLERK_JWKS"
            for name in ("clerk_issuer", "authorized_parties")
            if getattr(settings, name)
        ]
    return problems


Check: TypeAlias = Callable[[Settings], list[str]]
"""Finds problems of settings that are each in order."""


def load_settings(*required: str | Check, **overrides: Any) -> Settings:
    """Reads the environment. `required` names settings that must be there for the command at hand, and checks them.

    `overrides` are by the name of the variable. Raises InvalidSettings with all problems at once.
    """
    names = [name for name in required if isinstance(name, str)]
    checks = [check for check in required if not isinstance(check, str)]
    problems = _misspelt()
    if all(os.environ.get(variable) for variable in SECRET_NAMES):
        problems.append(f"{SECRET_NAMES[1]}: is set beside {SECRET_NAMES[0]}; put all secrets into one of them")
    try:
        settings = Settings(**overrides)
        missing = [name for name in names if not getattr(settings, name)]
        found = contradictions(settings) + _halves(settings)
        problems += found or [problem for check in checks for problem in check(settings)]
    except ValidationError as error:
        problems += [
            f"{_source_of(str(detail['loc'][0]))}: {detail['msg'].removeprefix('Value error, ')}"
            for detail in error.errors(include_input=False, include_url=False)
        ]
        set_ = {variable for variable, value in (os.environ | overrides).items() if value}
        missing = [name for name in names if set_.isdisjoint(variables_of(name))]
    problems += [f"{ENVIRONMENT_NAMES[name]}: is not set, and this command needs it" for name in missing]
    if problems:
        raise InvalidSettings("\n".join(sorted(problems)))
    return settings
