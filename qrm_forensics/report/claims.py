"""Claims: making them, and the one ledger that all of a report are registered in.

``Claim.table`` names stored tables: ``traces``, ``problems``, ``verdicts`` or
``measures/<metric>.v<version>`` (with ``#thresholds``: what is stored beside its columns), ``analyses/<name>``, ``variants``,
``checkpoints`` and ``tokens`` (:mod:`qrm_forensics.report.checkpoints`), ``forced`` (:mod:`qrm_forensics.report.thinking`), ``latency`` and ``footprint`` (:mod:`qrm_forensics.report.latency`), or ``claims`` for a number of claims.  ``problems`` has a yes/no column ``topic_<label>`` per topic.  Several joined by ``+`` are joined on the columns that
name the same thing (the trace key; benchmark and problem id).  ``Claim.filter`` is a
pandas query that picks the rows.  :mod:`qrm_forensics.report.evidence` does both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from qrm_forensics.compare import Interval, ratio_interval, wilson
from qrm_forensics.report.model import Claim, Unit


class Source(TypedDict):
    """Where the rows behind a claim are."""

    table: str
    filter: str


class Ledger:
    """Every claim of a report, by id.  The same id twice must be the same claim."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}

    def add(self, claim: Claim) -> Claim:
        """Register a claim and return the one that is registered; raises ValueError for a contradiction."""
        known = self._claims.setdefault(claim.id, claim)
        if known != claim:
            raise ValueError(f"claim {claim.id!r} is made twice: {known.value!r} and {claim.value!r}")
        return known

    def get(self, claim_id: str) -> Claim:
        """A registered claim; raises KeyError."""
        return self._claims[claim_id]

    def all(self) -> tuple[Claim, ...]:
        return tuple(self._claims.values())


def where(**conditions: str | Sequence[str]) -> str:
    """A pandas query: ``column == 'value'`` for a name, ``column in [...]`` for several, joined by ``and``."""
    parts = [
        f"{column} == {wanted!r}" if isinstance(wanted, str) else f"{column} in {list(wanted)!r}"
        for column, wanted in conditions.items()
    ]
    return " and ".join(parts)


def count(
    claim_id: str,
    value: int,
    definition: str,
    *,
    of: int | None = None,
    table: str,
    filter: str,
    note: str | None = None,
) -> Claim:
    """A number of things, ``of`` how many."""
    return Claim(
        *(claim_id, value, Unit.COUNT, definition),
        numerator=value if of is not None else None,
        denominator=of,
        table=table,
        filter=filter,
        note=note,
    )


def tally(claim_id: str, value: int, definition: str, *, starts: str, ends: str = "") -> Claim:
    """How many claims that have a value begin and end like this: the size of a family of comparisons."""
    rows = f"id.str.startswith({starts!r}) and id.str.endswith({ends!r}) and value.notna()"
    return Claim(claim_id, value, Unit.COUNT, definition, table="claims", filter=rows)


def share(
    claim_id: str,
    values: NDArray[np.float64],
    problems: NDArray[np.int64],
    definition: str,
    *,
    selected: bool,
    empty: str = "claim.no_data",
    of: int | None = None,
    table: str,
    filter: str,
) -> Claim:
    """Share of responses with value 1, among 0/1 ``values`` [n]; ``problems`` [n] says which belong together.

    Wilson interval for one response per problem, else a bootstrap over problems.  A
    selected set gives counts and no share; an empty one no value, with ``empty`` as the note.
    ``of``: responses in all, where a value may be missing.  What is known only where it is true gives a count of
    these and no share: the share among the known ones would be 1 whatever the responses are like.
    """
    n, k = len(values), int(values.sum())
    claim = Claim(claim_id, None, Unit.SHARE, definition, table=table, filter=filter, note=empty)
    if not n:
        return claim
    if of is not None and k == n < of:
        return replace(claim, numerator=k, denominator=of, note="claim.one_sided")
    claim = replace(claim, numerator=k, denominator=n)
    if selected:
        return replace(claim, note="claim.selected")
    names, index = np.unique(problems, return_inverse=True)
    interval: Interval | None
    if len(names) == n:
        interval, method = wilson(k, n), "wilson"
    elif k in (0, n):
        interval, method = all_alike(k > 0, len(names))
    else:
        interval = ratio_interval(np.bincount(index, values), np.bincount(index))
        method = "bootstrap-problems"
    return with_interval(replace(claim, value=k / n, note=None), interval, method)


def all_alike(true: bool, problems: int) -> tuple[Interval, str]:
    """Interval where all of several responses per problem agree: resamples would all be the same, so it is Wilson's
    with each problem as one observation.
    """
    return wilson(problems if true else 0, problems), "wilson-problems"


def with_interval(claim: Claim, interval: Interval | None, method: str) -> Claim:
    """The claim with its 95 % interval, or with a note that there is none."""
    if interval is None:
        return replace(claim, note=claim.note or "claim.no_interval")
    return replace(claim, ci_low=interval.low, ci_high=interval.high, ci_method=method)
