"""Regular text that is right to be regular: the tier that each may reach, and no other.

Three are periodic to the letter, which no rule on the text alone can tell from a loop.
"""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from qrm_forensics.metrics.loop_detector import find_loops

OPENING = (
    "Let me think about what is asked here. The numbers matter less than how they hang together, and so I want to "
    "write them down in full before drawing any conclusion from them at all.\n\n"
)
CLOSING = "\n\nThat settles it, as far as I can see.\n</think>\n\nThe result is \\(\\boxed{17}\\)."


def primality(n: int) -> str:
    divisor = next((d for d in range(2, n) if n % d == 0), None)
    return f"{n} is prime." if divisor is None else f"{n} is not prime, since {n} = {divisor} x {n // divisor}."


def fibonacci(steps: int) -> str:
    a, b, lines = 1, 1, []
    for n in range(3, steps):
        lines.append(f"F_{n} = F_{n - 1} + F_{n - 2} = {b} + {a} = {a + b}")
        a, b = b, a + b
    return "\n".join(lines)


def long_division(numerator: int, denominator: int, digits: int) -> str:
    remainder, lines = numerator, []
    for _ in range(digits):
        part = 10 * remainder
        digit, remainder = divmod(part, denominator)
        lines.append(
            f"Bring down a 0: {part} / {denominator} = {digit}, and {part} - {digit * denominator} = {remainder}."
        )
    return "\n".join(lines)


def polynomial_division(degree: int) -> str:
    return "\n\n".join(
        f"Divide \\( x^{k} \\) by \\( x \\), get \\( x^{k - 1} \\). Multiply \\( x^{k - 1} \\) by \\( x - 1 \\): "
        f"\\( x^{k} - x^{k - 1} \\). Subtract it: \\( x^{k} + 1 - (x^{k} - x^{k - 1}) = x^{k - 1} + 1 \\)."
        for k in range(degree, 2, -1)
    )


def binary(n: int) -> str:
    lines = []
    while n:
        lines.append(f"{n} / 2 = {n // 2} remainder {n % 2}")
        n //= 2
    return "\n".join(lines)


def table(rows: int, sep: str) -> str:
    head = "| n | n squared | n cubed |\n|---|---|---|\n"
    return head + "\n".join(f"|{sep}{n}{sep}|{sep}{n * n}{sep}|{sep}{n**3}{sep}|" for n in range(1, rows))


def continued_fraction(depth: int) -> str:
    return "1 + \\frac{1}{" * depth + "2" + "}" * depth


def geometric(terms: int) -> str:
    return "\n".join(f"After {k} terms the sum is {Fraction(2**k - 1, 2 ** (k - 1))}." for k in range(1, terms))


PROGRESSING = {
    "multiplication table": "\n".join(", ".join(f"{a} x {b} = {a * b}" for b in range(1, 11)) for a in range(2, 13)),
    "1 to 400": ", ".join(map(str, range(1, 401))),
    "1,000,001 to 1,000,150": ", ".join(map(str, range(1_000_001, 1_000_151))),
    "primality list": "\n".join(primality(n) for n in range(2, 150)),
    "random digits": "".join(random.Random(7).choices("0123456789", k=1500)),
    "random binary": "".join(random.Random(8).choices("01", k=3000)),
    "random letters": " ".join(random.Random(9).choices("ab", k=3000)),
    "long polynomial": " + ".join(f"{(37 * k) % 23 + 1}x^{{{k}}}" for k in range(80, 0, -1)),
    "Fibonacci steps": fibonacci(60),
    "markdown table": table(40, " "),
    "padded-space table": table(40, "        "),
    "binary expansion": "\n".join(f"{n} in binary is {n:b}." for n in range(1, 200)),
    "halving": "\n".join(binary(n) for n in (991, 1234, 40000, 65537, 99999)),
    "long division": long_division(355, 113, 60),
    "polynomial long division": polynomial_division(24),
    "powers modulo 1000": "\n".join(f"2^{{{k}}} = {pow(2, k, 1000)} mod 1000" for k in range(1, 80)),
    "geometric series": geometric(40),
    "substitutions": "\n".join(f"k={k}: 2^{{{k}}}={2**k}, so 2^{{a-1}}={2**k}, so a={2**k + 1}." for k in range(40)),
    "boxed parts": "\n".join(f"\\boxed{{{chr(97 + k)} = {k * k + 1}}}" for k in range(26)),
}
PERIODIC = {
    "0.142857 x60": "1/7 = 0." + "142857" * 60 + "...",
    "20x20 zero matrix": "\\begin{pmatrix}\n"
    + " \\\\\n".join(" & ".join("0" * 20) for _ in range(20))
    + "\n\\end{pmatrix}",
    "60-deep continued fraction": continued_fraction(60),
}


@pytest.mark.parametrize("name", PROGRESSING)
@pytest.mark.parametrize("embedded", [False, True], ids=["alone", "embedded"])
def test_progress_is_at_most_an_enumeration(name: str, embedded: bool) -> None:
    text = PROGRESSING[name]
    report = find_loops(OPENING + text + CLOSING if embedded else text)
    assert not report.loop, [(e.tier, e.period, e.evidence, e.unit[:80]) for e in report.episodes]
    assert {e.tier for e in report.episodes} <= {3}
    assert not report.terminal


@pytest.mark.parametrize(
    "name",
    ["1 to 400", "multiplication table", "Fibonacci steps", "long division", "powers modulo 1000", "substitutions"],
)
def test_enumerations_are_reported_as_such(name: str) -> None:
    report = find_loops(OPENING + PROGRESSING[name] + CLOSING)
    assert report.main is not None and report.main.loop_class == "enumeration"
    assert report.main.tokens > 100


@pytest.mark.parametrize("name", PERIODIC)
def test_exact_periodicity_is_a_loop_that_the_response_leaves(name: str) -> None:
    report = find_loops(OPENING + PERIODIC[name] + CLOSING)
    assert report.loop and report.main is not None
    assert report.main.tier == 1
    assert report.main.loop_class in ("stuck digits", "number/operator", "single token/character")
    assert not report.terminal
