"""The images at work, on a real PostgreSQL and Redis: from the migration to SIGTERM while an import runs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg2
import pytest

from containers import Container, Podman
from ibutsu_core.settings import Application, DatabaseSettings
from ibutsu_server.embedded import commands, ports

if TYPE_CHECKING:
    from .conftest import Image

if "IBUTSU_IMAGES" not in os.environ:
    pytest.skip("IBUTSU_IMAGES names no images; `nix build .#images` makes them", allow_module_level=True)
if not shutil.which("podman") or os.geteuid() != 0:
    pytest.skip("podman is not on PATH, or this is not root's process", allow_module_level=True)

pytestmark = pytest.mark.slow

PASSWORD = "of the database"
TESTS = 30_000


@dataclasses.dataclass(frozen=True)
class System:
    """The four containers, and the API's client."""

    podman: Podman
    images: dict[Application, str]
    containers: dict[Application, Container]
    environment: dict[str, str]
    api: httpx.Client
    flower: str
    health: dict[Application, str]


@pytest.fixture(scope="module")
def podman(server_directory: Path) -> Iterator[Podman]:
    """Podman, which is to leave nothing."""
    podman = Podman(server_directory / "podman")
    (server_directory / "podman").mkdir()
    yield podman
    podman("system", "reset", "--force")


@pytest.fixture(scope="module")
def loaded(podman: Podman, images: dict[Application, Image]) -> dict[Application, str]:
    """The ids of the images in podman's store."""
    return {role: podman.load(image.directory / "layout", image.name) for role, image in images.items()}


@pytest.fixture(scope="module")
def empty(postgres_server: DatabaseSettings) -> DatabaseSettings:
    """A database without a schema."""
    connection = psycopg2.connect(
        host=postgres_server.host, port=postgres_server.port, user=postgres_server.user,
        password=postgres_server.password, dbname=postgres_server.database,
    )  # fmt: skip
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE images TEMPLATE template0")
    return dataclasses.replace(postgres_server, database="images")


@pytest.fixture(scope="module")
def system(
    podman: Podman, loaded: dict[Application, str], empty: DatabaseSettings, redis_server: str, environment_of: Any
) -> Iterator[System]:
    """All of it, running."""
    kept = environment_of(empty, redis_server)
    environment = {name: kept[name] for name in kept if name.startswith(("CELERY_", "POSTGRESQL_", "FLOWER_"))}
    backend = loaded[Application.BACKEND]
    migrated = podman.run(backend, environment, "ibutsu", "db", "upgrade")
    assert migrated.returncode == 0, migrated.stderr
    assert "The schema is at" in migrated.stdout
    token = podman.run(backend, environment, "ibutsu", "token", "create", "--email=ci@example.com", "--superadmin")
    assert token.returncode == 0, token.stderr

    address = f"{ports.LOOPBACK}:{ports.free_port()}"
    flower_port = ports.free_port()
    broker_only = {name: value for name, value in environment.items() if not name.startswith("POSTGRESQL_")}

    # In a pod each has a network of its own, and port 8081.
    probed = (Application.WORKER, Application.SCHEDULER, Application.BACKEND)
    health = {role: f"{ports.LOOPBACK}:{ports.free_port()}" for role in probed}

    def run(role: Application, command: tuple[str, ...] = ()) -> AbstractContextManager[Container]:
        variables = {**environment, "IBUTSU_HEALTH_ADDRESS": health[role]}
        return podman.container(loaded[role], variables, command=command)

    with (
        run(Application.BACKEND, commands.backend(address)) as api,
        run(Application.WORKER) as worker,
        run(Application.SCHEDULER) as scheduler,
        podman.container(
            loaded[Application.FLOWER], broker_only, f"--address={ports.LOOPBACK}", f"--port={flower_port}"
        ) as flower,
        httpx.Client(
            base_url=f"http://{address}/api", headers={"Authorization": f"Bearer {token.stdout.strip()}"}, timeout=60
        ) as client,
    ):
        containers = {
            Application.BACKEND: api,
            Application.WORKER: worker,
            Application.SCHEDULER: scheduler,
            Application.FLOWER: flower,
        }
        system = System(
            podman, loaded, containers, environment, client, f"http://{ports.LOOPBACK}:{flower_port}", health
        )
        api.wait(lambda: answers(f"{client.base_url}health"))
        worker.wait(lambda: " ready." in worker.output)
        flower.wait(lambda: answers(f"{system.flower}/healthcheck"))
        answer = client.post("/project", json={"name": "images"})
        assert answer.status_code == 201, answer.text
        yield system


def answers(url: str) -> bool:
    """Tell whether the page is there."""
    try:
        return httpx.get(url, timeout=60).status_code == 200
    except httpx.TransportError:
        return False


def upload(system: System, tests: int) -> str:
    """Upload a report with so many tests; returns the import's id."""
    cases = "".join(f'<testcase classname="suite.module" name="test_{number}" time="0.1"/>' for number in range(tests))
    report = f'<testsuites><testsuite name="suite" tests="{tests}">{cases}</testsuite></testsuites>'
    files = {"importFile": ("report.xml", report.encode())}
    answer = system.api.post("/import", files=files, data={"project": "images"})
    assert answer.status_code == 201, answer.text
    identity: str = answer.json()["id"]
    return identity


def status(system: System, identity: str) -> str:
    """Return how far the import is."""
    answer = system.api.get(f"/import/{identity}")
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["status"]
    assert found != "error", answer.text
    return found


def test_a_report_is_imported(system: System) -> None:
    identity = upload(system, 20)
    system.containers[Application.WORKER].wait(lambda: status(system, identity) == "done")
    run = system.api.get(f"/import/{identity}").json()["run_id"]
    assert system.api.get(f"/run/{run}").json()["summary"]["tests"] == 20


def test_the_scheduler_logs_its_beat_schedule(system: System) -> None:
    scheduler = system.containers[Application.SCHEDULER]
    scheduler.wait(lambda: "beat_schedule: sync-aborted-runs" in scheduler.output)


def test_the_probes_are_answered(system: System) -> None:
    for role, address in system.health.items():
        system.containers[role].wait(lambda address=address: answers(f"http://{address}/readyz"))
        assert answers(f"http://{address}/healthz"), role


def test_flower_answers_with_its_password_only(system: System) -> None:
    assert httpx.get(f"{system.flower}/workers", timeout=60).status_code == 401
    page = httpx.get(f"{system.flower}/workers", auth=("flower", "secret"), timeout=60)
    assert page.status_code == 200
    assert "celery@" in page.text


@pytest.mark.parametrize("role", [Application.WORKER, Application.SCHEDULER])
def test_the_troubleshooting_of_the_database_works_inside(system: System, role: Application) -> None:
    container, environment = system.containers[role], system.environment
    shown = container.run("env")
    assert f"POSTGRESQL_HOST={environment['POSTGRESQL_HOST']}\n" in shown.stdout
    changed = container.run("env", "GREETING=Hello = world", "python", "-c", "import os; print(os.environ['GREETING'])")
    assert changed.stdout == "Hello = world\n", changed.stderr
    assert container.run("env", "no-such-program").returncode == 127
    command = ["psql", "-h", environment["POSTGRESQL_HOST"], "-p", environment["POSTGRESQL_PORT"]]
    command += ["-U", environment["POSTGRESQL_USER"], "-d", environment["POSTGRESQL_DATABASE"], "-c", "SELECT 1"]
    password = {"PGPASSWORD": environment["POSTGRESQL_PASSWORD"]}
    done = system.podman.run(system.images[role], password, *command)
    assert (done.returncode, "(1 row)" in done.stdout) == (0, True), done.stderr


def test_redis_cli_reaches_redis_from_flower(system: System) -> None:
    url = httpx.URL(system.environment["CELERY_BROKER_URL"])
    arguments = ["-h", url.host, "-p", str(url.port), "-a", url.password, "ping"]
    done = system.containers[Application.FLOWER].run("redis-cli", *arguments)
    assert done.stdout == "PONG\n", done.stderr


def test_there_is_no_shell(system: System) -> None:
    for role, image in system.images.items():
        done = system.podman.run(image, {}, "sh", "-c", "true")
        assert done.returncode == 127, role


def test_each_is_process_1_and_cannot_write_but_to_tmp(system: System) -> None:
    program = (
        "import os, tempfile; print(open('/proc/1/comm').read().strip() != '', os.getuid(), os.getgid());"
        "tempfile.TemporaryFile('w', dir='/tmp');"
        "print([os.access(path, os.W_OK) for path in ('/', '/nix/store', os.environ['HOME'])])"
    )
    for container in system.containers.values():
        done = container.run("python", "-c", program)
        assert done.stdout == "True 1000650000 0\n[False, False, True]\n", done.stderr


def test_sigterm_ends_each_in_order_while_an_import_runs(system: System) -> None:
    identity = upload(system, TESTS)
    worker = system.containers[Application.WORKER]
    worker.wait(lambda: status(system, identity) == "running")
    assert worker.terminate() == 0, worker.output
    assert "Warm shutdown" in worker.output
    assert status(system, identity) == "done"
    run = system.api.get(f"/import/{identity}").json()["run_id"]
    assert system.api.get(f"/run/{run}").json()["summary"]["tests"] == TESTS
    for role in (Application.SCHEDULER, Application.FLOWER, Application.BACKEND):
        container = system.containers[role]
        assert container.terminate() == 0, (role, container.output)
        assert "Traceback" not in container.output
