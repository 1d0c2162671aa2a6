"""What can be read from the beginning of a response, at every ``step`` tokens of it.

Each value at a point is a function of the tokens before that point only, so that it could have
been computed while the response was being written.  Tokens are the pseudo-tokens of
``metrics.scan``, upper and lower case alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qrm_forensics.answers import THINK_END
from qrm_forensics.early_warning.kernel import copies, types
from qrm_forensics.metrics.lexemes import NOWAIT, codes_of
from qrm_forensics.metrics.scan import scan_text
from qrm_forensics.metrics.scan_kernels import DIGIT

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GRAM = 8
#: A copy of something at most this many tokens back is a near one.
NEAR = 1024

#: Feature -> what it is, of the tokens before the point; "window" is the last ``2 * step`` of them.
FEATURES: Mapping[str, str] = MappingProxyType(
    {
        "log_length": "natural logarithm of the number of tokens",
        "length": "number of tokens",
        "copied": f"share of the window at which the last {GRAM} tokens had occurred before, anywhere",
        "copied_ever": "the same share over all tokens so far",
        "periodic": "share of the window at which a copy has gone on at one distance for at least that distance",
        "near_copied": f"logarithm of 1 + tokens so far at which the last {GRAM} had occurred at most {NEAR} tokens before",
        "longest_copy": "logarithm of 1 + the longest copy at one distance so far, in tokens",
        "distinct": "different tokens in the window, per token",
        "novel": "share of the window that had never occurred in the response",
        "digits": "share of digits in the window",
        "hesitation": "share of the window (one token behind) that is one of NoWait's words (lexemes.NOWAIT)",
    }
)

_HESITATION = np.zeros(256, dtype=np.bool_)
_HESITATION[codes_of(NOWAIT)] = True


@dataclass(frozen=True, slots=True)
class Prefixes:
    """A response read at ``points`` [p] (tokens before each), with ``values`` float64 [p, len(FEATURES)].

    ``thinking``: tokens before it closed (all of them where it did not); ``tokens``: tokens of the whole text.
    """

    points: Ints
    values: Floats
    thinking: int
    tokens: int

    def until(self, tokens: int) -> Prefixes:
        """Only the points at or before so many tokens."""
        kept = int(np.searchsorted(self.points, tokens, side="right"))
        return Prefixes(self.points[:kept], self.values[:kept], self.thinking, self.tokens)


def prefixes(text: str, closed: bool, step: int) -> Prefixes:
    """Read one response at ``step``, ``2 * step``, ... tokens.

    Of a ``closed`` response only what stands before its first ``</think>`` is read (all of it
    where there is none): behind it there is nothing left to warn of.
    """
    scan = scan_text(text)
    tokens = scan.tokens
    whole = thinking = len(tokens.ids)
    if closed and (at := scan.data.tobytes().find(THINK_END.encode())) >= 0:
        thinking = int(np.searchsorted(tokens.starts, at))
    points = np.arange(step, thinking + 1, step, dtype=np.int64)
    if not len(points):
        return Prefixes(points, np.empty((0, len(FEATURES))), thinking, whole)
    end = int(points[-1])
    window = 2 * step
    ids = np.ascontiguousarray(tokens.low[:end])
    lag, run = copies(ids, GRAM)
    distinct, first = types(ids, window)
    copied = lag > 0

    def so_far(flags: NDArray[Any]) -> Ints:
        return np.cumsum(flags, dtype=np.int64)[points - 1]

    begins = np.maximum(points - window, 0)
    width = points - begins

    def in_window(flags: NDArray[Any]) -> Floats:
        before = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
        share: Floats = (before[points] - before[begins]) / width
        return share

    values = {
        "log_length": np.log(points),
        "length": points.astype(np.float64),
        "copied": in_window(copied),
        "copied_ever": so_far(copied) / points,
        "periodic": in_window(copied & (run >= lag)),
        "near_copied": np.log1p(so_far(copied & (lag <= NEAR))),
        "longest_copy": np.log1p(np.maximum.accumulate(run)[points - 1]),
        "distinct": distinct[points - 1] / width,
        "novel": in_window(first),
        "digits": in_window(tokens.kinds[:end] == DIGIT),
        # whether a word is a whole one shows with the character behind it, so it counts one token late
        "hesitation": in_window(np.append(False, _HESITATION[tokens.codes[: end - 1]])),
    }
    return Prefixes(points, np.column_stack([values[name] for name in FEATURES]), thinking, whole)


def default_step(texts: Sequence[str]) -> int:
    """256 tokens; for short responses the power of two, 16 at least, that gives the median one some 16 points.

    A token is taken for three characters here.
    """
    median = float(np.median([len(text) / 3 for text in texts])) if texts else 0.0
    step = 256
    while step > 16 and 16 * step > median:
        step //= 2
    return step
