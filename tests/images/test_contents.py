"""What is in each image: all that its role needs, and nothing else."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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

UNWANTED = re.compile(r"g?cc|[cg]\+\+|clang.*|ld|as|make|pip3?(\.\d+)?|uv|pytest|ruff|mypy|git|curl|perl|nix")
"""Programs that a server has no use for, wherever they lie."""

PYTHON = re.compile(r"nix/store/[^/]+/lib/python3\.\d+/site-packages/")


def distributions(image: Image) -> set[str]:
    """Return the Python distributions in the image."""
    found = (re.search(r"/site-packages/([^/]+)-[^-/]+\.dist-info/METADATA$", name) for name in image.files)
    return {canonicalize_name(match[1]) for match in found if match}


def locked(role: Application) -> set[str]:
    """Return the distributions of the role's locked set, as the images' Python and system have them."""
    text = (ROOT / f"requirements/{role}.txt").read_text()
    requirements = map(Requirement, re.findall(r"^[^ #\n].*?==[^\\\n]+", text, re.MULTILINE))
    environment = {"python_version": "3.13", "python_full_version": "3.13.0", "sys_platform": "linux"}
    return {
        canonicalize_name(requirement.name)
        for requirement in requirements
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
    assert distributions(image) == locked(role) | {"ibutsu-core", "ibutsu-server"}


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


def test_the_bill_of_materials_names_all_that_is_in_it(role: Application, image: Image) -> None:
    if not (path := os.environ.get("IBUTSU_BILLS")):
        pytest.skip("IBUTSU_BILLS names no bills; `nix build .#sboms` makes them")
    components = json.loads((Path(path) / f"{image.name}.cdx.json").read_text())["components"]
    stored = {prop["value"].rpartition("/")[2] for component in components for prop in component["properties"]}
    assert stored == image.store_paths
    wheels = {component["name"] for component in components if component["purl"].startswith("pkg:pypi/")}
    assert wheels == distributions(image)
