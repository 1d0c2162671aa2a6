r"""Whether a response has the form it should have: thinking closed, answer boxed, not cut off."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pyarrow as pa

from qrm_forensics.answers import THINK_END
from qrm_forensics.metrics.protocol import Column, Show, metric, rows, said
from qrm_forensics.records import Finish

# As in answers.last_box: one backslash too many is still a box, and "\\{" is a character.
_BRACES = re.compile(r"\\?\\boxed[ \t]{0,4}\{|\\.|[{}]", re.DOTALL)
_CUT_OFF = {
    Finish.LENGTH: True,
    Finish.STOP: False,
    Finish.LOOP_STOPPED: False,
    Finish.UNKNOWN: None,
    Finish.ERROR: None,
}


def balanced_boxes(text: str) -> list[int]:
    r"""Offsets of every ``\boxed{`` whose brace is closed, in order; one pass, whatever the nesting."""
    if "\\boxed" not in text:
        return []
    opened: list[int] = []  # offset of a box, -1 for a plain brace
    found: list[int] = []
    for match in _BRACES.finditer(text):
        what = match.group()
        if what == "{":
            opened.append(-1)
        elif what == "}":
            if opened and (box := opened.pop()) >= 0:
                found.append(box)
        elif what.endswith("{") and len(what) > 2:
            opened.append(match.start())
    return sorted(found)


def _measure(text: str, finish: str) -> tuple[bool, bool, bool, int, bool | None]:
    boxes = balanced_boxes(text)
    think_end = text.rfind(THINK_END)
    after = think_end >= 0 and bool(boxes) and boxes[-1] > think_end
    return think_end >= 0, bool(boxes), after, len(boxes), _CUT_OFF[Finish(finish)]


@metric(
    version=1,
    reads=("text", "finish"),
    title=said("Structure", "응답 구조"),
    columns=(
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
        Column(
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
        ),
    ),
)
def structure(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    r"""Form of the response.

    An empty ``\boxed{}`` is a box; whether it holds an answer is for the scorer to say.  A
    missing box does not mean degeneration, nor does a box exclude it.
    """
    return rows(batch, ("closed", "boxed", "boxed_after_think", "n_boxed", "truncated"), _measure)
