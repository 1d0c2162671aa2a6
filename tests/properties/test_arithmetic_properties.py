"""Written arithmetic against Fraction: random expressions, printed in random notation, and judged."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qrm_forensics.metrics.arithmetic import equations
from qrm_forensics.metrics.scan import scan_text


@dataclass(frozen=True)
class Written:
    """An expression: its value, how it is written, and how tightly its outermost operator binds (9: an atom)."""

    value: Fraction
    text: str
    binding: int = 9


def grouped(part: Written, least: int) -> str:
    return part.text if part.binding >= least else f"({part.text})"


integers = st.one_of(st.integers(0, 20), st.integers(0, 10**7), st.integers(0, 10**24))
styles = st.sampled_from(["{}", "{:,}"])
atoms = st.one_of(
    st.builds(lambda n, style: Written(Fraction(n), style.format(n)), integers, styles),
    st.builds(lambda n: Written(Fraction(n, 100), f"{n // 100}.{n % 100:02d}"), st.integers(0, 99_999)),
)
blank = st.sampled_from(["", " ", r"\,"])
pluses = st.sampled_from(["+", "-", "−"])
times = st.sampled_from(["*", "×", "·", r"\times ", r"\cdot "])
negatives = {"-", "−"}


def sums(parts: st.SearchStrategy[Written]) -> st.SearchStrategy[Written]:
    def build(a: Written, op: str, b: Written, gap: str) -> Written:
        value = a.value - b.value if op in negatives else a.value + b.value
        return Written(value, f"{grouped(a, 1)}{gap}{op}{gap}{grouped(b, 2)}", 1)

    return st.builds(build, parts, pluses, parts, blank)


def products(parts: st.SearchStrategy[Written]) -> st.SearchStrategy[Written]:
    def build(a: Written, op: str, b: Written, gap: str) -> Written:
        return Written(a.value * b.value, f"{grouped(a, 3)}{gap}{op}{gap}{grouped(b, 3)}", 2)

    return st.builds(build, parts, times, parts, blank)


def quotients(parts: st.SearchStrategy[Written]) -> st.SearchStrategy[Written]:
    def build(a: Written, b: Written, latex: bool) -> Written:
        if latex:
            return Written(a.value / b.value, rf"\frac{{{a.text}}}{{{b.text}}}", 3)
        return Written(a.value / b.value, f"{grouped(a, 4)}/{grouped(b, 4)}", 2)

    return st.builds(build, parts, parts.filter(lambda p: p.value != 0), st.booleans())


def powers(parts: st.SearchStrategy[Written]) -> st.SearchStrategy[Written]:
    def build(a: Written, n: int) -> Written:
        assume(a.value != 0 or n > 0)
        return Written(a.value**n, f"{grouped(a, 9)}^{{{n}}}", 4)

    return st.builds(build, parts, st.integers(-3, 5))


expressions = st.recursive(
    atoms, lambda parts: st.one_of(sums(parts), products(parts), quotients(parts), powers(parts)), max_leaves=8
).filter(lambda e: e.binding < 9 and e.value.denominator < 10**30)


def plain(value: Fraction) -> str:
    sign = "-" if value < 0 else ""
    above = abs(value.numerator)
    return f"{sign}{above}" if value.denominator == 1 else rf"{sign}\frac{{{above}}}{{{value.denominator}}}"


def short(value: Fraction) -> bool:
    return max(len(str(abs(value.numerator))), len(str(value.denominator))) <= 60


@settings(max_examples=400, deadline=None)
@given(expressions)
def test_what_is_right_is_true(left: Written) -> None:
    assume(short(left.value))
    text = f"So {left.text} = {plain(left.value)}."
    assert equations(scan_text(text))[0] == 1, text


@settings(max_examples=400, deadline=None)
@given(expressions, st.integers(-(10**6), 10**6))
def test_what_is_wrong_is_never_true(left: Written, shift: int) -> None:
    assume(shift and short(left.value + shift))
    text = f"So {left.text} = {plain(left.value + shift)}."
    assert equations(scan_text(text))[0] == 0, text


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 10**9), pluses, st.integers(2, 10**6))
def test_a_slip_in_a_sum_is_false_to_the_character(a: int, b: int, op: str, slip: int) -> None:
    right = (a - b if op in negatives else a + b) + slip
    equation = f"{a} {op} {b} = {right}"
    scan = scan_text(f"é Then {equation}, so on")
    n_true, n_rounded, false = equations(scan)
    assert (n_true, n_rounded) == (0, 0)
    found = [scan.slice(int(i), int(j)) for i, j in false]
    # Before a comma, up to three digits may be the beginning of a number with a blank in it ("1, 234").
    assert found == [equation] or (found == [] and abs(right) < 1000)


@settings(max_examples=300, deadline=None)
@given(expressions, expressions, st.text(max_size=30))
def test_no_text_breaks_the_reader(one: Written, other: Written, between: str) -> None:
    scan = scan_text(f"{one.text}{between}={other.text} = {between}")
    n_true, n_rounded, false = equations(scan)
    assert n_true >= 0
    assert n_rounded >= 0
    assert all(0 <= i < j <= len(scan.data) for i, j in false)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789+-*/^=(){}.,!\\frac \n$&²é한", max_size=80))
def test_no_heap_of_signs_breaks_the_reader(text: str) -> None:
    scan = scan_text(text)
    _, _, false = equations(scan)
    assert all(0 <= i < j <= len(scan.data) and b"=" in scan.data[i:j].tobytes() for i, j in false)
