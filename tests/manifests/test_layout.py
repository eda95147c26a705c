"""Where things are: one kind a file, named for it; and everything that is there is rendered."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from manifest_tree import MANIFESTS, Tree

# Read by kustomize alone.
NOT_APPLIED = {"hosts.yaml", "addresses.yaml"}


def files() -> list[Path]:
    """Return the manifests, without patches and kustomizations."""
    return [
        path
        for path in sorted(MANIFESTS.rglob("*.yaml"))
        if path.name != "kustomization.yaml" and not path.name.endswith(".patch.yaml")
    ]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(MANIFESTS)))
def test_a_file_has_one_kind_and_is_named_for_it(path: Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text()))
    if path.name in NOT_APPLIED:
        assert documents[0]["metadata"]["annotations"] == {"config.kubernetes.io/local-config": "true"}
    else:
        assert {f"{document['kind'].lower()}.yaml" for document in documents} == {path.name}


def test_every_file_is_rendered(trees: dict[str, Tree]) -> None:
    found = {(each["kind"], each["metadata"]["name"]) for tree in trees.values() for each in tree.objects}
    for path in files():
        for document in yaml.safe_load_all(path.read_text()):
            assert ((document["kind"], document["metadata"]["name"]) in found) == (path.name not in NOT_APPLIED)


def test_a_rendering_is_in_one_namespace_or_in_that_of_who_applies_it(tree: Tree) -> None:
    namespaces = {each["metadata"].get("namespace") for each in tree.objects if each["kind"] != "Namespace"}
    assert namespaces == ({each["metadata"]["name"] for each in tree.of("Namespace")} or {None})
