r"""What is settled without algebra agrees with math-verify, and the lenient short cut with the whole text."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from qrm_forensics.answers import find_boxed, normalise, settle
from qrm_forensics.score import _only_number, math_worker
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


def math_verify_says(gold: str, text: str) -> bool:
    reply = math_worker.judge({"text": text, "gold": gold, "exacting": False})
    assert "error" not in reply
    return bool(reply["equal"])


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


MARKS = r"$ $$ \[ \] \( \) { } % 5 17 0.5 \frac{1}{2} and or , answer: = x . \ [ ] \text{so} </think> \$ ** \\ boxed"
WORDS = ("\n", " ", "the answer is ", "Final answer: ", "final answer is ", "I hope", " percent")
PIECES = st.sampled_from([*MARKS.split(), *WORDS])
around = st.lists(PIECES, max_size=9).map("".join)
plain = st.sampled_from(
    ["7", "-7", "07", "0.5", "12.50", r"\frac{1}{2}", r"\dfrac{3}{4}", r"-\frac{6}{4}", "1234", " 3 "]
)


@settings(max_examples=300, deadline=None)
@given(around, plain, around, st.sampled_from(["7", r"\frac12", "17", "5", r"\frac{3}{4}", "12.5", "3", "{1,2}"]))
def test_the_short_cut_says_what_the_whole_text_says(before: str, number: str, after: str, gold: str) -> None:
    text = before + "\\boxed{" + number + "}" + after
    found = _only_number(text)
    if found is None:
        return
    settled = settle(gold, found)
    whole = math_verify_says(gold, text)
    assert whole == math_verify_says(gold, "\\boxed{" + found + "}")
    assert settled is None or settled.equal == whole


def test_the_short_cut_is_taken_for_ordinary_answers() -> None:
    assert _only_number("<think>12 + 5 = 17</think>\nThe answer is $\\boxed{17}$.") == "17"
    assert _only_number("put it in \\boxed{} \\boxed{17}") is None
    assert _only_number("$\\boxed{17}$ %") is None
    assert _only_number("\\boxed{17") is None


@given(st.text(alphabet="\\{}$boxedfractext()[]!^_*0123456789., \n</think>", max_size=400))
def test_reading_never_raises(text: str) -> None:
    find_boxed("</think>" + text)
    refusal(text)
    settle(text, text[::-1])
    assert settle(text, text) is None or settle(text, text) == settle(text + " ", text)
    assert len(normalise(text)) <= 4 * len(text) + 8
