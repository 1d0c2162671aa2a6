"""Lexical diversity: how many different words there are among the words.

The type-token ratio (TTR) falls with length, so no cut-off on it means anything across
lengths.  MATTR, its mean over all windows of a fixed width (Covington and McFall, 2010,
*Journal of Quantitative Linguistics* 17(2)), does not, and is undefined below that width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qrm_forensics.metrics.protocol import Column, Show, metric, rows, said
from qrm_forensics.metrics.textcodes import Ints, number

LAST = 2000
WIDE, NARROW = 500, 100


def previous_positions(ids: Ints) -> Ints:
    """For each position the last earlier one with the same number, -1 if there is none."""
    small = ids.astype(np.uint16) if len(ids) and ids.max() < 1 << 16 else ids  # NumPy radix-sorts 16 bits
    order = np.argsort(small, kind="stable")
    same = ids[order[1:]] == ids[order[:-1]]
    previous = np.full(len(ids), -1, dtype=np.int64)
    previous[order[1:][same]] = order[:-1][same]
    return previous


def window_types(previous: Ints, width: int) -> Ints:
    """Number of different words in ids[i:i+width], for every i from 0 to n - width.

    Position j is the first of its kind in exactly the windows that begin in
    (max(previous[j], j - width), j], so each j adds one to a range of windows.
    """
    n = len(previous)
    j = np.arange(n)
    first = np.maximum(np.maximum(previous, j - width), -1) + 1
    end = np.minimum(j, n - width) + 1
    inside = first < end
    steps: npt.NDArray[np.int64] = np.bincount(first[inside], minlength=n + 2) - np.bincount(
        end[inside], minlength=n + 2
    )
    return np.cumsum(steps)[: n - width + 1]


def _measure(text: str) -> tuple[float | int | None, ...]:
    words = text.split()
    n = len(words)
    if n == 0:
        return (None,) * 7
    ids, types = number(words)
    ttr, last = types / n, len(set(words[-LAST:])) / min(n, LAST)
    if n < NARROW:
        return ttr, last, None, None, None, None, None
    previous = previous_positions(ids)
    narrow = float(window_types(previous, NARROW).mean()) / NARROW
    if n < WIDE:
        return ttr, last, narrow, None, None, None, None
    wide = window_types(previous, WIDE)
    worst = int(wide.argmin())
    return ttr, last, narrow, float(wide.mean()) / WIDE, int(wide[worst]) / WIDE, worst, worst / n


def _real(
    name: str,
    label: tuple[str, str],
    definition: tuple[str, str],
    null: str,
    show: Show = Show.HISTOGRAM,
    better: bool = True,
) -> Column:
    return Column(
        name,
        pa.float64(),
        show,
        better="higher" if better else None,
        label=said(*label),
        definition=said(*definition),
        nullable_when=null,
    )


@metric(
    version=1,
    reads=("text",),
    title=said("Lexical diversity", "어휘 다양성"),
    columns=(
        _real(
            "ttr",
            ("Type-token ratio", "타입-토큰 비율(TTR)"),
            (
                "Number of different whitespace-separated words, as written, divided by their number; empty without words.",
                "공백으로 나눈 단어를 표기 그대로 비교해 서로 다른 단어 수를 전체 단어 수로 나눈 값이며, 단어가 없으면 비워 둔다.",
            ),
            "the response has no words",
            better=False,
        ),
        _real(
            "ttr_last_2000",
            ("TTR of the last 2,000 words", "마지막 2,000단어의 TTR"),
            (
                "Type-token ratio of the last 2,000 words, or of all words where there are fewer; empty without words.",
                "마지막 2,000단어(그보다 짧으면 전체)의 타입-토큰 비율이며, 단어가 없으면 비워 둔다.",
            ),
            "the response has no words",
            better=False,
        ),
        _real(
            "mattr_100",
            ("MATTR (100 words)", "MATTR(100단어)"),
            (
                "Mean type-token ratio over every window of 100 consecutive words; empty below 100 words.",
                "연속한 100단어 구간을 모두 훑어 구한 타입-토큰 비율의 평균이며, 100단어 미만이면 비워 둔다.",
            ),
            "the response has fewer than 100 words",
        ),
        _real(
            "mattr_500",
            ("MATTR (500 words)", "MATTR(500단어)"),
            (
                "Mean type-token ratio over every window of 500 consecutive words; empty below 500 words.",
                "연속한 500단어 구간을 모두 훑어 구한 타입-토큰 비율의 평균이며, 500단어 미만이면 비워 둔다.",
            ),
            "the response has fewer than 500 words",
        ),
        _real(
            "worst_window_ttr",
            ("TTR of the worst window", "최저 구간 TTR"),
            (
                "Lowest type-token ratio of any window of 500 consecutive words; empty below 500 words.",
                "연속한 500단어 구간의 타입-토큰 비율 가운데 가장 낮은 값이며, 500단어 미만이면 비워 둔다.",
            ),
            "the response has fewer than 500 words",
        ),
        Column(
            "worst_window_at",
            pa.int64(),
            Show.HIDDEN,
            unit="words",
            label=said("Worst window begins at", "최저 구간의 시작 위치"),
            definition=said(
                "Number of words before the first window that has the lowest ratio (worst_window_ttr); empty below 500 words.",
                "비율이 가장 낮은 구간(worst_window_ttr) 중 첫 구간 앞에 있는 단어의 개수이며, 500단어 미만이면 비워 둔다.",
            ),
            nullable_when="the response has fewer than 500 words",
        ),
        _real(
            "worst_window_at_share",
            ("Worst window begins at (share)", "최저 구간의 상대 위치"),
            (
                "worst_window_at divided by the number of words; empty below 500 words.",
                "worst_window_at을 전체 단어 수로 나눈 값이며, 500단어 미만이면 비워 둔다.",
            ),
            "the response has fewer than 500 words",
            Show.TIMELINE,
            better=False,
        ),
    ),
)
def diversity(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    """How varied the words are; words are whitespace-separated and compared as written.

    ``ttr`` and ``ttr_last_2000`` are ``token_diversity`` and ``token_diversity_last_2k`` of
    the reference study.  They depend on length; the windowed columns do not.
    """
    names = (
        "ttr",
        "ttr_last_2000",
        "mattr_100",
        "mattr_500",
        "worst_window_ttr",
        "worst_window_at",
        "worst_window_at_share",
    )
    return rows(batch, names, _measure)
