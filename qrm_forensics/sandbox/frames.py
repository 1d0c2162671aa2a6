"""Messages between a sandbox and who started it: a JSON header and bytes, each after its length."""

from __future__ import annotations

import json
import os
import struct
from typing import Any, Final

LENGTHS: Final = struct.Struct(">II")
_CHUNK: Final = 1 << 20


def packed(header: dict[str, Any], body: bytes = b"") -> bytes:
    text = json.dumps(header).encode("ascii")
    return LENGTHS.pack(len(text), len(body)) + text + body


def write(descriptor: int, header: dict[str, Any], body: bytes = b"") -> None:
    """Write one message to a blocking descriptor."""
    data = memoryview(packed(header, body))
    while data:
        data = data[os.write(descriptor, data[:_CHUNK]) :]


def read(descriptor: int) -> tuple[dict[str, Any], bytes] | None:
    """Read one message from a blocking descriptor; None at its end."""
    start = _exactly(descriptor, LENGTHS.size)
    if start is None:
        return None
    header_length, body_length = LENGTHS.unpack(start)
    header, body = _exactly(descriptor, header_length), _exactly(descriptor, body_length)
    return None if header is None or body is None else (json.loads(header), body)


def _exactly(descriptor: int, size: int) -> bytes | None:
    made = bytearray()
    while len(made) < size:
        chunk = os.read(descriptor, min(_CHUNK, size - len(made)))
        if not chunk:
            return None
        made += chunk
    return bytes(made)
