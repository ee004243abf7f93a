"""The settings: read from the environment, checked at the start, every problem told at once."""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from clerksync_server.setting_types import Address, DatabaseUrl, GrpcTarget, ListenAddress, Transport, WebhookSecrets

_OF_A_SERVICE = re.compile(r"_(SERVICE_HOST|SERVICE_PORT\w*|PORT(_\d+_\w+)?)$")
_SECRET_NAMES = ("CLERK_WEBHOOK_SECRET", "CLERK_WEBHOOK_SIGNING_SECRET")


class Settings(BaseSettings):
    """All settings. `docs/configuration.md` is checked against the descriptions."""

    model_config = SettingsConfigDict(
        frozen=True, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True, case_sensitive=True
    )

    database_url: DatabaseUrl | None = Field(
        default=None,
        validation_alias="DATABASE_URL",
        description="Postgres, as `postgresql://user:password@host:5432/database`. A transaction pooler may stand in "
        "front of it. `clerksync dev` starts an embedded one without it.",
    )
    database_direct_url: DatabaseUrl | None = Field(
        default=None,
        validation_alias="CLERKSYNC_DATABASE_DIRECT_URL",
        description="The same Postgres without a transaction pooler in front, for the one connection that is notified "
        "of removals. Default: `DATABASE_URL`; through a pooler removals are told up to 2 s late.",
    )
    webhook_secrets: WebhookSecrets = Field(
        default=(),
        validation_alias=AliasChoices(*_SECRET_NAMES),
        description="The signing secret of the endpoint in Clerk's dashboard, `whsec_…`. Several, separated by "
        "commas, while one is being rotated: any may match. The front refuses to start without it.",
    )
    instance_id: str | None = Field(
        default=None,
        validation_alias="CLERK_INSTANCE_ID",
        description="The Clerk instance, `ins_…`. When set, events that name another instance are ignored.",
    )
    grpc_listen: ListenAddress = Field(
        default=Address("127.0.0.1", 50051),
        validation_alias="CLERKSYNC_GRPC_LISTEN",
        description="Where SyncService listens, as `host:port`.",
    )
    grpc_transport: Transport = Field(
        default="grpcio",
        validation_alias="CLERKSYNC_GRPC_TRANSPORT",
        description="What carries the calls of SyncService: `grpcio`, or `native`, which is faster, needs the extra of "
        "that name, and has no TLS of its own: for meshes, sidecars and loopback.",
    )
    http_listen: ListenAddress = Field(
        default=Address("127.0.0.1", 8080),
        validation_alias="CLERKSYNC_HTTP_LISTEN",
        description="Where the webhook front listens, as `host:port`.",
    )
    http_max_connections: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        validation_alias="CLERKSYNC_HTTP_MAX_CONNECTIONS",
        description="The most connections to one webhook front, 1 to 100,000. Where there are more, the one that has "
        "waited longest without a request is closed. Each takes a file descriptor.",
    )
    ops_listen: ListenAddress = Field(
        default=Address("127.0.0.1", 9090),
        validation_alias="CLERKSYNC_OPS_LISTEN",
        description="Where `/livez`, `/readyz` and `/metrics` are served, as `host:port`.",
    )
    service_target: GrpcTarget = Field(
        default="127.0.0.1:50051",
        validation_alias="CLERKSYNC_SERVICE_TARGET",
        description="Where the front and the operators' commands find SyncService: a gRPC target, for example "
        "`dns:///clerksync:50051`. Default: where `CLERKSYNC_GRPC_LISTEN` says.",
    )
    database_pool_size: int = Field(
        default=8,
        ge=1,
        le=100,
        validation_alias="CLERKSYNC_DATABASE_POOL_SIZE",
        description="The most connections in the pool of one SyncService, 1 to 100; beside it are seven with purposes "
        "of their own.",
    )
    max_token_age_s: int = Field(
        default=60,
        ge=1,
        le=315_360_000,
        validation_alias="CLERKSYNC_MAX_TOKEN_AGE",
        description="How long Clerk's session tokens live, in seconds. Raise it if a JWT template or your own code "
        "makes them live longer: Ensure calls without `token_issued_at` count as that old.",
    )
    tombstone_retention_days: int = Field(
        default=90,
        ge=2,
        le=3650,
        validation_alias="CLERKSYNC_TOMBSTONE_RETENTION_DAYS",
        description="How long removals are remembered, in days. Tokens older than that prove nothing to Ensure.",
    )
    ledger_retention_days: int = Field(
        default=90,
        ge=2,
        le=3650,
        validation_alias="CLERKSYNC_LEDGER_RETENTION_DAYS",
        description="How long deliveries are remembered, in days; Svix can replay them for 90. Those in quarantine "
        "stay until they are redriven.",
    )
    shutdown_grace_s: float = Field(
        default=10.0,
        ge=0,
        le=600,
        validation_alias="CLERKSYNC_SHUTDOWN_GRACE",
        description="How long work in progress may take to finish after SIGTERM, in seconds. `clerksync dev` takes "
        "at most 3.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        validation_alias="CLERKSYNC_LOG_LEVEL",
        description="The least severe log lines to write: `debug`, `info`, `warning` or `error`.",
    )
    log_format: Literal["json", "console"] | None = Field(
        default=None,
        validation_alias="CLERKSYNC_LOG_FORMAT",
        description="`json` or `console`. Default: `console` on a terminal, `json` elsewhere.",
    )
    data_dir: Path = Field(
        default=Path(".clerksync"),
        validation_alias="CLERKSYNC_DATA_DIR",
        description="Where `clerksync dev` keeps the embedded Postgres and the webhook secret it made.",
    )

    @property
    def direct_dsn(self) -> str | None:
        """Postgres without a pooler, as far as we were told of it."""
        url = self.database_direct_url or self.database_url
        return None if url is None else url.get_secret_value()

    @property
    def target(self) -> str:
        """Where SyncService is: as set, or where this environment has it listen."""
        if "service_target" in self.model_fields_set:
            return self.service_target
        return str(self.grpc_listen.reachable())

    @property
    def webhook_secret_texts(self) -> list[str]:
        return [secret.get_secret_value() for secret in self.webhook_secrets]


class InvalidSettings(Exception):
    """The environment does not make settings. The text has a line for each problem, and no values."""


def _variables(name: str) -> list[str]:
    """The variables that a setting is read from, the first one first."""
    alias = Settings.model_fields[name].validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [str(alias)]


ENVIRONMENT_NAMES: Mapping[str, str] = {name: _variables(name)[0] for name in Settings.model_fields}
"""The variable of each setting."""


def _source_of(variable: str) -> str:
    """The variable that a value came from; pydantic names the first of those it may come from."""
    for name in Settings.model_fields:
        names = _variables(name)
        if variable in names:
            return next((candidate for candidate in names if os.environ.get(candidate)), variable)
    return variable


def _misspelt() -> list[str]:
    """Variables that look like one of ours. Those that Kubernetes makes of a Service's name are none."""
    known = [variable for name in Settings.model_fields for variable in _variables(name)]
    return [
        f"{variable}: is no setting; is {meant} meant?"
        for variable in os.environ
        if variable.startswith("CLERK") and variable not in known and _OF_A_SERVICE.search(variable) is None
        for meant in difflib.get_close_matches(variable, known, n=1, cutoff=0.9)
    ]


def load_settings(*required: str, **overrides: Any) -> Settings:
    """Reads the environment. `required` names settings that must be there for the command at hand.

    `overrides` are by the name of the variable. Raises InvalidSettings with all problems at once.
    """
    problems = _misspelt()
    if all(os.environ.get(variable) for variable in _SECRET_NAMES):
        problems.append(f"{_SECRET_NAMES[1]}: is set beside {_SECRET_NAMES[0]}; put all secrets into one of them")
    try:
        settings = Settings(**overrides)
        missing = [name for name in required if not getattr(settings, name)]
    except ValidationError as error:
        problems += [
            f"{_source_of(str(detail['loc'][0]))}: {detail['msg'].removeprefix('Value error, ')}"
            for detail in error.errors(include_input=False, include_url=False)
        ]
        set_ = {variable for variable, value in (os.environ | overrides).items() if value}
        missing = [name for name in required if set_.isdisjoint(_variables(name))]
    problems += [f"{ENVIRONMENT_NAMES[name]}: is not set, and this command needs it" for name in missing]
    if problems:
        raise InvalidSettings("\n".join(sorted(problems)))
    return settings
