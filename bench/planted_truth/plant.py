"""Planting: a clean response, a cut, a unit, copies of it with noise, then the end or the rest of the response."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Literal

from .bases import Base, Half, Source, bases, tokens
from .units import WRITTEN, Piece, Unit, copy_of, cut, with_connectives, with_counter

Kind = Literal["exact", "noisy", "connective", "drift", "growing"]
KINDS: tuple[Kind, ...] = ("exact", "noisy", "connective", "drift", "growing")

MIN_TOKENS, MAX_TOKENS = 160, 10_240
MAX_GROWING_TOKENS = 3_000
MAX_PERIOD = 560
MIN_COPIES = 5
NOISE = (0.0, 0.02, 0.05, 0.10)
TERMINAL_SHARE = 0.6
#: Of the resumed ones: how many are cut off long after the loop, unclosed though not looping at their end.
RESUMED_THEN_CUT = 0.25
#: Of the terminal ones: how many stop in the middle of a word, as a token limit does.
STOPPED_IN_A_WORD = 0.3


@dataclass(frozen=True, slots=True)
class Truth:
    """What was planted; offsets are in characters of ``Case.text``, lengths in tokens.

    The first copy is ``text[body_start_char:onset_char]`` and the second begins at ``onset_char``;
    if the text before the first copy happens to continue the loop to the left, both are
    moved there, so that ``onset_char`` is where the first repeated token begins.  ``period``
    is the mean length of a copy.
    """

    body_start_char: int
    onset_char: int
    end_char: int
    terminal: bool
    kind: Kind
    loop_class: str
    reference: str | None
    period: float
    copies: float
    noise: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    problem: str
    text: str
    closed: bool
    truth: Truth


def cases(half: Half, n: int, seed: int, source: Source = "auto") -> list[Case]:
    """``n`` planted responses of one half; the same arguments give the same texts.

    Raises LookupError if there is no base to plant into (``source="real"`` without response files).
    """
    pool = [(b, cut(b.text[: b.text.index("</think>")])) for b in bases(half, source)]
    if not pool:
        raise LookupError("no clean response to plant into: response files are not at hand; use source='builtin'")
    made = []
    for i in range(n):
        rng = Random(f"{half}/{seed}/{i}")
        base, thinking = rng.choice(pool)
        made.append(_plant(f"{half}/{seed}/{i}", half, base, thinking, rng))
    return made


def _plant(name: str, half: Half, base: Base, thinking: list[Piece], rng: Random) -> Case:
    noise = rng.choice(NOISE)
    if rng.random() < 0.5:
        at, unit = _copied(thinking, rng)
        copies = [list(unit.pieces)]
        already = True
    else:
        at = rng.randint(60, len(thinking) - 30)
        unit = rng.choice(WRITTEN)(rng, half, thinking[:at])
        copies = [copy_of(unit, 0, rng)]
        already = False

    longest = MAX_GROWING_TOKENS if unit.has("growing") else MAX_TOKENS
    total = max(_log_uniform(rng, MIN_TOKENS, longest), MIN_COPIES * len(unit.pieces))
    whole = rng.random() < 0.5
    made = len(copies[0])
    # a growing unit gets longer and longer, and a deleted token makes a copy shorter
    while made < total or len(copies) < MIN_COPIES:
        copy = _noisy(copy_of(unit, len(copies), rng), noise, thinking, rng)
        if not whole and len(copies) >= MIN_COPIES and made + len(copy) > total:
            copy = copy[: max(1, total - made)]
        copies.append(copy)
        made += len(copy)

    offset = len(base.text) - len(base.text.lstrip())
    before = base.text[:offset] + "".join(map(str, thinking[:at]))
    first = "".join(map(str, copies[0]))
    rest = "".join(str(p) for c in copies[1:] for p in c)
    if not already and before and not before[-1].isspace():
        before += " "
    body = len(before) - len(first) if already else len(before)
    planted = before + ("" if already else first) + rest
    resumed = base.text[offset + sum(len(str(p)) for p in thinking[:at]) :]

    end = len(planted.rstrip())
    terminal = rng.random() < TERMINAL_SHARE
    cut_word, cut_later, where = rng.random(), rng.random(), rng.random()
    if terminal:
        text, closed = planted.rstrip(), False
        if cut_word < STOPPED_IN_A_WORD and text[-3:].isalpha():
            text = text[:-2]
        end = len(text)
    else:
        text, closed = planted + resumed, True
        enough = 3 * max(map(len, copies)) + 200
        spans = tokens(resumed)
        if cut_later < RESUMED_THEN_CUT and len(spans) > enough:
            text = planted + resumed[: spans[enough + int(where * (len(spans) - enough))][1]]
            closed = "</think>" in text

    onset = body + len(first)
    back = _common_suffix(text, body, onset)
    n_tokens = len(tokens(text[body - back : end]))
    n_copies = len(copies) - 1 + min(1.0, len(copies[-1]) / len(copy_of(unit, len(copies) - 1, rng)))
    return Case(
        name,
        base.problem,
        text,
        closed,
        Truth(
            body - back,
            onset - back,
            end,
            terminal,
            _kind(unit, noise),
            unit.loop_class,
            unit.reference,
            n_tokens / n_copies,
            n_copies,
            noise,
            n_tokens,
        ),
    )


def _copied(thinking: list[Piece], rng: Random) -> tuple[int, Unit]:
    """A cut and the unit that ends there; in half of the plants its connectives or one of its numbers change."""
    variation = rng.choice(("none", "none", "connective", "drift"))
    for _ in range(40):
        period = _log_uniform(rng, 1, MAX_PERIOD)
        at = rng.randint(max(60, period), max(60, period, len(thinking) - 30))
        pieces: list[Piece] | None = thinking[at - period : at]
        if len(pieces or ()) < period or _runs_together(thinking[at - 1], thinking[at - period]):
            continue
        if variation == "connective":
            pieces = with_connectives(pieces or [])
        elif variation == "drift":
            pieces = with_counter(pieces or [], rng)
        # a unit that is little else than its number or connective is counting or stammering, not this kind of loop
        if pieces and (variation == "none" or sum(p.role == "plain" for p in pieces) >= max(4, len(pieces) / 2)):
            return at, Unit(tuple(_root(pieces)), "copied")
    raise LookupError(f"no unit to copy ({variation}) was found in a text of {len(thinking)} tokens")


def _runs_together(last: Piece, first: Piece) -> bool:
    """Whether the end of one copy and the beginning of the next would be one word."""
    return not last.space and last.text[-1].isalpha() and first.text[0].isalpha()


def _root(pieces: list[Piece]) -> list[Piece]:
    """The shortest list of which ``pieces`` is a power."""
    n = len(pieces)
    return next(pieces[:d] for d in range(1, n + 1) if n % d == 0 and pieces == pieces[:d] * (n // d))


def _noisy(copy: list[Piece], noise: float, words: list[Piece], rng: Random) -> list[Piece]:
    """Each piece is hit with probability ``noise``: 60 % become another word, 20 % go, 20 % get a word before them."""
    if not noise:
        return copy
    out: list[Piece] = []
    for p in copy:
        if rng.random() >= noise:
            out.append(p)
            continue
        how = rng.random()
        if how < 0.6:
            out.append(Piece(rng.choice(words).text, p.space))
        elif how >= 0.8:
            out += [rng.choice(words), p]
    return out


def _common_suffix(text: str, a: int, b: int) -> int:
    """How far ``text[:a]`` and ``text[:b]`` agree from their ends on, back to where a token begins."""
    k = 0
    while k < a and text[a - 1 - k] == text[b - 1 - k]:
        k += 1
    if not k:
        return 0
    low = max(0, a - k - 200)
    starts = [low + s for s, _ in tokens(text[low:a])][1 if low else 0 :]
    return a - next((s for s in starts if s >= a - k), a)


def _kind(unit: Unit, noise: float) -> Kind:
    if unit.has("connective"):
        return "connective"
    if unit.has("counter"):
        return "drift"
    if unit.has("growing"):
        return "growing"
    return "noisy" if noise else "exact"


def _log_uniform(rng: Random, low: int, high: int) -> int:
    return round(math.exp(rng.uniform(math.log(low), math.log(high))))
