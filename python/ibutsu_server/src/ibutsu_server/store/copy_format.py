"""What surrounds the rows of PostgreSQL's COPY in its binary format, and the row of a chunk but for its bytes."""

from __future__ import annotations

import struct

HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack("!ii", 0, 0)
END = struct.pack("!h", -1)

_chunk_head = struct.Struct("!hi16siii").pack


def chunk_head(owner_id: bytes, position: int, size: int) -> bytes:
    """Return the row of a chunk but for its last field's bytes, of which there are `size`."""
    return _chunk_head(3, 16, owner_id, 4, position, size)
