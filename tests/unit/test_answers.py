r"""Finding the last balanced \boxed{...}, one spelling for one answer, and what is settled without algebra."""

from __future__ import annotations

import time

import pytest

from qrm_forensics.answers import Found, Missing, find_boxed, find_choice, gold_answer, last_box, normalise, settle


def boxed(tail: str) -> str | None:
    found = find_boxed("<think>\\boxed{99}</think>" + tail)
    return found.answer if isinstance(found, Found) else None


@pytest.mark.parametrize(
    ("tail", "answer"),
    [
        (r"so \boxed{7}", "7"),
        (r"\boxed{1} then \boxed{2}.", "2"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{5} and then \boxed{6", "5"),
        (r"\boxed{5 and then \boxed{6}", "6"),
        (r"\boxed{\text{a}", None),
        (r"\boxed{ \boxed{ 3 } }", "3"),
        (r"\boxed{\boxed{3} + 1}", r"\boxed{3} + 1"),
        (r"\\boxed{4}", "4"),
        (r"\boxed {4}", "4"),
        (r"\\\boxed{4}", "4"),
        (r"} } \boxed{8}", "8"),
        (r"{ { \boxed{8}", "8"),
        (r"\boxed{}", None),
        (r"\boxed{7}, \boxed{ }", None),
        (r"\fbox{7}", None),
        (r"\boxed 7", None),
        (r"boxed{7}", None),
        ("", None),
    ],
)
def test_last_balanced_box(tail: str, answer: str | None) -> None:
    assert boxed(tail) == answer


def test_a_box_in_the_reasoning_does_not_count() -> None:
    unclosed = find_boxed(r"<think>so \boxed{7}")
    assert isinstance(unclosed, Missing) and "</think>" in unclosed.reason
    reopened = find_boxed(r"<think>a</think> \boxed{7} <think>again</think> done")
    assert isinstance(reopened, Missing)


def test_span_points_at_the_answer() -> None:
    text = "<think>x</think> \\boxed{ \\boxed{ 12 } }"
    found = find_boxed(text)
    assert isinstance(found, Found)
    assert text[slice(*found.span)] == found.answer == "12"


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 100_000,
        "\\boxed{" * 60_000 + "1" + "}" * 60_000,
        "{" * 1_000_000,
        "\\" * 1_000_000,
        "\\boxed " * 150_000,
        "\\boxed{" + " " * 1_000_000,
        "\\boxed{" + "\\{" * 500_000,
        "answer" * 170_000,
        "answer" + " " * 1_000_000,
        "answer is" * 110_000,
        "</think>" * 120_000,
    ],
)
def test_hostile_text_takes_linear_time(text: str) -> None:
    started = time.process_time()
    find_boxed("</think>" + text)
    find_choice(text, "lenient")
    gold_answer(text)
    assert time.process_time() - started < 20.0  # mostly 0.3, and 2 for nested boxes; what is quadratic takes minutes


@pytest.mark.parametrize("length", [2_000, 300_000])
def test_normalise_is_bounded(length: int) -> None:
    started = time.process_time()
    for unit in ("\\frac", "\\frac{", "$", "\\text{", "{,}", ",\\!", "1 ", "\\a ", "1, ", "^{\\circ}", "("):
        settle((unit * length)[:length], "1")
    assert time.process_time() - started < 10.0


def test_last_box_from_a_start() -> None:
    text = "\\boxed{1} \\boxed{2}"
    assert last_box(text, 5) == (17, 18)
    assert last_box(text, 18) is None


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (r"\dfrac{3}{4}", r"\frac34"),
        (r"\tfrac 3 4", r"\frac{3}{4}"),
        (r"$ \frac{270}7 $", r"\frac{270}{7}"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
        (r"\text{Evelyn}", "Evelyn"),
        (r"\text{(C)}", "C"),
        (r"$\textbf{(C)}$.", "(C)"),
        (r"4210_{5}", "4210_5"),
        (r"90^{\circ}", r"90°"),
        (r"11,\! 111,\! 111", "11,111,111"),
        (r"1{,}234", "1,234"),
        (r"x \in [-2,7]", r"x\in[-2,7]"),
        (r"\(\sqrt{2}\)", r"\sqrt{2}"),
        ("\u22125", "-5"),
    ],
)
def test_one_spelling(a: str, b: str) -> None:
    assert normalise(a) == normalise(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("2 3", "23"),
        ("1, 234", "1,234"),
        ("(1,2)", "[1,2]"),
        (r"\{1,2\}", "(1,2)"),
        ("50", r"50\%"),
        ("5 cm", "5 m"),
        ("x^2", "x2"),
        ("5²", "52"),
        (r"$5$ and $6$", r"5 and 6"),
        (r"x\in f", r"x\inf"),
        ("Evelyn", "evelyn"),
        (r"\frac{1}{23}", r"\frac{12}{3}"),
        (r"\frac12 3", r"\frac{1}{23}"),
    ],
)
def test_different_answers_stay_different(a: str, b: str) -> None:
    assert normalise(a) != normalise(b)


@pytest.mark.parametrize(
    ("gold", "answer", "equal"),
    [
        ("024", "24", True),
        ("24", "-24", False),
        ("-0", "0", True),
        ("58,500", "58500", True),
        (r"\$18.90", "18.9", True),
        (r"30^\circ", "30", True),
        (r"\frac{10}{4}", "2.5", True),
        ("1/2", r"-\frac{1}{2}", False),
        (r"\frac{-1}{2}", r"-\frac12", True),
        ("5", "5.", True),
        ("3", "7" * 20_000, False),
        ("7" * 5_000, "0" + "7" * 5_000, True),
        ("3.5", "3." + "3" * 5_000, False),
        ("1001_2", "1001_3", False),
        ("0.333333", r"\frac13", None),
        (r"\frac13", "0." + "3" * 5_000, None),
        ("0.0000672", "0.0000675", None),
        ("0.5", "0.5" + "0" * 60 + "1", None),
        (r"\frac{1}{0}", r"\frac{2}{0}", None),
        (r"x \in [-2,7]", "[-2,7]", None),
        ("50", r"50\%", None),
        ("4210_5", "4210", None),
        ("", "", None),
    ],
)
def test_what_is_settled_without_algebra(gold: str, answer: str, equal: bool | None) -> None:
    settled = settle(gold, answer)
    assert (settled.equal if settled else None) is equal


def test_gold_may_be_a_worked_solution() -> None:
    assert gold_answer(r"Since $a=1$, we get $\boxed{\frac{1}{2}}$ units.") == r"\frac{1}{2}"
    assert gold_answer(" 024 ") == "024"


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("</think> Answer: C", "C"),
        ("</think> **Answer: (b)**", "B"),
        ("</think> The answer is D.", "D"),
        (r"</think> \boxed{C}", "C"),
        (r"</think> \boxed{\text{(C)}}", "C"),
        (r"</think> Answer: $\boxed{A}$", "A"),
        (r"</think> \boxed{A} no. Answer: B", "B"),
        (r"</think> Answer: B, so \boxed{C}", "C"),
        ("</think> The answer is a number.", None),
        ("</think> Answer: because it is so", None),
        ("Answer: C", None),
        (r"</think> \boxed{42}", None),
        ("</think> **Answer**: **C**", "C"),
        ("</think> **Answer:**\nC", "C"),
        (r"</think> \boxed{C) 5 metres}", "C"),
        (r"</think> \boxed{\text{(B) }10^{-4}}", "B"),
        (r"</think> \boxed{D. It grows.}", "D"),
        (r"</think> \boxed{(A) or (B)}", None),
        (r"</think> \boxed{F(x)}", None),
        (r"</think> \boxed{A.5}", None),
        (r"</think> \boxed{(A)(B)}", None),
    ],
)
def test_choice(text: str, letter: str | None) -> None:
    found = find_choice(text, "strict")
    assert (found.answer if isinstance(found, Found) else None) == letter


def test_lenient_choice_reads_the_reasoning() -> None:
    found = find_choice("<think>The answer is (D). Hmm.", "lenient")
    assert isinstance(found, Found) and found.answer == "D"
