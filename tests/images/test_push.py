"""`push` against a real registry."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from ibutsu_core.settings import Application
from ibutsu_server.embedded import ports

if TYPE_CHECKING:
    from .conftest import Image

if "IBUTSU_IMAGES" not in os.environ:
    pytest.skip("IBUTSU_IMAGES names no images; `nix build .#images` makes them", allow_module_level=True)
# Debian calls it docker-registry, and nixpkgs registry.
REGISTRY = shutil.which("docker-registry") or shutil.which("registry")
if not (REGISTRY and shutil.which("skopeo")):
    pytest.skip("docker-registry and skopeo are not on PATH", allow_module_level=True)

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent.parent.parent / "images/push.sh"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """An empty registry; its address."""
    address = f"127.0.0.1:{ports.free_port()}"
    configuration = tmp_path / "registry.yml"
    configuration.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {tmp_path}/registry\nhttp:\n  addr: {address}\n"
    )
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen([str(REGISTRY), "serve", configuration], stdout=log, stderr=log)
    try:
        host, port = address.split(":")
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (tmp_path / "registry.log").read_text()
                time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def push(*arguments: str, images: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the script as `nix run .#push` does."""
    environment = {**os.environ, "IMAGES": images or os.environ["IBUTSU_IMAGES"]}
    command = ["bash", "-euo", "pipefail", str(SCRIPT), "--plain-http", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def tags(registry: str, name: str) -> set[str]:
    """Return the tags that the registry has of an image."""
    answer = httpx.get(f"http://{registry}/v2/ibutsu/{name}/tags/list", timeout=60)
    return set(answer.json()["tags"]) if answer.status_code == 200 else set()


def test_images_are_pushed_once_by_content_and_by_version(registry: str, images: dict[Application, Image]) -> None:
    dry = push("--dry-run", f"{registry}/ibutsu")
    assert dry.returncode == 0, dry.stderr
    assert dry.stdout.endswith("8 would be pushed, 0 there already, 0 refused.\n")
    assert tags(registry, "ibutsu-worker") == set()

    first = push(f"{registry}/ibutsu")
    assert first.returncode == 0, first.stderr
    assert first.stdout.endswith("8 pushed, 0 there already, 0 refused.\n")
    for image in images.values():
        assert tags(registry, image.name) == {image.tag, image.version}
        url = f"http://{registry}/v2/ibutsu/{image.name}/manifests/{image.tag}"
        answer = httpx.head(url, headers={"Accept": "application/vnd.oci.image.manifest.v1+json"}, timeout=60)
        assert answer.headers["Docker-Content-Digest"] == image.digest

    second = push(f"{registry}/ibutsu")
    assert second.returncode == 0, second.stderr
    assert second.stdout.endswith("0 pushed, 8 there already, 0 refused.\n")


def test_a_version_that_names_another_image_is_refused(
    registry: str, images: dict[Application, Image], tmp_path: Path
) -> None:
    worker, flower = images[Application.WORKER], images[Application.FLOWER]
    (tmp_path / "layout").symlink_to(worker.directory / "layout")
    for digest in (worker.digest, flower.digest):
        (tmp_path / "images").write_text(f"{worker.name} {worker.tag} {worker.version} {digest}\n")
        last = push(f"{registry}/ibutsu", images=str(tmp_path))
    assert last.returncode == 1
    assert f"ibutsu-worker:{worker.version} is {worker.digest}, not {flower.digest}" in last.stderr
    assert "Raise the version" in last.stderr


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_a_registry_that_does_not_answer_is_said(arguments: tuple[str, ...], images: dict[Application, Image]) -> None:
    done = push(*arguments, f"127.0.0.1:{ports.free_port()}/ibutsu")
    assert done.returncode == 1
    assert "connection refused" in done.stderr


def test_nothing_is_pushed_where_the_registry_cannot_tell_what_it_has(images: dict[Application, Image]) -> None:
    asked = []

    class Ailing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if self.path == "/v2/" else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    for method in ("HEAD", "POST", "PUT"):
        setattr(Ailing, f"do_{method}", Ailing.do_GET)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ailing) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            done = push("--move-version", f"127.0.0.1:{server.server_port}/ibutsu")
        finally:
            server.shutdown()
    assert done.returncode == 1
    assert "cannot be told, and nothing more is pushed" in done.stderr
    assert not [path for path in asked if "/blobs/" in path]
