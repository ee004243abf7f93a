"""The Pods of the manifests: hardened, probed, and replaced without an interruption."""

from deploy.manifests import (
    FILES,
    Manifest,
    container,
    declared_ports,
    load,
    matches,
    of_kind,
    pod,
    pod_labels,
    workloads,
)

from clerksync_server.settings import Settings


def test_a_pod_is_ready_when_readyz_says_so(manifests: list[Manifest]) -> None:
    """Readiness is /readyz on the ops port: the probes of Kubernetes could not ask gRPC over TLS."""
    for deployment in of_kind(manifests, "Deployment").values():
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
        assert not pod(workload).keys() & {"hostNetwork", "hostPID", "hostIPC"}
        for volume in pod(workload).get("volumes", []):
            assert volume.keys() - {"name"} <= {"secret", "configMap", "projected"}


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


def test_the_example_namespace_enforces_the_restricted_standard() -> None:
    """The example's namespace refuses Pods that are less hardened than ours."""
    (namespace,) = of_kind(load(FILES), "Namespace").values()

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
