"""The objects of the contract: `…In` is what a client sends, the others are what it gets."""

# The views say `schemas.Run` beside the `Run` of the store, whichever module has it.
# ruff: noqa: F403
from __future__ import annotations

from ibutsu_server.api.schemas.accounts import *
from ibutsu_server.api.schemas.common import *
from ibutsu_server.api.schemas.projects import *
from ibutsu_server.api.schemas.runs import *
from ibutsu_server.api.schemas.server import *
from ibutsu_server.api.schemas.uploads import *
from ibutsu_server.api.schemas.widgets import *
