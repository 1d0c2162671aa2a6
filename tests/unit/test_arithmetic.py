"""Written arithmetic: what is an equation, what is not, and what is false about it."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest

from qrm_forensics.metrics.arithmetic import MAX_SHOWN_CHARS, arithmetic, equations, written_equations
from qrm_forensics.metrics.scan import scan_text


def judged(text: str) -> tuple[int, int, list[str]]:
    """(true, rounded, texts of the false ones)."""
    scan = scan_text(text)
    n_true, n_rounded, false = equations(scan)
    return n_true, n_rounded, [scan.slice(int(a), int(b)) for a, b in false]


TRUE = [
    "17 + 48 = 65",
    "1 + 2 + 3 + 4 = 10",
    "20 + 9 - 5 = 24",
    "1.5 + 2 = 3.5",
    "2 + 3*4 - 6/2 = 11",
    "(2 + 3)*4 = 20",
    "2(3 + 4) = 14",
    "(3)(4) = 12",
    "-3 + 4 = 1",
    "5 - (-3) = 8",
    "5 - -3 = 8",
    "2 \\times (-3) = -6",
    "- 3 + 4 = 7",  # a bullet
    "1,234 + 1 = 1,235",
    "1{,}234 + 1 = 1,\\!235",
    "3/4 + 1/4 = 1",
    r"\frac{3}{4} + \frac12 = \dfrac{5}{4}",
    r"\frac{1 + 2}{\frac{1}{2}} = 6",
    r"\left(3+4\right)\cdot 2 = 14",
    r"3 \,+\, 4 = 7",
    r"\(3 \times 4 = 12\)",
    "$3$ + $4$ = $7$",
    r"\[ 12 \div 4 = 3 \]",
    "3 × 4 ÷ 2 − 1 = 5",
    "3 · 4 = 12",
    "2^{10} = 1024",
    "2^10 = 1024",
    "2**10 = 1024",
    "2² + 3³ = 31",
    "2^{-1} = 0.5",
    "-2^2 = -4",
    "2^{100} = 1267650600228229401496703205376",
    "10^{40} \\cdot 10^{40} = 10^{80}",
    "5! = 120",
    "5!/(3!2!) = 10",
    "2 + 3 = 5!",  # an exclamation
    "**17 + 48 = 65**",
    "So, 17 + 48 = 65, which is right.",
    "Hence 3 + 4 = 7 apples",
    "n = 3 + 4 = 7",
    "f(2) = 3 + 4 = 7",
    "(3 + 4 = 7)",
    r"\boxed{3 + 4 = 7}",
    "= 3 + 4 = \\boxed{7}",
    "1. 3 + 4 = 7",
    "Sum:3 + 4 = 7",
    "3 + 4\n= 7",
    "17 + 48 =\n65",
    "3 + 4 = 7 (since both are positive)",
    "3 + 4 = 7 < 8",
    "8 > 3 + 4 = 7",
    "3 + 4 = 7 → 7",
    "따라서 3 + 4 = 7",
    "3 + 4 = 7 입니다",
]


@pytest.mark.parametrize("text", TRUE)
def test_true(text: str) -> None:
    assert judged(text) == (1, 0, [])


def test_chains_are_links() -> None:
    assert judged("3 + 4 = 7 = 8 - 1 = 49/7") == (3, 0, [])
    assert judged("3 + 4 = 7 = 8 - 2 = 6") == (2, 0, ["7 = 8 - 2"])
    assert judged("x &= 3 + 4 \\\\ &= 7 \\\\ &= 49/7") == (2, 0, [])


FALSE = [
    ("17 + 48 = 66", "17 + 48 = 66"),
    ("So $17 + 48 = 66$.", "17 + 48 = 66"),
    ("n = 3 + 4 = 8", "3 + 4 = 8"),
    (r"thus \(3 \times 4 = 13\)", r"3 \times 4 = 13"),
    ("(3 + 4 = 8)", "3 + 4 = 8"),
    ("f(2) = 2(3 + 4) = 15", "2(3 + 4) = 15"),
    ("-3 - 4 = -1", "-3 - 4 = -1"),
    (r"\frac{9}{5} = \frac{3}{2}", r"\frac{9}{5} = \frac{3}{2}"),
    ("7^2*41 = 287", "7^2*41 = 287"),
    ("12345678901234567890 + 1 = 12345678901234567892", "12345678901234567890 + 1 = 12345678901234567892"),
    ("2^{100} = 1267650600228229401496703205375", "2^{100} = 1267650600228229401496703205375"),
    ("62.70 + 37.37 = 100.77.", "62.70 + 37.37 = 100.77"),
    ("3*4 = 14. Wait, no, that is 12.", "3*4 = 14"),  # corrected later: false all the same
    ("9 + 5 = 12, which is not 99", "9 + 5 = 12"),
    ("2747 + 3523 = 6170\n+ 1", None),  # the sum goes on in the next line
    ("- 3 + 4 = 8", None),  # a bullet or a minus sign
    ("629 - 512 = 17", "629 - 512 = 17"),
    ("(3-1)! * 2 = 2", "(3-1)! * 2 = 2"),
    ("2 + 2 = 8 + 1 (carry) = 9", "2 + 2 = 8 + 1"),
    ("192 - 3 = 192", "192 - 3 = 192"),
]


@pytest.mark.parametrize(("text", "false"), FALSE)
def test_false(text: str, false: str | None) -> None:
    assert judged(text)[2] == ([] if false is None else [false])


# Nothing here is a false equation, and nothing may be read out of it.
SILENT = [
    "x2 + 3 = 7",
    "x_2 + 3 = 7",
    "x_{2} + 3 = 7",
    "x^2 + 3 = 7",
    "f(3) + 2 = 7",
    "f (3) = 4*5",
    "a/3 + 1 = 7",
    "2x + 3 = 7",
    "2 x + 3 = 7",
    "3 = 2 + 5x",
    "3 = 2 + 5 x",
    "n = 3 + 4",
    "12 mod 5 = 7",
    "12 + 1 mod 5 = 7",
    "10^2 mod18 = 16",
    "2 + 2 = 1 mod 3",
    "2 + 2 = 1 (mod 3)",
    r"2 + 2 = 1 \pmod{3}",
    r"$2^3 \equiv 1 \pmod 7$, so 2^4 = 2*2^3 = 2*1 = 2.",
    "1011_2 = 11",
    "1011_{2} + 1 = 12",
    "5 + 4 = 13 in base 6",
    "2048 - 24 = 11111101000 in binary",
    "Work in base 6. 5 + 4 = 13.",
    "1 + 1 = 10 (binary)",
    r"\sqrt{16} = 5",
    r"2\sqrt{3} = 5 + 1",
    "log 100 = 3 + 1",
    r"\binom{5}{2} = 11",
    "C(5, 2) = 11",
    "gcd(12, 18) + 1 = 8",
    "4 = 24 - 24 cos(x)",
    "50% = 1/3",
    "20% * 50 = 11",
    "30^\\circ + 30^\\circ = 61",
    "90° - 30° = 61",
    "10:30 + 1 = 12",
    "3:4 = 6/9",
    "(1, 2) + 3 = 7",
    "(1, 2 + 3) = (1, 6)",
    "|3 - 5| = 3",
    "1 + 2 + ... + 10 = 56",
    r"1 + 2 + \cdots + 10 = 56",
    "0.\\overline{3} + 1 = 2",
    "0.(3) * 3 = 2",
    "1 + 1/2 + 1/4 + ...= 3 + 1",
    "A = 2 + 3 apples = 6",
    "2 hours + 30 minutes = 151 minutes",
    "the sum of 3 + 4 = 8",
    "4√ 2 = 2 + 1",
    "3△ = 2 + 2",
    "7*2+y = 3*4+y",
    "x + y +\n3 + 4 = 12",
    "67 and 20/60 = 67.3333",
    "63, 000 + 1,536 = 64,536",
    "8836*90 = 795, 240",
    "629 / 8 = 78 remainder 5",
    "17*5 = 80, remainder 5",
    "9.12*(-1)^2=12*(1)=12",  # item 9 of a list
    "(2) -3 + 4 = 1",
    "3 + 4 ≈ 8",
    r"3 + 4 \approx 8",
    "3 + 4 ≠ 8",
    r"3 + 4 \neq 8",
    r"3 + 4 \not= 8",
    "3 + 4 != 8",
    "3 + 4 == 8",
    "3 + 4 >= 8",
    "3 + 4 => 8",
    "3 + 4 := 8",
    "5 = 6",
    "x = 5 = 6",
    # hypothetical, questioned, withdrawn
    "if 3 + 4 = 8",
    "Suppose 3 + 4 = 8.",
    "is 2 + 2 = 5? No.",
    "2 + 2 = 5?",
    r"2 + 2 \stackrel{?}{=} 5",
    "it is not 2 + 2 = 5",
    "2 + 2 = 5 is wrong",
    "we get 169 = 36 + 13, which is impossible",
    "2 + 2 = 5, which is not true",
    "2 + 2 = 5, which doesn't hold",
    "n = 1: 2 - 1 = (-1)^1. Not matching.",
    # readable in two ways
    "-2^2 = 4",
    "2^3^2 = 64",
    "3^23 = 29",
    "6/2(1+2) = 1",
    "11/23 /72/23 = 11/72",
    "3*1887/3*5221 = 1887/5221",
    "1/2*3 = 1/6",
    r"2\frac{1}{2} = 2.5",
    "2 (3 + 4) = 3",
    "3 + 4 = 8!",
    # '=' for "and on"
    "7 + 3 = 10 + 4 = 14 + 1 = 15",
    "720 - 432 + 144 = 720 - 432 = 288",
    "3*7*11 = 3*7 = 21, 21*11 = 231",
    "1*512 + 1*64 + 6*8 + 3 = 512 + 64 = 576",
    "15.625 + 15.625*0.4 = 6.25",
    # not dealt with
    "4^{1/2} = 3",
    "0^0 = 0*1",
    "5/0 = 3",
    "171! = 2",
    "2^{999999} = 3",
    "1" * 80 + " + 1 = 2",
    "(" * 100 + "1" + ")" * 100 + " + 1 = 3",
]


@pytest.mark.parametrize("text", SILENT)
def test_silent(text: str) -> None:
    assert judged(text)[2] == []


ROUNDED = [
    "1/3 = 0.333",
    "2/3 = 0.667",
    "2/3 = 0.66",
    "0.333... * 3 = 1",
    "7/2 = 3",
    "100/7 = 14",
    "1.41 * 1.41 = 2",
    "0.333 * 3 = 1",
    "0.3333 + 0.3333 = 0.6667",
    "0.14286 = 1/7",
    "-1/3 = -0.33",
]


@pytest.mark.parametrize("text", ROUNDED)
def test_rounding_of_what_is_shown_is_not_false(text: str) -> None:
    assert judged(text) == (0, 1, [])


@pytest.mark.parametrize("text", ["1/3 = 0.334", "86/111 = 0.773", "31/2 = 15.6", "2117/31 = 68.0", "5.5 + 2 = 8.5"])
def test_a_wrong_digit_is_false(text: str) -> None:
    assert judged(text) == (0, 0, [text])


def test_a_congruence_silences_its_surroundings_and_powers_far_away() -> None:
    far = "Now something else. " * 40
    assert judged(f"mod 11. {far} 2 + 2 = 5")[2] == ["2 + 2 = 5"]
    assert judged(f"mod 11. {far} 8^{{59}} = 4")[2] == []
    assert judged(f"mod 11. {far * 10} 8^{{59}} = 4")[2] == ["8^{59} = 4"]
    assert judged("2 + 2 = 1, as we work modulo 3")[2] == []


def test_a_list_of_equations_is_no_number_with_a_blank_in_it() -> None:
    assert judged("100 ÷ 10 = 10, 150 ÷ 10 = 16, so") == (1, 0, ["150 ÷ 10 = 16"])
    assert judged("100 * 24 = 2, 400. So") == (0, 0, [])


def test_products_of_rounded_decimals_have_their_error_and_sums_of_amounts_have_none() -> None:
    assert judged("3.14 * 25 = 78.54") == (0, 1, [])
    assert judged("12.50 + 3.75 = 16.26") == (0, 0, ["12.50 + 3.75 = 16.26"])
    assert judged("0.3333 + 0.3333 = 0.6667") == (0, 1, [])


def test_the_metric() -> None:
    texts = ["é 2 + 2 = 5. And 2 + 2 = 4; 1/3 = 0.33, 3 + 3 = 7", "no equation", None, "2 + 2 = 4"]
    found = arithmetic(pa.table({"text": pa.array(texts, pa.large_string())})).to_pylist()
    assert found[0] == {
        "equations": 4,
        "rounded_equations": 1,
        "false_equations": 2,
        "false_equation_rate": 0.5,
        "false_equation_first_char": 2,
        "false_equation_first": "2 + 2 = 5",
        "false_equation_spans": [{"start": 2, "end": 11}, {"start": 40, "end": 49}],
    }
    assert found[1] == {
        "equations": 0,
        "rounded_equations": 0,
        "false_equations": 0,
        "false_equation_rate": None,
        "false_equation_first_char": None,
        "false_equation_first": None,
        "false_equation_spans": [],
    }
    assert set(found[2].values()) == {None}
    assert found[3]["equations"] == 1
    assert found[3]["false_equation_rate"] == 0.0


def test_a_long_equation_is_cut() -> None:
    text = " + ".join(["é 1"] + ["1"] * 300) + " = 2"
    row = arithmetic(pa.table({"text": pa.array([text], pa.large_string())})).to_pylist()[0]
    assert row["false_equation_first"] == text[2:][:MAX_SHOWN_CHARS]
    assert row["false_equation_spans"] == [{"start": 2, "end": len(text)}]


BOMBS = {
    "digits": "7" * 1_000_000,
    "digits apart": "1     " * 160_000,
    "brackets": "(" * 1_000_000,
    "braces": r"\frac{" * 160_000,
    "chain": "1+1=" * 250_000,
    "false": "1+1=3 " * 166_000,
    "powers": "2^99999+" * 125_000,
    "one word": "a" * 1_000_000,
    "boxes": "\\boxed{" * 100_000,
    "congruences": "mod 1+1=3 " * 100_000,
    "undone": "1+1=3 wrong " * 83_000,
    "undone apart": "1+1=3, wrong, " * 71_000,
    "untrue": "1+1=3, not true, " * 60_000,
    "asked": "1+1=3? " * 140_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_text_takes_long(name: str) -> None:
    equations(scan_text("1 + 1 = 2"))  # compile
    scan = scan_text(BOMBS[name])
    seconds = []
    for _ in range(3):
        scan._made.clear()
        began = time.process_time()
        equations(scan)
        seconds.append(time.process_time() - began)
    assert min(seconds) < 1.0, f"{len(scan.data)} bytes took {min(seconds):.3f} s"


def test_written_equations_tell_place_and_sides_of_all_that_were_judged() -> None:
    text = "한 So 3+4=7. Then 38+18=57, and 7/3 = 2.33. Now 5 = 5."
    found = written_equations(scan_text(text))
    assert [(e.verdict, text[e.start : e.end]) for e in found] == [
        ("true", "3+4=7"),
        ("false", "38+18=57"),
        ("rounded", "7/3 = 2.33"),
    ]
    assert [(e.left, e.right) for e in found] == [(7, 7), (56, 57), (7 / 3, 2.33)]
