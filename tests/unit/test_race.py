"""Stated answers: what is a statement, when the correct one was made, and what became of it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from qrm_forensics.metrics.race import race
from qrm_forensics.metrics.scan import scan_text
from qrm_forensics.metrics.statements import (
    ANSWERED,
    BOXED,
    CONCLUDED,
    canonical,
    same,
    statements,
)

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from race_control import control, read, response, table


def stated(text: str) -> list[tuple[int, str]]:
    found = statements(scan_text(text))
    return [(int(rule), found.texts[int(which)]) for rule, which in zip(found.rules, found.which, strict=True)]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{42}", "42"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\\boxed{7}", "7"),
        (r"\boxed {7}", "7"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{x = \{1, 2\}}", r"x = \{1, 2\}"),
        (r"**Final Answer**" + "\n" + r"\[\boxed{4427}\]", "4427"),
    ],
)
def test_boxed(text: str, answer: str) -> None:
    assert stated(text) == [(BOXED, answer)]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 42.", "42"),
        ("So the answer is \\(\\frac{1}{2}\\), I think", r"\frac{1}{2}"),
        ("I think 4427 is the answer.", "4427"),
        ("So 3 is the correct answer.", "3"),
        ("Answer: 42", "42"),
        ("**Answer:** 42", "42"),
        ("answer = 42", "42"),
        ("the answer should be 42", "42"),
        ("The answer is m + n = 25.", "25"),
        ("the answer is indeed 42 because", "42"),
        ("The answer is (2, 3).", "(2, 3)"),
        ("Answer: (B)", "(B)"),
        ("the answer is option C.", "C"),
        ("the answer is even.", "even"),
        (r"the answer is \text{Evelyn}.", "{Evelyn}"),
        (r"The answer is 30^\circ.", r"30^\circ"),
        ("the answer is 5!", "5"),
        ("The answers are 2 and 3", "2"),
    ],
)
def test_answered(text: str, answer: str) -> None:
    assert stated(text) == [(ANSWERED, answer)]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Therefore, m + n = 4301 + 126 = 4427.", "4427"),
        ("So, the area is 12 square units.", "12"),
        ("Wait, so the total is 12.", "12"),
        ("Hence \\(AB + BC = 3\\).", "3"),
        (r"So the probability is $\frac{3}{4}$.", r"\frac{3}{4}"),
        ("So, h(x) is even.", "even"),
        ("Thus the length is 12", "12"),
    ],
)
def test_concluded(text: str, answer: str) -> None:
    assert stated(text) == [(CONCLUDED, answer)]


@pytest.mark.parametrize(
    "text",
    [
        "42",
        "the 42 cases",
        "x = 42",
        "The sum is 42.",
        "So x = 3.",
        "So a_1 = 3.",
        "so a_{12} = 3.",
        "So, 5 + 6 = 11, as expected.",
        "So 42 of them remain.",
        "Is the answer 42?",
        "So is the total 42?",
        "So the total is 42?",
        "The answer is 42, right?",
        "The answer isn't 42",
        "the answer is not 42",
        "If the answer is 42, then",
        "the answer is correct.",
        "the answer is a number",
        "What is the answer?",
        r"\boxed{}",
        r"\boxed{42",
        r"\fbox{42}",
    ],
)
def test_no_statement(text: str) -> None:
    assert stated(text) == []


def test_the_same_answer() -> None:
    equal = [("1/2", r"\frac12"), ("0.5", "1/2"), ("x = 5", "5"), (r"x \in [-2,7]", "[-2, 7]"), ("1,234", "1234")]
    equal += [("042", "42"), (r"\text{Evelyn}", "Evelyn"), ("{Evelyn}", r"\text{Evelyn}"), (r"\$32,\!348", "32348")]
    equal += [(r"\begin{pmatrix} 16/49 \\ 3 \end{pmatrix}", r"\begin{pmatrix}\dfrac{16}{49} \\ 3\end{pmatrix}")]
    for a, b in equal:
        assert same(canonical(a), canonical(b)) is True, (a, b)
    for a, b in [("5", "6"), ("1/2", "1/3"), ("0.5", "0.51")]:
        assert same(canonical(a), canonical(b)) is False, (a, b)
    for a, b in [("2^3", "8"), ("x+1", "1+x"), ("", "5"), ("9" * 400, "9" * 400), ("0.333333", "1/3")]:
        assert same(canonical(a), canonical(b)) is None, (a, b)


def raced(text: str | None, gold: str | None = "12", kind: str = "math") -> dict[str, Any]:
    batch = {"text": pa.array([text], pa.large_string()), "gold": pa.array([gold], pa.string()), "kind": [kind]}
    row: dict[str, Any] = race(pa.table(batch)).to_pylist()[0]
    return row


def test_reached_and_kept() -> None:
    text = "é So the total is 12. Wait. So the total is 13. No. The answer is 12. \\boxed{12}"
    row = raced("é.\n" + text[2:])
    text = "é.\n" + text[2:]
    first = text.index("12")
    assert row["had_correct"] is True
    assert row["had_correct_but_lost"] is False
    assert row["first_correct_char"] == first
    assert row["first_correct_rule"] == "concluded"
    assert row["last_correct_char"] == text.rindex("12")
    assert row["final_answer_first_char"] == first
    assert row["n_answers_stated"] == 2
    assert row["answer_changes"] == 0
    assert row["answer_last_change_fraction"] == pytest.approx(text.index("12. \\boxed") / len(text))
    assert row["underthinking"] is None
    assert [text[s["start"] : s["end"]] for s in row["correct_spans"]] == ["12", "12", "12"]


def test_reached_and_lost() -> None:
    text = "The answer is 12. But wait, the answer is 13. Hmm, the answer is 12. Then \\boxed{13}"
    row = raced(text)
    assert row["had_correct"] is True
    assert row["had_correct_but_lost"] is True
    assert row["answer_changes"] == 3
    assert row["underthinking"] == pytest.approx(1 - (text.index("12") + 2) / len(text))
    assert row["final_answer_first_char"] == text.index("13")
    assert row["answer_last_change_fraction"] == pytest.approx(text.rindex("13") / len(text))
    assert row["first_correct_rule"] == "answered"


def test_never_reached() -> None:
    row = raced("So 12 things. \\boxed{13}")
    assert row["had_correct"] is False
    assert row["had_correct_but_lost"] is False
    assert row["underthinking"] == 0.0
    assert row["first_correct_char"] is None
    assert row["correct_spans"] == []


def test_without_a_final_answer() -> None:
    row = raced("Therefore, the total is 12. Wait, wait, wait")
    assert row["had_correct_but_lost"] is True
    assert row["final_answer_first_char"] is None
    assert row["n_answers_stated"] == 0
    assert row["answer_last_change_fraction"] is None
    assert row["underthinking"] == pytest.approx(1 - 26 / 44)


def test_what_takes_algebra_is_left_open() -> None:
    row = raced(r"\boxed{3 \cdot 4}")
    assert row["had_correct"] is False
    assert row["had_correct_but_lost"] is None
    assert row["underthinking"] is None


def test_a_worked_solution_as_gold() -> None:
    assert raced(r"\boxed{12}", r"We add: $5 + 7 = \boxed{12}$.")["had_correct"] is True


def test_choices() -> None:
    row = raced("So the point is A. So the answer is (B). No: \\boxed{\\text{C}}", "B", "choice")
    assert row["had_correct"] is True
    assert row["had_correct_but_lost"] is True
    assert row["answer_changes"] == 1
    assert raced("So the point is B. \\boxed{C}", "B", "choice")["had_correct"] is False


def test_without_text_gold_or_with_code() -> None:
    assert set(raced(None).values()) == {None}
    assert set(raced("\\boxed{12}", kind="code").values()) == {None}
    row = raced("\\boxed{12}", None)
    assert row["had_correct"] is row["correct_spans"] is row["underthinking"] is None
    assert row["n_answers_stated"] == 1


def test_the_permutation_control_counts_foreign_golds() -> None:
    responses = [
        response("The answer is 12. \\boxed{34}", "34", True),
        response("\\boxed{12}", "12", True),
        response("So the total is 34. \\boxed{99}", "56", False),
    ]
    # Foreign pairs: 34|12, 34|56, 12|34, 12|56, 56|34, 56|12; stated: 12 by the first, 34 by the third.
    assert control(responses, (BOXED, ANSWERED, CONCLUDED)) == {"10-99": (2, 6)}
    assert control(responses, (BOXED,)) == {"10-99": (0, 6)}
    assert "2/2" in table(responses)


BOMBS = {
    "digits": "7" * 1_000_000,
    "open boxes": "\\boxed{" * 100_000,
    "boxes": "\\boxed{1}" * 100_000,
    "closing": "}" * 1_000_000,
    "answers": "answer " * 140_000,
    "answers that nest": "the answer is ((((" * 50_000,
    "conclusions": "So 1 is 1.\n" * 90_000,
    "one word": "a" * 1_000_000,
    "brackets": "(" * 1_000_000,
    "chain": "1+1=" * 250_000,
    "spaced digits": "1     " * 160_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_text_takes_long(name: str) -> None:
    raced("\\boxed{12}")  # compile
    seconds = []
    for _ in range(3):
        began = time.process_time()
        raced(BOMBS[name])
        seconds.append(time.process_time() - began)
    assert min(seconds) < 1.0, f"{len(BOMBS[name])} characters took {min(seconds):.3f} s"


TRACES = Path(__file__).parents[2].parent / "shared" / "traces"


@pytest.mark.skipif(not TRACES.is_dir(), reason=f"no traces at {TRACES}")
def test_on_real_responses_the_own_gold_is_found_and_foreign_ones_are_not() -> None:
    responses = read(TRACES)
    rules = (BOXED, ANSWERED, CONCLUDED)
    correct = [r for r in responses if r.correct]
    assert sum(r.states(r.gold, rules) for r in correct) >= 0.99 * len(correct)
    hits, pairs = (sum(count) for count in zip(*control(responses, rules).values(), strict=True))
    assert pairs > 10_000
    assert hits <= 0.02 * pairs
