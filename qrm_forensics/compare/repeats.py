"""What several samples per problem tell: pass@k, steadiness, what varies, and how far apart passes are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qrm_forensics.compare.alignment import Aligned, Rows
from qrm_forensics.compare.change import Change, paired_change
from qrm_forensics.compare.resampling import Floats, Ints
from qrm_forensics.compare.rules import Rules
from qrm_forensics.compare.samples import Steadiness, VarianceSplit, pass_at_k, steadiness, variance_split

Pair = tuple[Floats, Floats]


@dataclass(frozen=True, slots=True)
class PassAt:
    """Mean chance that at least one of ``k`` samples is right, on either side."""

    k: int
    change: Change


@dataclass(frozen=True, slots=True)
class Passes:
    """Accuracy of each pass through the benchmark (a sample number, or a seed): mean, standard deviation, extremes."""

    count: int
    mean: float
    deviation: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Repeats:
    """``steadiness``, ``variance`` and ``passes`` are (baseline, candidate); None where a side has one sample.

    ``moves``: problems by how often the baseline (rows) and the candidate (columns) solve them:
    always, sometimes, never; they sum to the problems.
    """

    pass_at: tuple[PassAt, ...]
    steadiness: tuple[Steadiness, Steadiness]
    moves: tuple[tuple[int, int, int], ...]
    variance: tuple[VarianceSplit | None, VarianceSplit | None]
    passes: tuple[Passes | None, Passes | None]


def repeats(
    aligned: Aligned,
    rows: np.ndarray,
    scorer: str,
    baseline: Floats,
    candidate: Floats,
    samples: tuple[Ints, Ints],
    rules: Rules,
) -> Repeats | None:
    """For the judged problems (``rows`` of the shared ones) with shares right [n] each; None with one sample each."""
    if max(int(s.max()) for s in samples) < 2:
        return None
    shares = (baseline, candidate)
    least = min(int(s.min()) for s in samples)
    groups = aligned.groups_of(rows)
    at = []
    for k in (1 << p for p in range(1, 11)):
        if k > least:
            break
        solved = [
            np.array([pass_at_k(int(m), round(float(p) * int(m)), k) for p, m in zip(share, count, strict=True)])
            for share, count in zip(shares, samples, strict=True)
        ]
        at.append(PassAt(k, paired_change(solved[0], solved[1], rules, groups)))
    kinds = [np.where(s == 1, 0, np.where(s == 0, 2, 1)) for s in shares]
    table = np.bincount(3 * kinds[0] + kinds[1], minlength=9).reshape(3, 3).tolist()
    return Repeats(
        pass_at=tuple(at),
        steadiness=(steadiness(baseline), steadiness(candidate)),
        moves=tuple((row[0], row[1], row[2]) for row in table),
        variance=(variance_split(baseline, samples[0]), variance_split(candidate, samples[1])),
        passes=(_passes(aligned.baseline, rows, scorer), _passes(aligned.candidate, rows, scorer)),
    )


def _passes(side: Rows, rows: np.ndarray, scorer: str) -> Passes | None:
    right = side.right(scorer)
    known = np.isfinite(right) & rows[side.index]
    names = side.numbers("sample")[known]
    if len(np.unique(names)) < 2:
        names = side.numbers("seed")[known]
    _, index = np.unique(names, return_inverse=True)
    means = np.bincount(index, right[known]) / np.bincount(index)
    if len(means) < 2:
        return None
    return Passes(len(means), float(means.mean()), float(means.std(ddof=1)), float(means.min()), float(means.max()))
