"""The rendered pods run with the images that `nix build .#images` made, where IBUTSU_IMAGES names them.

`podman kube play` is the next best thing to a cluster. What it does not do is done here: variables get their values,
and as there are no Services, servers are reached on loopback. It would run HTTP probes by a program that the images
have not; the test asks them instead.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from ibutsu_core.settings import DatabaseSettings
from ibutsu_server.embedded import commands, ports
from manifest_tree import DEPLOYMENTS, JOB, Tree, environment

Secrets = dict[str, dict[str, str]]

IMAGES = "IBUTSU_IMAGES"
USER = 1000650000
"""As OpenShift gives one to each project."""

CONTAINERS = [f"{name}-{name}" for name in DEPLOYMENTS] + ["ibutsu-scheduler-ibutsu-flower", f"{JOB}-{JOB}"]

# One cgroup layout that crun refuses: the first version, with the second mounted inside.
MIXED = Path("/sys/fs/cgroup/unified")

JUNIT = b"""<testsuite name="s" tests="2"><testcase classname="c" name="a" time="0.1"/>
<testcase classname="c" name="b" time="0.2"><failure message="no"/></testcase></testsuite>"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("podman") is None, reason="There is no podman."),
    pytest.mark.skipif(IMAGES not in os.environ, reason=f"{IMAGES} names no images; `nix build .#images` makes them."),
]


class Podman:
    """Podman with a store of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._started: list[subprocess.Popen[str]] = []
        self._options = [
            *("--root", str(directory / "store"), "--runroot", str(directory / "run")),
            *("--tmpdir", str(directory / "tmp"), "--cgroup-manager=cgroupfs", "--events-backend=none"),
        ]
        self._environment = {**os.environ, "CONTAINERS_CONF": str(directory / "containers.conf")}
        (directory / "containers.conf").write_text(
            '[containers]\nnetns = "host"\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start podman."""
        command = ["podman", *self._options, *arguments]
        if MIXED.is_mount():
            command = ["unshare", "--mount", "sh", "-c", f'umount {MIXED} && exec "$@"', "podman", *command]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self._started.append(subprocess.Popen(command, env=self._environment, **pipes))
        return self._started[-1]

    def __call__(self, *arguments: str) -> str:
        """Run podman to its end, and return what it printed."""
        with self.start(*arguments) as process:
            output, errors = process.communicate()
        assert process.returncode == 0, errors
        return output

    def end(self) -> None:
        """End what was started here, and remove its pods."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()
        self("pod", "rm", "--all", "--force", "--time=5")

    def logs(self, container: str) -> str:
        """Return all that a container wrote."""
        with self.start("logs", container) as process:
            return "".join(process.communicate())


def as_pod(
    tree: Tree, name: str, secrets: Secrets, changes: dict[str, str], arguments: dict[str, list[str]]
) -> dict[str, Any]:
    """Return a workload's pod, as its controller and the kubelet make it, with other values of some variables."""
    pod = tree.pod(name)
    spec = copy.deepcopy(pod.spec) | {"hostNetwork": True, "restartPolicy": "Never"}
    spec["securityContext"] |= {"runAsUser": USER, "runAsGroup": 0}
    spec.pop("topologySpreadConstraints", None)
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        for part in ("startupProbe", "livenessProbe", "readinessProbe", "lifecycle", "ports"):
            container.pop(part, None)
        container["image"] = f"localhost/{container['image'].partition(':')[0]}:tried"
        container |= {"imagePullPolicy": "Never"}
        if container["name"] in arguments:
            key = "command" if name == "ibutsu-backend" else "args"
            container[key] = [*container.get(key, []), *arguments[container["name"]]]
        values = environment(container, secrets)
        changed = {each: changes.get(f"{name}/{each}", changes.get(each, value)) for each, value in values.items()}
        container["env"] = [{"name": each, "value": value} for each, value in changed.items()]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": pod.labels}, "spec": spec}


@pytest.fixture
def podman(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Podman:
    """Podman with the images; what runs at the end is ended."""
    directory = tmp_path_factory.mktemp("podman")
    found = Podman(directory)
    request.addfinalizer(found.end)
    images = Path(os.environ[IMAGES])
    for line in (images / "images").read_text().splitlines():
        name = line.split()[0]
        identifier = found("pull", "--quiet", f"oci:{images / 'layout'}:{name}").strip()
        found("tag", identifier, f"localhost/{name}:tried")
    return found


def until(answers: Callable[[], bool], podman: Podman) -> None:
    """Wait until something is so; raise AssertionError with all logs when it is not after four minutes."""
    deadline = time.monotonic() + 240
    while not answers():
        assert time.monotonic() < deadline, "\n".join(podman.logs(name) for name in CONTAINERS)
        time.sleep(0.2)


def answers(url: str) -> bool:
    """Tell whether a probe there succeeds."""
    try:
        return httpx.get(url, timeout=60).is_success
    except httpx.TransportError:
        return False


def test_the_rendered_pods_work_together(
    trees: dict[str, Tree],
    podman: Podman,
    postgres_server: DatabaseSettings,
    execute: Callable[..., None],
    broker_url: str,
) -> None:
    execute(postgres_server, "CREATE DATABASE podman TEMPLATE template0")
    tree = trees["openshift"]
    broker = urlsplit(broker_url)
    secrets = tree.secrets() | {
        "redis": {"password": broker.password or ""},
        "postgresql": {
            "database-user": postgres_server.user,
            "database-password": postgres_server.password,
            "database-name": "podman",
        },
    }
    api, flower, backend, worker, scheduler = (ports.free_port(None) for _ in range(5))
    changes = {
        **dict.fromkeys(("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"), broker_url),
        "POSTGRESQL_HOST": postgres_server.host,
        "POSTGRESQL_PORT": str(postgres_server.port),
        "ibutsu-backend/IBUTSU_HEALTH_ADDRESS": f"127.0.0.1:{backend}",
        "ibutsu-worker/IBUTSU_HEALTH_ADDRESS": f"127.0.0.1:{worker}",
        "ibutsu-scheduler/IBUTSU_HEALTH_ADDRESS": f"127.0.0.1:{scheduler}",
    }
    arguments = {
        "ibutsu-backend": [*commands.backend(f"127.0.0.1:{api}")],
        "ibutsu-flower": ["--address=127.0.0.1", f"--port={flower}"],
    }
    # The processes come first, and wait for the database's schema.
    playing = {}
    for name in (*DEPLOYMENTS, JOB):
        path = podman.directory / f"{name}.yaml"
        path.write_text(yaml.safe_dump(as_pod(tree, name, secrets, changes, arguments)))
        playing[name] = podman.start("kube", "play", "--network=host", str(path))
    for name, process in playing.items():
        _, errors = process.communicate()
        assert process.returncode == 0, f"{name}: {errors}"
    for port in (api, backend, worker, scheduler):
        until(functools.partial(answers, f"http://127.0.0.1:{port}/readyz"), podman)
    until(functools.partial(answers, f"http://127.0.0.1:{flower}{commands.FLOWER_HEALTH_PATH}"), podman)

    # As docs/operations.md has it.
    command = ["ibutsu", "token", "create", "--email=ops@example.com", "--superadmin"]
    token = podman("exec", "ibutsu-backend-ibutsu-backend", *command).strip()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{api}/api", headers=headers, timeout=60) as client:
        project = client.post("/project", json={"name": "tried"}).raise_for_status().json()["id"]
        files = {"importFile": ("report.xml", JUNIT)}
        upload = client.post("/import", data={"project": project}, files=files).raise_for_status().json()["id"]
        until(lambda: client.get(f"/import/{upload}").json()["status"] == "done", podman)
    login = secrets["flower"]["basic-auth"].split(":")
    workers = httpx.get(f"http://127.0.0.1:{flower}/api/workers?refresh=1", auth=(login[0], login[1]), timeout=60)
    assert len(workers.raise_for_status().json()) == 1

    assert "beat_schedule: prune-old-runs" in podman.logs("ibutsu-scheduler-ibutsu-scheduler")
    assert "POSTGRES" not in podman("inspect", "ibutsu-scheduler-ibutsu-flower", "--format={{.Config.Env}}")
    for name in ("ibutsu-backend", "ibutsu-worker", "ibutsu-scheduler"):
        (found,) = json.loads(podman("inspect", f"{name}-{name}"))
        assert found["HostConfig"]["ReadonlyRootfs"]
        assert found["EffectiveCaps"] in (None, [])
        assert found["Config"]["User"] == f"{USER}:0"
