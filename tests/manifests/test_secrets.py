"""Secrets are made with strong random values, reach the containers unharmed, and are in no file of the repository."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from manifest_environment import KEYS, PASSWORD, SECRETS
from manifest_tree import MANIFESTS, ROOT, Tree, render


def create(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the program that makes the files."""
    return subprocess.run([sys.executable, directory / "create"], capture_output=True, text=True)


def test_secrets_are_strong_and_different_each_time(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        directory = tmp_path / name
        shutil.copytree(MANIFESTS / "components/secrets", directory, ignore=shutil.ignore_patterns("values"))
        done = create(directory)
        assert done.returncode == 0, done.stderr
        lines = [line for path in (directory / "values").iterdir() for line in path.read_text().splitlines()]
        values = dict(line.split("=", 1) for line in lines)
        found += [values[key].removeprefix("ibutsu:") for key in values if "password" in key or "auth" in key]
        assert not any(value in done.stdout + done.stderr for value in found)
        for path in (directory / "values", *(directory / "values").iterdir()):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert len({*found}) == len(found) == 8
    assert all(len(value) >= 43 for value in found)


def test_existing_secrets_are_left_as_they_are(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    shutil.copytree(MANIFESTS / "components/secrets", directory, ignore=shutil.ignore_patterns("values"))
    assert create(directory).returncode == 0
    (directory / "values/redis.env").unlink()
    before = {path: path.read_bytes() for path in (directory / "values").iterdir()}
    again = create(directory)
    assert again.returncode == 1
    assert "Nothing was made" in again.stderr
    assert {path: path.read_bytes() for path in (directory / "values").iterdir()} == before


def test_the_files_hold_what_the_containers_use(trees: dict[str, Tree]) -> None:
    assert {name: values.keys() for name, values in trees["kubernetes"].secrets().items()} == KEYS


def test_any_characters_in_the_files_reach_the_secret(manifests: Path, tmp_path: Path) -> None:
    copy = tmp_path / "manifests"
    shutil.copytree(manifests, copy)
    for name, values in SECRETS.items():
        lines = [f"{key}={value}\n" for key, value in values.items()]
        (copy / f"components/secrets/values/{name}.env").write_text("".join(lines))
    assert render(copy / "overlays/openshift").secrets() == SECRETS
    assert len({*PASSWORD} - {*"abcdefghijklmnopqrstuvwxyzREDIS_PASSWORD"}) > 25


def test_no_secret_is_in_the_repository(tmp_path: Path) -> None:
    for path in MANIFESTS.rglob("*.yaml"):
        assert not re.search(r"^kind: Secret$", path.read_text(), re.MULTILINE), path
    values = "manifests/components/secrets/values"
    rules = tmp_path / ".gitignore"
    rules.write_text((ROOT / ".gitignore").read_text())
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    for name in SECRETS:
        done = subprocess.run(["git", "check-ignore", "--quiet", f"{values}/{name}.env"], cwd=tmp_path)
        assert done.returncode == 0
