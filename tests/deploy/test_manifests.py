"""The Kubernetes manifests: valid, hardened, and in step with the settings and the contract.

Each rule is checked on the files as they stand and, where kubectl is installed, on what Kustomize makes of them.
"""

import functools
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate.utils import latest_version, validate
from pydantic import AliasChoices

from clerksync.v1 import sync_service_pb2
from clerksync_server.setting_types import Address
from clerksync_server.settings import Settings

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
SECRETS_EXAMPLE = KUBERNETES / "secrets.yaml.example"
FILES = "files"
SECRET_VARIABLES = {"DATABASE_URL", "CLERK_WEBHOOK_SECRET", "CLERK_WEBHOOK_SIGNING_SECRET", "CLERK_SECRET_KEY"}
KUBERNETES_VERSIONS = ["1.30", "1.34", latest_version()]

Manifest = dict[str, Any]


@functools.cache
def load(source: str) -> list[Manifest]:
    """All objects: of the files themselves, or of a kustomization rendered by kubectl."""
    if source == FILES:
        paths = sorted(path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml")
        return [
            document for path in paths for document in yaml.safe_load_all(path.read_text())
        ] + generated_config_maps()
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed, so nothing renders the kustomizations")
    rendered = subprocess.run(
        [kubectl, "kustomize", str(KUBERNETES / source)], capture_output=True, text=True, check=True, timeout=60
    )
    return list(yaml.safe_load_all(rendered.stdout))


def kustomizations() -> Iterator[Manifest]:
    for path in sorted(KUBERNETES.rglob("kustomization.yaml")):
        yield yaml.safe_load(path.read_text())


def generated_config_maps() -> list[Manifest]:
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": generator["name"]},
            "data": dict(literal.split("=", 1) for literal in generator["literals"]),
        }
        for kustomization in kustomizations()
        for generator in kustomization.get("configMapGenerator", [])
    ]


@pytest.fixture(params=[FILES, "base", "overlays/example"])
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return load(request.param)


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] == kind}


def workloads(manifests: list[Manifest]) -> dict[str, Manifest]:
    return of_kind(manifests, "Deployment") | of_kind(manifests, "Job")


def pod(workload: Manifest) -> Manifest:
    """The Pod's spec. Every Pod here has exactly one container."""
    spec: Manifest = workload["spec"]["template"]["spec"]
    assert len(spec["containers"]) == 1
    assert not spec.keys() & {"initContainers", "ephemeralContainers"}
    return spec


def container(workload: Manifest) -> Manifest:
    only: Manifest = pod(workload)["containers"][0]
    return only


def pod_labels(workload: Manifest) -> dict[str, str]:
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def declared_ports(workload: Manifest) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container(workload).get("ports", [])}


def configuration(manifests: list[Manifest], workload: Manifest) -> dict[str, str]:
    """What the workload takes from ConfigMaps."""
    names = [source["configMapRef"]["name"] for source in container(workload).get("envFrom", [])]
    return {name: value for map_ in names for name, value in of_kind(manifests, "ConfigMap")[map_]["data"].items()}


def from_secrets(workload: Manifest) -> dict[str, tuple[str, str]]:
    """The variables that the workload takes from Secrets: {variable: (name of the Secret, key)}."""
    references = {variable["name"]: variable["valueFrom"]["secretKeyRef"] for variable in container(workload)["env"]}
    return {variable: (reference["name"], reference["key"]) for variable, reference in references.items()}


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    assert selector.keys() == {"matchLabels"}
    return bool(selector["matchLabels"].items() <= labels.items())


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
    """The front cannot reach the database, and nobody but the front holds the webhook secret."""
    database = {"DATABASE_URL": ("clerksync-database", "DATABASE_URL")}
    webhook = {"CLERK_WEBHOOK_SECRET": ("clerksync-webhook", "CLERK_WEBHOOK_SECRET")}

    assert {name: from_secrets(workload) for name, workload in workloads(manifests).items()} == {
        "clerksync": database,
        "clerksync-front": webhook,
        "clerksync-migrate": database,
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


def test_sync_service_is_ready_when_its_health_service_says_so(manifests: list[Manifest]) -> None:
    """Readiness of SyncService is gRPC health, by the full name of the service, which knows of database and schema."""
    deployment = of_kind(manifests, "Deployment")["clerksync"]
    service = sync_service_pb2.DESCRIPTOR.services_by_name["SyncService"].full_name

    assert container(deployment)["readinessProbe"]["grpc"] == {
        "port": declared_ports(deployment)["grpc"],
        "service": service,
    }


def test_the_front_is_ready_when_readyz_says_so(manifests: list[Manifest]) -> None:
    """Readiness of the front is /readyz on its ops port."""
    deployment = of_kind(manifests, "Deployment")["clerksync-front"]

    assert container(deployment)["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "ops"}


def test_liveness_does_not_depend_on_the_database(manifests: list[Manifest]) -> None:
    """Startup and liveness ask /livez on the ops port: restarting does not bring a database back."""
    for deployment in of_kind(manifests, "Deployment").values():
        assert "ops" in declared_ports(deployment)
        for probe in ("startupProbe", "livenessProbe"):
            assert container(deployment)[probe]["httpGet"] == {"path": "/livez", "port": "ops"}


def test_every_container_is_hardened(manifests: list[Manifest]) -> None:
    """Every Pod meets the restricted Pod Security Standard and has a read-only root file system."""
    for workload in workloads(manifests).values():
        assert pod(workload)["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container(workload)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not pod(workload).keys() & {"hostNetwork", "hostPID", "hostIPC", "volumes"}


def test_no_pod_is_told_of_the_cluster(manifests: list[Manifest]) -> None:
    """No Pod gets a token for the Kubernetes API, or variables made of the names of Services."""
    for workload in workloads(manifests).values():
        assert pod(workload)["automountServiceAccountToken"] is False
        assert pod(workload)["enableServiceLinks"] is False


def test_every_container_has_requests_and_a_memory_limit(manifests: list[Manifest]) -> None:
    """The scheduler knows what each container needs, and none can take the memory of a node."""
    for workload in workloads(manifests).values():
        resources = container(workload)["resources"]

        assert resources["requests"].keys() == {"cpu", "memory"}
        assert "memory" in resources["limits"]


def test_the_service_is_headless(manifests: list[Manifest]) -> None:
    """Clients of SyncService see every ready Pod, under the name and the port of the contract."""
    service = of_kind(manifests, "Service")["clerksync"]["spec"]

    assert service["clusterIP"] == "None"
    assert service["ports"] == [{"name": "grpc", "port": 50051, "targetPort": "grpc"}]
    front = of_kind(manifests, "Deployment")["clerksync-front"]
    assert configuration(manifests, front)["CLERKSYNC_SERVICE_TARGET"] == "dns:///clerksync:50051"


def test_each_service_selects_its_own_pods(manifests: list[Manifest]) -> None:
    """A Service leads to the Deployment of its name and to no other Pod, on ports that its container declares."""
    for name, service in of_kind(manifests, "Service").items():
        selected = [
            other
            for other, workload in workloads(manifests).items()
            if matches({"matchLabels": service["spec"]["selector"]}, pod_labels(workload))
        ]

        assert selected == [name]
        targets = {port["targetPort"] for port in service["spec"]["ports"]}
        assert targets <= declared_ports(workloads(manifests)[name]).keys()


def test_a_rollout_never_takes_away_what_serves(manifests: list[Manifest]) -> None:
    """Two replicas at least, spread over nodes and zones; a new Pod is ready before an old one goes."""
    for deployment in of_kind(manifests, "Deployment").values():
        spec = deployment["spec"]

        assert spec["replicas"] >= 2
        assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
        assert matches(spec["selector"], pod_labels(deployment))
        constraints = pod(deployment)["topologySpreadConstraints"]
        assert {each["topologyKey"] for each in constraints} == {
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        }
        assert all(spec["selector"] == each["labelSelector"] for each in constraints)


def test_each_deployment_has_a_disruption_budget(manifests: list[Manifest]) -> None:
    """A drain takes one Pod of a Deployment at a time, and is not held up by Pods that are not ready."""
    budgets = of_kind(manifests, "PodDisruptionBudget")

    for name, deployment in of_kind(manifests, "Deployment").items():
        assert budgets[name]["spec"] == {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": deployment["spec"]["selector"],
        }


def test_the_grace_period_covers_the_shutdown(manifests: list[Manifest]) -> None:
    """Kubernetes waits longer than the pause before SIGTERM and the program's own shutdown take together."""
    shutdown_s = Settings.model_fields["shutdown_grace_s"].default
    for deployment in of_kind(manifests, "Deployment").values():
        pause_s = container(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"]

        assert pause_s + shutdown_s + 5 <= pod(deployment)["terminationGracePeriodSeconds"]


def test_the_migration_can_be_repeated(manifests: list[Manifest]) -> None:
    """The migration's Job goes away by itself, and tools that apply manifests know that it has to be replaced."""
    job = of_kind(manifests, "Job")["clerksync-migrate"]

    assert job["spec"]["ttlSecondsAfterFinished"] > 0
    assert pod(job)["restartPolicy"] == "Never"
    assert job["metadata"]["annotations"]["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"


def test_prometheus_finds_the_metrics(manifests: list[Manifest]) -> None:
    """The annotations for scraping name the ops port."""
    for deployment in of_kind(manifests, "Deployment").values():
        annotations = deployment["spec"]["template"]["metadata"]["annotations"]

        assert annotations == {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(declared_ports(deployment)["ops"]),
            "prometheus.io/path": "/metrics",
        }


def test_only_the_front_and_declared_clients_reach_sync_service(manifests: list[Manifest]) -> None:
    """SyncService takes calls from the front and from Pods of its namespace with the client label, from nobody else."""
    deployments = of_kind(manifests, "Deployment")
    policy = of_kind(manifests, "NetworkPolicy")["clerksync"]["spec"]
    ports = declared_ports(deployments["clerksync"])
    peers = {port["port"]: rule["from"] for rule in policy["ingress"] for port in rule["ports"]}

    assert matches(policy["podSelector"], pod_labels(deployments["clerksync"]))
    assert peers.keys() == {ports["grpc"], ports["ops"]}
    front, client = peers[ports["grpc"]]
    assert front.keys() == client.keys() == {"podSelector"}
    assert matches(front["podSelector"], pod_labels(deployments["clerksync-front"]))
    assert client["podSelector"] == {"matchLabels": {"clerksync.dev/client": "true"}}
    assert [peer.keys() for peer in peers[ports["ops"]]] == [{"namespaceSelector"}]


def test_the_front_talks_to_sync_service_only(manifests: list[Manifest]) -> None:
    """The front is reached on its HTTP port from anywhere, and itself reaches SyncService and name servers."""
    deployments = of_kind(manifests, "Deployment")
    policy = of_kind(manifests, "NetworkPolicy")["clerksync-front"]["spec"]
    ports = declared_ports(deployments["clerksync-front"])

    assert matches(policy["podSelector"], pod_labels(deployments["clerksync-front"]))
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    open_to_all = [port["port"] for rule in policy["ingress"] if "from" not in rule for port in rule["ports"]]
    assert open_to_all == [ports["http"]]
    to_service, to_names = policy["egress"]
    assert matches(to_service["to"][0]["podSelector"], pod_labels(deployments["clerksync"]))
    assert to_service["ports"] == [{"port": declared_ports(deployments["clerksync"])["grpc"]}]
    assert {port["port"] for port in to_names["ports"]} == {53}


def test_only_the_webhook_path_is_reachable_from_outside() -> None:
    """The example's Ingress lets in exactly the path that Clerk posts to."""
    ingress = of_kind(load(FILES), "Ingress")["clerksync-front"]["spec"]
    service = of_kind(load(FILES), "Service")["clerksync-front"]["spec"]

    assert "defaultBackend" not in ingress
    (path,) = [path for rule in ingress["rules"] for path in rule["http"]["paths"]]
    backend = {"service": {"name": "clerksync-front", "port": {"name": service["ports"][0]["name"]}}}
    assert path == {"path": "/webhooks/clerk", "pathType": "Exact", "backend": backend}
    assert {rule["host"] for rule in ingress["rules"]} == {host for tls in ingress["tls"] for host in tls["hosts"]}


def test_the_example_namespace_enforces_the_restricted_standard() -> None:
    """The example's namespace refuses Pods that are less hardened than ours."""
    (namespace,) = of_kind(load(FILES), "Namespace").values()

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
