"""Ranking without pretence: an order only between those that are told apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from qrm_forensics.compare.accuracy import judged
from qrm_forensics.compare.alignment import align, check_items, problem_ids
from qrm_forensics.compare.change import Change, paired_change
from qrm_forensics.compare.comparability import check
from qrm_forensics.compare.items import Side
from qrm_forensics.compare.resampling import Floats, Ints
from qrm_forensics.compare.rules import DEFAULT, Rules
from qrm_forensics.compare.shares import holm
from qrm_forensics.errors import NotComparableError


@dataclass(frozen=True, slots=True)
class PairTest:
    """``first`` has the higher estimate; ``p_adjusted`` is Holm's over all pairs.  ``change`` is second minus first."""

    first: str
    second: str
    p_value: float
    p_adjusted: float
    told_apart: bool
    change: Change | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """``tiers``, best first: whoever is in another tier is told apart, whoever is in the same need not be.

    ``estimates`` are in the order of the tiers; ``n`` problems; ``family`` pairs.
    """

    tiers: tuple[tuple[str, ...], ...]
    estimates: Mapping[str, float]
    pairs: tuple[PairTest, ...]
    n: int

    @property
    def family(self) -> int:
        return len(self.pairs)

    def __str__(self) -> str:
        """Best first, ``~`` between those in one tier and ``>`` between tiers."""
        return " > ".join(" ~ ".join(tier) for tier in self.tiers)


def tiers(names: Sequence[str], estimates: Sequence[float], apart: NDArray[np.bool_]) -> tuple[tuple[str, ...], ...]:
    """Cut the order by estimate, highest first, wherever everyone before is told apart from everyone behind.

    ``apart`` [k, k] is symmetric.  "Not told apart" is not transitive: where a ~ b and b ~ c, all three are one tier
    even if a and c are told apart, for b belongs to both.  Equal estimates keep the order of the names.
    """
    order = sorted(range(len(names)), key=lambda i: (-estimates[i], names[i]))
    found: list[tuple[str, ...]] = []
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or bool(apart[np.ix_(order[:end], order[end:])].all()):
            found.append(tuple(names[i] for i in order[start:end]))
            start = end
    return tuple(found)


def _ranking(
    names: Sequence[str], estimates: Sequence[float], tests: Sequence[tuple[float, Change | None]], n: int, rules: Rules
) -> Ranking:
    """``tests`` in the order of ``combinations(range(k), 2)``."""
    adjusted = holm([p for p, _ in tests])
    apart = np.zeros((len(names), len(names)), dtype=bool)
    pairs = []
    for (i, j), (p, change), q in zip(combinations(range(len(names)), 2), tests, adjusted, strict=True):
        apart[i, j] = apart[j, i] = q <= rules.alpha and estimates[i] != estimates[j]
        swap = estimates[j] > estimates[i]
        first, second = (names[j], names[i]) if swap else (names[i], names[j])
        pairs.append(PairTest(first, second, p, q, bool(apart[i, j]), None if swap else change))
    found = tiers(names, estimates, apart)
    by_name = dict(zip(names, estimates, strict=True))
    return Ranking(found, {name: by_name[name] for tier in found for name in tier}, tuple(pairs), n)


def rank(shares: Mapping[str, Floats], rules: Rules = DEFAULT, groups: Ints | None = None) -> Ranking:
    """Rank variants by per-problem shares right on the same problems, [n] each: all pairs tested, Holm over the pairs."""
    names = sorted(shares, key=lambda name: (-float(shares[name].mean()), name))
    changes = [paired_change(shares[a], shares[b], rules, groups) for a, b in combinations(names, 2)]
    n = len(next(iter(shares.values())))
    return _ranking(
        names, [float(shares[name].mean()) for name in names], [(c.p_value(rules), c) for c in changes], n, rules
    )


def rank_sides(sides: Sequence[Side], benchmark: str, scorer: str, rules: Rules = DEFAULT) -> Ranking:
    """Rank checkpoints on the problems of ``benchmark`` that all of them have a verdict for.

    Raises NotComparableError where one is not comparable with the first, or no problem is left.
    """
    for side in sides:
        check_items(side)
    for side in sides[1:]:
        blockers = check(sides[0], side, rules).blockers
        if blockers:
            raise NotComparableError(f"{side.facts.name} and {sides[0].facts.name}: {blockers[0].note}")
    shared = set.intersection(*(problem_ids(side, benchmark) for side in sides))
    found: list[dict[str, float]] = []
    for side in sides:
        aligned = align(sides[0], side, benchmark, rules.cluster)
        pair = judged(aligned, scorer)
        found.append(dict(zip(aligned.ids[pair.rows].tolist(), pair.candidate.tolist(), strict=True)))
        shared &= found[-1].keys()
    if not shared:
        raise NotComparableError(f"no problem of {benchmark} has a verdict of {scorer!r} on every side")
    ids = sorted(shared)
    groups = None
    if rules.cluster is not None:
        aligned = align(sides[0], sides[0], benchmark, rules.cluster)
        groups = aligned.groups_of(np.isin(aligned.ids.astype(str), ids))
    values = {side.facts.name: np.array([f[i] for i in ids]) for side, f in zip(sides, found, strict=True)}
    return rank(values, rules, groups)


def rank_groups(values: Mapping[str, Floats], rules: Rules = DEFAULT) -> Ranking:
    """Rank the means of separate sets of problems, [n_i] each, highest first: all pairs tested, Holm over the pairs."""
    names = list(values)
    tests = [(_apart(values[a], values[b]), None) for a, b in combinations(names, 2)]
    return _ranking(names, [float(values[name].mean()) for name in names], tests, sum(map(len, values.values())), rules)


def _apart(first: Floats, second: Floats) -> float:
    """Two-sided p-value that two sets have one mean, with the variance of both together.

    That is the variance under random exchange of problems between the sets, to which the
    permutation distribution is approximated by Student's t; unlike Welch's it is never zero where the means differ.
    """
    both = np.concatenate([first, second])
    n, m = len(first), len(second)
    difference = float(first.mean() - second.mean())
    spread = float(both.var(ddof=1)) if n + m > 2 else 0.0
    if abs(difference) < 1e-12 or spread == 0 or n + m < 4:
        return 1.0
    correlation2 = difference**2 * n * m / (n + m) / (spread * (n + m - 1))
    statistic = math.sqrt((n + m - 2) * correlation2 / max(1 - correlation2, 1e-12))
    return float(2 * t.sf(statistic, n + m - 2))
