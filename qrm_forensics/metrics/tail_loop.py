"""An exact loop at the end of the response: its onset, period and unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qrm_forensics.metrics.periodicity import MIN_REPEATS, MIN_TOKENS, SLACK, tail_run
from qrm_forensics.metrics.protocol import Column, Show, metric, rows, said
from qrm_forensics.metrics.textcodes import pseudo_tokens

#: Characters of the repeated unit that are kept.
UNIT_CAP = 400

_NAMES = (
    "tail_loop",
    "tail_loop_onset",
    "tail_loop_onset_share",
    "tail_loop_period",
    "tail_loop_repeats",
    "tail_loop_coverage",
    "tail_loop_unit",
    "tail_loop_onset_char",
    "tail_loop_source",
)


def has_tail_loop(text: str, token_ids: Sequence[int] | None = None) -> bool:
    """Whether one response ends in a loop, by its token ids where they are known."""
    tokens = pseudo_tokens(text).ids if token_ids is None else np.asarray(token_ids, dtype=np.int64)
    return tail_run(tokens) is not None


def _measure(text: str, token_ids: npt.NDArray[np.int32] | None) -> tuple[object, ...]:
    pseudo = pseudo_tokens(text)
    in_text = tail_run(pseudo.ids)
    source, tokens, run = (
        ("pseudo", pseudo.ids, in_text) if token_ids is None else ("model", token_ids, tail_run(token_ids))
    )
    unit = onset_char = None
    if run and in_text:
        onset_char = int(pseudo.starts[in_text.onset])
        stop = int(pseudo.ends[in_text.onset + in_text.period - 1])
        unit = (
            text[onset_char:stop]
            if stop - onset_char <= UNIT_CAP
            else text[onset_char : onset_char + UNIT_CAP - 1] + "…"
        )
    found = (
        (True, run.onset, run.onset / len(tokens), run.period, run.repeats, run.covered / len(tokens))
        if run
        else (False, None, None, None, None, 0.0)
    )
    return *found, unit, onset_char, source


_NO_LOOP = "there is no loop at the end"


def _of_loop(
    name: str, dtype: pa.DataType, show: Show, label: tuple[str, str], definition: tuple[str, str], **more: str
) -> Column:
    null = more.get("nullable_when", _NO_LOOP)
    return Column(name, dtype, show, said(*label), said(*definition), unit=more.get("unit"), nullable_when=null)


@metric(
    version=1,
    reads=("text", "token_ids"),
    title=said("Exact loop at the end", "종단 완전 반복"),
    columns=(
        Column(
            "tail_loop",
            pa.bool_(),
            Show.SHARE,
            better="lower",
            label=said("Ends in a loop", "반복으로 끝남"),
            definition=said(
                f"The response ends in a stretch of at least {MIN_TOKENS} tokens that repeats one unit exactly at least "
                f"{MIN_REPEATS} times, where up to {SLACK} tokens may follow it.",
                f"같은 단위를 {MIN_REPEATS}회 이상 그대로 반복하는 {MIN_TOKENS}토큰 이상의 구간으로 응답이 끝난다"
                f"(그 뒤의 {SLACK}토큰까지는 허용).",
            ),
        ),
        _of_loop(
            "tail_loop_onset",
            pa.int64(),
            Show.HISTOGRAM,
            ("Loop onset", "반복 시작 위치"),
            (
                "Number of tokens before the first repeated token, which begins the second copy of the unit; empty without a loop.",
                "처음으로 되풀이된 토큰(단위의 두 번째 출현이 시작되는 곳) 앞에 있는 토큰의 개수이며, 반복이 없으면 비워 둔다.",
            ),
            unit="tokens",
        ),
        _of_loop(
            "tail_loop_onset_share",
            pa.float64(),
            Show.TIMELINE,
            ("Loop onset (share)", "반복 시작의 상대 위치"),
            (
                "tail_loop_onset divided by the number of tokens of the response; empty without a loop.",
                "tail_loop_onset을 응답의 전체 토큰 수로 나눈 값이며, 반복이 없으면 비워 둔다.",
            ),
        ),
        _of_loop(
            "tail_loop_period",
            pa.int64(),
            Show.HISTOGRAM,
            ("Loop period", "반복 주기"),
            (
                "Length of the repeated unit in tokens, the smallest that fits; empty without a loop.",
                "반복되는 단위의 토큰 수로, 가능한 가장 짧은 주기를 쓰며, 반복이 없으면 비워 둔다.",
            ),
            unit="tokens",
        ),
        _of_loop(
            "tail_loop_repeats",
            pa.float64(),
            Show.HISTOGRAM,
            ("Loop copies", "반복 횟수"),
            (
                "Length of the looping stretch divided by the period, so that the first copy counts and the last may be a part; "
                "empty without a loop.",
                "반복 구간의 길이를 주기로 나눈 값으로, 첫 출현도 세고 마지막은 일부만 셀 수 있으며, 반복이 없으면 비워 둔다.",
            ),
            unit="copies",
        ),
        Column(
            "tail_loop_coverage",
            pa.float64(),
            Show.HISTOGRAM,
            better="lower",
            label=said("Share in the loop", "반복 구간 비율"),
            definition=said(
                "Share of the tokens that lie in the looping stretch at the end, its first copy included; 0 without a loop.",
                "첫 출현을 포함한 종단 반복 구간이 전체 토큰에서 차지하는 비율이며, 반복이 없으면 0이다.",
            ),
        ),
        _of_loop(
            "tail_loop_unit",
            pa.string(),
            Show.TABLE,
            ("Repeated text", "반복된 문구"),
            (
                f"The text of the second copy of the unit, cut at {UNIT_CAP} characters; empty without a loop that shows in the text.",
                f"단위의 두 번째 출현에 해당하는 텍스트({UNIT_CAP}자까지)이며, 텍스트에서 확인되는 반복이 없으면 비워 둔다.",
            ),
            nullable_when="there is no loop at the end, or only the token ids show it",
        ),
        _of_loop(
            "tail_loop_onset_char",
            pa.int64(),
            Show.HIDDEN,
            ("Loop onset (character)", "반복 시작 문자 위치"),
            (
                "Number of code points before the second copy of the unit; empty without a loop that shows in the text.",
                "단위의 두 번째 출현 앞에 있는 코드 포인트의 개수이며, 텍스트에서 확인되는 반복이 없으면 비워 둔다.",
            ),
            unit="characters",
            nullable_when="there is no loop at the end, or only the token ids show it",
        ),
        Column(
            "tail_loop_source",
            pa.string(),
            Show.HIDDEN,
            label=said("Tokens compared", "비교에 쓴 토큰"),
            definition=said(
                "Which tokens the loop columns count: 'model' where the token ids are known, else 'pseudo' (LaTeX command, "
                "run of letters, single digit, or any other character; whitespace dropped).",
                "반복 열이 세는 토큰의 종류로, 토큰 ID가 있으면 'model', 없으면 'pseudo'(LaTeX 명령, 연속한 글자, 숫자 한 자리, "
                "그 밖의 문자 하나; 공백 제외)이다.",
            ),
        ),
    ),
)
def tail_loop(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    """Exact periodicity of the tail, by Z-function reasoning on the reversed tokens (``periodicity``).

    Exact by intention: one changed digit per round ends a loop here, and what repeats in the
    middle of a response is not a tail.  Legitimate text can be periodic too (the closing braces
    of a deep continued fraction, a repeating decimal, a zero matrix), so a loop is a finding
    about the text, not yet about the model.
    """
    return rows(batch, _NAMES, _measure)
