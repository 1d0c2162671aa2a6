"""What a response is doing, paragraph by paragraph: understanding, working, checking, answering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qrm_forensics.metrics.figures import as_columns, spans
from qrm_forensics.metrics.lexemes import CHECK_CUES, FINAL_CUES, OPENING_CUES, READING_CUES
from qrm_forensics.metrics.protocol import SPAN_TYPE, Column, Said, Show, metric, said
from qrm_forensics.metrics.scan import Scan, scans
from qrm_forensics.metrics.segment_kernels import CUE_WORDS, PHASES, segments_kernel, shares_kernel
from qrm_forensics.metrics.surface import boxes, layout, phrases


def _listed(phrases: Sequence[str]) -> str:
    return ", ".join(f"'{p}'" for p in phrases)


_NEAR = f"within its first {CUE_WORDS} words"
_NEAR_KO = f"문단의 처음 {CUE_WORDS}단어 안에"
_LABELS = {
    "understand": said("Understanding", "문제 이해"),
    "process": said("Working", "풀이"),
    "check": said("Checking", "검토"),
    "final": said("Final answer", "최종 답변"),
}
#: The rule of each phase; the first that holds of: final, understand, check, process.
RULES: dict[str, Said] = {
    "understand": said(
        "the opening paragraphs as long as each says one of "
        f"{_listed(OPENING_CUES)} (the first anywhere, the others {_NEAR}), and every paragraph that says {_NEAR} one of "
        f"{_listed(READING_CUES)}",
        f"{_listed(OPENING_CUES)} 가운데 하나가 나오는 동안의 첫머리 문단들(첫 문단은 어디든, 다음부터는 {_NEAR_KO})과, "
        f"{_NEAR_KO} {_listed(READING_CUES)} 가운데 하나가 나오는 모든 문단",
    ),
    "process": said("every paragraph of no other phase", "다른 단계에 들지 않는 모든 문단"),
    "check": said(
        f"every paragraph, not of understanding, that says {_NEAR} one of {_listed(CHECK_CUES)}",
        f"문제 이해가 아니면서 {_NEAR_KO} {_listed(CHECK_CUES)} 가운데 하나가 나오는 문단",
    ),
    "final": said(
        "what follows the last '</think>', and the last paragraphs before it (without one, of the response) as long as each "
        f"holds a closed '\\boxed{{' or says {_NEAR} {_listed(FINAL_CUES)}",
        f"마지막 '</think>' 뒤의 내용과, 그 앞(없으면 응답 전체)의 마지막 문단들 가운데 닫힌 '\\boxed{{'가 있거나 {_NEAR_KO} "
        f"{_listed(FINAL_CUES)}가 나오는 동안의 문단들",
    ),
}


def _share(phase: str) -> Column:
    label = _LABELS[phase]
    return Column(
        f"{phase}_share",
        pa.float64(),
        Show.HISTOGRAM,
        label=said(f"{label['en']} (share)", f"{label['ko']} 비율"),
        definition=said(
            f"Share of the response's characters in its phase of {label['en'].lower()}: {RULES[phase]['en']}; empty without words.",
            f"응답의 문자 가운데 {label['ko']} 단계의 비율. {label['ko']}: {RULES[phase]['ko']}. 단어가 없으면 비워 둔다.",
        ),
        nullable_when="the response has no words",
    )


def _spans(phase: str) -> Column:
    label = _LABELS[phase]
    return Column(
        f"{phase}_spans",
        SPAN_TYPE,
        Show.SPANS,
        label=label,
        definition=said(
            f"Where the phase of {label['en'].lower()} is in the response: {RULES[phase]['en']}.",
            f"응답에서 {label['ko']} 단계의 위치. {label['ko']}: {RULES[phase]['ko']}.",
        ),
    )


_SHARES = tuple(_share(phase) for phase in PHASES)
_SPANS = tuple(_spans(phase) for phase in PHASES)
_CHECKS = Column(
    "n_checks",
    pa.int64(),
    Show.HISTOGRAM,
    unit="segments",
    label=said("Checks", "검토 횟수"),
    definition=said(
        "Number of segments of checking (check_spans), neighbouring paragraphs of one phase being one segment.",
        "검토 구간(check_spans)의 개수이며, 이웃한 같은 단계의 문단은 한 구간으로 센다.",
    ),
)
_FIGURES = (*_SHARES, _CHECKS)


def _measure(scan: Scan, row: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Write the shares; (bounds of the segments in code points, their phases)."""
    words, tokens, found, answer = scan.words, scan.tokens, phrases(scan), boxes(scan)
    bounds, phases = segments_kernel(
        *(len(scan.data), layout(scan).blocks, words.starts, words.ends),
        *(tokens.starts, tokens.ends, found.at, found.lists, answer.offsets, answer.think_end),
    )
    points = scan.chars(bounds)
    shares_kernel(points, phases, row)
    return points, phases


@metric(
    version=1,
    reads=("text",),
    title=said("Phases", "풀이 국면"),
    columns=(*_FIGURES, *_SPANS),
)
def segments(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    """Segmentation by rules over paragraphs (blocks between blank lines) and published lists of cues.

    Every character of a response belongs to one segment, the whitespace after a paragraph to
    that paragraph's, so the shares sum to 1.  The rules see wording, not meaning: work that
    announces itself as a check is a check.
    """
    found = scans(batch)
    values = np.full((len(found), len(_FIGURES)), np.nan)
    made = [None if scan is None else _measure(scan, row) for scan, row in zip(found, values, strict=True)]
    there = [(i, *m) for i, m in enumerate(made) if m is not None]
    nothing = np.zeros(0, np.int64)
    rows = np.repeat([i for i, _, _ in there], [len(phases) for _, _, phases in there]).astype(np.int64)
    starts = np.concatenate([nothing, *(points[:-1] for _, points, _ in there)])
    ends = np.concatenate([nothing, *(points[1:] for _, points, _ in there)])
    phase = np.concatenate([np.zeros(0, np.uint8), *(phases for _, _, phases in there)])
    known = np.array([m is not None for m in made], np.bool_)
    columns = as_columns(values, _FIGURES)
    for i, column in enumerate(_SPANS):
        of_phase = phase == i
        columns[column.name] = spans(known, rows[of_phase], starts[of_phase], ends[of_phase])
    return columns
