"""What the manifests give to PostgreSQL, Redis and Flower, tried on real ones, with passwords of any characters."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as client

from ibutsu_core.settings import Application, DatabaseSettings, load, load_database
from ibutsu_server.embedded import binaries, commands, ports
from ibutsu_server.store import migrate
from ibutsu_server.store.database import create_engine
from manifest_environment import PASSWORD, SECRETS
from manifest_tree import Tree, environment, expand

PASSWORDS = (PASSWORD, "--requirepass", "$(REDIS_PASSWORD)")


@contextlib.contextmanager
def running(command: list[str], environ: dict[str, str], directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for as long as the block does; its output is in `directory`."""
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(command, env=environ, cwd=directory, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def until(answers: Callable[[], bool], process: subprocess.Popen[bytes], directory: Path) -> None:
    """Wait until the process answers; raise AssertionError with its output when it ends before."""
    while not answers():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
            raise AssertionError((directory / "output").read_text())


@pytest.mark.parametrize("password", PASSWORDS)
def test_redis_has_the_password_that_applications_send(password: str, trees: dict[str, Tree], tmp_path: Path) -> None:
    tree = trees["kubernetes"]
    container = tree.container("redis")
    secrets = SECRETS | {"redis": {"password": password}}
    environ = environment(container, secrets)
    configuration = tree.one("ConfigMap", "redis")["data"]["redis.conf"]
    assert "\ndir /data\n" in configuration
    (tmp_path / "redis.conf").write_text(configuration.replace("dir /data", "dir ./"))
    port = ports.free_port(None)
    arguments = [expand(each, environ) for each in container["args"]]
    assert arguments[0] == "/etc/redis/redis.conf"
    here = ["--port", str(port), "--bind", "127.0.0.1"]
    command = [str(binaries.redis_program()), "redis.conf", *arguments[1:], *here]
    settings = load(Application.WORKER, environment(tree.container("ibutsu-worker"), secrets))
    broker = client.Redis.from_url(settings.celery.broker_url.replace("@redis:6379", f"@127.0.0.1:{port}"))

    def answers() -> bool:
        with contextlib.suppress(client.exceptions.BusyLoadingError, client.exceptions.ConnectionError):
            return bool(broker.ping())
        return False

    with running(command, environ, tmp_path) as process:
        until(answers, process, tmp_path)
        found = broker.config_get("appendonly", "maxmemory-policy")
        assert found == {"appendonly": "yes", "maxmemory-policy": "noeviction"}
        with pytest.raises(client.exceptions.AuthenticationError):
            client.Redis(port=port, password="another").ping()
        broker.close()


def test_postgresql_has_the_role_and_the_database_that_applications_use(
    postgres_server: DatabaseSettings, trees: dict[str, Tree], tmp_path: Path
) -> None:
    tree = trees["kubernetes"]
    script = tmp_path / "create-database.sql"
    script.write_text(tree.one("ConfigMap", "postgresql")["data"]["create-database.sql"])
    superuser = {"superuser-password": postgres_server.password}
    secrets = {"postgresql": SECRETS["postgresql"] | superuser}
    # As the image's entry point runs it, but for the address.
    subprocess.run(
        [
            *(binaries.postgres_directory() / "psql", "--variable=ON_ERROR_STOP=1", "--no-psqlrc", f"--file={script}"),
            *(f"--host={postgres_server.host}", f"--port={postgres_server.port}", "--username=postgres", "postgres"),
        ],
        env={"PGPASSWORD": postgres_server.password} | environment(tree.container("postgresql"), secrets),
        check=True,
        capture_output=True,
    )
    found = load_database(environment(tree.container("ibutsu-migrations"), SECRETS))
    settings = dataclasses.replace(found, host=postgres_server.host, port=postgres_server.port)
    migrate.upgrade(settings)
    engine = create_engine(settings, application="tests")
    with engine.connect() as connection:
        assert migrate.current(connection) == migrate.head()
    engine.dispose()


def test_flower_starts_with_its_environment_locked_and_read_only(
    redis_server: str, trees: dict[str, Tree], tmp_path: Path
) -> None:
    container = trees["openshift"].container("ibutsu-flower")
    port = ports.free_port(None)
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    redis_urls = dict.fromkeys(("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"), redis_server)
    environ = kept | environment(container, SECRETS) | redis_urls
    command = [*commands.here(commands.flower("127.0.0.1", port))]
    login = base64.b64encode(SECRETS["flower"]["basic-auth"].encode()).decode()

    def status(path: str, *, method: str = "GET", **headers: str) -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, headers=headers)
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0

    probe = container["livenessProbe"]["httpGet"]["path"]
    with running(command, environ, tmp_path) as process:
        until(lambda: status(probe) == 200, process, tmp_path)
        assert status("/workers") == 401
        assert status("/workers", Authorization=f"Basic {login}") == 200
        changed = status("/api/task/async-apply/any", method="POST", Authorization=f"Basic {login}")
        assert changed in (403, 405)
