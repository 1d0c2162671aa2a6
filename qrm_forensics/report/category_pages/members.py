"""Which responses a page is about, and where the rows behind its numbers are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qrm_forensics.report.claims import where
from qrm_forensics.report.data import BenchmarkData, RunData

OUTCOME = "outcome"
#: Measured columns that pages are made of.
MEASURED = (
    *("loop", "truncated", "n_words", "loop_onset_fraction", "mattr_500", "wait_count", "markers_total"),
    *("false_equations", "false_equation_first_char", "loop_onset_char", OUTCOME),
)


class Frames:
    """Of each variant's responses the columns that pages are made of; the joined table has ten times as many."""

    def __init__(self, data: BenchmarkData) -> None:
        wanted = [
            c
            for c in data.frame.columns
            if c in MEASURED or c in ("row", "problem", "problem_id") or c.startswith(("right:", "status:", "answer:"))
        ]
        self.of = {v: data.of(v)[wanted] for v in data.variants}


@dataclass(frozen=True)
class Members:
    """The responses of one page.

    ``query`` picks them among the rows of ``joined`` (a table to be joined to those of a claim, with its ``+``).
    ``frames``: variant -> its responses here, in the order of the study; variants without any are left out.
    """

    dimension: str
    name: str
    query: str
    joined: str
    frames: dict[str, pd.DataFrame]

    def at(self, data: BenchmarkData, variant: str) -> str:
        return f"{where(variant=variant, benchmark=data.name)} and {self.query}"

    def place(self, data: BenchmarkData, variant: str) -> str:
        return f"{data.name}/{self.dimension}={self.name}/{variant}"

    def rows(self, data: BenchmarkData, variant: str) -> NDArray[np.bool_]:
        """Rows (sample keys) of the variant's responses here."""
        found = np.zeros(len(data.keys), dtype=bool)
        if variant in self.frames:
            found[self.frames[variant]["row"].to_numpy()] = True
        return found


def of_problems(frames: Frames, dimension: str, name: str, problems: frozenset[str], query: str) -> Members:
    """The responses to a set of problems; ``query`` picks them by columns of ``problems``."""
    found = {v: f[f["problem_id"].isin(problems)] for v, f in frames.of.items()}
    return Members(dimension, name, query, "+problems", {v: f for v, f in found.items() if len(f)})


def of_outcome(run: RunData, frames: Frames, outcome: str) -> Members:
    """The responses that had an outcome."""
    found = {v: f[f[OUTCOME] == outcome] for v, f in frames.of.items()}
    return Members(
        *(OUTCOME, outcome, where(outcome=outcome), f"+{run.tables[OUTCOME]}"),
        {v: f for v, f in found.items() if len(f)},
    )
