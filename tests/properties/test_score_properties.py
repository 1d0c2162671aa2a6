r"""What is settled without algebra, and what the grader says of whole responses, is what math-verify says."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrm_forensics.answers import find_boxed, normalise, settle
from qrm_forensics.records import Finish, Kind, Problem, Status, Trace
from qrm_forensics.score import Grader
from qrm_forensics.score.shield import refusal

integers = st.integers(-(10**7), 10**7)


@st.composite
def numerals(draw: st.DrawFn, value: Fraction | None = None) -> str:
    """One of the spellings of a number."""
    number = (
        value if value is not None else draw(st.fractions(-9999, 9999, max_denominator=400) | integers.map(Fraction))
    )
    sign, size = ("-" if number < 0 else ""), abs(number)
    spellings = [
        f"{sign}\\frac{{{size.numerator}}}{{{size.denominator}}}",
        f"{sign}{size.numerator}/{size.denominator}",
    ]
    spellings.append(f"\\dfrac{{{sign}{3 * size.numerator}}}{{{3 * size.denominator}}}")
    if size.denominator == 1:
        whole = size.numerator
        spellings = [f"{sign}{whole}", f"{sign}{whole:03d}", f"{sign}{whole}.0", f"{sign}{whole}^\\circ"]
        if not sign:
            spellings += [f"{whole:,}", f"{whole:,}".replace(",", ",\\!"), f"\\${whole}", f"+{whole}"]
    elif 10**6 % size.denominator == 0:
        places = f"{float(size):.6f}"
        spellings += [sign + places, sign + places.rstrip("0"), sign + places.removeprefix("0")]
    return draw(st.sampled_from(spellings))


@st.composite
def same_or_near(draw: st.DrawFn) -> tuple[str, str]:
    a = draw(st.fractions(-9999, 9999, max_denominator=400) | integers.map(Fraction))
    near = st.sampled_from(
        [a, -a, a + 1, a * 10, a / 10, a + Fraction(1, 1000), a + Fraction(1, 10**5), a + Fraction(1, 10**6)]
    )
    return draw(numerals(a)), draw(numerals(draw(near)))


@functools.cache
def targets() -> list[Any]:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig

    return [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]


def math_verify_says(gold: str, text: str) -> bool:
    """What lighteval's extractive match says of a whole response, by the library alone."""
    from math_verify import parse, verify

    return bool(verify(parse(f"\\boxed{{{gold}}}", targets()), parse(text, targets()), float_rounding=5))


@settings(max_examples=150, deadline=None)
@given(same_or_near() | st.tuples(numerals(), numerals()))
def test_what_is_settled_is_what_math_verify_says(pair: tuple[str, str]) -> None:
    gold, answer = pair
    settled = settle(gold, answer)
    if settled is not None:
        assert settled.equal == math_verify_says(gold, "\\boxed{" + answer + "}")


@settings(max_examples=200)
@given(st.data(), st.fractions(-9999, 9999, max_denominator=50))
def test_two_spellings_of_a_number_are_settled_as_equal(data: st.DataObject, value: Fraction) -> None:
    settled = settle(data.draw(numerals(value)), data.draw(numerals(value)))
    assert settled is not None and settled.equal


# Answers of every kind that benchmarks have; each list holds some that are equal and some that only look so.
ANSWERS = [
    [
        "7",
        "07",
        "7.0",
        "7.000001",
        "7.00001",
        "$7$",
        "7^\\circ",
        "7\\%",
        "7 \\text{ cm}",
        "x=7",
        "\\text{7}",
        "\\frac{14}{2}",
        "-7",
    ],
    [
        "\\frac{1}{2}",
        "\\dfrac12",
        "0.5",
        ".5",
        "1/2",
        "50\\%",
        "0.50000001",
        "-\\frac{1}{2}",
        "\\frac{2}{4}",
        "2^{-1}",
        "0,5",
    ],
    ["1,234", "1234", "1{,}234", "1,\\!234", "\\$1234", "1, 234", "1 234", "1234.00", "12,34"],
    ["(1,2)", "(1, 2)", "[1,2]", "1,2", "\\{1,2\\}", "\\{2,1\\}", "2,1", "(1,2]", "\\left(1,2\\right)", "x=1,y=2"],
    [
        "\\begin{pmatrix}1\\\\2\\end{pmatrix}",
        "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}",
        "\\begin{bmatrix}1\\\\2\\end{bmatrix}",
        "(1,2)",
    ],
    ["3\\sqrt{2}", "3 \\sqrt 2", "\\sqrt{18}", "4.24264", "3\\sqrt{3}", "\\sqrt{9}\\sqrt{2}", "3\\cdot 2^{1/2}"],
    ["1\\frac{1}{2}", "\\frac{3}{2}", "1.5", "1 \\frac12", "\\frac{12}{8}", "\\frac{1}{2}"],
    ["\\pi", "2\\pi", "\\frac{2\\pi}{2}", "3.14159", "3.1416", "180^\\circ"],
    ["x^2-1", "(x-1)(x+1)", "-1 + x^2", "y=x^2-1", "x^2", "x^2-1=0"],
    ["\\text{Evelyn}", "Evelyn", "\\text{evelyn}", "E", "\\text{(C)}", "C", "(C)", "\\text{Navin}"],
    ["x \\in [-2,7]", "[-2,7]", "-2 \\le x \\le 7", "[-2,7)", "(-\\infty, 7]", "x \\leq 7"],
    ["1 \\pm \\sqrt{19}", "1+\\sqrt{19}, 1-\\sqrt{19}", "1 + \\sqrt{19}", "5.3589, -3.3589"],
    ["5_7", "5", "4210_{5}", "4210_5", "555", "6+9i", "9i+6", "6-9i"],
]
PLACES = [
    "$\\boxed{@}$",
    "\\[\n\\boxed{@}\n\\]",
    "\\(x = \\boxed{@}\\)",
    "\\boxed{@}",
    "\\boxed{@",
    "**Answer:** @",
    "$@$",
]
PLACES += [
    "the answer is @.",
    "Final answer: $@$",
    "= @",
    " @ ",
    "\\boxed{9} or \\boxed{@}",
    "\\boxed{@}, \\boxed{@}",
    "@\\%",
]
TALK = [
    "<think>\n",
    "</think>\n",
    "\n",
    ". So ",
    "Wait, ",
    "we get 5. ",
    "\\boxed{}",
    "put it in \\boxed{}",
    "$x$",
    "It is 12 ",
    "%",
    " I hope",
    "",
]


@st.composite
def graded_texts(draw: st.DrawFn) -> tuple[str, str]:
    kind = draw(st.sampled_from(ANSWERS))
    talk = st.sampled_from(TALK)
    text = draw(talk) + draw(talk)
    for _ in range(draw(st.integers(1, 3))):
        answer = draw(st.sampled_from(kind) | st.sampled_from(draw(st.sampled_from(ANSWERS))))
        text += draw(st.sampled_from(PLACES)).replace("@", answer) + draw(talk) + draw(talk)
    return draw(st.sampled_from(kind)), text


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader() as grader:
        yield grader


def lenient(grader: Grader, gold: str, text: str) -> Status:
    problem = Problem("b", "1", "", "", gold, Kind.MATH, None, None)
    return grader.score(problem, Trace("v", "b", "1", 0, 0, "", text, Finish.STOP), "lenient").status


@settings(max_examples=int(os.environ.get("QRM_VERDICT_EXAMPLES", "120")), deadline=None)
@given(example=graded_texts())
def test_lenient_verdicts_are_those_of_math_verify_on_the_whole_text(grader: Grader, example: tuple[str, str]) -> None:
    gold, text = example
    assert (lenient(grader, gold, text) == Status.CORRECT) == math_verify_says(gold, text)


@settings(max_examples=150, deadline=None)
@given(pair=same_or_near() | st.tuples(numerals(), numerals()), place=st.sampled_from(PLACES))
def test_numbers_in_every_place_are_judged_as_by_math_verify(grader: Grader, pair: tuple[str, str], place: str) -> None:
    gold, answer = pair
    text = "so " + place.replace("@", answer) + "\n"
    assert (lenient(grader, gold, text) == Status.CORRECT) == math_verify_says(gold, text)


@given(st.text(alphabet="\\{}$boxedfractext()[]!^_*0123456789., \n</think>", max_size=400))
def test_reading_never_raises(text: str) -> None:
    find_boxed("</think>" + text)
    refusal(text)
    settle(text, text[::-1])
    assert settle(text, text) is None or settle(text, text) == settle(text + " ", text)
    assert len(normalise(text)) <= 4 * len(text) + 8
