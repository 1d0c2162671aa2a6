"""The metric ``loops``: where a response falls into repetition, what it repeats, and whether it recovers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qrm_forensics.metrics.loop_detector import (
    END_SLACK,
    EXACT_COPIES,
    EXACT_EVIDENCE,
    MIN_EVIDENCE,
    SUFFIX_SHARE,
    UNIT_CAP,
    LoopReport,
    report_loops,
)
from qrm_forensics.metrics.protocol import SPAN_TYPE, Column, Show, metric, said
from qrm_forensics.metrics.scan import scans
from qrm_forensics.records import Finish

_NO_LOOP = "there is no loop"
_NOTHING = "there is neither a loop nor an enumeration"


def _of_loop(
    name: str,
    dtype: pa.DataType,
    show: Show,
    label: tuple[str, str],
    definition: tuple[str, str],
    *,
    unit: str | None = None,
    null: str = _NO_LOOP,
) -> Column:
    return Column(name, dtype, show, said(*label), said(*definition), unit=unit, nullable_when=null)


_COLUMNS = (
    Column(
        "loop",
        pa.bool_(),
        Show.SHARE,
        better="lower",
        label=said("Loops", "반복 루프 있음"),
        definition=said(
            "The response repeats itself: a stretch in which tokens equal those one period earlier with an evidence of at "
            f"least {MIN_EVIDENCE:.0f} tokens (or {EXACT_EVIDENCE:.0f} where it is exact and has more than {EXACT_COPIES:.0f} "
            "copies), where changed tokens and numbers that are new in every copy count against it; upper and lower case, "
            "discourse connectives and one counter may change.",
            "응답이 자신을 되풀이한다. 한 주기 앞의 토큰과 같은 토큰이 이어지는 구간의 증거가 "
            f"{MIN_EVIDENCE:.0f}토큰 이상(완전 반복이고 {EXACT_COPIES:.0f}회를 넘게 되풀이되면 {EXACT_EVIDENCE:.0f}토큰 이상)인 경우이며, "
            "바뀐 토큰과 매번 새로 나오는 숫자는 증거에서 뺀다. 대소문자, 담화 접속어, 하나의 카운터는 바뀌어도 된다.",
        ),
    ),
    _of_loop(
        "loop_tier",
        pa.int64(),
        Show.TABLE,
        ("Tier of repetition", "반복 단계"),
        (
            "1: the tokens repeat as they are; 2: with discourse connectives, case or a counter masked; 3: only with every "
            "number masked, which is an enumeration and no loop. Of the longest loop, or 3 if there are only enumerations.",
            "1: 토큰이 그대로 반복됨, 2: 담화 접속어·대소문자·카운터를 가리면 반복됨, 3: 모든 숫자를 가려야만 반복됨(열거이며 루프가 아님). "
            "가장 긴 루프의 값이며, 열거만 있으면 3이다.",
        ),
        null=_NOTHING,
    ),
    _of_loop(
        "loop_class",
        pa.string(),
        Show.TABLE,
        ("Kind of loop", "루프 종류"),
        (
            "Class of the unit of the longest loop (or of the longest enumeration, where there is no loop), by the rules of "
            "the module loop_classes.",
            "가장 긴 루프(없으면 가장 긴 열거)의 단위를 loop_classes 모듈의 규칙으로 분류한 것.",
        ),
        null=_NOTHING,
    ),
    _of_loop(
        "loop_type_reference",
        pa.string(),
        Show.TABLE,
        ("Type in the reference report", "참조 보고서의 유형"),
        (
            "A: the unit holds 'wait'; B: numbers and operators alone; C: one word that is no connective; D: one letter, mark "
            "or connective; E: digits alone; other: none of these.",
            "A: 단위에 'wait'가 있음, B: 숫자와 연산자뿐, C: 접속어가 아닌 단어 하나, D: 글자·기호·접속어 하나, E: 숫자뿐, other: 어느 것도 아님.",
        ),
    ),
    _of_loop(
        "loop_unit",
        pa.string(),
        Show.TABLE,
        ("Repeated text", "반복된 문구"),
        (
            "A copy of what the longest loop (or else enumeration) repeats, the least disturbed of its first copies after the "
            f"first, cut at {UNIT_CAP} characters.",
            f"가장 긴 루프(없으면 열거)가 반복하는 문구로, 두 번째 이후의 처음 출현들 가운데 가장 온전한 것({UNIT_CAP}자까지).",
        ),
        null=_NOTHING,
    ),
    _of_loop(
        "loop_period",
        pa.int64(),
        Show.HISTOGRAM,
        ("Loop period", "루프 주기"),
        (
            "Length of the repeated unit of the longest loop (or else enumeration) in pseudo-tokens: the distance that most of "
            "its tokens have to the token that they repeat.",
            "가장 긴 루프(없으면 열거)에서 반복되는 단위의 의사 토큰 수로, 대부분의 토큰이 자신이 되풀이하는 토큰과 떨어진 거리이다.",
        ),
        unit="tokens",
        null=_NOTHING,
    ),
    _of_loop(
        "loop_repeats",
        pa.float64(),
        Show.HISTOGRAM,
        ("Loop copies", "반복 횟수"),
        (
            "Copies of the unit in the longest loop (or else enumeration), the first one included: 1 plus the sum over its "
            "repeated tokens of one over the distance to the token repeated.",
            "가장 긴 루프(없으면 열거)에 들어 있는 단위의 출현 횟수(첫 출현 포함)로, 1에 반복된 각 토큰의 거리의 역수를 모두 더한 값이다.",
        ),
        unit="copies",
        null=_NOTHING,
    ),
    Column(
        "loop_longest",
        pa.int64(),
        Show.HISTOGRAM,
        unit="tokens",
        better="lower",
        label=said("Longest loop", "가장 긴 루프"),
        definition=said(
            "Pseudo-tokens in the longest loop, its first copy included; 0 without a loop.",
            "첫 출현을 포함한 가장 긴 루프의 의사 토큰 수이며, 루프가 없으면 0이다.",
        ),
    ),
    Column(
        "loop_coverage",
        pa.float64(),
        Show.HISTOGRAM,
        better="lower",
        label=said("Share in loops", "루프 비율"),
        definition=said(
            "Share of the response's pseudo-tokens that lie in loops, their first copies included; 0 without a loop.",
            "첫 출현을 포함한 루프 구간이 응답의 의사 토큰에서 차지하는 비율이며, 루프가 없으면 0이다.",
        ),
    ),
    _of_loop(
        "loop_onset_token",
        pa.int64(),
        Show.HISTOGRAM,
        ("Loop onset", "루프 시작 위치"),
        (
            "Number of tokens before the first repeated token of the loop that the response does not leave (the earliest from "
            f"which at least {SUFFIX_SHARE:.0%} of the rest lies in loops; without one, of its longest loop). loop_onset_source "
            "says which tokens.",
            f"응답이 벗어나지 못하는 루프(그 뒤의 {SUFFIX_SHARE:.0%} 이상이 루프인 가장 이른 것, 없으면 가장 긴 루프)에서 처음으로 되풀이된 토큰 "
            "앞에 있는 토큰의 개수이다. 어떤 토큰인지는 loop_onset_source에 있다.",
        ),
        unit="tokens",
    ),
    _of_loop(
        "loop_onset_char",
        pa.int64(),
        Show.HIDDEN,
        ("Loop onset (character)", "루프 시작 문자 위치"),
        (
            "Number of code points before the loop onset, where the second copy of the unit begins.",
            "루프 시작, 곧 단위의 두 번째 출현이 시작되는 곳 앞에 있는 코드 포인트의 개수.",
        ),
        unit="characters",
    ),
    _of_loop(
        "loop_onset_fraction",
        pa.float64(),
        Show.TIMELINE,
        ("Loop onset (share)", "루프 시작의 상대 위치"),
        (
            "Pseudo-tokens before the loop onset divided by those of the response.",
            "루프 시작 앞의 의사 토큰 수를 응답의 의사 토큰 수로 나눈 값.",
        ),
    ),
    _of_loop(
        "loop_body_start_char",
        pa.int64(),
        Show.HIDDEN,
        ("First copy of the loop (character)", "루프 첫 출현 문자 위치"),
        (
            "Number of code points before the first copy of the unit, one period before the loop onset.",
            "루프 시작보다 한 주기 앞, 곧 단위의 첫 출현 앞에 있는 코드 포인트의 개수.",
        ),
        unit="characters",
    ),
    Column(
        "loop_terminal",
        pa.bool_(),
        Show.SHARE,
        better="lower",
        label=said("Loops to the end", "끝까지 반복"),
        definition=said(
            f"A loop ends within {END_SLACK} pseudo-tokens or two periods of the end of the response, and no </think> follows its "
            "onset or the response stopped at its token limit.",
            f"루프가 응답의 끝에서 {END_SLACK} 의사 토큰 또는 두 주기 안에서 끝나고, 루프 시작 뒤에 </think>가 없거나 응답이 토큰 한도에서 멈췄다.",
        ),
    ),
    Column(
        "loop_recovered",
        pa.bool_(),
        Show.SHARE,
        label=said("Recovers from loops", "루프에서 회복"),
        definition=said(
            "There is a loop, and the response does not end in one.",
            "루프가 있으나 응답이 루프로 끝나지 않는다.",
        ),
    ),
    Column(
        "loop_episode_count",
        pa.int64(),
        Show.HISTOGRAM,
        unit="loops",
        better="lower",
        label=said("Loops in the response", "루프 개수"),
        definition=said("Number of separate loops.", "서로 떨어진 루프의 개수."),
    ),
    Column(
        "loop_enumeration",
        pa.bool_(),
        Show.SHARE,
        label=said("Enumerates", "열거 있음"),
        definition=said(
            "A stretch repeats with every number masked but is no loop, because its numbers progress, or because it is little "
            "more than a counter.",
            "모든 숫자를 가리면 반복되지만, 숫자가 진행하거나 카운터 말고는 거의 내용이 없어서 루프가 아닌 구간이 있다.",
        ),
    ),
    _of_loop(
        "loop_onset_source",
        pa.string(),
        Show.HIDDEN,
        ("Tokens of the onset", "시작 위치의 토큰"),
        (
            "Which tokens loop_onset_token counts: 'ids' where the token ids show the loop too, 'scaled' where it is the onset's "
            "share times completion_tokens, else 'pseudo' (LaTeX command, run of letters, single digit, or any other character; "
            "whitespace dropped).",
            "loop_onset_token이 세는 토큰: 토큰 ID에서도 루프가 보이면 'ids', 시작의 상대 위치에 completion_tokens를 곱한 것이면 'scaled', "
            "그 밖에는 'pseudo'(LaTeX 명령, 연속한 글자, 숫자 한 자리, 그 밖의 문자 하나; 공백 제외).",
        ),
    ),
    Column(
        "loop_spans",
        SPAN_TYPE,
        Show.SPANS,
        label=said("Loops", "루프 구간"),
        definition=said(
            "The loops, each from its first copy to its end.",
            "각 루프의 첫 출현부터 끝까지의 구간.",
        ),
    ),
)


@metric(
    version=1,
    reads=("text", "finish", "completion_tokens", "token_ids"),
    title=said("Loops", "반복 루프"),
    columns=_COLUMNS,
)
def loops(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    """Lag-coherent repetition in three tiers: exact, with connectives masked, with numbers masked.

    See ``loop_detector`` for what counts as a loop, and ``loop_kernels`` for how it is found in linear time.
    """
    out: dict[str, list[object]] = {column.name: [] for column in _COLUMNS}
    nothing = dict.fromkeys(out)
    finishes = batch["finish"].to_pylist()
    counts = batch["completion_tokens"].to_pylist()
    for scan, finish, count, ids in zip(scans(batch), finishes, counts, _ids(batch["token_ids"]), strict=True):
        row: Mapping[str, object] = nothing
        if scan is not None:
            limit = finish in (Finish.LENGTH, Finish.LOOP_STOPPED)
            report = report_loops(scan, closed=False if limit else None, token_ids=ids)
            row = _row(report, ids, count)
        for name, values in out.items():
            values.append(row[name])
    return out


def _row(report: LoopReport, ids: npt.NDArray[Any] | None, completion_tokens: int | None) -> dict[str, object]:
    found, first, main = report.loops, report.first, report.main
    onset: int | None = None
    source: str | None = None
    if first is not None:
        onset, source = first.onset_token, "pseudo"
        if report.onset_id is not None:
            onset, source = report.onset_id, "ids"
        else:
            known = len(ids) if ids is not None else completion_tokens
            if known:
                onset, source = round(first.onset_token / report.n_tokens * known), "scaled"
    return {
        "loop": first is not None,
        "loop_tier": main and main.tier,
        "loop_class": main and main.loop_class,
        "loop_type_reference": main.reference if main is not None and first is not None else None,
        "loop_unit": main and main.unit,
        "loop_period": main and main.period,
        "loop_repeats": main and main.repeats,
        "loop_longest": max((e.tokens for e in found), default=0),
        "loop_coverage": report.coverage,
        "loop_onset_token": onset,
        "loop_onset_char": first and first.onset_char,
        "loop_onset_fraction": first and first.onset_token / report.n_tokens,
        "loop_body_start_char": first and first.body_start_char,
        "loop_terminal": report.terminal,
        "loop_recovered": first is not None and not report.terminal,
        "loop_episode_count": len(found),
        "loop_enumeration": len(report.episodes) > len(found),
        "loop_onset_source": source,
        "loop_spans": _spans(report),
    }


def _spans(report: LoopReport) -> list[dict[str, int]]:
    """The loops as ranges that neither touch nor overlap."""
    spans: list[dict[str, int]] = []
    for e in sorted(report.loops, key=lambda e: e.body_start_char):
        if spans and e.body_start_char <= spans[-1]["end"]:
            spans[-1]["end"] = max(spans[-1]["end"], e.end_char)
        else:
            spans.append({"start": e.body_start_char, "end": e.end_char})
    return spans


def _ids(column: pa.ChunkedArray) -> Iterator[npt.NDArray[Any] | None]:
    """The lists of token ids one by one, without a copy."""
    for chunk in column.chunks:
        flat = np.asarray(chunk.values)
        bounds = np.asarray(chunk.offsets)
        valid = np.asarray(chunk.is_valid())
        for i in range(len(chunk)):
            yield flat[bounds[i] : bounds[i + 1]] if valid[i] else None
