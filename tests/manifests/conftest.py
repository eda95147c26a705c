"""Each overlay with each component, rendered once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from manifest_tree import MANIFESTS, Tree, kustomize, render

COMPONENTS = ("keda", "hpa", "monitoring", "managed-services")
OVERLAYS = ("kubernetes", "openshift")
RENDERINGS = (
    *OVERLAYS,
    *(f"{overlay}+{component}" for overlay in OVERLAYS for component in (*COMPONENTS, "external-secrets")),
)


@pytest.fixture(scope="session")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the manifests, with Secrets made as an operator makes them."""
    if kustomize() is None:
        pytest.skip("Neither kubectl nor kustomize is here to render the manifests with.")
    copy = tmp_path_factory.mktemp("manifests") / "manifests"
    shutil.copytree(MANIFESTS, copy, ignore=shutil.ignore_patterns("values"))
    subprocess.run([sys.executable, copy / "components/secrets/create"], check=True, capture_output=True)
    return copy


@pytest.fixture(scope="session")
def trees(manifests: Path) -> dict[str, Tree]:
    """The renderings by their names."""
    return {rendering: _render(manifests, rendering) for rendering in RENDERINGS}


def _render(manifests: Path, rendering: str) -> Tree:
    overlay, _, component = rendering.partition("+")
    directory = manifests / "overlays" / overlay
    if not component:
        return render(directory)
    # As an operator adds it: a line in a copy of the overlay.
    own = manifests / "overlays" / rendering
    shutil.copytree(directory, own)
    kustomization = own / "kustomization.yaml"
    text = kustomization.read_text()
    line = "  - ../../components/secrets\n"
    assert line in text
    added = line.replace("secrets", component)
    kustomization.write_text(text.replace(line, added if component == "external-secrets" else line + added))
    return render(own)


@pytest.fixture(params=RENDERINGS)
def tree(request: pytest.FixtureRequest, trees: dict[str, Tree]) -> Tree:
    """One of the renderings."""
    return trees[request.param]
