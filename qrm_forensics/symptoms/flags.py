r"""The symptoms: flags that do not exclude each other, and the reference study's categories beside them.

Facts that several rules share are functions here, with the columns that they read beside them,
so that a flag and an outcome which speak of the same thing cannot drift apart.
"""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

from qrm_forensics.metrics.protocol import said
from qrm_forensics.records import Finish, Status
from qrm_forensics.symptoms.facts import Facts, Truth, all_of, any_of, is_not
from qrm_forensics.symptoms.rule import Rule

LOOP = ("loop", "loop_tier")
TERMINAL = ("loop", "loop_terminal")
TO_LIMIT = ("finish", "closed", *TERMINAL)


def looped(f: Facts) -> Truth:
    """A repetition that counts as a loop: tier 1 or 2, not an enumeration alone."""
    return all_of(f.yes("loop"), pc.less(f.number("loop_tier"), 3))


def terminal(f: Facts) -> Truth:
    """A loop that goes on to the end of the response; without a loop there is none, whatever else is known."""
    return all_of(f.yes("loop"), f.yes("loop_terminal"))


def to_limit(f: Facts) -> Truth:
    """Stopped from outside.

    Where the source does not say why a response ended, one whose thinking was never closed, or that ends
    inside a loop, is taken to have been stopped: a model that ends by itself does neither.
    """
    unsaid = f.equals("finish", Finish.UNKNOWN)
    stopped = f.equals("finish", Finish.LENGTH, Finish.LOOP_STOPPED)
    return any_of(stopped, all_of(unsaid, any_of(is_not(f.yes("closed")), terminal(f))))


def correct(f: Facts) -> Truth:
    return f.judged("strict_status", Status.CORRECT)


def wrong_format(f: Facts) -> Truth:
    return all_of(is_not(correct(f)), f.judged("lenient_status", Status.CORRECT))


def _between(column: Any, low: int, high: int) -> Truth:
    return pc.and_(pc.greater(column, low), pc.less_equal(column, high))


SYMPTOMS: tuple[Rule, ...] = (
    Rule(
        "symptom",
        "looped",
        said("Looped", "반복에 빠짐"),
        said(
            "A stretch of the response repeats itself, exactly or but for its connectives (loop of tier 1 or 2).",
            "응답의 한 구간이 그대로 또는 접속어만 바꾸어 되풀이된다(1·2단계 반복).",
        ),
        LOOP,
        looped,
    ),
    Rule(
        "symptom",
        "terminal_loop",
        said("Ends in a loop", "반복으로 끝남"),
        said(
            "A loop goes on to the end of the response.",
            "반복이 응답 끝까지 이어진다.",
        ),
        TERMINAL,
        terminal,
    ),
    Rule(
        "symptom",
        "recovered_loop",
        said("Left a loop", "반복에서 벗어남"),
        said(
            "The response looped (tier 1 or 2) and went on to something else.",
            "반복(1·2단계)에 빠졌다가 벗어나 다른 내용을 이어 갔다.",
        ),
        (*LOOP, "loop_recovered"),
        lambda f: all_of(looped(f), f.yes("loop_recovered")),
    ),
    Rule(
        "symptom",
        "enumeration_run",
        said("Long enumeration", "긴 나열"),
        said(
            "A stretch repeats itself but for its numbers, as in going through cases; not a failure by itself.",
            "경우를 하나씩 따질 때처럼 숫자만 바꾸어 되풀이하는 구간이 있으며, 그 자체로 실패는 아니다.",
        ),
        ("loop_enumeration",),
        lambda f: f.yes("loop_enumeration"),
    ),
    Rule(
        "symptom",
        "truncated",
        said("Stopped from outside", "외부에서 중단됨"),
        said(
            "The token limit or a loop detector ended the response; where the source does not say what ended it, the thinking was never closed or the response ends in a loop.",
            "토큰 한도나 반복 감지기가 응답을 끝냈다. 종료 이유가 원본에 없으면 사고가 닫히지 않았거나 반복 중에 끝난 경우로 본다.",
        ),
        TO_LIMIT,
        to_limit,
    ),
    Rule(
        "symptom",
        "unclosed",
        said("Thinking not closed", "사고 미종료"),
        said("The response has no '</think>'.", "응답에 '</think>'가 없다."),
        ("closed",),
        lambda f: is_not(f.yes("closed")),
    ),
    Rule(
        "symptom",
        "no_answer",
        said("No answer", "답 없음"),
        said(
            "The strict policy found no answer: no closed '\\boxed{}' after the last '</think>', or nothing in it.",
            "엄격 채점에서 답을 찾지 못했다: 마지막 '</think>' 뒤에 닫힌 '\\boxed{}'가 없거나 비어 있다.",
        ),
        ("strict_status",),
        lambda f: f.judged("strict_status", Status.MISSING),
    ),
    Rule(
        "symptom",
        "no_box",
        said("No box", "\\boxed{} 없음"),
        said("No '\\boxed{}' with a closed brace anywhere.", "응답 어디에도 닫힌 '\\boxed{}'가 없다."),
        ("boxed",),
        lambda f: is_not(f.yes("boxed")),
    ),
    Rule(
        "symptom",
        "wrong_format",
        said("Credited only leniently", "완화 채점에서만 정답"),
        said(
            "The lenient policy says correct and the strict policy does not.",
            "완화 채점에서는 정답이지만 엄격 채점에서는 정답이 아니다.",
        ),
        ("strict_status", "lenient_status"),
        wrong_format,
    ),
    Rule(
        "symptom",
        "had_correct_lost",
        said("Had the right answer", "정답에 이르렀다가 놓침"),
        said(
            "The correct answer is stated somewhere in the response, and the strict policy does not say correct.",
            "응답 어딘가에서 정답을 말했지만 엄격 채점에서 정답이 아니다.",
        ),
        ("strict_status", "had_correct"),
        lambda f: all_of(is_not(correct(f)), f.yes("had_correct")),
    ),
    Rule(
        "symptom",
        "false_equation",
        said("False written equations", "거짓 등식"),
        said(
            "More written equations are false than the threshold 'false_equations' allows.",
            "거짓인 등식의 수가 임곗값 'false_equations'보다 많다.",
        ),
        ("false_equations",),
        lambda f: f.above("false_equations", "false_equations"),
        ("false_equations",),
    ),
    Rule(
        "symptom",
        "gibberish",
        said("Gibberish", "횡설수설"),
        said(
            "The response shows a sign of gibberish, by the definition of the metric 'gibberish'.",
            "지표 'gibberish'의 정의에 따른 횡설수설의 징후가 있다.",
        ),
        ("gibberish",),
        lambda f: f.yes("gibberish"),
    ),
    Rule(
        "symptom",
        "low_diversity",
        said("Low diversity", "낮은 어휘 다양성"),
        said(
            "The mean type-token ratio over windows of 500 words is below the threshold 'low_diversity'; not known below 500 words.",
            "500단어 구간의 평균 타입-토큰 비율이 임곗값 'low_diversity'보다 낮으며, 500단어 미만이면 알 수 없다.",
        ),
        ("mattr_500",),
        lambda f: f.below("mattr_500", "low_diversity"),
        ("low_diversity",),
    ),
)

#: The error categories of the reference report, by the rules of its script.  They overlap, so their counts do
#: not add up to the number of responses (1,906 over 1,151 errors in the report itself).
REFERENCE_CATEGORIES: tuple[Rule, ...] = (
    Rule(
        "reference",
        "severe_wait",
        said("Severe repetition (reference)", "심각한 반복(참조 연구)"),
        said(
            "More than 1,000 matches of \\bWait,?\\b, ignoring case.",
            "대소문자를 구분하지 않은 \\bWait,?\\b 일치 횟수가 1,000회를 넘는다.",
        ),
        ("ref_wait",),
        lambda f: pc.greater(f.number("ref_wait"), 1000),
    ),
    Rule(
        "reference",
        "moderate_wait",
        said("Moderate repetition (reference)", "중간 정도의 반복(참조 연구)"),
        said(
            "More than 100 and at most 1,000 matches of \\bWait,?\\b, ignoring case.",
            "대소문자를 구분하지 않은 \\bWait,?\\b 일치 횟수가 100회를 넘고 1,000회 이하이다.",
        ),
        ("ref_wait",),
        lambda f: _between(f.number("ref_wait"), 100, 1000),
    ),
    Rule(
        "reference",
        "garbled",
        said("Garbled text (reference)", "깨진 텍스트(참조 연구)"),
        said(
            "At least ten equal characters in a row (any but a line feed, spaces too, so that aligned tables count).",
            "같은 문자가 10자 이상 이어진다(줄바꿈은 제외하고 공백은 포함하므로 줄을 맞춘 표도 해당한다).",
        ),
        ("ref_repeated_chars",),
        lambda f: pc.greater(f.number("ref_repeated_chars"), 0),
    ),
    Rule(
        "reference",
        "missing_answer",
        said("Missing answer (reference)", "답 누락(참조 연구)"),
        said(
            "No '\\boxed{' with a closed brace anywhere (the script does not ask for the closing brace).",
            "응답 어디에도 닫힌 '\\boxed{'가 없다(참조 스크립트는 닫는 중괄호를 요구하지 않는다).",
        ),
        ("boxed",),
        lambda f: is_not(f.yes("boxed")),
    ),
    Rule(
        "reference",
        "low_diversity",
        said("Low token diversity (reference)", "낮은 토큰 다양성(참조 연구)"),
        said(
            "The type-token ratio of all words is below 0.1, which a long response reaches by its length alone.",
            "전체 단어의 타입-토큰 비율이 0.1보다 낮다(긴 응답은 길이만으로도 여기에 해당한다).",
        ),
        ("ttr",),
        lambda f: pc.less(f.number("ttr"), 0.1),
    ),
)

#: For a report that shows the reference categories.
REFERENCE_NOTE = said(
    "These categories overlap: one response can be in several or in none, so their shares do not add up. "
    "The reference report counted them among responses that the lenient policy does not call correct.",
    "이 범주들은 서로 겹칩니다. 한 응답이 여러 범주에 들거나 어디에도 들지 않을 수 있어 비율을 더해도 100%가 되지 않습니다. "
    "참조 보고서는 완화 채점에서 정답이 아닌 응답에서만 세었습니다.",
)
