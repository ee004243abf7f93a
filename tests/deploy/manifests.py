"""The Kubernetes manifests, as they stand or as Kustomize renders them, and what the tests ask of them."""

import functools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
FILES = "files"

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
            "data": dict(literal.split("=", 1) for literal in generator.get("literals", ()))
            | {name: (KUBERNETES / "base" / name).read_text() for name in generator.get("files", ())},
        }
        for kustomization in kustomizations()
        for generator in kustomization.get("configMapGenerator", [])
        if generator.get("behavior") != "merge"
    ]


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


def mounted_secrets(workload: Manifest) -> dict[str, str]:
    """The Secrets that the workload has as files: {name of the Secret: folder}."""
    return _mounted(workload, "secret", "secretName")


def mounted_config_maps(workload: Manifest) -> dict[str, str]:
    """The ConfigMaps that the workload has as files: {name of the ConfigMap: folder}."""
    return _mounted(workload, "configMap", "name")


def _mounted(workload: Manifest, kind: str, name: str) -> dict[str, str]:
    folders = {mount["name"]: mount["mountPath"] for mount in container(workload).get("volumeMounts", [])}
    volumes = [volume for volume in pod(workload).get("volumes", []) if kind in volume]
    return {volume[kind][name]: folders[volume["name"]] for volume in volumes}


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    assert selector.keys() == {"matchLabels"}
    return bool(selector["matchLabels"].items() <= labels.items())
