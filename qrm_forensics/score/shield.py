r"""What is refused before any algebra system sees it: short strings that are huge to evaluate.

A computer algebra system evaluates integers eagerly, in C code that no signal
interrupts, so ``9^{9^9}`` in a box costs minutes and gigabytes.  The rules below are
linear scans of the string; nothing is evaluated.  They only save time: what they let
through still runs in a worker that is killed when it takes too long.
"""

from __future__ import annotations

import math
import re
from typing import Final

MAX_CHARS: Final = 300
MAX_DIGIT_RUN: Final = 50
MAX_EXPONENT: Final = 10_000
MAX_COMBINATORIAL: Final = 10_000
MAX_DEPTH: Final = 25
#: A tower such as ``2^{2^{3}}`` is harmless as long as all its numbers are this small.
MAX_TOWER_NUMBER: Final = 3

_NUMBER = re.compile(r"\d+")
_TOKEN = re.compile(r"[+-]?\s*\d+|\\[A-Za-z]+|.", re.DOTALL)
_COMBINATORIAL = re.compile(r"\\[dt]?binom(?![A-Za-z])|\\choose(?![A-Za-z])|(?<![A-Za-z\\])[CP]\s*[({\d]")
_ITERATED = re.compile(r"\\(?:sum|prod|int|lim|bigcup|bigcap)(?![A-Za-z])")
_POWER = re.compile(r"(?:\^|\*\*)\s*")
_CHAINED = re.compile(r"\s*(?:\^|\*\*)\s*")
_POWER_OF_ANY_BUT_A_LETTER = re.compile(r"(?<![A-Za-z\s^*])\s{0,3}(?:\^|\*\*)")  # e^{3x^2} stays as it is written
_POWER_OF_NUMBERS = re.compile(r"(\d+)\s*(?:\^|\*\*)\s*[{(]?\s*(\d+)|(\d)(?:[eE])(\d+)")


def refusal(answer: str) -> str | None:
    """Why ``strict`` does not give an answer to the algebra system; None where it may be given."""
    if len(answer) > MAX_CHARS:
        return f"longer than {MAX_CHARS} characters ({len(answer)})"
    longest = max((len(n) for n in _NUMBER.findall(answer)), default=0)
    if longest > MAX_DIGIT_RUN:
        return f"a run of {longest} digits (more than {MAX_DIGIT_RUN})"
    if _depth(answer) > MAX_DEPTH:
        return f"brackets nested deeper than {MAX_DEPTH}"
    return explosion(answer)


def explosion(answer: str) -> str | None:
    """Why a short answer would be huge to evaluate; None where nothing says so.  For at most ``MAX_CHARS`` characters."""
    return _tower(answer) or _factorial(answer) or _large_arguments(answer)


def _depth(text: str) -> int:
    depth = deepest = 0
    for char in text:
        if char in "({[":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")}]" and depth:
            depth -= 1
    return deepest


def _group_end(text: str, begin: int) -> int:
    """End of the bracket group that opens at ``begin``, or of the single token there."""
    if begin >= len(text):
        return begin
    if text[begin] not in "({":
        match = _TOKEN.match(text, begin)
        return match.end() if match else begin
    depth = 0
    for at in range(begin, len(text)):
        if text[at] in "({[":
            depth += 1
        elif text[at] in ")}]":
            depth -= 1
            if depth == 0:
                return at + 1
    return len(text)


def _group_begin(text: str, end: int) -> int:
    """Start of the bracket group that closes just before ``end``."""
    depth = 0
    for at in range(end - 1, -1, -1):
        if text[at] in ")}]":
            depth += 1
        elif text[at] in "({[":
            depth -= 1
            if depth == 0:
                return at
    return 0


def _tower(text: str) -> str | None:
    for match in _POWER.finditer(text):
        end = _group_end(text, match.end())
        while following := _CHAINED.match(text, end):  # a chain, 9^9^9
            end = _group_end(text, following.end())
            if end == following.end():
                break
        exponent = text[match.end() : end]
        largest = max((int(n) for n in _NUMBER.findall(exponent)), default=0)
        if largest > MAX_EXPONENT:
            return f"an exponent of {largest} (more than {MAX_EXPONENT})"
        if largest > MAX_TOWER_NUMBER and _POWER_OF_ANY_BUT_A_LETTER.search(exponent):
            return "a tower of exponents"
    return None


def _factorial(text: str) -> str | None:
    for match in re.finditer(r"!", text):
        before = text[: match.start()].rstrip()
        if before.endswith("!"):
            return "a factorial of a factorial"
        if before.endswith((")", "}")):
            argument = before[_group_begin(before, len(before)) :]
        else:
            digits = re.search(r"\d+$", before)
            argument = digits.group() if digits else ""
        if "!" in argument:
            return "a factorial of a factorial"
        if _large(argument):
            return f"a factorial of more than {MAX_COMBINATORIAL}"
    return None


def _large_arguments(text: str) -> str | None:
    for pattern, name in ((_COMBINATORIAL, "a binomial"), (_ITERATED, "a sum, product or integral")):
        if pattern.search(text) and _large(text):
            return f"{name} over numbers above {MAX_COMBINATORIAL}"
    return None


def _large(text: str) -> bool:
    """Whether a number literal, or a power of two of them, exceeds ``MAX_COMBINATORIAL``."""
    if any(int(n) > MAX_COMBINATORIAL for n in _NUMBER.findall(text)):
        return True
    return any(
        (int(m[2]) * math.log10(max(int(m[1]), 1)) if m[1] else int(m[4])) > math.log10(MAX_COMBINATORIAL)
        for m in _POWER_OF_NUMBERS.finditer(text)
    )
