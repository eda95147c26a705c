"""Each extra installs exactly what its role needs, and the locked sets are those of the extras."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "python/ibutsu_server/pyproject.toml").read_text())["project"]
ROLES = ("backend", "cli", "flower", "scheduler", "worker")

DOCTOR = "ibutsu_server.doctor, ibutsu_server.ops.doctor.database"

# What each role loads; every package of its extra must be among it, and it must run with nothing else.
LOADS = {
    "backend": "import gunicorn.app.wsgiapp, ibutsu_server.cli, ibutsu_server.admin; ibutsu_server.backend_app",
    "cli": "import ibutsu_server.client.importing",
    "flower": "import celery.bin.celery, flower.command, ibutsu_server.doctor; ibutsu_server.flower_app",
    "scheduler": f"import celery.bin.celery, ibutsu_core.beat, ibutsu_server.ops.reading, {DOCTOR};"
    "ibutsu_server.scheduler_app",
    "worker": f"import celery.bin.celery, ibutsu_server.ops.counting, {DOCTOR};"
    "ibutsu_server.worker_app.loader.import_default_modules()",
}

PROGRAM = """
import sys
denied = set({denied!r})
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in denied:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
{loads}
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""


def locked(role: str) -> set[str]:
    """Return the distributions that the role's locked set holds."""
    text = (ROOT / f"requirements/{role}.txt").read_text()
    return {canonicalize_name(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}


def extra(role: str) -> set[str]:
    """Return the distributions that the extra names."""
    return {canonicalize_name(Requirement(text).name) for text in PROJECT["optional-dependencies"][role]}


def modules_of() -> dict[str, set[str]]:
    """Return the top-level modules of each installed distribution."""
    modules: dict[str, set[str]] = {}
    for module, names in metadata.packages_distributions().items():
        for name in names:
            modules.setdefault(canonicalize_name(name), set()).add(module)
    return modules


@pytest.mark.parametrize("role", ROLES)
def test_a_role_runs_with_its_locked_set_alone_and_uses_each_package_of_its_extra(
    role: str, environment: dict[str, str]
) -> None:
    modules = modules_of()
    present = locked(role) | {"ibutsu-core", "ibutsu-server"}
    allowed = set().union(*(modules.get(name, set()) for name in present))
    denied = set().union(*modules.values()) - allowed
    assert {"pytest", "mypy"} <= denied
    program = PROGRAM.format(denied=sorted(denied), loads=LOADS[role])
    if role == "flower":
        environment = {name: value for name, value in environment.items() if not name.startswith("POSTGRESQL")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    unused = {name for name in extra(role) if not modules[name] & loaded}
    assert not unused


def test_flower_loads_no_flask_no_sqlalchemy_and_no_psycopg2(environment: dict[str, str]) -> None:
    program = (
        "import sys, ibutsu_server; ibutsu_server.flower_app;"
        "print(sorted({'flask', 'sqlalchemy', 'psycopg2', 'lxml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("role", ["backend", "flower", "scheduler", "worker"])
def test_an_application_without_its_environment_says_all_that_is_missing_and_exits(role: str) -> None:
    program = f"import ibutsu_server; ibutsu_server.{role}_app"
    bare = {"PATH": "", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run([sys.executable, "-c", program], env=bare, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "CELERY_BROKER_URL" in done.stderr
    assert ("POSTGRESQL_HOST" in done.stderr) == (role != "flower")
    assert ("FLOWER_BASIC_AUTH" in done.stderr) == (role == "flower")


def test_every_version_is_the_same_in_all_locked_sets() -> None:
    versions: dict[str, set[str]] = {}
    for role in (*ROLES, "dev", "up", "build"):
        for name, version in re.findall(
            r"^([A-Za-z0-9._-]+)==([^ ]+)", (ROOT / f"requirements/{role}.txt").read_text(), re.MULTILINE
        ):
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_celery_and_kombu_are_those_that_come_back_after_redis_did() -> None:
    for name in ("celery", "kombu"):
        assert tuple(int(part) for part in metadata.version(name).split(".")[:2]) >= (5, 7)
