from __future__ import annotations

import math
import re
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrm_forensics import builtin
from qrm_forensics.builtin.families import FAMILIES, LEVELS, Worked

SEEDS = st.integers(0, 2**32)
NAMES = st.sampled_from(sorted(FAMILIES))
LEVEL = st.sampled_from(LEVELS)


def solve(name: str, question: str) -> int | str:
    """The answer, worked out from the question alone and in another way than the chain does it."""
    n = [int(x) for x in re.findall(r"\d+", question)]
    if name == "addition":
        return n[0] + n[1]
    if name == "multiplication":
        return n[0] * n[1]
    if name == "remainder":
        return n[0] % n[1]
    if name == "equation":
        return int(Fraction(n[2] - n[1], n[0]))
    if name == "base":
        digits, value = "", n[0]
        while value:
            value, rest = divmod(value, n[1])
            digits = str(rest) + digits
        return digits
    if name == "ordering":
        return sorted(n)[len(n) // 2]
    if name == "iteration":
        value, k, steps = n[0], next(x for x in n[1:] if x != 2), 0
        while value > k:
            value, steps = (value // 2 if value % 2 == 0 else value + k), steps + 1
        return steps
    return math.gcd(*n[:2])


@given(NAMES, LEVEL, SEEDS)
def test_the_answer_is_right(name: str, level: int, seed: int) -> None:
    worked = FAMILIES[name](Random(seed), level, False)
    assert worked.answer == str(solve(name, worked.question))


@given(NAMES, LEVEL, SEEDS)
def test_slips_change_the_chain_but_never_the_problem(name: str, level: int, seed: int) -> None:
    clean, slipped = (FAMILIES[name](Random(seed), level, slips) for slips in (False, True))
    assert (clean.key, clean.question, clean.answer) == (slipped.key, slipped.question, slipped.answer)
    retried = re.search(r"Wait|wait|Hmm", slipped.chain) is not None
    assert (slipped.chain != clean.chain) == retried
    assert not re.search(r"Wait|wait|Hmm", clean.chain)


EQUATION = re.compile(r"(?<![\d+*/-])(\d+)([-+*/])(\d+)(?:([-+])(\d+))?=(\d+)(?: rest (\d+))?")


def false_equations(text: str) -> list[str]:
    wrong = []
    for match in EQUATION.finditer(text):
        a, op, b, op2, c, result, rest = match.groups()
        left = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b), "/": int(a) // max(int(b), 1)}[op]
        left += int(f"{op2}{c}") if c else 0
        if left != int(result) or (rest is not None and int(a) % int(b) != int(rest)):
            wrong.append(match.group(0))
    return wrong


@given(NAMES, LEVEL, SEEDS)
def test_a_clean_chain_contains_no_false_equation(name: str, level: int, seed: int) -> None:
    assert false_equations(FAMILIES[name](Random(seed), level, False).chain) == []


def test_what_is_redone_really_was_wrong() -> None:
    """No chain teaches to redo a right attempt: each retry follows a check that says so."""
    rng, retries = Random(3), 0
    for name, family in FAMILIES.items():
        for _ in range(300):
            chain = family(rng, 2, True).chain
            for before in re.findall(r"([^\n]*)\n(?:Wait|But wait|Hmm)", chain):
                retries += 1
                assert " not " in before or "no" in before.split(), (name, before)
    assert retries > 200


def test_the_split_is_by_the_numbers_and_about_one_in_eight() -> None:
    rng = Random(0)
    keys = {
        w.key: w
        for family in FAMILIES.values()
        for level in LEVELS
        for w in [family(rng, level, False) for _ in range(300)]
    }
    share = sum(w.held_out for w in keys.values()) / len(keys)
    assert 0.09 < share < 0.16
    again = Worked(next(iter(keys)), "worded in another way", "", "")
    assert again.held_out == keys[again.key].held_out


@pytest.mark.parametrize("count", [1, 24, 200])
def test_the_benchmark_mixes_families_and_levels_evenly(count: int) -> None:
    problems = builtin.problems(count)
    assert len({p.question for p in problems}) == len(problems) == count
    if count == 200:
        assert {p.subject for p in problems} == set(FAMILIES) and {p.level for p in problems} == {"1", "2", "3"}
        assert max(map([p.subject for p in problems].count, FAMILIES)) == 25


def test_more_problems_than_there_are_is_an_error_and_no_endless_search() -> None:
    with pytest.raises(ValueError, match="has 200 problems"):
        builtin.problems(201)
