"""The arrows of the design: imports run downward, and the core knows nothing of the server."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PYTHON = Path(__file__).parent.parent / "python"
SERVER = PYTHON / "ibutsu_server/src/ibutsu_server"
CORE = PYTHON / "ibutsu_core/src/ibutsu_core"

# What each part of the server may import of the server, beside itself.
ALLOWED = {
    "reports": set(),
    "store": set(),
    "tasks": {"reports", "store"},
    "api": {"store", "reports"},
    "ops": {"store", "reports"},
    "client": set(),
    "embedded": {"store", "reports"},
}


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("part", sorted(part.name for part in SERVER.iterdir() if (part / "__init__.py").exists()))
def test_a_part_of_the_server_imports_only_what_is_below_it(part: str) -> None:
    for path in (SERVER / part).rglob("*.py"):
        for module in imports(path):
            names = module.split(".")
            if names[0] != "ibutsu_server" or len(names) == 1 or not (SERVER / names[1]).is_dir():
                continue
            assert names[1] in ALLOWED[part] | {part}, f"{path.relative_to(PYTHON)} imports {module}"


def test_the_core_imports_nothing_of_the_server() -> None:
    for path in CORE.rglob("*.py"):
        for module in imports(path):
            top = module.split(".")[0]
            assert top not in {"ibutsu_server", "flask", "sqlalchemy", "psycopg2"}, f"{path} imports {module}"
