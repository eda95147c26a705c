"""What is in each image: all that its role needs, and nothing else."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from ibutsu_core.settings import Application
from ibutsu_server.embedded.commands import COMMANDS

if TYPE_CHECKING:
    from .conftest import Image

if "IBUTSU_IMAGES" not in os.environ:
    pytest.skip("IBUTSU_IMAGES names no images; `nix build .#images` makes them", allow_module_level=True)

ROOT = Path(__file__).parent.parent.parent

BUDGETS = {
    Application.FLOWER: 60_000_000,
    Application.WORKER: 100_000_000,
    Application.SCHEDULER: 100_000_000,
    Application.BACKEND: 100_000_000,
}
"""Bytes that a node transfers at most."""

TROUBLESHOOTING = {
    Application.FLOWER: {"redis-cli"},
    Application.WORKER: {"env", "psql"},
    Application.SCHEDULER: {"env", "psql"},
    Application.BACKEND: set(),
}
"""The programs in /bin; there is no shell."""

UNWANTED = re.compile(
    r"g?cc|[cg]\+\+|clang.*|ld|as|make|pip3?(\.\d+)?|uv|pytest|ruff|mypy|git|curl|perl|nix|[Aa]ctivate.*"
)
"""Programs that a server has no use for, wherever they lie."""

OURS = {"ibutsu-core", "ibutsu-server"}
"""The distributions that no wheel of the lock is of."""

PYTHON = re.compile(r"nix/store/[^/]+/lib/python3\.\d+/site-packages/")


def distributions(image: Image) -> set[str]:
    """Return the Python distributions in the image."""
    found = (re.search(r"/site-packages/([^/]+)-[^-/]+\.dist-info/METADATA$", name) for name in image.files)
    return {canonicalize_name(match[1]) for match in found if match}


def locked(role: Application) -> dict[str, set[str]]:
    """Return the hashes of each distribution of the role's locked set that the images' Python and system have."""
    text = (ROOT / f"requirements/{role}.txt").read_text().replace("\\\n", "")
    entries = (line.split(" --hash=sha256:") for line in text.splitlines())
    requirements = {Requirement(entry): {digest.strip() for digest in digests} for entry, *digests in entries}
    environment = {"python_version": "3.13", "python_full_version": "3.13.0", "sys_platform": "linux"}
    return {
        canonicalize_name(requirement.name): digests
        for requirement, digests in requirements.items()
        if requirement.marker is None or requirement.marker.evaluate(environment)
    }


def test_the_entry_point_is_the_specification_s_command(role: Application, image: Image) -> None:
    configuration = image.configuration["config"]
    assert tuple(configuration["Entrypoint"]) == COMMANDS[role]
    assert "Cmd" not in configuration
    if role is not Application.BACKEND:
        assert configuration["Entrypoint"][:3] == ["celery", "--app", f"ibutsu_server:{role}_app"]


def test_the_port_of_its_probes_is_that_of_its_health_server(role: Application, image: Image) -> None:
    configuration = image.configuration["config"]
    ports = {Application.FLOWER: {"5555/tcp"}, Application.BACKEND: {"8080/tcp", "8081/tcp"}}
    assert set(configuration["ExposedPorts"]) == ports.get(role, {"8081/tcp"})
    assert ("IBUTSU_HEALTH_ADDRESS=:8081" in configuration["Env"]) == (role is not Application.FLOWER)


def test_the_labels_say_what_it_is(role: Application, image: Image) -> None:
    labels = image.configuration["config"]["Labels"]
    assert {name.removeprefix("org.opencontainers.image.") for name in labels} == {
        *("title", "version", "source", "licenses"),
    }
    assert labels["org.opencontainers.image.version"] == image.version
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert role in labels["org.opencontainers.image.title"].lower()


def test_no_clock_is_in_it(image: Image) -> None:
    assert image.configuration["created"].startswith("1970-01-01T00:00:01")
    assert {member.mtime for member in image.files.values()} == {1, 315532800}  # 1970, and 1980 for /bin, /etc and /tmp


def test_the_distributions_are_those_of_the_locked_set_and_ours(role: Application, image: Image) -> None:
    assert distributions(image) == locked(role).keys() | OURS


def test_flower_has_nothing_of_the_database_and_no_task(images: dict[Application, Image]) -> None:
    image = images[Application.FLOWER]
    assert not distributions(image) & {"flask", "sqlalchemy", "psycopg2-binary", "psycopg2", "lxml"}
    modules = {PYTHON.sub("", name).split("/")[0] for name in image.files if PYTHON.match(name)}
    assert not modules & {"flask", "sqlalchemy", "psycopg2", "psycopg2_binary.libs", "lxml"}
    ours = {name.partition("/site-packages/ibutsu_server/")[2] for name in image.files}
    assert {name for name in ours if name.endswith(".py")} == {"__init__.py", "applications.py"}


def test_the_files_beside_the_modules_are_installed(role: Application, image: Image) -> None:
    if role is Application.FLOWER:
        pytest.skip("Flower has none")
    source = ROOT / "python/ibutsu_server/src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "ibutsu_server").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    installed = {name.partition("/site-packages/")[2] for name in image.files}
    assert wanted - installed == set()
    assert {"ibutsu_server/static/run.html", "ibutsu_server/store/migrations/env.py"} <= wanted


def test_only_the_troubleshooting_s_programs_are_in_bin(role: Application, image: Image) -> None:
    in_bin = {name.partition("/")[2] for name in image.files if re.fullmatch(r"bin/[^/]+", name)}
    assert in_bin == TROUBLESHOOTING[role]


def test_no_compiler_and_no_tool_is_anywhere(image: Image) -> None:
    programs = {name for name in image.files if re.fullmatch(r"(.*/)?s?bin/[^/]+", name)}
    assert {name for name in programs if UNWANTED.fullmatch(name.rpartition("/")[2])} == set()
    assert {name for name in image.files if re.search(r"/(ensurepip|idlelib|site-packages/pip)/", name)} == set()
    assert {name for name in image.files if name.endswith(".whl")} == set()


def test_certificates_and_time_zones_are_there(image: Image) -> None:
    variables = dict(text.split("=", 1) for text in image.configuration["config"]["Env"])
    for path in (variables["SSL_CERT_FILE"], variables["TZDIR"] + "/Europe/Prague"):
        assert path.strip("/") in image.files
    assert image.files["tmp"].mode == 0o1777
    assert variables["HOME"] == "/tmp"


def test_it_is_within_its_budget(role: Application, image: Image) -> None:
    assert sum(image.layers.values()) <= BUDGETS[role]


@pytest.fixture
def components(image: Image) -> list[dict[str, Any]]:
    """What the image's bill of materials names."""
    if not (path := os.environ.get("IBUTSU_BILLS")):
        pytest.skip("IBUTSU_BILLS names no bills; `nix build .#sboms` makes them")
    found: list[dict[str, Any]] = json.loads((Path(path) / f"{image.name}.cdx.json").read_text())["components"]
    return found


def test_the_bill_of_materials_names_all_that_is_in_it(image: Image, components: list[dict[str, Any]]) -> None:
    stored = {prop["value"].rpartition("/")[2] for component in components for prop in component["properties"]}
    assert stored == image.store_paths
    wheels = {component["name"] for component in components if component["purl"].startswith("pkg:pypi/")}
    assert wheels == distributions(image)


def test_the_bill_has_the_hash_of_each_wheel_as_the_lock_has_it(
    role: Application, components: list[dict[str, Any]]
) -> None:
    paths = json.loads((ROOT / "requirements/wheels.json").read_text())
    hashes = locked(role)
    for component in components:
        name, found = component["name"], component.get("hashes")
        if name in OURS or not component["purl"].startswith("pkg:pypi/"):
            assert found is None, name
            continue
        (digest,) = found
        assert digest["alg"] == "SHA-256", name
        assert digest["content"] in hashes[name], name
        wheel, version, *_ = parse_wheel_filename(paths[digest["content"]].rpartition("/")[2])
        assert (wheel, str(version)) == (name, component["version"])
