"""The component that lets SyncService ask the cluster for its keys, and what docs/security/proof.md shows of it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from deploy.manifests import KUBERNETES, Manifest, configuration, container, of_kind, pod, workloads
from kubernetes_validate.utils import latest_version, validate

PAGE = (KUBERNETES.parents[1] / "docs" / "security" / "proof.md").read_text()
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)]


@pytest.fixture
def manifests(tmp_path: Path) -> list[Manifest]:
    """What an overlay makes that is a copy of the example with what the page adds to it."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed, so nothing renders the kustomizations")
    copy = shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    overlay = copy / "overlays" / "example"
    (added,) = [block for block in BLOCKS if "components" in block]
    kustomization = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization | added))
    rendered = subprocess.run(
        [kubectl, "kustomize", str(overlay)], capture_output=True, text=True, check=True, timeout=60
    )
    return list(yaml.safe_load_all(rendered.stdout))


def test_sync_service_alone_finds_the_files_that_its_settings_name(manifests: list[Manifest]) -> None:
    """A token that the kubelet renews, and the CA, where the settings look; no other Pod gets any."""
    service = of_kind(manifests, "Deployment")["clerksync"]
    settings = configuration(manifests, service)
    mounts = {mount["name"]: mount["mountPath"] for mount in container(service)["volumeMounts"]}
    (volume,) = [volume for volume in pod(service)["volumes"] if "projected" in volume]
    token, ca = volume["projected"]["sources"]

    assert (
        f"{mounts[volume['name']]}/{token['serviceAccountToken']['path']}"
        == (settings["CLERKSYNC_KUBERNETES_TOKEN_FILE"])
    )
    assert "audience" not in token["serviceAccountToken"]
    assert "kube-root-ca.crt" == ca["configMap"]["name"]
    assert f"{mounts[volume['name']]}/{ca['configMap']['items'][0]['path']}" == settings["CLERKSYNC_KUBERNETES_CA"]
    for name, workload in workloads(manifests).items():
        assert pod(workload)["automountServiceAccountToken"] is False
        assert name == "clerksync" or "serviceAccountToken" not in str(workload)


def test_the_page_names_the_same_settings(manifests: list[Manifest]) -> None:
    """What the page exports is what the component and its overlay set."""
    settings = configuration(manifests, of_kind(manifests, "Deployment")["clerksync"])
    exported = dict(re.findall(r"^export (CLERKSYNC_KUBERNETES_\w+)=(\S+)", PAGE, flags=re.MULTILINE))

    assert exported == {name: value for name, value in settings.items() if name.startswith("CLERKSYNC_KUBERNETES_")}


@pytest.mark.parametrize("version", ["1.30", "1.34", latest_version()])
def test_what_is_made_and_shown_is_valid(manifests: list[Manifest], version: str) -> None:
    """The objects that the component changes, and the network policy on the page."""
    shown = [block for block in BLOCKS if "kind" in block]
    assert ["NetworkPolicy"] == [block["kind"] for block in shown]
    for manifest in [*manifests, *shown]:
        if not manifest["apiVersion"].startswith("cert-manager.io/"):
            validate(manifest, version, strict=True)
