"""The responses that an early warning is learned from and judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qrm_forensics.answers import THINK_END
from qrm_forensics.early_warning.concordance import Bools, Floats, Ints
from qrm_forensics.early_warning.features import FEATURES, Prefixes, default_step, prefixes
from qrm_forensics.early_warning.protocol import Points
from qrm_forensics.early_warning.results import Shortage

TARGETS = ("unclosed", "loop")
#: Fewer of these are not evaluated: in every fold of a fold there must be some of either kind to learn from.
MIN_FAILED, MIN_FAILED_PROBLEMS, MIN_OTHERS = 15, 10, 30


@dataclass(frozen=True, slots=True)
class Cases:
    """The n responses that are used of ``count`` given ones, and their ``points``.

    Per response [n]: ``given``, its index among those given; ``length`` and ``onset`` in pseudo-tokens, NaN
    without a loop; ``scale``, model tokens per pseudo-token, or 1.
    """

    count: int
    given: Ints
    length: Floats
    onset: Floats
    scale: Floats
    points: Points
    problems: int
    step: int

    @property
    def size(self) -> int:
        return len(self.given)

    def shortage(self) -> Shortage | None:
        """What there is too little of, among the responses that have a point."""
        there = np.zeros(self.size, dtype=bool)
        there[self.points.response] = True
        failed = there & self.points.failed
        counts = (
            ("failed", int(failed.sum()), MIN_FAILED),
            ("failed_problems", len(np.unique(self.points.problem[failed])), MIN_FAILED_PROBLEMS),
            ("others", int((there & ~self.points.failed).sum()), MIN_OTHERS),
        )
        return next((Shortage(what, found, needed) for what, found, needed in counts if found < needed), None)


def collect(
    texts: Sequence[str | None],
    closed: Sequence[bool | None],
    groups: Sequence[str],
    *,
    target: str = "unclosed",
    onset: Sequence[float | None] | None = None,
    tokens: Sequence[int | None] | None = None,
    step: int | None = None,
) -> Cases:
    """Read the responses; the arguments are those of ``evaluate``, which says what is raised."""
    if target not in TARGETS:
        raise ValueError(f"no target {target!r}; there are: {', '.join(TARGETS)}")
    if target == "loop" and onset is None:
        raise ValueError("the target 'loop' needs the onsets of the loops")
    columns: list[Sequence[object]] = [closed, groups, *(c for c in (onset, tokens) if c is not None)]
    if any(len(c) != len(texts) for c in columns):
        raise ValueError(f"not aligned columns: {len(texts)} texts, others {[len(c) for c in columns]}")
    if step is not None and step < 1:
        raise ValueError(f"a step of {step} tokens")
    known = [(i, t, c) for i, (t, c) in enumerate(zip(texts, closed, strict=True)) if t is not None and c is not None]
    given = np.array([i for i, _, _ in known], dtype=np.int64)
    if step is None:
        step = default_step([t.partition(THINK_END)[0] if c else t for _, t, c in known])
    read = [prefixes(t, c, step) for _, t, c in known]
    length = np.array([r.tokens for r in read], dtype=np.float64)
    scale = np.ones(len(read))
    if tokens is not None:
        if any(tokens[i] is None for i in given):
            raise ValueError("a response has no number of tokens")
        scale = np.array([tokens[i] for i in given], dtype=np.float64) / np.maximum(length, 1)
    begun = np.full(len(read), np.nan)
    if onset is not None:
        begun = np.array([np.nan if onset[i] is None else onset[i] for i in given], dtype=np.float64)
        begun /= np.where(scale > 0, scale, 1)
    if target == "loop":
        failed = ~np.isnan(begun)
        read = [r.until(int(o)) if f else r for r, o, f in zip(read, np.nan_to_num(begun), failed, strict=True)]
    else:
        failed = np.array([not c for _, _, c in known], dtype=bool)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups[i] for i in given))}
    problem = np.array([numbers[groups[i]] for i in given], dtype=np.int64)
    return Cases(len(texts), given, length, begun, scale, _points(read, failed, problem), len(numbers), step)


def _points(read: Sequence[Prefixes], failed: Bools, problem: Ints) -> Points:
    return Points(
        np.concatenate([np.empty((0, len(FEATURES))), *(r.values for r in read)]),
        np.concatenate([np.empty(0, np.int64), *(r.points for r in read)]),
        np.repeat(np.arange(len(read)), [len(r.points) for r in read]),
        failed,
        problem,
    )
