"""The Kubernetes manifests: valid, and in step with the settings and the secrets that they name.

Each rule is checked on the files as they stand and, where kubectl is installed, on what Kustomize makes of them.
"""

import re
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from deploy.manifests import (
    FILES,
    KUBERNETES,
    Manifest,
    configuration,
    container,
    declared_ports,
    from_secrets,
    kustomizations,
    load,
    mounted_config_maps,
    of_kind,
    workloads,
)
from kubernetes_validate.utils import latest_version, validate
from pydantic import AliasChoices

from clerksync_server.settings import Settings
from clerksync_server.settings.types import Address

SECRETS_EXAMPLE = KUBERNETES / "secrets.yaml.example"
SECRET_VARIABLES = {
    "DATABASE_URL",
    "CLERKSYNC_DATABASE_DIRECT_URL",
    "CLERKSYNC_QUARANTINE_KEY",
    "CLERK_WEBHOOK_SECRET",
    "CLERK_WEBHOOK_SIGNING_SECRET",
    "CLERK_SECRET_KEY",
}
KUBERNETES_VERSIONS = ["1.30", "1.34", latest_version()]


def setting_variables() -> set[str]:
    """Every variable that the settings are read from."""
    aliases = [field.validation_alias for field in Settings.model_fields.values()]
    return {str(name) for alias in aliases for name in (alias.choices if isinstance(alias, AliasChoices) else [alias])}


def default_port(setting: str) -> int:
    address = Settings.model_fields[setting].default
    assert isinstance(address, Address)
    return address.port


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_every_object_is_valid(manifests: list[Manifest], version: str) -> None:
    """Every object has the fields of its kind and no unknown ones, from the oldest supported version to the newest."""
    for manifest in manifests:
        # Those of cert-manager are not of Kubernetes' own kinds.
        if not manifest["apiVersion"].startswith("cert-manager.io/"):
            validate(manifest, version, strict=True)


def test_the_workloads_are_the_three_commands(manifests: list[Manifest]) -> None:
    """One image runs as three workloads, which differ by the command they are given."""
    arguments = {name: container(workload)["args"] for name, workload in workloads(manifests).items()}

    assert arguments == {
        "clerksync": ["service"],
        "clerksync-front": ["front"],
        "clerksync-migrate": ["migrate"],
    }
    assert len({container(workload)["image"] for workload in workloads(manifests).values()}) == 1


def test_no_secret_is_contained(manifests: list[Manifest]) -> None:
    """Secrets are referred to by name; no object holds the value of one."""
    assert of_kind(manifests, "Secret") == {}
    for config_map in of_kind(manifests, "ConfigMap").values():
        assert not SECRET_VARIABLES & config_map["data"].keys()
    for text in ("whsec_", "sk_live_", "sk_test_", "postgresql://", "postgres://"):
        assert text not in yaml.safe_dump(manifests)


def test_each_workload_gets_only_its_own_secret(manifests: list[Manifest]) -> None:
    """The front cannot reach the database, the migration alone is the owner, the front alone has the webhook secret."""
    database = {"DATABASE_URL": ("clerksync-database", "DATABASE_URL")}
    direct = {"CLERKSYNC_DATABASE_DIRECT_URL": ("clerksync-database", "CLERKSYNC_DATABASE_DIRECT_URL")}
    owner = {"DATABASE_URL": ("clerksync-database-owner", "DATABASE_URL")}
    quarantine = {"CLERKSYNC_QUARANTINE_KEY": ("clerksync-quarantine", "CLERKSYNC_QUARANTINE_KEY")}
    webhook = {"CLERK_WEBHOOK_SECRET": ("clerksync-webhook", "CLERK_WEBHOOK_SECRET")}

    assert {name: from_secrets(workload) for name, workload in workloads(manifests).items()} == {
        "clerksync": database | direct | quarantine,
        "clerksync-front": webhook,
        "clerksync-migrate": owner,
    }


def test_the_example_secrets_are_those_referred_to() -> None:
    """The example file is valid, names each Secret and key that is referred to, and holds placeholders only."""
    secrets = list(yaml.safe_load_all(SECRETS_EXAMPLE.read_text()))
    for secret in secrets:
        validate(secret, latest_version(), strict=True)

    files = workloads(load(FILES)).values()
    values = {(each["metadata"]["name"], key): value for each in secrets for key, value in each["stringData"].items()}

    assert values.keys() == {reference for workload in files for reference in from_secrets(workload).values()}
    assert all(re.search(r"\bUSER:PASSWORD@HOST\b|_REPLACE_ME$", value) for value in values.values())


def test_the_example_urls_verify_postgres_by_a_file_that_is_mounted() -> None:
    """Each asks for verify-full, by a CA from the ConfigMap that whoever reads the URL has mounted."""
    urls = {
        secret["metadata"]["name"]: dict(parse_qsl(urlsplit(value).query))
        for secret in yaml.safe_load_all(SECRETS_EXAMPLE.read_text())
        for key, value in secret["stringData"].items()
        if key.endswith("_URL")
    }
    readers = {
        name: workload
        for workload in workloads(load(FILES)).values()
        for name, _ in from_secrets(workload).values()
        if name in urls
    }

    assert {"clerksync-database", "clerksync-database-owner"} == urls.keys() == readers.keys()
    for name, options in urls.items():
        folder, file = options.pop("sslrootcert").rsplit("/", 1)
        assert ({"sslmode": "verify-full"}, "ca.crt") == (options, file)
        assert folder == mounted_config_maps(readers[name])["clerksync-database-ca"]


def test_no_kustomization_makes_secrets() -> None:
    """Applying a kustomization never overwrites a Secret, not even with the example."""
    for kustomization in kustomizations():
        assert "secretGenerator" not in kustomization
        assert SECRETS_EXAMPLE.name not in yaml.safe_dump(kustomization)


def test_every_variable_is_a_setting(manifests: list[Manifest]) -> None:
    """No manifest sets a variable that the program does not read."""
    for workload in workloads(manifests).values():
        variables = from_secrets(workload).keys() | configuration(manifests, workload).keys()

        assert not variables - setting_variables()


def test_the_ports_are_those_of_the_settings(manifests: list[Manifest]) -> None:
    """Each container listens on every interface, on the port it declares, which is the default of the setting."""
    listens = {
        "clerksync": {"grpc": "CLERKSYNC_GRPC_LISTEN", "ops": "CLERKSYNC_OPS_LISTEN"},
        "clerksync-front": {"http": "CLERKSYNC_HTTP_LISTEN", "ops": "CLERKSYNC_OPS_LISTEN"},
    }
    defaults = {port: default_port(f"{port}_listen") for port in ("grpc", "http", "ops")}
    for name, deployment in of_kind(manifests, "Deployment").items():
        settings = configuration(manifests, deployment)

        assert declared_ports(deployment) == {port: defaults[port] for port in listens[name]}
        for port, variable in listens[name].items():
            assert settings[variable] == f"0.0.0.0:{defaults[port]}"
