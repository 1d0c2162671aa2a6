"""How a figure goes over a response: numbers for charts, on the axis from its beginning (0) to its end (1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qrm_forensics.metrics.copying import POINTS
from qrm_forensics.metrics.lexemes import MARKERS, PHRASE_MARKERS
from qrm_forensics.notebook.response import Response

Floats = npt.NDArray[np.float64]

#: Windows of words, the widest that every response has at least twice is taken; the first is that of the metric.
WINDOWS = (500, 200, 100, 50, 25)
#: Stretches of equal length (in words) in which markers are counted.
STRETCHES = 20
#: Tokens over which the surprisal is averaged.
SMOOTHED = 32

_SPACED = {"double check": r"double(?:\s+|-)check"}
_ALL = [*(_SPACED.get(p) or p.replace(" ", r"\s+") for p in PHRASE_MARKERS), *MARKERS]
_MARKER = re.compile(rf"\b(?:{'|'.join(_ALL)})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Course:
    """Values at places between 0 and 1, of one response; ``width``: words (or tokens) that each value is about."""

    variant: str
    at: Floats
    values: Floats
    width: int


def diversity(responses: Sequence[Response]) -> list[Course]:
    """Type-token ratio of windows of consecutive words, at equal distances; the same window for all responses.

    A ratio depends on the size of its window, so responses can only be compared over one.  Those shorter than two of
    the smallest windows are left out.
    """
    words = {r.variant: r.scan.words.ids for r in responses}
    usable = {v: ids for v, ids in words.items() if len(ids) >= 2 * WINDOWS[-1]}
    shortest = min((len(ids) for ids in usable.values()), default=0)
    width = next((w for w in WINDOWS if shortest >= 2 * w), None)
    if width is None:
        return []
    return [_diversity(variant, ids, width) for variant, ids in usable.items()]


def _diversity(variant: str, ids: npt.NDArray[np.int32], width: int) -> Course:
    starts = np.unique(np.linspace(0, len(ids) - width, POINTS).astype(np.int64))
    values = np.array([len(np.unique(ids[s : s + width])) / width for s in starts])
    return Course(variant, (starts + width / 2) / len(ids), values, width)


def markers(responses: Sequence[Response]) -> list[Course]:
    """Discourse markers per 100 words, in STRETCHES stretches of the response (fewer where it is shorter than that)."""
    return [c for r in responses if (c := _markers(r)) is not None]


def _markers(r: Response) -> Course | None:
    words = r.scan.words
    n = len(words.starts)
    if n == 0:
        return None
    stretches = min(STRETCHES, n)
    edges = np.linspace(0, n, stretches + 1)
    starts = r.scan.chars(words.starts)
    at = np.array([m.start() for m in _MARKER.finditer(r.scan.text)], dtype=np.int64)
    counts, _ = np.histogram(np.searchsorted(starts, at, side="right") - 1, edges)
    middles = (edges[:-1] + edges[1:]) / 2 / n
    return Course(r.variant, middles, 100.0 * counts / np.diff(edges), round(n / stretches))


def surprisal(responses: Sequence[Response]) -> list[Course]:
    """Mean of -log p (nats) of the sampled tokens over SMOOTHED tokens; of responses whose log-probabilities were kept."""
    found = []
    for r in responses:
        if r.trace.logprobs is None or len(r.trace.logprobs) < 2 * SMOOTHED:
            continue
        total = np.concatenate([[0.0], np.cumsum(-np.asarray(r.trace.logprobs, np.float64))])
        means = (total[SMOOTHED:] - total[:-SMOOTHED]) / SMOOTHED
        picked = np.unique(np.linspace(0, len(means) - 1, 4 * POINTS).astype(np.int64))
        found.append(Course(r.variant, (picked + SMOOTHED / 2) / len(r.trace.logprobs), means[picked], SMOOTHED))
    return found


COURSES = {"diversity": diversity, "markers": markers, "surprisal": surprisal}
