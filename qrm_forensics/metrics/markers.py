"""Discourse markers: words that announce doubt, a change of course, or a conclusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qrm_forensics.metrics import marker_kernels as kernels
from qrm_forensics.metrics.figures import as_columns
from qrm_forensics.metrics.lexemes import MARKERS, NOWAIT, PHRASE_MARKERS, SWITCHES, codes_of
from qrm_forensics.metrics.protocol import Column, Show, metric, said
from qrm_forensics.metrics.scan import Scan, scans
from qrm_forensics.metrics.surface import known

SPAN = kernels.SPAN
#: Cuts of the classes of spacing, in characters between the beginnings of successive markers (the median of them).
TIGHT, SPARSE = 100, 300
_NO_WORDS = "the response has no words"
_SHORT = f"the response has fewer than {2 * SPAN:,} words"


def _marker(phrase: str) -> Column:
    first, _, second = phrase.partition(" ")
    spelled = "double-check" if phrase == "double check" else phrase
    if not second:
        rule_en, rule_ko = f"the whole word '{first}'", f"온전한 단어 '{first}'"
    else:
        dash_en, dash_ko = (" or one hyphen", " 또는 붙임표 하나") if "-" in spelled else ("", "")
        rule_en = f"the whole words '{first}' and '{second}' with only whitespace{dash_en} between them"
        rule_ko = f"사이에 공백{dash_ko}만 두고 이어진 온전한 단어 '{first}'·'{second}'"
    return Column(
        f"{phrase.replace(' ', '_')}_count",
        pa.int64(),
        Show.TABLE,
        unit="occurrences",
        label=said(f"'{spelled}'", f"'{spelled}'"),
        definition=said(
            f"Number of occurrences of {rule_en} in the response, upper and lower case alike.",
            f"응답에 나오는 {rule_ko}의 횟수(대소문자 구분 없음).",
        ),
    )


def _count(name: str, label: tuple[str, str], definition: tuple[str, str], null: str | None = None) -> Column:
    show = Show.HISTOGRAM if name == "markers_total" else Show.TABLE
    return Column(name, pa.int64(), show, said(*label), said(*definition), unit="occurrences", nullable_when=null)


def _rate(name: str, what: str, label: tuple[str, str]) -> Column:
    return Column(
        name,
        pa.float64(),
        Show.HISTOGRAM,
        unit="per 1,000 words",
        label=said(*label),
        definition=said(
            f"{what} times 1,000 divided by the number of whitespace-separated words; empty without words.",
            f"{what}에 1,000을 곱해 공백 기준 단어 수로 나눈 값이며, 단어가 없으면 비워 둔다.",
        ),
        nullable_when=_NO_WORDS,
    )


def _ends(stem: str, en: str, ko: str) -> tuple[Column, Column, Column]:
    """Columns of the two ends of the response, and the difference."""
    return (
        _count(
            f"{stem}_first_1000",
            (f"{en[0].upper()}{en[1:]} in the first {SPAN:,} words", f"처음 {SPAN:,}단어의 {ko}"),
            (
                f"Number of occurrences of {en} in the first {SPAN:,} whitespace-separated words; "
                f"empty below {2 * SPAN:,} words, where the first and the last {SPAN:,} would overlap.",
                f"공백으로 나눈 처음 {SPAN:,}단어에 나오는 {ko}의 횟수이며, 두 구간이 겹치는 {2 * SPAN:,}단어 미만이면 비워 둔다.",
            ),
            _SHORT,
        ),
        _count(
            f"{stem}_last_1000",
            (f"{en[0].upper()}{en[1:]} in the last {SPAN:,} words", f"마지막 {SPAN:,}단어의 {ko}"),
            (
                f"Number of occurrences of {en} in the last {SPAN:,} whitespace-separated words; empty below {2 * SPAN:,} words.",
                f"공백으로 나눈 마지막 {SPAN:,}단어에 나오는 {ko}의 횟수이며, {2 * SPAN:,}단어 미만이면 비워 둔다.",
            ),
            _SHORT,
        ),
        _count(
            f"{stem}_last_minus_first",
            (f"{en[0].upper()}{en[1:]}: last minus first {SPAN:,} words", f"{ko}: 마지막 − 처음 {SPAN:,}단어"),
            (
                f"{stem}_last_1000 minus {stem}_first_1000; empty below {2 * SPAN:,} words.",
                f"{stem}_last_1000에서 {stem}_first_1000을 뺀 값이며, {2 * SPAN:,}단어 미만이면 비워 둔다.",
            ),
            _SHORT,
        ),
    )


def _distance(name: str, what: tuple[str, str]) -> Column:
    en, ko = what
    return Column(
        name,
        pa.float64(),
        Show.HISTOGRAM,
        unit="characters",
        label=said(f"Distance between {en}", f"{ko} 사이의 간격"),
        definition=said(
            f"Median number of characters from the beginning of one of {en} to the beginning of the next; empty below two.",
            f"{ko} 하나의 시작에서 다음 하나의 시작까지 문자 수의 중앙값이며, 두 개 미만이면 비워 둔다.",
        ),
        nullable_when="there are fewer than two of them",
    )


def _spacing(name: str, of: str, label: tuple[str, str]) -> Column:
    return Column(
        name,
        pa.string(),
        Show.TABLE,
        label=said(*label),
        definition=said(
            f"'tight' where {of} is below {TIGHT} characters, 'sparse' from {SPARSE} on, else 'medium'; empty where {of} is empty.",
            f"{of} 값이 {TIGHT}자 미만이면 'tight', {SPARSE}자 이상이면 'sparse', 그 사이면 'medium'이며, 값이 없으면 비워 둔다.",
        ),
        nullable_when="there are fewer than two of them",
    )


_COUNTED = tuple(_marker(phrase) for phrase in (*MARKERS, *PHRASE_MARKERS))
_ALL = ", ".join((*MARKERS, *PHRASE_MARKERS))
_SHORT_OR_NONE = f"{_SHORT}, or none of the first {SPAN:,} is 'wait'"

#: In the order in which the kernel writes them.
_FIGURES = (
    *_COUNTED,
    _count(
        "markers_total",
        ("All markers", "담화 표지 합계"),
        (
            f"Sum of the counts of these {len(_COUNTED)} markers: {_ALL}.",
            f"담화 표지 {len(_COUNTED)}개의 횟수를 모두 더한 값: {_ALL}.",
        ),
    ),
    _rate("markers_per_1000_words", "markers_total", ("Markers per 1,000 words", "1,000단어당 담화 표지")),
    _rate("wait_per_1000_words", "wait_count", ("'wait' per 1,000 words", "1,000단어당 'wait'")),
    _count(
        "nowait_total",
        ("NoWait keywords", "NoWait 키워드"),
        (
            f"Number of words that equal one of the NoWait keywords ({', '.join(NOWAIT)}), upper and lower case alike; "
            "the 'double-check' of that list is counted by 'check'.",
            f"NoWait 키워드({', '.join(NOWAIT)})와 일치하는 온전한 단어의 개수(대소문자 구분 없음)이며, "
            "그 목록의 'double-check'는 'check'로 센다.",
        ),
    ),
    _count(
        "switches_total",
        ("Thought switches", "사고 전환"),
        (
            f"Number of words that announce another line of thought ({', '.join(SWITCHES)}), upper and lower case alike.",
            f"다른 풀이로 넘어감을 알리는 온전한 단어({', '.join(SWITCHES)})의 개수(대소문자 구분 없음).",
        ),
    ),
    _rate("switches_per_1000_words", "switches_total", ("Thought switches per 1,000 words", "1,000단어당 사고 전환")),
    *_ends("wait", "'wait'", "'wait'"),
    Column(
        "wait_last_over_first",
        pa.float64(),
        Show.TABLE,
        label=said("'wait': last divided by first 1,000 words", "'wait': 마지막 ÷ 처음 1,000단어"),
        definition=said(
            "wait_last_1000 divided by wait_first_1000, the deterioration of the reference study; empty below "
            f"{2 * SPAN:,} words and where the first is 0.",
            f"wait_last_1000을 wait_first_1000으로 나눈 값(참조 연구의 악화 배율)이며, {2 * SPAN:,}단어 미만이거나 처음이 0이면 비워 둔다.",
        ),
        nullable_when=_SHORT_OR_NONE,
    ),
    *_ends("markers", "markers", "담화 표지"),
)
_DISTANCES = (
    _distance("wait_distance", ("successive 'wait's", "이어지는 'wait'")),
    _distance("marker_distance", ("successive markers", "이어지는 담화 표지")),
)
_SPACINGS = (
    _spacing("wait_spacing", "wait_distance", ("Spacing of 'wait'", "'wait'의 밀도")),
    _spacing("marker_spacing", "marker_distance", ("Spacing of markers", "담화 표지의 밀도")),
)


@cache
def _lookup() -> tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
    slots, nowait = np.full(256, -1, np.int8), np.zeros(256, np.bool_)
    slots[codes_of(tuple(phrase.split()[0] for phrase in PHRASE_MARKERS))] = -2
    slots[codes_of(MARKERS)] = range(len(MARKERS))
    nowait[codes_of(NOWAIT)] = True
    return slots, nowait


def _measure(scan: Scan, row: npt.NDArray[np.float64], distances: npt.NDArray[np.float64]) -> None:
    tokens = scan.tokens
    at, waits = kernels.markers_kernel(
        *(scan.data, tokens.codes, tokens.starts, tokens.ends, *known(scan), scan.words.starts),
        *_lookup(),
        row,
    )
    kernels.distances_kernel(scan.chars(at), waits, distances)


def _class_of(distance: float) -> str | None:
    if np.isnan(distance):
        return None
    return "tight" if distance < TIGHT else "sparse" if distance >= SPARSE else "medium"


@metric(
    version=2,
    reads=("text",),
    title=said("Discourse markers", "담화 표지"),
    columns=(*_FIGURES, *_DISTANCES, *_SPACINGS),
)
def markers(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    r"""How often each marker occurs, where, and how close to the next one.

    A word is whole where no letter, digit or underscore touches it (the ``\b`` of Python's
    ``re``).  Counts grow with length: among long responses the count of 'wait' does not
    tell the unclosed from the closed, so read it with the rate and with the loops.  The lists
    are those of ``lexemes``.  Distances are the reference study's signs of a tight loop
    (below 100 characters); among closed correct answers of a distilled 1.5B model they have
    a median near 240.
    """
    found = scans(batch)
    values = np.full((len(found), len(_FIGURES)), np.nan)
    distances = np.full((len(found), len(_DISTANCES)), np.nan)
    for scan, row, distance in zip(found, values, distances, strict=True):
        if scan is not None:
            _measure(scan, row, distance)
    columns = as_columns(values, _FIGURES) | as_columns(distances, _DISTANCES)
    for i, column in enumerate(_SPACINGS):
        columns[column.name] = pa.array([_class_of(d) for d in distances[:, i].tolist()], pa.string())
    return columns
