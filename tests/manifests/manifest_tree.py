"""What kustomize renders, and how to find things in it."""

from __future__ import annotations

import base64
import dataclasses
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ibutsu_core.settings import Application

ROOT = Path(__file__).parent.parent.parent
MANIFESTS = ROOT / "manifests"
NAME = "app.kubernetes.io/name"

APPLICATIONS: Mapping[str, Application] = {f"ibutsu-{application}": application for application in Application}
"""The containers of our applications by their names."""

SERVERS = ("postgresql", "redis")
DEPLOYMENTS = ("ibutsu-backend", "ibutsu-worker", "ibutsu-scheduler")
JOB = "ibutsu-migrations"

_WORKLOADS = ("Deployment", "StatefulSet", "Job", "DaemonSet", "CronJob", "DeploymentConfig")


def kustomize() -> list[str] | None:
    """Return the command that renders: of kubectl from this environment, else from PATH, else kustomize's own."""
    beside = Path(sys.executable).parent / "kubectl"
    if found := str(beside) if beside.exists() else shutil.which("kubectl"):
        return [found, "kustomize"]
    found = shutil.which("kustomize")
    return [found, "build"] if found else None


def render(directory: Path) -> Tree:
    """Render a kustomization; raise AssertionError with what kustomize says."""
    done = subprocess.run([*(kustomize() or ()), str(directory)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "kustomize warns of what it will drop."
    return Tree([document for document in yaml.load_all(done.stdout, yaml.CSafeLoader) if document])


@dataclasses.dataclass(frozen=True, slots=True)
class Pod:
    """A workload's pod."""

    kind: str
    name: str
    owner: dict[str, Any]

    @property
    def template(self) -> dict[str, Any]:
        """Its template."""
        return self.owner["spec"]["template"]

    @property
    def spec(self) -> dict[str, Any]:
        """Its specification."""
        return self.template["spec"]

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.template["metadata"]["labels"]

    @property
    def containers(self) -> list[dict[str, Any]]:
        """Its containers, those that run first included."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


@dataclasses.dataclass(frozen=True, slots=True)
class Tree:
    """The objects of a rendering."""

    objects: list[dict[str, Any]]

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the objects of these kinds."""
        return [each for each in self.objects if each["kind"] in kinds]

    def one(self, kind: str, name: str) -> dict[str, Any]:
        """Return the object; there must be one."""
        (found,) = (
            each for each in self.of(kind) if re.fullmatch(f"{name}(-[a-z0-9]{{10}})?", each["metadata"]["name"])
        )
        return found

    def has(self, kind: str, name: str) -> bool:
        """Tell whether there is such an object."""
        return any(each["metadata"]["name"] == name for each in self.of(kind))

    def pods(self) -> list[Pod]:
        """Return the pods of all workloads."""
        return [Pod(each["kind"], each["metadata"]["name"], each) for each in self.of(*_WORKLOADS)]

    def pod(self, name: str) -> Pod:
        """Return the pod of that workload."""
        (found,) = (pod for pod in self.pods() if pod.name == name)
        return found

    def containers(self) -> Iterator[tuple[Pod, dict[str, Any]]]:
        """Yield each container with its pod."""
        for pod in self.pods():
            for container in pod.containers:
                yield pod, container

    def container(self, name: str) -> dict[str, Any]:
        """Return the container of that name; there must be one."""
        (found,) = (container for _, container in self.containers() if container["name"] == name)
        return found

    def secrets(self) -> dict[str, dict[str, str]]:
        """Return the values of the Secrets."""
        return {
            each["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in each["data"].items()}
            for each in self.of("Secret")
        }


def is_ours(container: dict[str, Any]) -> bool:
    """Tell whether the container is of one of our images."""
    return container["image"].rpartition("/")[2].startswith("ibutsu-")


def environment(container: dict[str, Any], secrets: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the environment that the kubelet makes: `$(NAME)` is what was defined before it, `$$` is `$`."""
    values: dict[str, str] = {}
    for entry in container.get("env", []):
        if "value" in entry:
            values[entry["name"]] = expand(entry["value"], values)
        else:
            reference = entry["valueFrom"]["secretKeyRef"]
            values[entry["name"]] = secrets[reference["name"]][reference["key"]]
    return values


def expand(text: str, values: Mapping[str, str]) -> str:
    """Expand as the kubelet does; a name that is not defined stays as it is written."""

    def value(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else values.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^()]+)\)", value, text)


def entry(container: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the container's entry for that variable; there must be one."""
    (found,) = (each for each in container["env"] if each["name"] == name)
    return found
