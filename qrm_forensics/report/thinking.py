"""Runs with thinking budgets: what a report is about, and what only its section on budgets is about.

A report compares checkpoints that think as long as they like.  The same checkpoints under a budget are other variants of
the run (:func:`qrm_forensics.recipes.thinking_of`); mixed with the others they would be taken for further recipes.
"""

from __future__ import annotations

import pandas as pd

from qrm_forensics.recipes import thinking_of
from qrm_forensics.records import TRACE_KEY, Variant
from qrm_forensics.store import Store

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


def forced_table(store: Store) -> pd.DataFrame:
    """One row per response under a budget: how often something was written for the model (``forced``), and how many tokens.

    See :class:`qrm_forensics.generate.budget.Forced` for the other columns.
    """
    rows = [
        {**row, "forced": len(row["spans"])}
        for variant, benchmark in store.cells()
        for row in store.forced_rows(variant, benchmark)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)
