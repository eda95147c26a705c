"""A server that did not answer, or not as it should."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Trouble:
    """Why there are no facts. `kind` is that of `ibutsu_server.ops.reasons`; `sentence` holds no secret."""

    kind: str
    sentence: str
