"""What the images' files say is what the code has."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ibutsu_core.settings import Application
from ibutsu_server.embedded.commands import COMMANDS

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
import sys, ibutsu_server
import celery.bin.celery, flower.command
ibutsu_server.flower_app
print(*sorted(name for name in sys.modules if name.split(".")[0] == "ibutsu_server"))
"""


@pytest.mark.parametrize("role", Application)
def test_an_image_runs_its_application_s_command(role: Application) -> None:
    command = re.search(r"  command = \[(.*?)\];", (ROOT / f"images/{role}.nix").read_text(), re.DOTALL)
    assert command
    assert tuple(re.findall(r'"([^"]+)"', command[1])) == COMMANDS[role]


def test_flower_s_image_has_the_modules_that_flower_loads(environment_of_flower: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment_of_flower, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (ROOT / "images/flower.nix").read_text()
    files = re.findall(r'"src/ibutsu_server/(\w+)\.py"', text)
    modules = {"ibutsu_server" + ("" if name == "__init__" else f".{name}") for name in files}
    assert set(done.stdout.split()) == modules
