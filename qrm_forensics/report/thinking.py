"""Runs with thinking budgets: what a report is about, what only its section on budgets is about, and what is not the model's.

A report compares checkpoints that think as long as they like.  The same checkpoints under a budget are other variants of
the run (:func:`qrm_forensics.recipes.thinking_of`); mixed with the others they would be taken for further recipes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from qrm_forensics.recipes import thinking_of
from qrm_forensics.records import TRACE_KEY, Key, Variant
from qrm_forensics.report.nouns import Sentence
from qrm_forensics.store import ForcedFile, Store

_COLUMNS = [
    *TRACE_KEY,
    "mode",
    "closed_by",
    "forced",
    "thinking_tokens",
    "forced_tokens",
    "dropped_tokens",
    "retokenised",
]
#: Places of damage that a notice names.
_NAMED = 5


def is_free(variant: str) -> bool:
    """Whether a variant thinks as long as it likes."""
    return thinking_of(variant)[1].kind == "free"


class FreeThinking(Store):
    """A run without its variants under a budget.  It is read only."""

    @property
    def variants(self) -> list[Variant]:
        return [v for v in super().variants if is_free(v.id)]

    def cells(self) -> list[tuple[str, str]]:
        return [cell for cell in super().cells() if is_free(cell[0])]


def has_budgets(store: Store) -> bool:
    """Whether a variant under a budget has responses."""
    return any(not is_free(variant) for variant, _ in store.cells())


@dataclass(frozen=True, slots=True)
class ForcedTexts:
    """What was written for the model in the responses of one cell: none of it where the model thinks freely.

    ``keys``: those of the stored responses.  ``name``: that of the file in the run's folder.
    """

    free: bool
    file: ForcedFile
    name: str
    keys: tuple[Key, ...]

    @property
    def lacking(self) -> int:
        """Responses under a budget of which it is not known."""
        return 0 if self.free else sum(key not in self.file.rows for key in self.keys)

    def spans(self, key: Key, text: str) -> tuple[tuple[int, int], ...] | None:
        """The half-open ranges of code points of ``text`` that are not the model's; None where that is not known."""
        if self.free:
            return ()
        row = self.file.rows.get(key)
        if row is None or any(end > len(text) for _, end in row["spans"]):
            return None
        return tuple((start, end) for start, end in row["spans"])

    @property
    def places(self) -> tuple[str, ...]:
        """Where something is wrong, as ``file:line``; the first line that is not there where lines are missing."""
        if self.free or not (self.lacking or self.file.damaged):
            return ()
        lines = [line for line, _ in self.file.damaged] or [self.file.lines + 1]
        return tuple(f"{self.name}:{line}" for line in lines)

    def place(self, key: Key) -> str:
        """Where that of a response should stand: its line, or those that are in question."""
        line = self.file.at.get(key)
        return listed(self.places) if line is None else f"{self.name}:{line}"


def forced_texts(store: Store, variant: str, benchmark: str) -> ForcedTexts:
    """What was written for the model in the responses of a variant to a benchmark."""
    free = is_free(variant)
    file = store.forced(variant, benchmark)
    name = file.path.relative_to(store.root).as_posix()
    return ForcedTexts(free, file, name, () if free else tuple(store.trace_keys(variant, benchmark)))


def damage_notice(store: Store, cells: Iterable[tuple[str, str]]) -> Sentence | None:
    """One sentence that says of how many responses it is not known what was written for the model, and where that should stand."""
    found = [forced_texts(store, *cell) for cell in cells]
    places = [place for texts in found for place in texts.places]
    if not places:
        return None
    lacking = sum(texts.lacking for texts in found)
    return Sentence("thinking.damaged", {"n": str(lacking), "places": listed(places)}, "warning")


def listed(places: Sequence[str]) -> str:
    """The first few of them, and how many more there are."""
    more = f", … (+{len(places) - _NAMED})" if len(places) > _NAMED else ""
    return ", ".join(places[:_NAMED]) + more


def forced_table(store: Store) -> pd.DataFrame:
    """One row per response under a budget: how often something was written for the model (``forced``), and how many tokens.

    See :class:`qrm_forensics.generate.budget.Forced` for the other columns.  A response of which that is not known has no row.
    """
    rows = []
    for variant, benchmark in store.cells():
        found = store.forced(variant, benchmark).rows
        keys = store.trace_keys(variant, benchmark) if found else []
        rows += [{**found[key], "forced": len(found[key]["spans"])} for key in keys if key in found]
    return pd.DataFrame(rows, columns=_COLUMNS)
