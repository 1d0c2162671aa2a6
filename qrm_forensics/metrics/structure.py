r"""Whether a response has the form it should have: thinking closed, answer boxed, not cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from qrm_forensics.metrics.figures import Row, figures
from qrm_forensics.metrics.protocol import Column, Show, metric, said
from qrm_forensics.metrics.scan import Scan
from qrm_forensics.metrics.surface import boxes
from qrm_forensics.records import Finish

_CUT_OFF = {
    Finish.LENGTH: True,
    Finish.STOP: False,
    Finish.LOOP_STOPPED: False,
    Finish.UNKNOWN: None,
    Finish.ERROR: None,
}


def _measure(scan: Scan, row: Row) -> None:
    offsets, think_end = boxes(scan)
    row[0] = think_end >= 0
    row[1] = len(offsets) > 0
    row[2] = 0 <= think_end <= offsets[-1] if len(offsets) else False
    row[3] = len(offsets)
    if len(offsets):
        row[4:6] = scan.chars(offsets[[0, -1]])
        row[6:8] = row[4:6] / scan.n_chars


_NO_BOX = "there is no closed box"


def _position(name: str, which: tuple[str, str]) -> Column:
    return Column(
        name,
        pa.int64(),
        Show.HIDDEN,
        unit="characters",
        label=said(f"{which[0]} box at", f"{which[1]} \\boxed{{}}의 위치"),
        definition=said(
            f"Number of code points before the {which[0].lower()} '\\boxed{{' whose brace is closed; empty without one.",
            f"중괄호가 닫힌 {which[1]} '\\boxed{{' 앞에 있는 코드 포인트의 개수이며, 없으면 비워 둔다.",
        ),
        nullable_when=_NO_BOX,
    )


def _fraction(name: str, of: str, which: tuple[str, str]) -> Column:
    return Column(
        name,
        pa.float64(),
        Show.TIMELINE,
        label=said(f"{which[0]} box at (share)", f"{which[1]} \\boxed{{}}의 상대 위치"),
        definition=said(
            f"{of} divided by the number of characters of the response; empty without a box.",
            f"{of}를 응답의 전체 문자 수로 나눈 값이며, \\boxed{{}}가 없으면 비워 둔다.",
        ),
        nullable_when=_NO_BOX,
    )


_FIGURES = (
    Column(
        "closed",
        pa.bool_(),
        Show.SHARE,
        better="higher",
        label=said("Thinking closed", "사고 종료"),
        definition=said(
            "The response contains the string '</think>'.",
            "응답에 '</think>' 문자열이 들어 있다.",
        ),
    ),
    Column(
        "boxed",
        pa.bool_(),
        Show.SHARE,
        better="higher",
        label=said("Boxed answer", "\\boxed{} 있음"),
        definition=said(
            "The response contains, anywhere, at least one '\\boxed{' whose brace is closed (escaped braces do not count).",
            "응답 어디든 중괄호가 제대로 닫힌 '\\boxed{'가 하나 이상 있다(이스케이프한 중괄호는 세지 않는다).",
        ),
    ),
    Column(
        "boxed_after_think",
        pa.bool_(),
        Show.SHARE,
        better="higher",
        label=said("Boxed after thinking", "사고 종료 후 \\boxed{}"),
        definition=said(
            "At least one '\\boxed{' with a closed brace begins after the last '</think>'; no where there is no '</think>'.",
            "마지막 '</think>' 뒤에서 시작하고 중괄호가 닫힌 '\\boxed{'가 하나 이상 있으며, '</think>'가 없으면 '아니요'이다.",
        ),
    ),
    Column(
        "n_boxed",
        pa.int64(),
        Show.HISTOGRAM,
        unit="boxes",
        label=said("Boxes", "\\boxed{} 개수"),
        definition=said(
            "Number of '\\boxed{' with a closed brace in the whole response, nested ones included.",
            "응답 전체에서 중괄호가 닫힌 '\\boxed{'의 개수로, 중첩된 것도 각각 센다.",
        ),
    ),
    _position("first_box_char", ("First", "첫")),
    _position("last_box_char", ("Last", "마지막")),
    _fraction("first_box_fraction", "first_box_char", ("First", "첫")),
    _fraction("last_box_fraction", "last_box_char", ("Last", "마지막")),
)
_TRUNCATED = Column(
    "truncated",
    pa.bool_(),
    Show.SHARE,
    better="lower",
    label=said("Truncated", "길이 제한으로 잘림"),
    definition=said(
        "Generation ended because the token limit was reached; empty where the source does not say why it ended.",
        "토큰 한도에 도달해 생성이 끝났으며, 종료 이유가 원본에 없으면 비워 둔다.",
    ),
    nullable_when="the finish reason is 'unknown' or 'error'",
)


@metric(
    version=2,
    reads=("text", "finish"),
    title=said("Structure", "응답 구조"),
    columns=(*_FIGURES[:4], _TRUNCATED, *_FIGURES[4:]),
)
def structure(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    r"""Form of the response.

    An empty ``\boxed{}`` is a box; whether it holds an answer is for the scorer to say.  A
    missing box does not mean degeneration, nor does a box exclude it.  Of two nested boxes
    the outer one is the first.
    """
    there = batch.column("text").is_valid().to_pylist()
    cut_off = [
        _CUT_OFF[Finish(finish)] if valid else None
        for finish, valid in zip(batch.column("finish").to_pylist(), there, strict=True)
    ]
    return figures(batch, _FIGURES, _measure) | {_TRUNCATED.name: pa.array(cut_off, pa.bool_())}
