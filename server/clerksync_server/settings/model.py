"""Every setting, with its variable, its limits and what it is for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from clerksync_server.settings.types import (
    Address,
    DatabaseUrl,
    GrpcTarget,
    JwksLocation,
    ListenAddress,
    Origins,
    QuarantineKeys,
    Reflection,
    Transport,
    WebhookSecrets,
)

SECRET_NAMES = ("CLERK_WEBHOOK_SECRET", "CLERK_WEBHOOK_SIGNING_SECRET")


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
        validation_alias=AliasChoices(*SECRET_NAMES),
        description="The signing secret of the endpoint in Clerk's dashboard, `whsec_…`. Several, separated by "
        "commas, while one is being rotated: any may match. The front refuses to start without it.",
    )
    quarantine_keys: QuarantineKeys = Field(
        default=(),
        validation_alias="CLERKSYNC_QUARANTINE_KEY",
        description="Encrypts the bodies in quarantine: a Fernet key, or several, separated by commas, while one is "
        "being rotated. The first encrypts, any decrypts. Without it bodies are kept as they were sent.",
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
    grpc_tls_cert: Path | None = Field(
        default=None,
        validation_alias="CLERKSYNC_GRPC_TLS_CERT",
        description="The certificate that SyncService shows, followed by those between it and its authority: a file, "
        "PEM. `clerksync service` needs it, or `CLERKSYNC_GRPC_PLAINTEXT=1`. Read anew when it changes.",
    )
    grpc_tls_key: Path | None = Field(
        default=None,
        validation_alias="CLERKSYNC_GRPC_TLS_KEY",
        description="The private key of that certificate, not encrypted: a file, PEM. Read anew when it changes.",
    )
    grpc_tls_client_ca: Path | None = Field(
        default=None,
        validation_alias="CLERKSYNC_GRPC_TLS_CLIENT_CA",
        description="Who has to have issued the certificate of a client: a file, PEM, with one authority or several. "
        "When set, nobody connects without such a certificate. Read anew when it changes.",
    )
    grpc_plaintext: bool = Field(
        default=False,
        validation_alias="CLERKSYNC_GRPC_PLAINTEXT",
        description="`1` has gRPC without TLS: SyncService serves it, and the front and the operators' commands speak "
        "it to other machines. `clerksync dev` on the loopback interface needs not be asked.",
    )
    policy_file: Path | None = Field(
        default=None,
        validation_alias="CLERKSYNC_POLICY_FILE",
        description="Which caller may make which gRPC calls, TOML; read anew when it changes. Without it nobody may "
        "make any, except in `clerksync dev`.",
    )
    tokens_file: Path | None = Field(
        default=None,
        validation_alias="CLERKSYNC_TOKENS_FILE",
        description="The hashes of the bearer tokens that callers may use, as `clerksync token` prints them; read anew "
        "when it changes.",
    )
    reflection: Reflection = Field(
        default="operators",
        validation_alias="CLERKSYNC_REFLECTION",
        description="Who may ask for the gRPC contract: `operators`, as the policy says; `everyone`; or `off`, nobody.",
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
        "waited longest without a whole request is closed. Each takes a file descriptor.",
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
    service_tls_ca: Path | None = Field(
        default=None,
        validation_alias="CLERKSYNC_SERVICE_TLS_CA",
        description="For the front and the operators' commands: who has to have issued SyncService's certificate, a "
        "file, PEM. Without it they speak plaintext; where they ask the SyncService of this same environment they "
        "follow its settings.",
    )
    service_tls_cert: Path | None = Field(
        default=None,
        validation_alias="CLERKSYNC_SERVICE_TLS_CERT",
        description="The certificate that they show to SyncService: a file, PEM.",
    )
    service_tls_key: Path | None = Field(
        default=None,
        validation_alias="CLERKSYNC_SERVICE_TLS_KEY",
        description="The private key of that certificate, not encrypted: a file, PEM.",
    )
    service_tls_name: str | None = Field(
        default=None,
        validation_alias="CLERKSYNC_SERVICE_TLS_NAME",
        description="The name that SyncService's certificate has to hold, where the target does not tell: through a "
        "tunnel, for example. Default: the host in `CLERKSYNC_SERVICE_TARGET`.",
    )
    service_token_file: Path | None = Field(
        default=None,
        validation_alias="CLERKSYNC_SERVICE_TOKEN_FILE",
        description="A bearer token that the front and the operators' commands send with each call: a file. Read anew "
        "when it changes.",
    )
    database_pool_size: int = Field(
        default=8,
        ge=1,
        le=100,
        validation_alias="CLERKSYNC_DATABASE_POOL_SIZE",
        description="The most connections in the pool of one SyncService, 1 to 100; beside it are seven with purposes "
        "of their own.",
    )
    clerk_jwt_key: str | None = Field(
        default=None,
        validation_alias="CLERK_JWT_KEY",
        description="The public key that Clerk signs session tokens with, in PEM, as the dashboard shows it; several "
        "one after the other while they change. Verifies the tokens that Ensure calls carry.",
    )
    clerk_jwks: JwksLocation | None = Field(
        default=None,
        validation_alias="CLERKSYNC_CLERK_JWKS",
        description="Where Clerk's public keys are found instead, or as well: the path of a JWKS, or "
        "`https://YOUR-FRONTEND-API/.well-known/jwks.json`.",
    )
    clerk_issuer: str | None = Field(
        default=None,
        validation_alias="CLERKSYNC_CLERK_ISSUER",
        description="The issuer (`iss`) that session tokens have to name: `https://` and the Frontend API. Without it "
        "the key alone decides.",
    )
    authorized_parties: Origins = Field(
        default=(),
        validation_alias="CLERKSYNC_AUTHORIZED_PARTIES",
        description="The origins that session tokens may have been issued for (`azp`), as `https://app.example.com`, "
        "separated by commas. Without it any.",
    )
    kubernetes_issuer: str | None = Field(
        default=None,
        validation_alias="CLERKSYNC_KUBERNETES_ISSUER",
        description="The issuer (`iss`) of the cluster's service-account tokens. With it callers may prove who they "
        "are by such a token.",
    )
    kubernetes_audience: str = Field(
        default="clerksync",
        validation_alias="CLERKSYNC_KUBERNETES_AUDIENCE",
        description="The audience (`aud`) that service-account tokens have to be for.",
    )
    kubernetes_jwks: JwksLocation | None = Field(
        default=None,
        validation_alias="CLERKSYNC_KUBERNETES_JWKS",
        description="Where the cluster's public keys are found: the path of a JWKS, or a URL; in the cluster "
        "`https://kubernetes.default.svc/openid/v1/jwks`.",
    )
    kubernetes_ca: Path | None = Field(
        default=None,
        validation_alias="CLERKSYNC_KUBERNETES_CA",
        description="The certificates to trust at that URL, in PEM; in the cluster "
        "`/var/run/secrets/kubernetes.io/serviceaccount/ca.crt`. Without it those of the system.",
    )
    kubernetes_token_file: Path | None = Field(
        default=None,
        validation_alias="CLERKSYNC_KUBERNETES_TOKEN_FILE",
        description="The bearer token to ask that URL with, read anew each time; in the cluster "
        "`/var/run/secrets/kubernetes.io/serviceaccount/token`.",
    )
    max_token_age_s: int = Field(
        default=60,
        ge=1,
        le=315_360_000,
        validation_alias="CLERKSYNC_MAX_TOKEN_AGE",
        description="How long Clerk's session tokens live, in seconds: one that was made to live longer proves "
        "nothing. Raise it if your own code makes them live longer, or if siblings state the times of a JWT "
        "template's tokens: Ensure calls without `token_issued_at` count as that old.",
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
    def database_urls(self) -> dict[str, str]:
        """The URLs that are set, by the name of their variable."""
        urls = {"database_url": self.database_url, "database_direct_url": self.database_direct_url}
        return {ENVIRONMENT_NAMES[name]: url.get_secret_value() for name, url in urls.items() if url is not None}

    @property
    def target(self) -> str:
        """Where SyncService is: as set, or where this environment has it listen."""
        if "service_target" in self.model_fields_set:
            return self.service_target
        return str(self.grpc_listen.reachable())

    @property
    def webhook_secret_texts(self) -> list[str]:
        return [secret.get_secret_value() for secret in self.webhook_secrets]

    @property
    def quarantine_key_texts(self) -> list[str]:
        return [key.get_secret_value() for key in self.quarantine_keys]


def variables_of(name: str) -> list[str]:
    """The variables that a setting is read from, the first one first."""
    alias = Settings.model_fields[name].validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [str(alias)]


ENVIRONMENT_NAMES: Mapping[str, str] = {name: variables_of(name)[0] for name in Settings.model_fields}
"""The variable of each setting."""
