"""What became of each response: one outcome, by rules that are asked in a fixed order.

The order is the meaning: the first rule that holds names the outcome.

1. A failed or empty response has nothing to explain.
2. What the strict policy calls correct is correct, so that the two correct outcomes count what
   strict accuracy counts.  Whether it had looped on the way is said, because it cost tokens.
3. Among failures, how the response *ended* comes before what happened on the way: one that ran in a
   circle until it was stopped did so whatever it had said before.  Its other symptoms stay visible
   as flags (a looping response that had the right answer has ``had_correct_lost`` set).
   A loop comes before gibberish, for a loop over one strange word is counted by both, and
   before the lenient verdict, which credits numbers that a loop happens to repeat.
4. Gibberish comes before "ran out" and "no answer": a text that has stopped being language was not
   merely long or silent.
5. Of responses that ended by themselves: no answer, the right answer in the wrong
   form, the right answer reached and left, and only then slips of arithmetic, which
   correct responses have too.

A rule that its columns do not decide ends the search: the outcome is ``unassigned``, with the rule and what
was not known as the reason.  A later rule is not tried, for that would be a guess that the earlier one fails.
"""

from __future__ import annotations

import pyarrow.compute as pc

from qrm_forensics.metrics.protocol import said
from qrm_forensics.records import Finish, Status
from qrm_forensics.symptoms.facts import Facts, Truth, all_of, any_of, is_not, known_yes
from qrm_forensics.symptoms.flags import LOOP, TO_LIMIT, correct, looped, terminal, to_limit, wrong_format
from qrm_forensics.symptoms.rule import Rule

UNASSIGNED = "unassigned"


def _empty_or_error(f: Facts) -> Truth:
    nothing = any_of(f.equals("finish", Finish.ERROR), pc.equal(f.number("n_words"), 0))
    # As recorded: a failed response is unscored, and must not be left unassigned for that.
    return all_of(nothing, is_not(known_yes(f.equals("strict_status", Status.CORRECT))))


def _mostly_loop_from_the_onset(f: Facts) -> Truth:
    """A loop that stumbles: it does not reach the end unbroken, yet little else follows its onset."""
    rest = pc.subtract(1.0, f.number("loop_onset_fraction"))
    return all_of(looped(f), pc.greater(f.number("loop_coverage"), pc.multiply(rest, f.limit("loop_share"))))


def _looped_to_limit(f: Facts) -> Truth:
    in_loop = any_of(terminal(f), f.equals("finish", Finish.LOOP_STOPPED), _mostly_loop_from_the_onset(f))
    return all_of(to_limit(f), in_loop)


def _collapsed(f: Facts) -> Truth:
    """More than a sign: enough of it, and nothing to show for it.

    Digits are no words, so windows of random ones are asked for apart.  A rare but proper word that
    no other response uses counts as gibberish too, so a response that came to an answer has
    to consist of gibberish to a good part.  In a run too small to judge words by, the digits are known and
    the words are not: they are then not held against the response, or every failure there were unassigned.
    """
    words, digits = f.number("gibberish_count"), f.number("random_digit_windows")
    words = pc.if_else(pc.and_(pc.is_null(words), pc.is_valid(digits)), 0.0, words)
    enough = any_of(pc.greater(words, f.limit("gibberish")), pc.greater(digits, 0))
    part = pc.multiply(f.number("n_words"), f.limit("gibberish_share"))
    mostly = pc.greater(words, part)
    return all_of(enough, any_of(to_limit(f), f.judged("strict_status", Status.MISSING), mostly))


def _wrong(f: Facts) -> Truth:
    return f.judged("strict_status", Status.WRONG)


OUTCOMES: tuple[Rule, ...] = (
    Rule(
        "outcome",
        "empty_or_error",
        said("Empty or failed", "빈 응답 또는 오류"),
        said(
            "Generation failed, or the response has no words; and it is not recorded as correct.",
            "생성에 실패했거나 단어가 하나도 없으며, 정답으로 기록되지 않았다.",
        ),
        ("finish", "n_words", "strict_status"),
        _empty_or_error,
    ),
    Rule(
        "outcome",
        "correct_after_recovered_loop",
        said("Correct after a loop", "반복에서 벗어난 뒤 정답"),
        said(
            "Correct by the strict policy, and the response had looped (tier 1 or 2) and left the loop.",
            "엄격 채점에서 정답이고, 반복(1·2단계)에 빠졌다가 벗어났다.",
        ),
        ("strict_status", *LOOP, "loop_recovered"),
        lambda f: all_of(correct(f), looped(f), f.yes("loop_recovered")),
    ),
    Rule(
        "outcome",
        "correct",
        said("Correct", "정답"),
        said(
            "Correct by the strict policy, without a loop that was left (one that goes on after the answer is flagged).",
            "엄격 채점에서 정답이고, 벗어난 반복이 없다(답을 낸 뒤에 이어진 반복은 증상으로 표시한다).",
        ),
        ("strict_status",),
        correct,
    ),
    Rule(
        "outcome",
        "looped_to_limit",
        said("Looped to the limit", "반복하다 중단됨"),
        said(
            "Stopped from outside (the symptom of that name) while repeating itself: a loop goes on to the end, loops cover more tokens than the share 'loop_share' of those that follow the loop onset, or a loop detector stopped it.",
            "되풀이하던 중 외부에서 중단되었다(같은 이름의 증상 참고): 반복이 끝까지 이어지거나, 반복 구간의 토큰이 반복 시작 이후 토큰의 'loop_share' 비율보다 많거나, 반복 감지기가 중단시켰다.",
        ),
        (*TO_LIMIT, "loop_tier", "loop_coverage", "loop_onset_fraction"),
        _looped_to_limit,
        ("loop_share",),
    ),
    Rule(
        "outcome",
        "gibberish_collapse",
        said("Collapsed into gibberish", "횡설수설로 붕괴"),
        said(
            "Not correct; more gibberish words than the threshold 'gibberish' allows, or a window of random digits; and it was stopped from outside, or has no answer, or more than the share 'gibberish_share' of its words is gibberish. In a run too small to judge words by, only the digits count.",
            "정답이 아니고, 횡설수설 단어 수가 임곗값 'gibberish'보다 많거나 무작위 숫자 구간이 있으며, 외부에서 중단되었거나 답이 없거나 횡설수설 단어의 비율이 'gibberish_share'보다 높다. 단어를 견줄 다른 응답이 너무 적으면 숫자만 본다.",
        ),
        ("gibberish_count", "random_digit_windows", "n_words", "strict_status", *TO_LIMIT),
        _collapsed,
        ("gibberish", "gibberish_share"),
    ),
    Rule(
        "outcome",
        "ran_out_without_loop",
        said("Ran out, not looping", "반복 없이 한도 도달"),
        said(
            "Stopped from outside (the symptom of that name), and not while repeating itself; going through cases is no repetition.",
            "되풀이하지 않던 중 외부에서 중단되었다(같은 이름의 증상 참고). 경우를 하나씩 나열하는 것은 반복이 아니다.",
        ),
        TO_LIMIT,
        to_limit,
    ),
    Rule(
        "outcome",
        "closed_no_answer",
        said("Ended without an answer", "답 없이 종료"),
        said(
            "Ended by itself; the strict policy found no answer, and the lenient policy does not say correct.",
            "스스로 끝났으나 엄격 채점에서 답이 없고, 완화 채점에서도 정답이 아니다.",
        ),
        ("strict_status", "lenient_status"),
        lambda f: all_of(f.judged("strict_status", Status.MISSING), is_not(f.judged("lenient_status", Status.CORRECT))),
    ),
    Rule(
        "outcome",
        "right_answer_wrong_format",
        said("Right answer, wrong form", "정답이지만 형식 오류"),
        said(
            "Ended by itself; the lenient policy says correct, the strict policy says missing or wrong.",
            "스스로 끝났고, 완화 채점에서는 정답이지만 엄격 채점에서는 답이 없거나 오답이다.",
        ),
        ("strict_status", "lenient_status"),
        wrong_format,
    ),
    Rule(
        "outcome",
        "reached_right_then_lost",
        said("Reached the right answer, then left it", "정답에 이르렀다가 놓침"),
        said(
            "Wrong by both policies, and the correct answer is stated somewhere in the response.",
            "두 채점 모두 오답이지만, 응답 어딘가에서 정답을 말했다.",
        ),
        ("strict_status", "had_correct"),
        lambda f: all_of(_wrong(f), f.yes("had_correct")),
    ),
    Rule(
        "outcome",
        "wrong_false_equation",
        said("Wrong, with a false equation", "오답, 거짓 등식 있음"),
        said(
            "Wrong by both policies, and more written equations are false than the threshold 'false_equations' allows.",
            "두 채점 모두 오답이고, 거짓인 등식의 수가 임곗값 'false_equations'보다 많다.",
        ),
        ("strict_status", "false_equations"),
        lambda f: all_of(_wrong(f), f.above("false_equations", "false_equations")),
        ("false_equations",),
    ),
    Rule(
        "outcome",
        "wrong_no_visible_slip",
        said("Wrong, no visible slip", "오답, 드러난 실수 없음"),
        said(
            "Wrong by both policies, and none of the above.",
            "두 채점 모두 오답이고, 위의 어느 것에도 해당하지 않는다.",
        ),
        ("strict_status",),
        _wrong,
    ),
)

UNASSIGNED_LABEL = said("Unassigned", "분류하지 못함")
UNASSIGNED_DEFINITION = said(
    "A rule could not be decided because a column that it reads is empty or a verdict is unscored; the reason names both.",
    "규칙이 읽는 열이 비어 있거나 채점되지 않아 판단할 수 없었으며, 이유에 규칙과 열을 적는다.",
)
