r"""What kind of loop it is, from the unit that repeats.

The rules are asked in this order, and the first that holds names the class:

- ``enumeration``: only the numbers change (tier 3).
- ``growing term``: each copy is longer than the one before.
- ``stuck digits``: the unit is digits and nothing else (``444444``, ``181818``).
- ``single token/character``: one word or mark over and over, connectives and punctuation aside
  (``V.``, ``, but``, ``) )``, ``Vis, no.``); with "wait" it is a wait-loop.
- ``tautology``: one thing is said to be itself (``0.03962 is 0.03962.``).
- ``number/operator``: no word at all (``0.  0,0.``, ``= 3 + 3``).
- ``answer-format loop``: a final answer is announced or boxed.
- ``counter drift``: a counter goes up from copy to copy, and nothing else changes.
- ``long-paragraph``: more than 40 tokens in three sentences or more, or more than 80.
- ``wait-loop``: "wait" stands in two fifths of the copies or more.
- ``connective+statement``: a sentence of the unit opens with a discourse connective.
- ``long-paragraph``: more than 40 tokens.
- ``phrase chain``: words without the end of a sentence (``which is 576,``).
- ``other``.

The types of the published reference report follow from unit and class: A, "wait" is in the unit
(Wait loop); B, number/operator (number loop); C, a single word that is no connective (gibberish
token, "Vis"); D, a single letter, mark or connective (single character); E, stuck digits.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from qrm_forensics.metrics.lexemes import CONNECTIVES

CLASSES = (
    "wait-loop",
    "connective+statement",
    "long-paragraph",
    "phrase chain",
    "single token/character",
    "number/operator",
    "counter drift",
    "stuck digits",
    "answer-format loop",
    "growing term",
    "tautology",
    "enumeration",
    "other",
)
LONG_UNIT = 40
#: "wait"s per copy.
WAITS = 0.4
#: A term grows if its copies at the end are so many times as long as at the beginning.
GROWTH = 1.3

_WORD = re.compile(r"\\?[^\W\d_]+")
_TOKEN = re.compile(r"\\[^\W\d_]+|[^\W\d_]+|\d+|\S")
_ANSWER = re.compile(
    r"\\boxed|\bfinal answer\b|\banswer\b[^.\n]{0,12}(?:is|:|\*\*)|\*\*\s*(?:final\s+)?answer", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?:](?=\s|$)\s*|\n+")
_CONNECTIVES = frozenset(CONNECTIVES)
_EQUALS = frozenset(("is", "=", "equals", "are", "≈"))


@dataclass(frozen=True, slots=True)
class Unit:
    """A copy of what repeats.  ``twice``: the copy and the next; ``period``: tokens in a copy; ``waits``: "wait"s per
    copy; ``counted`` and ``growth`` as in ``loop_detector.Episode``."""

    text: str
    twice: str
    period: int
    waits: float
    counted: bool
    growth: float

    @property
    def says_wait(self) -> bool:
        return self.waits >= WAITS


def classify(unit: Unit) -> str:
    """The class of a loop (tiers 1 and 2)."""
    text = unit.text
    if unit.growth >= GROWTH and unit.period >= 4:
        return "growing term"
    if text.isdigit():
        return "stuck digits"
    tokens = [t.lower() for t in _TOKEN.findall(text)]
    words = [t for t in tokens if t[-1].isalpha()]
    digits = any(t[0].isdigit() for t in tokens)
    alone = len(words) <= 4 and len(tokens) <= 8 and len(set(tokens)) <= 4 and len(set(words) - _CONNECTIVES) <= 1
    if alone and not digits:
        return "wait-loop" if unit.says_wait else "single token/character"
    sentences = len(_SENTENCE_END.findall(text))
    if (sentences or len(words) < 3) and _is_tautology(unit.twice):
        return "tautology"
    if all(w[0] == "\\" for w in words) and (digits or not words):
        return "number/operator"
    if _ANSWER.search(text):
        return "answer-format loop"
    if unit.counted:
        return "counter drift"
    if unit.period > LONG_UNIT and (sentences > 2 or unit.period > 2 * LONG_UNIT):
        return "long-paragraph"
    if unit.says_wait:
        return "wait-loop"
    if sentences and _opens_with_connective(text):
        return "connective+statement"
    if unit.period > LONG_UNIT:
        return "long-paragraph"
    return "other" if sentences else "phrase chain"


def reference_type(unit: Unit, loop_class: str) -> str:
    """The letter of the reference report, A to E, or ``other``; see the module."""
    if unit.says_wait:
        return "A"
    if loop_class == "stuck digits":
        return "E"
    if loop_class == "number/operator":
        return "B"
    if loop_class == "single token/character":
        words = {w.lower() for w in _WORD.findall(unit.text)}
        return "C" if any(len(w) > 1 for w in words - _CONNECTIVES) else "D"
    return "other"


def _is_tautology(twice: str) -> bool:
    """Whether a word for equality stands between twice the same, which together are most of a copy."""
    tokens = [t.lower() for t in _TOKEN.findall(twice[:300])]
    if _EQUALS.isdisjoint(tokens):
        return False
    least = 0.3 * len([t for t in tokens if t not in _CONNECTIVES and t not in ",.!?;"])
    shortest = max(1, math.ceil((least - 1) / 2))
    for k, token in enumerate(tokens):
        if token not in _EQUALS or tokens[k - 1] in ",.":
            continue
        for size in range(shortest, min(k, len(tokens) // 4) + 1):
            if tokens[k - size : k] == tokens[k + 1 : k + 1 + size]:
                return True
    return False


def _opens_with_connective(unit: str) -> bool:
    for sentence in _SENTENCE_END.split(unit):
        first = _WORD.search(sentence)
        if first and first.group().lower() in _CONNECTIVES and not sentence[: first.start()].strip(" \n,*([{-"):
            return True
    return False
