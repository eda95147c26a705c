"""What docs/operations.md names is there: objects, keys, files, targets, subcommands; and its overlay renders."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import click

from ibutsu_server import admin, cli
from manifest_environment import KEYS
from manifest_rules import RULES
from manifest_tree import ROOT, Tree, render

TEXT = (ROOT / "docs/operations.md").read_text()


def test_the_objects_that_commands_name_exist(trees: dict[str, Tree]) -> None:
    tree = trees["kubernetes"]
    names = {(each["kind"].lower(), each["metadata"]["name"]) for each in tree.objects}
    found = re.findall(r"\b(deployment|statefulset|service|job)/([a-z-]+)", TEXT)
    found += re.findall(r"\b(?:get|scale) (deployment|secret) ([a-z-]+)", TEXT)
    assert len(found) > 15
    assert {each for each in found if each not in names} == set()
    pods = {*re.findall(r"\bexec (?:-it )?([a-z]+)-0\b", TEXT), *re.findall(r"\blogs ([a-z]+)-0\b", TEXT)}
    assert pods == {"postgresql", "redis"}
    assert {*re.findall(r"-l app=([a-z-]+)", TEXT)} <= {pod.labels["app"] for pod in tree.pods()}
    containers = {container["name"] for _, container in tree.containers()}
    assert {*re.findall(r"(?:deployment/\S+|logs POD) -c ([a-z-]+)", TEXT)} <= containers


def test_the_keys_of_secrets_are_those_that_are_made() -> None:
    for secret, key in re.findall(r"get secret (\w+) -o jsonpath='\{\.data\.([a-z-]+)\}'", TEXT):
        assert key in KEYS[secret]
    for secret, keys in re.findall(r"^\| `(postgresql|redis|flower)` \| (.*) \|$", TEXT, re.MULTILINE):
        assert {*re.findall("`([a-z-]+)`", keys)} == KEYS[secret]


def test_files_targets_and_subcommands_exist() -> None:
    for path in re.findall(r"`(manifests/[^`*]+)`", TEXT):
        assert (ROOT / path).exists(), path
    for component in re.findall(r"`(?:\.\./\.\./)?components/([a-z-]+)`", TEXT):
        assert (ROOT / "manifests/components" / component).is_dir(), component
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z]+)", TEXT):
        assert f"\n{target}:" in makefile, target
    group = cli.main
    context = click.Context(group)
    for name in {*re.findall(r"\bibutsu (db|token|import|imports|maintenance)\b", TEXT)}:
        assert group.get_command(context, name) is not None
    for name in re.findall(r"\bibutsu db ([a-z]+)", TEXT):
        assert name in admin.db.commands


def test_an_operators_own_overlay_renders(manifests: Path, tmp_path: Path) -> None:
    copy = tmp_path / "manifests"
    shutil.copytree(manifests, copy)
    (example,) = re.findall(r"```yaml\n# my-cluster/kustomization.yaml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "my-cluster").mkdir()
    (tmp_path / "my-cluster/kustomization.yaml").write_text(example)
    tree = render(tmp_path / "my-cluster")
    assert tree.one("Deployment", "ibutsu-worker")["spec"]["replicas"] == 3
    worker = tree.container("ibutsu-worker")
    assert worker["resources"]["limits"] == {"memory": "1Gi"}
    assert {"name": "CELERY_WORKER_CONCURRENCY", "value": "4"} in worker["env"]
    assert tree.of("PodMonitor")
    assert [problem for rule in RULES for problem in rule(tree)] == []
