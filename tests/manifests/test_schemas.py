"""Every object is of its schema, strictly, in each version of Kubernetes that is supported."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import manifest_schemas
from manifest_tree import Tree


@pytest.mark.parametrize("version", manifest_schemas.VERSIONS)
def test_every_object_is_of_its_schema(version: str, trees: dict[str, Tree]) -> None:
    objects = {str(each): each for tree in trees.values() for each in tree.objects}
    found = {
        f"{each['kind']} {each['metadata']['name']}": manifest_schemas.problems(each, version)
        for each in objects.values()
    }
    assert {name: problems for name, problems in found.items() if problems} == {}


@pytest.mark.parametrize(
    ("rendering", "kind", "path"),
    [
        ("kubernetes", "Deployment", ("spec", "template", "spec", "containers", 0, "readinessProbe")),
        ("kubernetes", "StatefulSet", ("spec", "volumeClaimTemplates", 0, "spec")),
        ("kubernetes", "NetworkPolicy", ("spec", "podSelector")),
        ("kubernetes", "Ingress", ("spec", "rules", 0)),
        ("openshift", "Route", ("spec", "tls")),
        ("openshift+keda", "ScaledObject", ("spec", "triggers", 0)),
        ("kubernetes+keda", "TriggerAuthentication", ("spec",)),
        ("kubernetes+external-secrets", "ExternalSecret", ("spec", "target")),
    ],
)
def test_an_unknown_field_is_found(
    rendering: str, kind: str, path: tuple[str | int, ...], trees: dict[str, Tree]
) -> None:
    manifest = copy.deepcopy(trees[rendering].of(kind)[0])
    place: Any = manifest
    for step in path:
        place = place[step]
    place["noSuchField"] = "any"
    for version in manifest_schemas.VERSIONS:
        assert any("noSuchField" in problem for problem in manifest_schemas.problems(manifest, version))


def test_a_wrong_value_is_found(trees: dict[str, Tree]) -> None:
    manifest = copy.deepcopy(trees["kubernetes"].one("Deployment", "ibutsu-worker"))
    manifest["spec"]["replicas"] = "one"
    assert manifest_schemas.problems(manifest, manifest_schemas.VERSIONS[-1])
