r"""Counts by the rules of the public scripts behind the reference study, so that its tables can be reproduced.

The rules are kept as they are, right or wrong, where they run in linear time.  The others of
its figures are our own columns: ``word_count`` is ``n_words``, ``char_count`` is
``n_chars``, ``token_diversity`` is ``ttr``, ``token_diversity_last_2k`` is ``ttr_last_2000``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pyarrow as pa

from qrm_forensics.metrics.protocol import Column, Show, metric, rows, said
from qrm_forensics.metrics.wordcounts import words_of

_SO = re.compile(r"So,\b")
_WORD_BEFORE = re.compile(r"\w")


def _measure(text: str) -> tuple[int, ...]:
    words = words_of(text)
    # \bSo,\b: the left boundary is looked at afterwards, so that the scan can jump to "So,".
    so = sum(m.start() == 0 or not _WORD_BEFORE.match(text, m.start() - 1) for m in _SO.finditer(text))
    return words.count("wait"), words.count("hmm"), words.count("but"), so


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


@metric(
    version=1,
    reads=("text",),
    title=said("Reference counts", "참조 연구 규칙에 따른 횟수"),
    columns=(
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
    ),
)
def reference(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    """Marker counts exactly as the reference study counted them, faults included."""
    return rows(batch, ("ref_wait", "ref_hmm", "ref_but", "ref_so"), _measure)
