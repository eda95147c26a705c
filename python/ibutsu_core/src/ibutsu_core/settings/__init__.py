"""The environment of each application, as data, and read once into typed settings.

`VARIABLES` is the one place that says which application needs which variable, its default and what it means.
Start-up, the documentation, `ibutsu doctor` and the manifests' tests all read it.
"""

from __future__ import annotations

from ibutsu_core.settings.loading import (
    CelerySettings,
    DatabaseSettings,
    Settings,
    SettingsError,
    database_of,
    examine,
    load,
    load_database,
    load_retention,
    retention_of,
)
from ibutsu_core.settings.parsing import LONGEST_TASK, VISIBILITY_TIMEOUT
from ibutsu_core.settings.variables import VARIABLES, Application, Variable, variables

__all__ = [
    "LONGEST_TASK",
    "VARIABLES",
    "VISIBILITY_TIMEOUT",
    "Application",
    "CelerySettings",
    "DatabaseSettings",
    "Settings",
    "SettingsError",
    "Variable",
    "database_of",
    "examine",
    "load",
    "load_database",
    "load_retention",
    "retention_of",
    "variables",
]
