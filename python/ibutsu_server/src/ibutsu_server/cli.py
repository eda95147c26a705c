"""The `ibutsu` command: a short registry of subcommands, each in a module that is loaded when it is used."""

from __future__ import annotations

import importlib

import click

COMMANDS = {
    "db": "ibutsu_server.admin:db",
    "import": "ibutsu_server.client.importing:import_command",
    "imports": "ibutsu_server.client.imports:imports",
    "maintenance": "ibutsu_server.client.maintenance:maintenance",
    "pin": "ibutsu_server.client.keeping:pin",
    "prune": "ibutsu_server.pruning:prune",
    "retention": "ibutsu_server.client.keeping:retention",
    "token": "ibutsu_server.admin:token",
    "unpin": "ibutsu_server.client.keeping:unpin",
    "up": "ibutsu_server.embedded.command:up",
}
"""Name of a subcommand, and where its click command is."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002, RUF100 - click's signature
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002, RUF100
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ibutsu-server")
def main() -> None:
    """Collect the results of test runs."""


if __name__ == "__main__":
    main(prog_name="ibutsu")
