"""ibutsu-client: each of its methods, and an upload as its users write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def test_every_method_is_served(system: Any, run_client: Any) -> None:
    login = system.printed("Login").split(" / ")
    run_client(str(Path(__file__).with_name("every_method.py")), system.local["url"], *login)
