"""Names of files made from names of data: a benchmark, a subject, a chart."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

#: Characters of a name; file systems allow 255 bytes, and a letter takes up to four.
LONGEST = 60
#: What Windows takes for a device, whatever follows the dot.
_DEVICES = re.compile(r"(?i)(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)")


def safe_name(text: str) -> str:
    """Letters, digits, ``.``, ``_`` and ``-`` of any script; everything else becomes ``_``; never hidden, never empty."""
    normal = unicodedata.normalize("NFC", text)
    name = re.sub(r"[^\w.-]+", "_", normal).strip("._")[:LONGEST].rstrip("._")
    return f"_{name}" if not name or _DEVICES.match(name) else name


class Names:
    """Hands out paths that no earlier one has, on file systems that do not tell ``A`` from ``a`` either."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def path(self, parts: Sequence[str], suffix: str) -> str:
        """``a/b/c<suffix>`` of safe parts, with ``~2`` behind the last where that is taken."""
        stem = "/".join(safe_name(part) for part in parts)
        name, again = f"{stem}{suffix}", 2
        while name.casefold() in self._taken:
            name, again = f"{stem}~{again}{suffix}", again + 1
        self._taken.add(name.casefold())
        return name
