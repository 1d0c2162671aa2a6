"""How much of a response was said before in the same response, and where that sets in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from qrm_forensics.metrics.copy_kernels import GRAM, copying_kernel
from qrm_forensics.metrics.figures import as_columns, curves
from qrm_forensics.metrics.protocol import Column, Show, metric, said
from qrm_forensics.metrics.scan import scans
from qrm_forensics.metrics.surface import copies

#: Points of a course over the response.
POINTS = 50
#: By how many the copied sequences must outnumber the fresh ones from the collapse to the end.
LEAST = 150

_RATE = Column(
    "copy_rate",
    pa.float64(),
    Show.HISTOGRAM,
    better="lower",
    label=said("8-gram copy rate", "8-gram 재사용률"),
    definition=said(
        f"Share of the sequences of {GRAM} consecutive whitespace-separated words that occurred earlier in the same "
        f"response; empty below {GRAM} words.",
        f"공백으로 나눈 연속 {GRAM}단어 가운데 같은 응답에서 앞서 나온 것의 비율이며, {GRAM}단어 미만이면 비워 둔다.",
    ),
    nullable_when=f"the response has fewer than {GRAM} words",
)
_COLLAPSE = Column(
    "collapse_at",
    pa.float64(),
    Show.TIMELINE,
    label=said("Collapse into copying (share)", "재사용으로 붕괴한 상대 위치"),
    definition=said(
        f"Where copying sets in for good: of all places, the one after which the {GRAM}-word sequences that occurred "
        f"before outnumber the others by most (the earliest of several), as a share of all sequences; empty where "
        f"they outnumber them by fewer than {LEAST}.",
        f"재사용이 되돌아오지 않고 시작되는 위치: 그 뒤에서 앞서 나온 연속 {GRAM}단어가 새로운 것보다 가장 많이 우세해지는 "
        f"지점(여럿이면 가장 앞)을 전체에 대한 비율로 나타낸 값이며, 우세가 {LEAST}개 미만이면 비워 둔다.",
    ),
    nullable_when="the response does not collapse into copying",
)
_COURSE = Column(
    "copy_trajectory",
    pa.list_(pa.float64()),
    Show.TIMELINE,
    better="lower",
    label=said("Course of the copy rate", "재사용률의 추이"),
    definition=said(
        f"The copy rate within each of {POINTS} equal slices of the response's sequences of {GRAM} words, from beginning "
        f"to end, where a sequence counts that occurred anywhere earlier; empty where there are fewer than {POINTS} sequences.",
        f"응답의 연속 {GRAM}단어를 처음부터 끝까지 {POINTS}개 구간으로 똑같이 나눈, 각 구간의 재사용률(앞 어디서든 나온 것을 센다)이며, "
        f"연속 {GRAM}단어가 {POINTS}개 미만이면 비워 둔다.",
    ),
    nullable_when=f"the response has fewer than {POINTS + GRAM - 1} words",
)


@metric(
    version=2,
    reads=("text",),
    title=said("Copying", "앞 내용 재사용"),
    columns=(_RATE, _COLLAPSE, _COURSE),
)
def copying(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    """Verbatim repetition anywhere in the response, seq-rep-8 of Welleck et al. (2019, arXiv 1908.04319): 1 - distinct / all.

    Sequences are compared word by word.  ``collapse_at`` is the change point of largest
    likelihood from a share of copies below one half to the mirrored share above it (the
    cumulative sums of Page, 1954, *Biometrika* 41): from there on, no stretch has fewer copies
    than fresh sequences, however the response ends.
    """
    found = scans(batch)
    values, courses = np.full((len(found), 2), np.nan), np.full((len(found), POINTS), np.nan)
    for scan, row, course in zip(found, values, courses, strict=True):
        if scan is not None:
            copying_kernel(copies(scan), LEAST, row, course)
    return as_columns(values, (_RATE, _COLLAPSE)) | {_COURSE.name: curves(courses)}
