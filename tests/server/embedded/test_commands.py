"""The commands of the applications, which containers and `ibutsu up` share."""

from __future__ import annotations

import sys
from pathlib import Path

from ibutsu_core.settings import Application
from ibutsu_server.embedded import commands


def test_every_application_has_a_command_and_a_way_to_stop() -> None:
    assert commands.COMMANDS.keys() == commands.STOP.keys() == {*Application}
    for application, command in commands.COMMANDS.items():
        assert f"ibutsu_server:{application}_app" in command


def test_here_the_api_and_flower_listen_where_they_are_told_and_all_else_is_the_same() -> None:
    command = commands.backend("127.0.0.1:1234")
    assert command[command.index("--bind") + 1] == "127.0.0.1:1234"
    assert len(command) == len(commands.COMMANDS[Application.BACKEND])
    flower = commands.flower("127.0.0.1", 5556)
    assert flower[: len(commands.COMMANDS[Application.FLOWER])] == commands.COMMANDS[Application.FLOWER]
    assert flower[-2:] == ("--address=127.0.0.1", "--port=5556")


def test_only_several_workers_need_names() -> None:
    assert commands.worker() == commands.COMMANDS[Application.WORKER]
    assert commands.worker("worker2@%h")[-2:] == ("--hostname", "worker2@%h")


def test_programs_come_from_this_environment_and_not_from_path() -> None:
    program = commands.here(("celery", "worker"))
    assert Path(program[0]) in (Path(sys.executable).parent / "celery", Path(sys.executable))
    assert program[-1] == "worker"
    assert commands.here(("no-such-program", "x")) == (sys.executable, "-P", "-m", "no-such-program", "x")
