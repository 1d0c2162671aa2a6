r"""Exact loops at the end of a sequence, in linear time.

A *run* of period p is a stretch x[s:e] with x[i] = x[i-p] for all s+p <= i < e that
cannot be made longer.  The run looked for is the one that reaches into the last
``SLACK`` tokens, because a response is cut in the middle of a repeat, and its last
tokens (half a word, an end token) are often not part of the loop.

Method: with the anchor a = n - SLACK, the left part of a run of period p is z[p], the
Z-function of the reversed prefix x[:a] (Gusfield, *Algorithms on Strings, Trees, and
Sequences*, 1997, sec. 1.3).  A run long enough needs z[p] >= need(p).  That is asked for all p at
once with polynomial prefix hashes (Karp and Rabin, 1987, modulo 2^64); what passes is
then compared token by token, so hashing can neither invent nor change a run.  Once a
smallest period p is confirmed over z[p] + p tokens, any q < z[p] is either a multiple of
p (the same run) or has z[q] < p < need(q), so the next candidate is at least z[p]; a
later run needs about three times its period, so the comparisons add up to O(n).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MIN_REPEATS = 4
MIN_TOKENS = 60
SLACK = 20

_MIX = np.uint64(0x9E3779B97F4A7C15)
_BASE = np.uint64(0xD1342543DE82EF95)

Tokens = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Run:
    """``x[start:end]`` repeats with the (smallest) period ``period``."""

    start: int
    end: int
    period: int

    @property
    def onset(self) -> int:
        """Index of the first repeated token: where the second copy begins."""
        return self.start + self.period

    @property
    def covered(self) -> int:
        return self.end - self.start

    @property
    def repeats(self) -> float:
        """Copies of the unit, the last one counted in part."""
        return self.covered / self.period


def tail_run(x: Tokens) -> Run | None:
    """The longest run that ends in the last ``SLACK`` tokens of ``x``, of integers (n,).

    It covers at least ``MIN_TOKENS`` tokens and ``MIN_REPEATS`` periods; None if there is none.
    Of equally long runs the one of the smallest period is taken.
    """
    n = len(x)
    if n < MIN_TOKENS:
        return None
    anchor = n - SLACK
    left = np.ascontiguousarray(x[:anchor][::-1])
    best: Run | None = None
    settled = 0
    for period in _candidates(left, n):
        if period < settled:
            continue
        matched = _matching(left, period)
        if matched < _need(np.int64(period)):
            continue
        settled = max(settled, matched)
        end = anchor + _extension(x, anchor, period)
        run = Run(anchor - matched - period, end, period)
        if run.covered >= max(MIN_TOKENS, MIN_REPEATS * period) and (best is None or run.covered > best.covered):
            best = run
    return best


def _need(period: npt.NDArray[np.int64] | np.int64) -> npt.NDArray[np.int64]:
    """How much of a long enough run lies left of the anchor at least, less one period; never below 25."""
    return np.maximum(MIN_TOKENS, MIN_REPEATS * period) - period - SLACK


def _candidates(left: Tokens, n: int) -> list[int]:
    """Periods p, ascending, whose first need(p) comparisons agree (up to hash collisions)."""
    periods = np.arange(1, n // MIN_REPEATS + 1)
    need = _need(periods)
    powers = np.full(len(left) + 1, _BASE)
    powers[0] = 1
    powers = np.multiply.accumulate(powers)
    values = (left.astype(np.int64).view(np.uint64) + np.uint64(1)) * _MIX
    values ^= values >> np.uint64(29)
    prefix = np.zeros(len(left) + 1, dtype=np.uint64)
    np.cumsum(values * powers[:-1], out=prefix[1:])
    agree = prefix[periods + need] - prefix[periods] == powers[periods] * prefix[need]
    found: list[int] = periods[agree].tolist()
    return found


def _matching(left: Tokens, period: int) -> int:
    """z[period]: how many tokens of ``left[period:]`` agree with ``left`` from its start."""
    done, block, total = 0, 64, len(left) - period
    while done < total:
        stop = min(done + block, total)
        differs = left[period + done : period + stop] != left[done:stop]
        first = int(differs.argmax())
        if differs[first]:
            return done + first
        done, block = stop, block * 4
    return total


def _extension(x: Tokens, anchor: int, period: int) -> int:
    """How many tokens from ``anchor`` on continue the period."""
    differs = x[anchor:] != x[anchor - period : len(x) - period]
    return int(differs.argmax()) if differs.any() else len(differs)
