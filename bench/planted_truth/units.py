"""What repeats: units copied from the text before the cut, and written ones after the known kinds of loops.

A unit is a list of pieces (a token with the whitespace after it); a piece may be a connective,
which changes from copy to copy, or a counter, which goes up by one.  The wordings of the two
halves differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from .bases import HALVES, Half, tokens

Role = Literal["plain", "connective", "counter", "growing"]
CONNECTIVES = ("So", "Thus", "Therefore", "Hence", "Wait", "But", "Yes", "No", "And", "Then", "Again", "Now")
PHRASES = (*CONNECTIVES, "But wait", "Wait, no", "And so", "So yes")


@dataclass(frozen=True, slots=True)
class Piece:
    """A token and the whitespace after it."""

    text: str
    space: str
    role: Role = "plain"

    def __str__(self) -> str:
        return self.text + self.space


@dataclass(frozen=True, slots=True)
class Unit:
    """``reference`` is the letter of the published taxonomy (A to E) where it has one."""

    pieces: tuple[Piece, ...]
    loop_class: str
    reference: str | None = None

    def has(self, role: Role) -> bool:
        return any(p.role == role for p in self.pieces)


def cut(text: str) -> list[Piece]:
    """The pieces of a text, all of them plain; whitespace before the first token is dropped."""
    spans = tokens(text)
    ends = [s for s, _ in spans[1:]] + [len(text)]
    return [Piece(text[s:e], text[e:nxt]) for (s, e), nxt in zip(spans, ends, strict=True)]


def copy_of(unit: Unit, number: int, rng: Random) -> list[Piece]:
    """The copy with that number; copy 0 is the unit as it is written."""
    if number == 0:
        return list(unit.pieces)
    out: list[Piece] = []
    for p in unit.pieces:
        if p.role == "connective":
            out.append(replace(p, text=rng.choice(PHRASES)))
        elif p.role == "counter":
            out.append(replace(p, text=str(int(p.text) + number)))
        elif p.role == "growing":
            out += [replace(p, role="plain") for _ in range(number + 1)]
        else:
            out.append(p)
    return out


def with_connectives(pieces: list[Piece]) -> list[Piece] | None:
    """The pieces with their discourse connectives marked; None if there are none.

    A connective is one of ``CONNECTIVES`` that begins the unit or follows the end of a sentence or line.
    """
    out = [
        replace(p, role="connective")
        if p.text in CONNECTIVES and (i == 0 or "\n" in pieces[i - 1].space or pieces[i - 1].text in ".!?")
        else p
        for i, p in enumerate(pieces)
    ]
    return out if out != pieces else None


def with_counter(pieces: list[Piece], rng: Random) -> list[Piece] | None:
    """The pieces with one whole number below 10^6 joined and marked, wherever it stands; None if there is none."""
    joined: list[Piece] = []
    for p in pieces:
        if joined and p.text.isdecimal() and joined[-1].text.isdecimal() and not joined[-1].space:
            joined[-1] = replace(p, text=joined[-1].text + p.text)
        else:
            joined.append(p)
    fraction = {
        i + 1 for i, p in enumerate(joined) if p.text in ".," and not p.space and i and joined[i - 1].text.isdecimal()
    }
    numbers = sorted(
        {
            p.text
            for i, p in enumerate(joined)
            if re.fullmatch(r"0|[1-9][0-9]{0,5}", p.text)
            and i not in fraction
            and not (i + 1 < len(joined) and joined[i + 1].text in ".," and not joined[i + 1].space)
        }
    )
    if not numbers:
        return None
    chosen = rng.choice(numbers)
    return [replace(p, role="counter") if p.text == chosen and i not in fraction else p for i, p in enumerate(joined)]


# -- written units ------------------------------------------------------------------------------------------

_Make = Callable[[Random, Half, list[Piece]], Unit]


def _one(rng: Random, half: Half, tuning: tuple[str, ...], holdout: tuple[str, ...]) -> str:
    return rng.choice(tuning if half == HALVES[0] else holdout)


def sentence(rng: Random, before: list[Piece], low: int, high: int) -> list[Piece]:
    """A stretch of ``low`` to ``high`` tokens from the text before the cut, whole sentences where there are any."""
    near = before[-1200:]
    starts = [i + 1 for i, p in enumerate(near[:-low]) if p.text in ".?!" and p.space]
    rng.shuffle(starts)
    for s in starts:
        ends = [j for j in range(s + low - 1, min(s + high, len(near))) if near[j].text in ".?!" and near[j].space]
        if ends:
            return near[s : rng.choice(ends) + 1]
    n = min(rng.randint(low, high), len(near))
    s = rng.randint(0, len(near) - n)
    return near[s : s + n]


def _number(rng: Random) -> str:
    return rng.choice(
        (
            str(rng.randint(2, 9999)),
            f"{rng.randint(0, 99)}.{rng.randint(1, 9999)}",
            f"{rng.randint(1, 99)}/{rng.randint(2, 99)}",
        )
    )


def _wait(rng: Random, half: Half, before: list[Piece]) -> Unit:
    lead = _one(
        rng, half, ("Wait, wait, wait, perhaps ", "Wait, maybe "), ("Wait, hold on, wait, what if ", "Hmm, wait, ")
    )
    words = sentence(rng, before, 3, 25)
    return Unit((*cut(lead), *words[:-1], replace(words[-1], space="\n\n")), "wait-loop", "A")


def _wait_numeric(rng: Random, half: Half, before: list[Piece]) -> Unit:
    a, b = rng.randint(2, 99), rng.randint(2, 99)
    text = _one(
        rng,
        half,
        ("No, {a} times {b} is {c}? Wait, {a} times {b} is {c}? ", "Wait, {a} + {b} = {d}, so {d} is {a} + {b}. "),
        ("Wait, so {a}*{b}={c}, but is {c} right? ", "Wait, {d} minus {b} is {a}, no, {d} minus {b} is {a}.\n\n"),
    ).format(a=a, b=b, c=a * b, d=a + b)
    return Unit(tuple(cut(text)), "wait-loop", "A-numeric")


def _operator(rng: Random, half: Half, before: list[Piece]) -> Unit:
    text = _one(
        rng,
        half,
        ("0.  ", "0.  0.  0.  0,0.  ", "- 1 + 1 ", "= 0 = 0 + 0 "),
        ("1.  1,1.  ", "0, 0, 0; ", "+ 2 - 2 ", "* 1 / 1 = "),
    )
    return Unit(tuple(cut(text)), "number/operator", "B")


def _gibberish(rng: Random, half: Half, before: list[Piece]) -> Unit:
    text = _one(rng, half, ("Vis, no.  ", "Vis vis, no.  ", "IV, "), ("Ter, so.  ", "antsants ", "iev, iev. "))
    return Unit(tuple(cut(text)), "single token/character", "C")


def _character(rng: Random, half: Half, before: list[Piece]) -> Unit:
    text = _one(rng, half, ("V.  ", ") ", "S, ", "but, "), ("K.  ", "( ", "T; ", "so, ", "| "))
    return Unit(tuple(cut(text)), "single token/character", "D")


def _digits(rng: Random, half: Half, before: list[Piece]) -> Unit:
    text = _one(rng, half, ("4", "18", "0", "142857"), ("7", "36", "9", "076923"))
    return Unit(tuple(cut(text)), "stuck digits", "E")


def _connective(rng: Random, half: Half, before: list[Piece]) -> Unit:
    words = sentence(rng, before, 5, 60)
    space = rng.choice((" ", "\n\n"))
    first = Piece(rng.choice(CONNECTIVES), "", "connective")
    return Unit((first, Piece(",", " "), *words[:-1], replace(words[-1], space=space)), "connective+statement")


def _phrase(rng: Random, half: Half, before: list[Piece]) -> Unit:
    text = _one(
        rng,
        half,
        (", which is {x}", "of the side ", ", and so {x} equals {x}"),
        (", that is {x}", "of the sum of the ", ", giving {x}, or {x}"),
    )
    return Unit(tuple(cut(text.format(x=_number(rng)))), "phrase chain")


def _answer(rng: Random, half: Half, before: list[Piece]) -> Unit:
    text = _one(
        rng,
        half,
        (
            "**Final answer.**\n\n",
            "**Final Answer**\n\\boxed{{{x}}}\n\n",
            "The final answer is \\(\\boxed{{{x}}}\\).\n\n",
        ),
        ("**Answer:** \\boxed{{{x}}}\n\n", "### Final Answer\n\n", "So, the answer is $\\boxed{{{x}}}$. "),
    )
    return Unit(tuple(cut(text.format(x=_number(rng)))), "answer-format loop")


def _growing(rng: Random, half: Half, before: list[Piece]) -> Unit:
    grown = _one(rng, half, ("x", "2"), ("y", "3"))
    lead = [*cut("So the next term is "), *sentence(rng, before, 6, 30)[:-1]]
    tail = [Piece(".", rng.choice((" ", "\n\n")))]
    if grown.isdecimal():
        lead.append(Piece("times", " "))
    return Unit((*lead, Piece(grown, " ", "growing"), *tail), "growing term")


def _tautology(rng: Random, half: Half, before: list[Piece]) -> Unit:
    text = _one(rng, half, ("{x} is {x}. ", "{x} = {x}.\n\n"), ("{x} equals {x}, ", "so {x} is {x}, and "))
    return Unit(tuple(cut(text.format(x=_number(rng)))), "tautology")


def _counter(rng: Random, half: Half, before: list[Piece]) -> Unit:
    text = _one(
        rng,
        half,
        ("f(#) = f(#) + c, ", "2^# mod 1000, ", "Then term # is the same as before.\n\n"),
        ("g(#), ", "a_# = a_#, so that is it. ", "Case #: nothing new, as we saw above.\n"),
    )
    start = str(rng.randint(1, 400))
    pieces = [replace(p, text=start, role="counter") if p.text == "#" else p for p in cut(text)]
    return Unit(tuple(pieces), "counter drift")


def _paragraph(rng: Random, half: Half, before: list[Piece]) -> Unit:
    words = sentence(rng, before, 41, 360)
    return Unit((*words[:-1], replace(words[-1], space="\n\n")), "long-paragraph")


WRITTEN: tuple[_Make, ...] = (
    _wait,
    _wait_numeric,
    _operator,
    _gibberish,
    _character,
    _digits,
    _connective,
    _phrase,
    _answer,
    _growing,
    _tautology,
    _counter,
    _paragraph,
)
