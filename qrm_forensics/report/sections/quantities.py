"""Quantities that several sections summarize, whichever column of the run holds them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from qrm_forensics.compare import median_interval, ratio_interval
from qrm_forensics.report.cells import finite
from qrm_forensics.report.claims import Source, with_interval
from qrm_forensics.report.data import BenchmarkData, RunData
from qrm_forensics.report.nouns import Claim, Unit


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is measured, and the columns that may hold it, the best first.

    The columns ``imported_…`` are those of published tables, counted by rules that are not ours.
    """

    name: str
    columns: tuple[str, ...]
    unit: Unit

    def column(self, run: RunData, data: BenchmarkData) -> str | None:
        """The first of the columns that has a value on the benchmark."""
        return next((c for c in self.columns if c in run.tables and data.frame[c].notna().any()), None)


WORDS = Quantity("words", ("n_words", "imported_word_count"), Unit.WORDS)
TOKENS = Quantity("tokens", ("n_tokens", "n_pseudo_tokens"), Unit.TOKENS)
WAIT = Quantity("wait", ("wait_count", "imported_wait_count"), Unit.PLAIN)
DIVERSITY = Quantity("diversity", ("ttr", "imported_token_diversity"), Unit.PLAIN)
WINDOWED = Quantity("windowed_diversity", ("mattr_500",), Unit.PLAIN)


def centre(
    run: RunData,
    data: BenchmarkData,
    frame: pd.DataFrame,
    quantity: Quantity,
    claim_id: str,
    filter: str,
    *,
    median: bool = False,
    tables: str = "",
    selected: bool = False,
) -> Claim | None:
    """Mean or median over the responses in ``frame`` that have a value; None where the run lacks the quantity.

    ``filter`` picks the same rows of the quantity's table joined with ``tables``.  The interval draws problems; a
    set that somebody selected is described without one.
    """
    column = quantity.column(run, data)
    if column is None:
        return None
    definition = f"definition.{'median' if median else 'mean'}_{quantity.name}"
    source: Source = {"table": run.tables[column] + tables, "filter": f"{filter} and {column}.notna()"}
    claim = Claim(claim_id, None, quantity.unit, definition, **source)
    values, problems = finite(frame, column)
    if not len(values):
        return replace(claim, note="claim.no_data")
    value = float(np.median(values) if median else values.mean())
    claim = replace(claim, value=value, denominator=len(values))
    if selected:
        return replace(claim, note="claim.description")
    if median:
        return with_interval(claim, median_interval(values, problems), "bootstrap-problems")
    _, index = np.unique(problems, return_inverse=True)
    interval = ratio_interval(np.bincount(index, values), np.bincount(index)) if index.max() else None
    return with_interval(claim, interval, "bootstrap-problems")
