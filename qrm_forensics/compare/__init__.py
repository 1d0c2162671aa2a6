"""Comparing checkpoints: pure functions on counts and arrays, and ``compare`` for two sides as a whole.

Shares get Wilson intervals; two variants are compared on the problems that both
answered, by McNemar's exact test with a score interval; what was not found is said
with what could have been found.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from qrm_forensics.compare.bootstrap import (
    RESAMPLES,
    SEED,
    mean_interval,
    median_interval,
    ratio_interval,
    ratio_intervals,
)
from qrm_forensics.compare.paired import PairedCounts, length_ratio, overlap, paired
from qrm_forensics.compare.shares import Interval, detectable_difference, holm, mcnemar_exact, tango, wilson

if TYPE_CHECKING:
    from qrm_forensics.compare.comparison import Comparison, compare
    from qrm_forensics.compare.rules import Rules
    from qrm_forensics.compare.sides import load_side
    from qrm_forensics.compare.tiers import rank_sides
    from qrm_forensics.compare.verdict import Verdict

#: What reads tables: imported when it is asked for, so that the statistics alone load neither pandas nor pyarrow.
_WHOLE = {
    "Comparison": "comparison",
    "Rules": "rules",
    "Verdict": "verdict",
    "compare": "comparison",
    "load_side": "sides",
    "rank_sides": "tiers",
}

__all__ = [
    "RESAMPLES",
    "SEED",
    "Comparison",
    "Interval",
    "PairedCounts",
    "Rules",
    "Verdict",
    "compare",
    "detectable_difference",
    "holm",
    "length_ratio",
    "load_side",
    "mcnemar_exact",
    "mean_interval",
    "median_interval",
    "overlap",
    "paired",
    "rank_sides",
    "ratio_interval",
    "ratio_intervals",
    "tango",
    "wilson",
]


def __getattr__(name: str) -> Any:
    if name not in _WHOLE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHOLE[name]}"), name)
