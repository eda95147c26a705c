"""The bill of materials says what the store paths hold, as CycloneDX has it."""

from __future__ import annotations

import json
import runpy
import shutil
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

HASHES = {"celery": "c" * 64, "mypy": "d" * 64}

SBOM = runpy.run_path(str(Path(__file__).parent.parent.parent / "images/sbom.py"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A file of store paths: two packages, two wheels, and an environment that links to the wheels' metadata."""
    site_packages = "lib/python3.13/site-packages"
    paths = [tmp_path / f"{'a' * 32}-{name}" for name in ("openssl-3.6.2", "gcc-15.2.0-libgcc")]
    environment = tmp_path / f"{'a' * 32}-ibutsu-worker"
    (environment / site_packages).mkdir(parents=True)
    for name in ("celery", "mypy"):
        distribution = metadata.distribution(name)
        path = tmp_path / f"{'a' * 32}-{name}-{distribution.version}"
        info = Path(str(distribution.locate_file(f"{name}-{distribution.version}.dist-info")))
        shutil.copytree(info, path / site_packages / info.name)
        (environment / site_packages / info.name).symlink_to(path / site_packages / info.name)
        paths.append(path)
    ours = environment / site_packages / "ibutsu_core-0.1.0.dist-info"
    ours.mkdir()
    (ours / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: ibutsu-core\nVersion: 0.1.0\nLicense-Expression: MIT\n"
    )
    (tmp_path / "store-paths").write_text("".join(f"{path}\n" for path in (*paths, environment)))
    return tmp_path / "store-paths"


def bill(store: Path) -> str:
    """Return what the script writes."""
    paths = [Path(line) for line in store.read_text().splitlines()]
    text: str = SBOM["bill"]("ibutsu-worker", "0.1.0", "Ibutsu worker", paths, HASHES)
    return text


def schema(name: str) -> Any:
    """Return a schema of CycloneDX, as its library ships it."""
    return json.loads((resources.files("cyclonedx.schema") / "_res" / name).read_text())


def test_the_bill_is_valid_cyclonedx(store: Path) -> None:
    document = json.loads(bill(store))
    assert document["specVersion"] == "1.6"

    def retrieve(uri: str) -> Any:
        return schema(uri.rpartition("/")[2])

    errors = jsonschema_rs.validator_for(schema("bom-1.6.SNAPSHOT.schema.json"), retriever=retrieve).iter_errors(
        document
    )
    assert [error.message for error in errors] == []


def test_packages_and_distributions_are_named_with_version_and_licence(store: Path) -> None:
    document = json.loads(bill(store))
    found = {component["purl"]: component for component in document["components"]}
    assert set(found) == {
        "pkg:nix/openssl@3.6.2",
        "pkg:nix/gcc@15.2.0",
        f"pkg:pypi/celery@{metadata.version('celery')}",
        f"pkg:pypi/mypy@{metadata.version('mypy')}",
        "pkg:pypi/ibutsu-core@0.1.0",
    }
    licenses = {component["name"]: component.get("licenses") for component in document["components"]}
    assert licenses["ibutsu-core"] == [{"license": {"id": "MIT"}}]
    assert "BSD" in json.dumps(licenses["celery"])
    (dependency,) = (entry for entry in document["dependencies"] if entry["ref"] == "ibutsu-worker")
    assert sorted(dependency["dependsOn"]) == sorted(component["bom-ref"] for component in document["components"])


def test_a_distribution_has_the_hash_of_its_wheel_and_what_is_of_no_wheel_has_none(store: Path) -> None:
    found = {component["name"]: component.get("hashes") for component in json.loads(bill(store))["components"]}
    assert {name: hashes for name, hashes in found.items() if hashes} == {
        name: [{"alg": "SHA-256", "content": digest}] for name, digest in HASHES.items()
    }
    assert {"ibutsu-core", "openssl"} <= found.keys()


def test_the_same_store_paths_give_the_same_bill(store: Path) -> None:
    first = bill(store)
    store.write_text("".join(reversed(store.read_text().splitlines(keepends=True))))
    assert bill(store) == first
