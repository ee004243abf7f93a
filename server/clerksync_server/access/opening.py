"""Makes what lets calls in, by the settings."""

from collections.abc import Callable
from typing import TypeVar

import structlog

from clerksync_server.access.authorizer import Access, everyone
from clerksync_server.access.files import FileRefused, LookedAtTogether, ReloadedFile
from clerksync_server.access.kubernetes import kubernetes_tokens_of
from clerksync_server.access.policy import NOBODY, parse_policy
from clerksync_server.access.tokens import parse_tokens
from clerksync_server.settings import ENVIRONMENT_NAMES, InvalidSettings, Settings

_Content = TypeVar("_Content")
_log = structlog.get_logger(__name__)


def access_of(settings: Settings, *, dev: bool) -> Access:
    """Everybody may call in `dev`, unless a policy was given; elsewhere nobody, until one is.

    Raises InvalidSettings for files that cannot be used.
    """
    if dev and settings.policy_file is None:
        return everyone()
    problems: list[str] = []
    together = LookedAtTogether()

    def opened(name: str, parse: Callable[[bytes], _Content]) -> ReloadedFile[_Content] | None:
        path = getattr(settings, name)
        try:
            return None if path is None else ReloadedFile(path, parse, together)
        except FileRefused as error:
            problems.append(f"{ENVIRONMENT_NAMES[name]}: {error}")
            return None

    policy, tokens = opened("policy_file", parse_policy), opened("tokens_file", parse_tokens)
    if problems:
        raise InvalidSettings("\n".join(problems))
    if policy is None:
        _log.warning("every call is turned away", hint=f"{ENVIRONMENT_NAMES['policy_file']} tells who may call")
    kubernetes = kubernetes_tokens_of(settings)
    return Access(
        (lambda: NOBODY) if policy is None else policy.current,
        tokens=dict if tokens is None else tokens.current,
        certificates=settings.grpc_tls_client_ca is not None,
        verifiers=() if kubernetes is None else (kubernetes,),
    )
