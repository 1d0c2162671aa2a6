"""Packs: rows of text compressed together, so that opening one problem unpacks half a megabyte and no more."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from typing import Any

from qrm_forensics.report.reader.model import Pack

#: Bytes of JSON after which a pack is closed.  A row is never divided, so a pack may be larger.
PACK_BYTES = 512 << 10
#: On real responses level 6 takes more than twice as long and saves 8 %, level 1 is half as fast again and a fifth larger.
_LEVEL = 4


def packed(data: bytes) -> str:
    """gzip in base64, the same for the same bytes on any day."""
    return base64.b64encode(gzip.compress(data, compresslevel=_LEVEL, mtime=0)).decode()


def as_json(value: Any) -> str:
    """JSON without a space, every character as it is."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class Packer:
    """Takes rows one after the other and closes a pack whenever it is full."""

    def __init__(self, pack_bytes: int = PACK_BYTES) -> None:
        self._limit = pack_bytes
        self._open: list[bytes] = []
        self._size = 0
        self._packs: list[Pack] = []

    def add(self, entry: Any) -> tuple[int, int]:
        """(number of the pack, place in it) that the entry has got."""
        data = as_json(entry).encode("utf-8", "replace")
        size = len(data) + 1  # a comma between, or a bracket
        if self._open and self._size + size + 1 > self._limit:
            self._close()
        self._open.append(data)
        self._size += size
        return len(self._packs), len(self._open) - 1

    def finish(self) -> tuple[Pack, ...]:
        """All packs; the packer takes nothing afterwards."""
        if self._open:
            self._close()
        return tuple(self._packs)

    def _close(self) -> None:
        raw = b"[" + b",".join(self._open) + b"]"
        data = packed(raw)
        self._packs.append(Pack(hashlib.sha256(data.encode()).hexdigest()[:16], len(raw), data))
        self._open, self._size = [], 0
