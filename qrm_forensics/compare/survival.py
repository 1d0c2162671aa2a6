"""Time to the onset of a loop, in tokens: Kaplan-Meier, and Aalen-Johansen beside answering.

A response runs until the first of three things: a loop begins (the event), it closes with an
answer and without a loop (the competing event), or it is cut off while neither has happened
(censored).  Two different questions follow, and both are answered:

* *loop-free* (Kaplan and Meier 1958), S(t) = prod (1 - d_j / n_j) with answering taken as
  censoring: the share without a loop at t if no response had answered before.
* *incidence* (Aalen and Johansen 1978), F_k(t) = sum S(t_j-) d_kj / n_j with S over both events:
  the share of all responses in which k happened by t.  The two incidences and the share still
  running sum to one.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import CensoredData, ecdf

from qrm_forensics.compare.bootstrap import RESAMPLES, SEED, problem_weights
from qrm_forensics.compare.incidence import Floats, Ints, Sample, Tally, incidence, incidence_variance
from qrm_forensics.compare.shares import Z95, Interval

#: Token counts at which every curve is read off.
MARKS = (1024, 2048, 4096, 8192, 16384, 32768)
#: A curve of more steps keeps this many, evenly spaced, the first and the last among them.
MAX_STEPS = 512

_LOOP, _ANSWER = 1, 2
_BLOCK = 1 << 20  # values of one block of resamples
_HALF = 0.5 - 1e-12  # a sum of shares may miss one half in its last digits

DEFINITIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "loop_free": {
            "en": "Kaplan-Meier share of responses in which no loop has begun by a number of tokens, if none had answered "
            "before; responses that answered or were cut off without a loop are censored at their length.",
            "ko": "어떤 응답도 그 전에 답을 내지 않았다고 할 때, 해당 토큰 수까지 반복이 시작되지 않은 응답의 비율(Kaplan–Meier)이며, "
            "반복 없이 답을 냈거나 잘린 응답은 그 길이에서 중도절단으로 본다.",
        },
        "looped": {
            "en": "Aalen-Johansen cumulative incidence: share of all responses in which a loop has begun by a number of tokens, "
            "where answering first rules a loop out and being cut off is censoring.",
            "ko": "해당 토큰 수까지 반복이 시작된 응답의 비율(Aalen–Johansen 누적 발생률)로, 먼저 답을 낸 경우는 경쟁 사건, "
            "길이 제한으로 잘린 경우는 중도절단으로 본다.",
        },
        "answered": {
            "en": "Aalen-Johansen cumulative incidence: share of all responses that have ended with an answer, and without a loop "
            "before it, by a number of tokens.",
            "ko": "해당 토큰 수까지 반복 없이 답을 내고 끝난 응답의 비율(Aalen–Johansen 누적 발생률).",
        },
        "median": {
            "en": "Smallest number of tokens at which the curve is at one half or past it; empty where it never is.",
            "ko": "곡선이 처음으로 절반에 이르거나 넘어서는 토큰 수이며, 이르지 않으면 비워 둔다.",
        },
        "interval": {
            "en": "Pointwise 95 % interval; empty where the estimate is 0 or 1, as there is no spread to estimate it from.",
            "ko": "각 지점의 95% 신뢰구간이며, 추정값이 0이나 1이면 산포를 추정할 수 없어 비워 둔다.",
        },
    }
)


class Ending(StrEnum):
    """How a response ended.  ``answered``: it closed by itself.  ``unknown`` is censored like ``truncated``."""

    ANSWERED = "answered"
    TRUNCATED = "truncated"
    UNKNOWN = "unknown"


class Limits(NamedTuple):
    """Interval of a time in tokens; a limit that the curves do not reach is None."""

    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True)
class Point:
    """A curve at ``tokens``.  ``at_risk``: responses observed so far to which nothing has happened before.

    ``estimate`` is None where no response is observed for that long.
    """

    tokens: int
    at_risk: int
    estimate: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Curve:
    """A right-continuous step function of tokens; ``name`` is a key of ``DEFINITIONS``.

    ``steps``: where it changes.  ``marks``: where it is read off.  Before its first step it is 1
    (``loop_free``) or 0 (the incidences).
    """

    name: str
    steps: tuple[Point, ...]
    marks: tuple[Point, ...]
    median: int | None
    median_interval: Limits


@dataclass(frozen=True, slots=True)
class TimeToLoop:
    """loops + answered + censored == n; of the censored, ``unknown`` ended in a way that is not known.

    ``interval_method`` is ``log-log`` (Greenwood's variance under log(-log); medians after
    Brookmeyer and Crowley 1982) or, where a problem has several responses, ``bootstrap-problems``
    (percentiles over ``resamples`` draws of problems with ``seed``).
    """

    n: int
    problems: int
    loops: int
    answered: int
    censored: int
    unknown: int
    loop_free: Curve
    looped: Curve
    answering: Curve
    interval_method: str
    seed: int | None
    resamples: int | None


class _Rising(NamedTuple):
    """A curve as a share F that rises from 0: index of its steps among the distinct times, and limits (NaN for none)."""

    steps: Ints
    share: Floats
    low: Floats
    high: Floats
    median_interval: Limits


def time_to_loop(
    onset: Sequence[int | None] | ArrayLike,
    length: ArrayLike,
    ending: Sequence[str],
    problems: ArrayLike | None = None,
    *,
    marks: Sequence[int] = MARKS,
) -> TimeToLoop:
    """Curves of loop onset for ``n`` responses; the module says what each curve means.

    ``onset``: tokens before the first repeated token, None or NaN without a loop, [n].
    ``length``: tokens of the response, [n].  ``ending``: values of ``Ending``, [n].
    ``problems``: name of the problem of each response, [n]; every response its own where left out.
    A loop that the response recovered from counts from its onset on, however it ended.

    Raises ValueError for no responses, arrays of different length, an unknown ending, lengths missing or
    below zero, and an onset below zero or behind the end.
    """
    times, causes = _events(onset, length, ending)
    n = len(times)
    names = np.arange(n) if problems is None else np.asarray(problems)
    if names.shape != (n,):
        raise ValueError(f"{n} responses but problems of shape {names.shape}")
    count = len(np.unique(names))
    sample = Sample(times, causes)
    read_at = np.asarray(marks, dtype=np.int64)
    if count < n:
        rising = _bootstrapped(sample, *problem_weights(names, n), read_at)
    else:
        rising = [_kaplan_meier(sample), _aalen_johansen(sample, _LOOP), _aalen_johansen(sample, _ANSWER)]
    loops, answered = int((causes == _LOOP).sum()), int((causes == _ANSWER).sum())
    silent = np.array([e == Ending.UNKNOWN for e in ending]) & (causes == 0)
    return TimeToLoop(
        n=n,
        problems=count,
        loops=loops,
        answered=answered,
        censored=n - loops - answered,
        unknown=int(silent.sum()),
        loop_free=_curve("loop_free", sample, rising[0], read_at),
        looped=_curve("looped", sample, rising[1], read_at),
        answering=_curve("answered", sample, rising[2], read_at),
        interval_method="bootstrap-problems" if count < n else "log-log",
        seed=SEED if count < n else None,
        resamples=RESAMPLES if count < n else None,
    )


def _events(onset: Sequence[int | None] | ArrayLike, length: ArrayLike, ending: Sequence[str]) -> tuple[Floats, Ints]:
    """Time [n] and cause [n] of the first thing that happened to each response."""
    begun = np.array([np.nan if o is None else o for o in np.asarray(onset, dtype=object)], dtype=np.float64)
    lengths = np.asarray(length, dtype=np.float64)
    if not (begun.shape == lengths.shape == (len(ending),)) or not len(ending):
        raise ValueError(f"not aligned columns: {begun.shape} onsets, {lengths.shape} lengths, {len(ending)} endings")
    if not (np.isfinite(lengths) & (lengths >= 0)).all():
        raise ValueError("a length is missing or below zero")
    if ((begun < 0) | (begun > lengths)).any():
        raise ValueError("a loop begins before the start or behind the end of its response")
    answered = np.array([Ending(e) is Ending.ANSWERED for e in ending])
    looped = ~np.isnan(begun)
    return np.where(looped, begun, lengths), np.where(looped, _LOOP, np.where(answered, _ANSWER, 0)).astype(np.int64)


def _kaplan_meier(sample: Sample) -> _Rising:
    looped = sample.causes == _LOOP
    free = ecdf(CensoredData(uncensored=sample.sorted[looped], right=sample.sorted[~looped])).sf
    with warnings.catch_warnings():
        # where the share is 0 or 1 there is no interval; it is given as None
        warnings.filterwarnings("ignore", message="The confidence interval is undefined", category=RuntimeWarning)
        limits = free.confidence_interval(method="log-log")
    steps = np.flatnonzero(sample.tally().first)
    share, high, low = (1 - x.probabilities[steps] for x in (free, limits.low, limits.high))
    return _Rising(steps, share, low, high, _median_limits(sample.times[steps], low, high))


def _aalen_johansen(sample: Sample, cause: int) -> _Rising:
    """Incidence of one cause; limits under log(-log(1 - F)), which are Kaplan-Meier's without the other cause."""
    counts = sample.tally()
    mine, events = counts[cause], counts.first + counts.second
    steps = np.flatnonzero(mine)
    share, variance = (function(counts.at_risk, events, mine)[steps] for function in (incidence, incidence_variance))
    inside = (share > 0) & (share < 1 - 1e-12)
    rest = np.where(inside, 1 - share, 0.5)
    width = Z95 * np.sqrt(variance) / (rest * np.abs(np.log(rest)))
    low, high = (np.where(inside, 1 - rest ** np.exp(sign * width), np.nan) for sign in (-1, 1))
    return _Rising(steps, share, low, high, _median_limits(sample.times[steps], low, high))


def _bootstrapped(sample: Sample, weights: Floats, index: Ints, marks: Ints) -> list[_Rising]:
    """The three curves with percentile limits over resamples of problems, at the steps that ``_curve`` shows.

    Behind the last response of a resample its curve keeps its value.
    """
    counts = sample.tally()
    changes = [np.flatnonzero(events) for events in (counts.first, counts.first, counts.second)]
    shown = [_shown(sample.times[steps], marks) for steps in changes]
    drawn: list[list[Floats]] = [[], [], []]
    halves: list[list[float]] = [[], [], []]
    height = max(1, _BLOCK // len(sample))
    for at in range(0, len(weights), height):
        for k, values in enumerate(_three(sample.tally(weights[at : at + height][:, index]))):
            drawn[k].append(values[:, changes[k][shown[k]]])
            past = values >= _HALF
            halves[k] += np.where(past.any(axis=1), sample.times[past.argmax(axis=1)], np.inf).tolist()
    found = []
    for steps, where, draws, times, values in zip(changes, shown, drawn, halves, _three(counts), strict=True):
        share = values[steps]
        low, high = np.full((2, len(share)), np.nan)
        median = Limits(None, None)
        if weights.shape[1] > 1 and len(steps):
            limits = np.percentile(np.concatenate(draws), [2.5, 97.5], axis=0)
            low[where], high[where] = np.where((share[where] > 0) & (share[where] < 1), limits, np.nan)
            ends = np.percentile(times, [2.5, 97.5], method="inverted_cdf").tolist()
            median = Limits(*(int(end) if np.isfinite(end) else None for end in ends))
        found.append(_Rising(steps, share, low, high, median))
    return found


def _three(counts: Tally) -> tuple[Floats, Floats, Floats]:
    """Kaplan-Meier's 1 - S and both incidences, [..., m] each."""
    at_risk, loops, answers = counts
    both = loops + answers
    return incidence(at_risk, loops, loops), incidence(at_risk, both, loops), incidence(at_risk, both, answers)


def _median_limits(times: Floats, low: Floats, high: Floats) -> Limits:
    """Brookmeyer and Crowley: the times at which one half is inside the pointwise interval."""
    return Limits(_first_half(times, high), _first_half(times, low))


def _first_half(times: Floats, share: Floats) -> int | None:
    past = np.flatnonzero(share >= _HALF)
    return int(times[past[0]]) if past.size else None


def _thinned(n: int) -> Ints:
    return np.unique(np.linspace(0, n - 1, min(n, MAX_STEPS)).round().astype(np.int64)) if n else np.zeros(0, np.int64)


def _shown(times: Floats, marks: Ints) -> Ints:
    """Index of the steps that are kept and of those that hold at a mark."""
    at_marks = np.searchsorted(times, marks, side="right") - 1
    return np.union1d(_thinned(len(times)), at_marks[at_marks >= 0])


def _curve(name: str, sample: Sample, found: _Rising, marks: Ints) -> Curve:
    times = sample.times[found.steps]
    kept = _thinned(len(times))
    # Behind the last response the curve is known only if nothing was left that could still happen.
    last = sample.causes[sample.starts[-1] :]
    settled = bool(len(times) and found.share[-1] == 1) if name == "loop_free" else bool((last > 0).all())
    here = np.searchsorted(times, marks, side="right")
    values = [np.append(x, y)[here] for x, y in ((0.0, found.share), (np.nan, found.low), (np.nan, found.high))]
    followed = sample.at_risk(marks)
    unknown = (followed == 0) & (not settled)
    at_marks = [np.where(unknown, np.nan, v) for v in values]
    falling = name == "loop_free"
    return Curve(
        name,
        _points(times[kept], sample, found.share[kept], found.low[kept], found.high[kept], falling),
        _points(marks, sample, at_marks[0], at_marks[1], at_marks[2], falling),
        _first_half(times, found.share),
        found.median_interval,
    )


def _points(
    tokens: Floats | Ints, sample: Sample, share: Floats, low: Floats, high: Floats, falling: bool
) -> tuple[Point, ...]:
    if falling:
        share, low, high = 1 - share, 1 - high, 1 - low
    rows = zip(*(x.tolist() for x in (tokens, sample.at_risk(tokens), share, low, high)), strict=True)
    return tuple(
        Point(int(t), int(r), None if np.isnan(f) else f, None if np.isnan(a) or np.isnan(b) else Interval(a, b))
        for t, r, f, a, b in rows
    )
