"""One problem as its data set states it, before it is put into a prompt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

#: (how messages name the row, the row), as :func:`qrm_forensics.benchmarks.rows.read_rows` yields them.
Rows = Iterable[tuple[str, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Item:
    """A problem and what its right answer is.

    ``question`` is what stands in place of ``{problem}`` in the prompt: with the options where there are some, in the
    order in which they are asked.  ``starter_code`` is for code problems that come with one.
    """

    id: str
    question: str
    gold: str
    subject: str | None = None
    level: str | None = None
    starter_code: str | None = None
