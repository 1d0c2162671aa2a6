"""The race: when the correct answer was stated, when the final one was, and how often the answer changed."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qrm_forensics import answers
from qrm_forensics.metrics.figures import as_columns, spans
from qrm_forensics.metrics.protocol import SPAN_TYPE, Column, Show, metric, said
from qrm_forensics.metrics.scan import Scan, scans
from qrm_forensics.metrics.statements import (
    ANSWERED,
    BOXED,
    CONCLUDED,
    Canonical,
    canonical,
    may_be,
    same,
    statements,
)
from qrm_forensics.records import Kind

#: What states an answer, by rule; the column ``first_correct_rule``.
RULES: Final = {BOXED: "boxed", ANSWERED: "answered", CONCLUDED: "concluded"}

_STATED = (
    'stated: in a balanced \\boxed{}, as "the answer is X" or "X is the answer", or at the end of a sentence that begins '
    'with so, thus, therefore or hence and ends in "is X" or "= X" (not "x = X")'
)
_STATED_KO = (
    "정답 진술(닫힌 \\boxed{}, 'the answer is X' 또는 'X is the answer', 그리고 so·thus·therefore·hence로 시작해 'is X'나 "
    "'= X'로 끝나는 문장, 단 'x = X'는 제외)"
)
_CODE = "the problem is a code problem"
_NO_GOLD = "the problem is a code problem or has no gold answer"
_NEVER = "the correct answer is never stated, or the problem is a code problem or has no gold answer"

_FIGURES = (
    Column(
        "had_correct",
        pa.bool_(),
        Show.SHARE,
        better="higher",
        label=said("Had the correct answer", "정답 도달"),
        definition=said(
            f"The correct answer is {_STATED}, anywhere in the response; equality as far as it is certain without algebra.",
            f"응답 어디든 {_STATED_KO}에 정답이 나오며, 같은 답인지는 대수 계산 없이 확실한 범위에서만 판단한다.",
        ),
        nullable_when=_NO_GOLD,
    ),
    Column(
        "had_correct_but_lost",
        pa.bool_(),
        Show.SHARE,
        better="lower",
        label=said("Had the correct answer, then lost it", "정답을 얻고도 놓침"),
        definition=said(
            "The correct answer is stated, and the final answer is certainly another one or there is none.",
            "정답이 진술되었으나 최종 답이 확실히 다르거나 없다.",
        ),
        nullable_when="it takes algebra to tell whether the final answer is correct, or the problem is a code problem or "
        "has no gold answer",
    ),
    Column(
        "first_correct_char",
        pa.int64(),
        Show.HISTOGRAM,
        unit="characters",
        label=said("Correct answer first stated at", "정답의 첫 진술 위치"),
        definition=said(
            "Number of code points before the first statement of the correct answer; empty where there is none.",
            "정답을 처음 진술한 곳 앞에 있는 코드 포인트의 개수이며, 없으면 비워 둔다.",
        ),
        nullable_when=_NEVER,
    ),
    Column(
        "last_correct_char",
        pa.int64(),
        Show.HIDDEN,
        unit="characters",
        label=said("Correct answer last stated at", "정답의 마지막 진술 위치"),
        definition=said(
            "Number of code points before the last statement of the correct answer; empty where there is none.",
            "정답을 마지막으로 진술한 곳 앞에 있는 코드 포인트의 개수이며, 없으면 비워 둔다.",
        ),
        nullable_when=_NEVER,
    ),
    Column(
        "final_answer_first_char",
        pa.int64(),
        Show.HIDDEN,
        unit="characters",
        label=said("Final answer first stated at", "최종 답의 첫 진술 위치"),
        definition=said(
            "Number of code points before the first statement of what is the final answer, the last boxed one or else "
            'the last "the answer is"; empty where there is none.',
            "최종 답(마지막 \\boxed{}, 없으면 마지막 'the answer is')과 같은 답을 처음 진술한 곳 앞에 있는 코드 포인트의 "
            "개수이며, 최종 답이 없으면 비워 둔다.",
        ),
        nullable_when="the response has no final answer, or the problem is a code problem",
    ),
    Column(
        "n_answers_stated",
        pa.int64(),
        Show.HISTOGRAM,
        unit="statements",
        label=said("Answers stated", "답 진술 수"),
        definition=said(
            'Number of times that the response boxes an answer or says "the answer is X" or "X is the answer".',
            "응답이 \\boxed{}에 답을 넣거나 'the answer is X', 'X is the answer'라고 말한 횟수.",
        ),
        nullable_when=_CODE,
    ),
    Column(
        "answer_changes",
        pa.int64(),
        Show.HISTOGRAM,
        unit="changes",
        better="lower",
        label=said("Changes of the answer", "답 변경 횟수"),
        definition=said(
            'Number of answers stated (boxed, or by "the answer is") that are not the one stated before, as far as equality '
            "is certain without algebra.",
            "진술한 답(\\boxed{} 또는 'the answer is') 가운데, 대수 계산 없이 확실한 범위에서 바로 앞에 진술한 답과 같지 않은 것의 개수.",
        ),
        nullable_when=_CODE,
    ),
    Column(
        "answer_last_change_fraction",
        pa.float64(),
        Show.TIMELINE,
        label=said("Answer settled at (share)", "답 수렴 지점"),
        definition=said(
            'Where the answer that is stated last (boxed, or by "the answer is") was stated and not changed from then on, '
            "as a share of the response's characters (answer convergence); empty where no answer is stated.",
            "마지막으로 진술한 답(\\boxed{} 또는 'the answer is')이 그 뒤로 바뀌지 않게 된 진술의 위치를 응답 문자 수로 나눈 "
            "값(답 수렴)이며, 진술한 답이 없으면 비워 둔다.",
        ),
        nullable_when="the response has no final answer, or the problem is a code problem",
    ),
    Column(
        "underthinking",
        pa.float64(),
        Show.TIMELINE,
        better="lower",
        label=said("Underthinking", "사고 부족 점수"),
        definition=said(
            "Of a wrong response, 1 - t/T, where T is its length and t the length up to the end of the first statement of "
            "the correct answer, both in code points; 0 where it is never stated (Wang et al., arXiv 2501.18585).",
            "오답 응답에서 1 - t/T로, T는 응답 길이, t는 정답의 첫 진술이 끝날 때까지의 길이(코드 포인트)이며, 정답을 한 번도 "
            "진술하지 않았으면 0이다(Wang 등, arXiv 2501.18585).",
        ),
        nullable_when="the final answer is correct, or it takes algebra to tell, or the problem is a code problem or has "
        "no gold answer",
    ),
)
_RULE = Column(
    "first_correct_rule",
    pa.string(),
    Show.TABLE,
    label=said("Correct answer first stated as", "정답의 첫 진술 형식"),
    definition=said(
        'How the correct answer is first stated: boxed, answered ("the answer is") or concluded; empty where it is not.',
        "정답을 처음 진술한 형식으로, boxed, answered('the answer is'), concluded(결론 문장) 가운데 하나이며, 없으면 비워 둔다.",
    ),
    nullable_when=_NEVER,
)
_SPANS = Column(
    "correct_spans",
    SPAN_TYPE,
    Show.SPANS,
    label=said("Correct answer in the text", "본문의 정답 진술"),
    definition=said(
        "Where the correct answer is stated in the response, the answer itself.",
        "응답에서 정답이 진술된 범위(답 자체).",
    ),
    nullable_when=_NO_GOLD,
)
_AT = {column.name: i for i, column in enumerate(_FIGURES)}


def _choice(text: str) -> Canonical:
    return Canonical(answers.choice_letter(text) or "", None)


def _same_choice(one: Canonical, other: Canonical) -> bool | None:
    return one.text == other.text if one.text and other.text else None


class _Race:
    """One response: its statements, the final answer, and what equals what."""

    def __init__(self, scan: Scan, choice: bool) -> None:
        self._form, self._same = (_choice, _same_choice) if choice else (canonical, same)
        self.stated = stated = scan.once(statements)
        # What is boxed or called the answer; conclusions are steps as well.
        explicit = stated.rules != CONCLUDED
        self._eligible = explicit if choice else np.ones(len(explicit), np.bool_)
        # Texts that are only ever concluded are read where they can be what is wanted.
        self._explicit = np.zeros(len(stated.texts), np.bool_)
        of_texts = stated.which < len(stated.texts)
        self._explicit[stated.which[explicit & of_texts]] = True
        group = np.arange(stated.which.max(initial=-1) + 1) + len(stated.texts)
        numbers: dict[str | Fraction, int] = {"": -1}
        for i in np.flatnonzero(self._explicit):
            group[i] = numbers.setdefault(self._form(stated.texts[i]).key, len(numbers))
        counted = np.flatnonzero(explicit & ~stated.words)
        groups = group[stated.which[counted]]
        self.answers, self._groups = counted[groups >= 0], groups[groups >= 0]
        boxed = self.answers[stated.rules[self.answers] == BOXED]
        last = boxed if len(boxed) else self.answers
        self.last = int(last[-1]) if len(last) else -1
        self.final: Canonical | None = None
        if len(last):
            self.final = self._form(scan.slice(int(stated.starts[self.last]), int(stated.ends[self.last])))

    def equals(self, wanted: Canonical) -> npt.NDArray[np.bool_]:
        """Which statements certainly state ``wanted``."""
        hits = np.zeros(self.stated.which.max(initial=-1) + 1, np.bool_)
        for i, text in enumerate(self.stated.texts):
            if self._explicit[i] or may_be(wanted, text):
                hits[i] = self._same(wanted, self._form(text)) is True
        stating: npt.NDArray[np.bool_] = hits[self.stated.which] & self._eligible
        return stating

    def is_final(self, wanted: Canonical) -> bool | None:
        """Whether the final answer is ``wanted``; False without a final answer, None where it takes algebra."""
        return False if self.final is None else self._same(wanted, self.final)

    def changes(self) -> tuple[int, int | None]:
        """How often the stated answer changes, and the statement since which it has been the last one."""
        if not len(self.answers):
            return 0, None
        changed = np.flatnonzero(np.diff(self._groups)) + 1
        return len(changed), int(self.answers[changed[-1] if len(changed) else 0])


def _measure(
    scan: Scan, gold: Canonical | None, choice: bool, row: npt.NDArray[np.float64]
) -> tuple[str | None, npt.NDArray[np.int64]]:
    """Write the figures; the rule of the first correct statement, and the correct spans in code points (k, 2)."""
    run = _Race(scan, choice)
    stated = run.stated
    changes, since = run.changes()
    row[_AT["n_answers_stated"]] = len(run.answers)
    row[_AT["answer_changes"]] = changes
    if since is not None:
        row[_AT["answer_last_change_fraction"]] = scan.char(int(stated.starts[since])) / scan.n_chars
    if run.final is not None:
        same_as_final = run.equals(run.final)
        same_as_final[run.last] = True
        row[_AT["final_answer_first_char"]] = scan.char(int(stated.starts[same_as_final.argmax()]))
    if gold is None:
        return None, np.empty((0, 2), np.int64)
    correct = run.equals(gold)
    at = np.stack([scan.chars(stated.starts[correct]), scan.chars(stated.ends[correct])], axis=1)
    final = run.is_final(gold)
    row[_AT["had_correct"]] = len(at) > 0
    if final is not None:
        row[_AT["had_correct_but_lost"]] = len(at) > 0 and not final
    if final is False:
        row[_AT["underthinking"]] = 1 - at[0, 1] / scan.n_chars if len(at) else 0.0
    if not len(at):
        return None, at
    row[_AT["first_correct_char"]], row[_AT["last_correct_char"]] = at[0, 0], at[-1, 0]
    return RULES[int(stated.rules[correct][0])], at


def _gold(text: str | None, choice: bool) -> Canonical | None:
    if text is None or not text.strip():
        return None
    found = (_choice if choice else canonical)(answers.gold_answer(text))
    return found if found.text else None


@metric(
    version=1,
    reads=("text", "gold", "kind"),
    title=said("The race", "정답과의 경주"),
    columns=(*_FIGURES, _RULE, _SPANS),
)
def race(batch: pa.Table) -> Mapping[str, object]:
    """When the response stated the correct answer, and whether it kept it.

    The correct answer is looked for by equivalence among what is *stated*, never as a
    substring.  A response may state it by chance, on the way to something else: the more
    often, the smaller the number (``bench/race_control.py`` measures how often).
    """
    found = scans(batch)
    values = np.full((len(found), len(_FIGURES)), np.nan)
    rules: list[str | None] = [None] * len(found)
    known = np.zeros(len(found), np.bool_)
    rows: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    places: list[npt.NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
    golds, kinds = batch.column("gold").to_pylist(), batch.column("kind").to_pylist()
    for i, (scan, gold_text, kind) in enumerate(zip(found, golds, kinds, strict=True)):
        if scan is None or kind == Kind.CODE:
            continue
        choice = kind == Kind.CHOICE
        gold = _gold(gold_text, choice)
        known[i] = gold is not None
        rules[i], at = _measure(scan, gold, choice, values[i])
        rows.append(np.full(len(at), i))
        places.append(at)
    at = np.concatenate(places)
    return {
        **as_columns(values, _FIGURES),
        _RULE.name: pa.array(rules, pa.string()),
        _SPANS.name: spans(known, np.concatenate(rows), at[:, 0], at[:, 1]),
    }
