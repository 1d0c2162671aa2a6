r"""Counts by the rules of the public scripts behind the reference study, so that its tables can be reproduced.

The rules are kept as they are, right or wrong, where they run in linear time.  The others of
its figures are our own columns: ``word_count`` is ``n_words``, ``char_count`` is
``n_chars``, ``token_diversity`` is ``ttr``, ``token_diversity_last_2k`` is ``ttr_last_2k``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from qrm_forensics.metrics.figures import Row, figures
from qrm_forensics.metrics.lexemes import codes_of
from qrm_forensics.metrics.marker_kernels import equal_runs_kernel, so_comma_kernel
from qrm_forensics.metrics.protocol import Column, Show, metric, said
from qrm_forensics.metrics.scan import Scan
from qrm_forensics.metrics.scan_kernels import static_tables
from qrm_forensics.metrics.surface import known

_WHOLE = codes_of(("wait", "hmm", "but"))


def _measure(scan: Scan, row: Row) -> None:
    at, plain, counts = known(scan)
    row[:3] = counts[_WHOLE]
    row[3] = so_comma_kernel(scan.data, scan.tokens.starts, scan.tokens.ends, at, plain, static_tables()[0])
    row[4] = equal_runs_kernel(scan.data, 10)


def _count(name: str, what: str, pattern: str, note_en: str, note_ko: str) -> Column:
    return Column(
        name,
        pa.int64(),
        Show.HIDDEN,
        unit="occurrences",
        label=said(f"'{what}' (reference rule)", f"'{what}'(참조 연구 규칙)"),
        definition=said(
            f"Number of matches of the reference scripts' pattern {pattern}, {note_en}.",
            f"참조 연구 스크립트의 정규식 {pattern}에 일치한 횟수({note_ko}).",
        ),
    )


_COLUMNS = (
    _count("ref_wait", "wait", r"\bWait,?\b", "ignoring case", "대소문자 구분 없음"),
    _count("ref_hmm", "hmm", r"\bHmm\b", "ignoring case", "대소문자 구분 없음"),
    _count("ref_but", "but", r"\bBut\b", "ignoring case", "대소문자 구분 없음"),
    _count(
        "ref_so",
        "So,",
        r"\bSo,\b",
        "respecting case, which matches only where a letter or digit directly follows the comma and so misses nearly every 'So,'",
        "대소문자 구분; 쉼표 바로 뒤에 글자나 숫자가 올 때만 일치하므로 'So,'를 거의 다 놓친다",
    ),
    _count(
        "ref_repeated_chars",
        "repeated characters",
        r"(.)\1{9,}",
        "ten or more equal characters in a row, spaces too, so that aligned tables count",
        "같은 문자 10개 이상 연속; 공백도 포함하므로 정렬된 표도 센다",
    ),
)


@metric(
    version=2,
    reads=("text",),
    title=said("Reference counts", "참조 연구 규칙에 따른 횟수"),
    columns=_COLUMNS,
)
def reference(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    """Marker counts exactly as the reference study counted them, faults included."""
    return figures(batch, _COLUMNS, _measure)
