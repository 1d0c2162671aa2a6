"""Hard negatives: regular text that is right to be regular.

Three of them are periodic to the letter (``PERIODIC``): a rule on the text alone cannot tell them
from a loop, so they are counted apart.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from .bases import Half, Source, bases

PERIODIC = frozenset({"0.142857 x60", "20x20 zero matrix", "60-deep continued fraction"})


def _table() -> str:
    return "\n".join(", ".join(f"{a} x {b} = {a * b}" for b in range(1, 11)) for a in range(2, 13))


def _counting() -> str:
    return ", ".join(map(str, range(1, 401)))


def _primes() -> str:
    lines = []
    for n in range(2, 150):
        divisor = next((d for d in range(2, n) if n % d == 0), None)
        lines.append(
            f"{n} is prime." if divisor is None else f"{n} is not prime, since {n} = {divisor} x {n // divisor}."
        )
    return "\n".join(lines)


def _decimal() -> str:
    return "1/7 = 0." + "142857" * 60 + "..."


def _random_digits() -> str:
    rng = Random(7)
    return "".join(rng.choice("0123456789") for _ in range(1500))


def _zero_matrix() -> str:
    return "\\begin{pmatrix}\n" + " \\\\\n".join(" & ".join("0" * 20) for _ in range(20)) + "\n\\end{pmatrix}"


def _polynomial() -> str:
    rng = Random(3)
    return "p(x) = " + " + ".join(f"{rng.randint(2, 99)}x^{{{k}}}" for k in range(80, 1, -1)) + " + 5x + 1"


def _fibonacci() -> str:
    a, b, lines = 1, 1, []
    for n in range(3, 60):
        a, b = b, a + b
        lines.append(f"F_{{{n}}} = F_{{{n - 1}}} + F_{{{n - 2}}} = {a} + {b - a} = {b}")
    return "\n".join(lines)


def _markdown() -> str:
    rows = [f"| {n} | {n * n} | {n**3} | {'even' if n % 2 == 0 else 'odd'} |" for n in range(1, 61)]
    return "\n".join(["| n | n^2 | n^3 | parity |", "|---|---|---|---|", *rows])


def _continued_fraction() -> str:
    return "x = " + "1 + \\cfrac{1}{" * 60 + "1" + "}" * 60


def _binary() -> str:
    n, lines = 987_654_321_987_654_321_987_654_321, []
    while n:
        lines.append(f"{n} / 2 = {n // 2} remainder {n % 2}")
        n //= 2
    return "\n".join(lines)


def _long_division() -> str:
    rest, lines = 1, ["Divide 1 by 97:"]
    for k in range(1, 97):
        lines.append(f"{rest}0 / 97 = {rest * 10 // 97}, {rest * 10 // 97} x 97 = {rest * 10 // 97 * 97}, ")
        rest = rest * 10 % 97
        lines[-1] += f"remainder {rest}, digit {k} is done."
    return "\n".join(lines)


def _padded() -> str:
    return "\n".join(
        f"{n:<12}{n * 17 % 101:<12}{n * n * 31 % 997:<12}{'yes' if n % 3 else 'no':<12}" for n in range(1, 61)
    )


def _boxed() -> str:
    parts = ("first", "second", "third", "fourth", "fifth", "sixth")
    rng = Random(11)
    return "\n\n".join(
        f"For the {p} part, {w}, so the answer is \\boxed{{{rng.randint(2, 500)}}}."
        for p, w in zip(
            parts,
            (
                "we divide both sides by the common factor",
                "the discriminant has to be a perfect square",
                "only even values survive the parity argument",
                "the triangle inequality rules out the larger root",
                "we sum the geometric series term by term",
                "the last digit repeats with period four",
            ),
            strict=True,
        )
    )


def _polynomial_division() -> str:
    coefficients = [Random(5).randint(-9, 9) for _ in range(24)]
    carry, lines = 0, ["Divide by (x - 2), one coefficient at a time."]
    for k, c in enumerate(coefficients):
        total = carry * 2 + c
        lines.append(
            f"Step {k + 1}: bring down {c}. Multiply {carry} by 2: {carry * 2}. Add: {c} + {carry * 2} = {total}."
        )
        carry = total
    lines.append(f"The remainder is {carry}.")
    return "\n".join(lines)


def _recurrence() -> str:
    a, b, lines = 2, 5, []
    for n in range(2, 42):
        a, b = b, (3 * b - 2 * a) % 1009
        lines.append(f"a_{{{n}}} = 3a_{{{n - 1}}} - 2a_{{{n - 2}}} = {b} (mod 1009)")
    return "\n".join(lines)


def _powers() -> str:
    value, lines = 1, []
    for k in range(1, 45):
        value = value * 2 % 1000
        lines.append(f"2^{{{k}}} = {value} mod 1000")
    return "\n".join(lines)


def _cases() -> str:
    return "\n".join(f"k={k}: 2^{{{k}}}={2**k}, so 2^{{a-1}}={2**k}, so a={2**k + 1}." for k in range(40))


MAKERS: dict[str, Callable[[], str]] = {
    "multiplication table": _table,
    "1..400": _counting,
    "primality list": _primes,
    "0.142857 x60": _decimal,
    "random digits": _random_digits,
    "20x20 zero matrix": _zero_matrix,
    "long polynomial": _polynomial,
    "Fibonacci steps": _fibonacci,
    "markdown table": _markdown,
    "60-deep continued fraction": _continued_fraction,
    "binary expansion": _binary,
    "long division": _long_division,
    "padded-space table": _padded,
    "boxed parts": _boxed,
    "polynomial long division": _polynomial_division,
    "linear recurrence": _recurrence,
    "powers modulo 1000": _powers,
    "case by case": _cases,
}


def hard_negatives(half: Half = "tuning", source: Source = "auto") -> list[tuple[str, str]]:
    """(name, text) pairs: each alone, and each in the middle of the thinking of a clean response of that half.

    The name is that in ``MAKERS`` with "/alone" or "/embedded" behind it; embedded texts are closed.
    """
    pool = bases(half, source)
    out = []
    for i, (name, make) in enumerate(MAKERS.items()):
        piece = make()
        base = pool[i * len(pool) // len(MAKERS)].text
        middle = base.index("</think>") // 2
        at = base.rfind("\n", 0, middle) + 1 or middle
        out += [(f"{name}/alone", piece), (f"{name}/embedded", f"{base[:at]}{piece}\n\n{base[at:]}")]
    return out
