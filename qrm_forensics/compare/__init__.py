"""Statistics of comparing checkpoints: pure functions on counts and arrays.

Shares get Wilson intervals; two variants are compared on the problems that both
answered, by McNemar's exact test with a score interval; what was not found is said
with what could have been found.
"""

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

__all__ = [
    "RESAMPLES",
    "SEED",
    "Interval",
    "PairedCounts",
    "detectable_difference",
    "holm",
    "length_ratio",
    "mcnemar_exact",
    "mean_interval",
    "median_interval",
    "overlap",
    "paired",
    "ratio_interval",
    "ratio_intervals",
    "tango",
    "wilson",
]
