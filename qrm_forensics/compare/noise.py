"""Flips: how often a response of the candidate is judged otherwise than one of the baseline, and how much of it is noise.

Accuracy may hold while answers move (arXiv 2407.09141).  Sampling, and the numerics of the engine, move answers
too (arXiv 2506.09501), so flips are set beside the flips between two runs of the baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from qrm_forensics.compare.change import Change, mean_limits, paired_change
from qrm_forensics.compare.resampling import Floats, Ints, regrouped
from qrm_forensics.compare.rules import Rules
from qrm_forensics.compare.shares import Interval

Source = Literal["second-baseline", "baseline-samples"]


def flip_chance(first: Floats, second: Floats) -> Floats:
    """Chance per problem that one response of each side is judged differently, [n]: x (1 - y) + (1 - x) y.

    ``first`` and ``second`` are shares right, [n] each.  With one response per problem it is whether it flipped.
    """
    return first * (1 - second) + (1 - first) * second


def own_flips(shares: Floats, samples: Ints) -> Floats:
    """Unbiased chance per problem that two responses of one side are judged differently: 2 p (1 - p) k / (k - 1).

    ``samples`` is k, [n], at least 2 each.
    """
    return 2 * shares * (1 - shares) * samples / (samples - 1)


@dataclass(frozen=True, slots=True)
class Flips:
    """Share of problems, 0..1, that flipped: ``lost`` right to wrong, ``gained`` wrong to right; their sum is ``rate``.

    With several samples, the mean chance that one response of each side are judged so.
    """

    n: int
    rate: float
    lost: float
    gained: float
    interval: Interval | None
    method: str


def flips(baseline: Floats, candidate: Floats, rules: Rules, groups: Ints | None = None) -> Flips:
    """Flips between per-problem shares right, aligned, [n] each."""
    chance = flip_chance(baseline, candidate)
    interval, method = mean_limits(chance, rules, groups)
    lost, gained = float((baseline * (1 - candidate)).mean()), float(((1 - baseline) * candidate).mean())
    return Flips(len(chance), float(chance.mean()), lost, gained, interval, method)


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Flips of the candidate beside flips of the baseline against itself.

    ``excess``: ``baseline`` is the noise floor, ``candidate`` the flips of the candidate on the same problems, and
    their difference the flips in excess.  ``baseline_change``: how the accuracy of the second run of the baseline
    differs from the first; None where the floor comes from samples of one run.
    """

    source: Source
    excess: Change
    baseline_change: Change | None


def noise_floor(
    baseline: Floats,
    candidate: Floats,
    samples: Ints,
    second: Floats | None,
    rules: Rules,
    groups: Ints | None = None,
) -> NoiseFloor | None:
    """The floor from a second run of the baseline, else from several samples of the baseline, else None.

    Shares right per problem, [n] each, and ``samples`` of the baseline behind each; ``second`` is NaN where the second
    run does not have the problem.  Given the baseline, a candidate that is only another run of it flips
    as often as the second run on every problem, so that the excess is zero on average.
    """
    if second is not None and np.isfinite(second).any():
        known = np.isfinite(second)
        floor = flip_chance(baseline[known], second[known])
        source: Source = "second-baseline"
        change = paired_change(baseline[known], second[known], rules, regrouped(groups, known))
    else:
        known = samples >= 2
        if not known.all():
            return None
        floor = own_flips(baseline, samples)
        source, change = "baseline-samples", None
    moved = flip_chance(baseline[known], candidate[known])
    return NoiseFloor(source, paired_change(floor, moved, rules, regrouped(groups, known)), change)
