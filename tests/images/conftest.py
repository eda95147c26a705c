"""The images as a registry has them, where IBUTSU_IMAGES names them: the result of `nix build .#images`."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ibutsu_core.settings import Application

VARIABLE = "IBUTSU_IMAGES"


@dataclasses.dataclass(frozen=True)
class Image:
    """An image in an OCI layout."""

    directory: Path
    name: str
    tag: str
    version: str
    digest: str

    def blob(self, digest: str) -> Path:
        """Return the file of the digest."""
        return self.directory / "layout/blobs" / digest.replace(":", "/")

    @functools.cached_property
    def manifest(self) -> dict[str, Any]:
        """What a registry answers for the image."""
        document: dict[str, Any] = json.loads(self.blob(self.digest).read_text())
        return document

    @functools.cached_property
    def configuration(self) -> dict[str, Any]:
        """What a container runtime reads."""
        document: dict[str, Any] = json.loads(self.blob(self.manifest["config"]["digest"]).read_text())
        return document

    @property
    def layers(self) -> dict[str, int]:
        """Bytes of each layer as it is transferred, by its digest; the lowest first."""
        return {layer["digest"]: layer["size"] for layer in self.manifest["layers"]}

    @functools.cached_property
    def files(self) -> dict[str, tarfile.TarInfo]:
        """All that is in the file system, by its path without the leading slash."""
        found = {}
        for digest in self.layers:
            with tarfile.open(self.blob(digest)) as archive:
                found.update({member.name.strip("/").removeprefix("./"): member for member in archive})
        return found

    @functools.cached_property
    def store_paths(self) -> set[str]:
        """The names below /nix/store."""
        return {name.split("/")[2] for name in self.files if name.startswith("nix/store/")}


@pytest.fixture(scope="session")
def images() -> dict[Application, Image]:
    """The four images."""
    directory = Path(os.environ[VARIABLE])
    lines = (directory / "images").read_text().splitlines()
    found = (Image(directory, *line.split()) for line in lines)
    return {Application(image.name.removeprefix("ibutsu-")): image for image in found}


@pytest.fixture(params=list(Application))
def role(request: pytest.FixtureRequest) -> Application:
    """One application after the other."""
    application: Application = request.param
    return application


@pytest.fixture
def image(role: Application, images: dict[Application, Image]) -> Image:
    """Its image."""
    return images[role]


@pytest.fixture
def environment_of_flower() -> dict[str, str]:
    """What Flower needs to be told; it connects to nothing before it serves."""
    url = "redis://127.0.0.1:1/0"
    told = {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url, "FLOWER_BASIC_AUTH": "flower:secret"}
    return {**{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}, **told}
