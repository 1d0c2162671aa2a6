"""Which cases a page shows, and why: fixed rules in a fixed order, each with its own order of the responses it fits.

A problem stands on a page once.  Inside a rule the variants take turns, the one with the most such responses first, so
that one variant does not fill the page; rules that fit nothing are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qrm_forensics.records import Status
from qrm_forensics.report.category_pages.members import OUTCOME, Members
from qrm_forensics.report.category_pages.numbers import true_in
from qrm_forensics.report.data import BenchmarkData, RunData

#: Cases of one rule, and of one page.
PER_RULE, PER_PAGE = 2, 8

Rows = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fit:
    """The responses of one variant that a rule fits, as places in its frame, the first by the rule's order first."""

    variant: str
    reference: str | None
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """What a rule has chosen of what it fits: (row, variant, reference)."""

    rule: str
    fits: int
    chosen: tuple[tuple[int, str, str | None], ...]


@dataclass(frozen=True)
class _Responses:
    """One variant's responses of a page, column by column, with what the reference had there ([n] all)."""

    frame: pd.DataFrame
    right: Rows
    judged: Rows
    missing: Rows
    loops: Rows
    was: Floats
    words: Floats
    ratio: Floats

    def column(self, name: str, absent: float) -> Floats:
        if name not in self.frame:
            return np.full(len(self.frame), absent)
        values: Floats = self.frame[name].to_numpy(np.float64)
        return np.where(np.isnan(values), absent, values)


#: Rules of subjects, levels and topics, in their order; each is explained by the catalogue text ``pick.<rule>``.
RULES = (
    *("lost_loop", "lost_false_equation", "lost_missing", "lost_other", "gained", "longest", "alone_loop"),
    *("alone_wrong",),
)
#: Rules of outcomes.
OUTCOME_RULES = ("ended_lost", "ended_gained", "ended_loop", "ended_shortest", "ended_longest")


def choose(
    run: RunData, data: BenchmarkData, members: Members, references: Mapping[str, str], limit: int = PER_PAGE
) -> tuple[Choice, ...]:
    """What every rule has chosen, in the order of the rules; at most ``limit`` cases together."""
    fits: dict[str, list[Fit]] = {}
    for variant in members.frames:
        reference = references.get(variant)
        for rule, rows in _fits(run, data, members, variant, reference):
            if rows:
                fits.setdefault(rule, []).append(Fit(variant, reference, rows))
    shown: set[int] = set()
    found: list[Choice] = []
    for rule in (*RULES, *OUTCOME_RULES):
        chosen: list[tuple[int, str, str | None]] = []
        for row, fit in _turns(fits.get(rule, [])):
            problem = int(data.problem_of_row[row])
            if len(chosen) == PER_RULE or sum(len(c.chosen) for c in found) + len(chosen) >= limit:
                break
            if problem not in shown:
                shown.add(problem)
                chosen.append((row, fit.variant, fit.reference))
        if chosen:
            found.append(Choice(rule, sum(len(f.rows) for f in fits[rule]), tuple(chosen)))
    return tuple(found)


def _turns(fits: Sequence[Fit]) -> Iterator[tuple[int, Fit]]:
    several = sorted(fits, key=lambda f: -len(f.rows))
    for turn in zip_longest(*([(row, f) for row in f.rows] for f in several)):
        yield from (offer for offer in turn if offer is not None)


def _fits(
    run: RunData, data: BenchmarkData, members: Members, variant: str, reference: str | None
) -> Iterator[tuple[str, tuple[int, ...]]]:
    told = _responses(run, data, members.frames[variant], variant, reference)
    rows = told.frame["row"].to_numpy()

    def fit(rule: str, mask: Rows, order: Floats) -> tuple[str, tuple[int, ...]]:
        ranked = sorted(np.flatnonzero(mask), key=lambda i: (order[i], rows[i]))
        return rule, tuple(int(rows[i]) for i in ranked)

    compared = reference is not None and reference != variant
    lost = (told.was == 1) & told.judged & ~told.right
    gained = (told.was == 0) & told.right
    onset = told.column("loop_onset_fraction", 1.0)
    if members.dimension == OUTCOME:
        everything = np.ones(len(rows), dtype=bool)
        if compared:
            yield fit("ended_lost", lost, told.words)
            yield fit("ended_gained", gained, told.words)
        yield fit("ended_loop", told.loops, onset)
        yield fit("ended_shortest", everything, told.words)
        yield fit("ended_longest", everything, -told.words)
    elif compared:
        slip = told.column("false_equations", 0.0) > 0
        yield fit("lost_loop", lost & told.loops, onset)
        yield fit("lost_false_equation", lost & ~told.loops & slip, told.column("false_equation_first_char", np.inf))
        yield fit("lost_missing", lost & ~told.loops & ~slip & told.missing, -told.words)
        yield fit("lost_other", lost & ~told.loops & ~slip & ~told.missing, told.words)
        yield fit("gained", gained, told.words)
        yield fit("longest", np.isfinite(told.ratio) & (told.ratio > 1), -told.ratio)
    elif reference is None:
        yield fit("alone_loop", told.judged & ~told.right & told.loops, onset)
        yield fit("alone_wrong", told.judged & ~told.right & ~told.loops, told.words)


def _responses(
    run: RunData, data: BenchmarkData, frame: pd.DataFrame, variant: str, reference: str | None
) -> _Responses:
    rows = frame["row"].to_numpy()
    nothing = np.full(len(frame), np.nan)
    words = frame["n_words"].to_numpy(np.float64) if "n_words" in frame else nothing
    was, ratio = nothing, nothing
    if reference is not None and reference != variant:
        was = data.right(reference, run.policy)[rows]
        before = data.aligned(reference, "n_words")[rows]
        ratio = np.divide(words, before, out=nothing.copy(), where=np.nan_to_num(before) > 0)
    return _Responses(
        frame=frame,
        right=(frame[f"right:{run.policy}"] == 1).to_numpy(),
        judged=frame[f"right:{run.policy}"].notna().to_numpy(),
        missing=(frame[f"status:{run.policy}"] == Status.MISSING).to_numpy(),
        loops=true_in(frame, "loop"),
        was=was,
        words=np.nan_to_num(words),
        ratio=ratio,
    )
