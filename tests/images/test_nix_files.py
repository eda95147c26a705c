"""The Nix files can be parsed and are formatted, where the programs that tell are at hand."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FILES = sorted([ROOT / "flake.nix", *ROOT.glob("images/*.nix"), *ROOT.glob("nix/*.nix")])


def program(name: str) -> str:
    """Return the program, or skip the test."""
    if not (found := shutil.which(name)):
        pytest.skip(f"{name} is not on PATH")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_nix_file_can_be_parsed(path: Path) -> None:
    done = subprocess.run([program("nix-instantiate"), "--parse", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nix_files_are_formatted() -> None:
    done = subprocess.run([program("nixfmt"), "--check", *FILES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
