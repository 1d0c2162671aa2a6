"""Lexical diversity: how many different words there are among the words.

The type-token ratio (TTR) falls with length, so no cut-off on it means anything across
lengths.  MATTR, its mean over all windows of a fixed width (Covington and McFall, 2010,
*Journal of Quantitative Linguistics* 17(2)), does not, and is undefined below that width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from qrm_forensics.metrics.copy_kernels import LAST, NARROW, WIDE, diversity_kernel
from qrm_forensics.metrics.copying import POINTS
from qrm_forensics.metrics.figures import as_columns, curves
from qrm_forensics.metrics.protocol import Column, Show, metric, said
from qrm_forensics.metrics.scan import scans


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


_NO_WORDS = "the response has no words"
_SHORT = f"the response has fewer than {WIDE} words"

_COLUMNS = (
    _real(
        "ttr",
        ("Type-token ratio", "타입-토큰 비율(TTR)"),
        (
            "Number of different whitespace-separated words, as written, divided by their number; empty without words.",
            "공백으로 나눈 단어를 표기 그대로 비교해 서로 다른 단어 수를 전체 단어 수로 나눈 값이며, 단어가 없으면 비워 둔다.",
        ),
        _NO_WORDS,
        better=False,
    ),
    _real(
        "ttr_last_2k",
        ("TTR of the last 2,000 words", "마지막 2,000단어의 TTR"),
        (
            f"Type-token ratio of the last {LAST:,} words, or of all words where there are fewer; empty without words.",
            f"마지막 {LAST:,}단어(그보다 짧으면 전체)의 타입-토큰 비율이며, 단어가 없으면 비워 둔다.",
        ),
        _NO_WORDS,
        better=False,
    ),
    _real(
        "mattr_100",
        ("MATTR (100 words)", "MATTR(100단어)"),
        (
            f"Mean type-token ratio over every window of {NARROW} consecutive words; empty below {NARROW} words.",
            f"연속한 {NARROW}단어 구간을 모두 훑어 구한 타입-토큰 비율의 평균이며, {NARROW}단어 미만이면 비워 둔다.",
        ),
        f"the response has fewer than {NARROW} words",
    ),
    _real(
        "mattr_500",
        ("MATTR (500 words)", "MATTR(500단어)"),
        (
            f"Mean type-token ratio over every window of {WIDE} consecutive words; empty below {WIDE} words.",
            f"연속한 {WIDE}단어 구간을 모두 훑어 구한 타입-토큰 비율의 평균이며, {WIDE}단어 미만이면 비워 둔다.",
        ),
        _SHORT,
    ),
    _real(
        "worst_window_ttr",
        ("TTR of the worst window", "최저 구간 TTR"),
        (
            f"Lowest type-token ratio of any window of {WIDE} consecutive words; empty below {WIDE} words.",
            f"연속한 {WIDE}단어 구간의 타입-토큰 비율 가운데 가장 낮은 값이며, {WIDE}단어 미만이면 비워 둔다.",
        ),
        _SHORT,
    ),
    Column(
        "worst_window_at",
        pa.int64(),
        Show.HIDDEN,
        unit="words",
        label=said("Worst window begins at", "최저 구간의 시작 위치"),
        definition=said(
            "Number of words before the first window that has the lowest ratio (worst_window_ttr); "
            f"empty below {WIDE} words.",
            f"비율이 가장 낮은 구간(worst_window_ttr) 중 첫 구간 앞에 있는 단어의 개수이며, {WIDE}단어 미만이면 비워 둔다.",
        ),
        nullable_when=_SHORT,
    ),
    _real(
        "worst_window_at_share",
        ("Worst window begins at (share)", "최저 구간의 상대 위치"),
        (
            f"worst_window_at divided by the number of words; empty below {WIDE} words.",
            f"worst_window_at을 전체 단어 수로 나눈 값이며, {WIDE}단어 미만이면 비워 둔다.",
        ),
        _SHORT,
        Show.TIMELINE,
        better=False,
    ),
)
_COURSE = Column(
    "trajectory",
    pa.list_(pa.float64()),
    Show.TIMELINE,
    better="higher",
    label=said("Course of the diversity", "어휘 다양성의 추이"),
    definition=said(
        f"Type-token ratios of {POINTS} windows of {WIDE} consecutive words that begin at equal distances, the first window "
        f"of the response first and the last one last; empty below {WIDE} words.",
        f"같은 간격으로 시작하는 {POINTS}개의 연속 {WIDE}단어 구간(응답의 첫 구간부터 마지막 구간까지)의 타입-토큰 비율이며, "
        f"{WIDE}단어 미만이면 비워 둔다.",
    ),
    nullable_when=_SHORT,
)


@metric(
    version=2,
    reads=("text",),
    title=said("Lexical diversity", "어휘 다양성"),
    columns=(*_COLUMNS, _COURSE),
)
def diversity(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    """How varied the words are; words are whitespace-separated and compared as written.

    ``ttr`` and ``ttr_last_2k`` are ``token_diversity`` and ``token_diversity_last_2k`` of
    the reference study.  They depend on length; the windowed columns do not.
    """
    found = scans(batch)
    values, courses = np.full((len(found), len(_COLUMNS)), np.nan), np.full((len(found), POINTS), np.nan)
    for scan, row, course in zip(found, values, courses, strict=True):
        if scan is not None:
            diversity_kernel(scan.words.ids, scan.words.n_types, row, course)
    return as_columns(values, _COLUMNS) | {_COURSE.name: curves(courses)}
