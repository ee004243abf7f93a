"""The manifests, for the rules that hold for the files and for what Kustomize makes of them."""

import pytest
from deploy.manifests import FILES, Manifest, load


@pytest.fixture(params=[FILES, "base", "overlays/example"])
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return load(request.param)
