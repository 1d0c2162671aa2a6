r"""What kind of loop it is, from the unit that repeats.

The rules are asked in this order, and the first that holds names the class:

- ``enumeration``: only the numbers change (tier 3).
- ``growing term``: each copy is longer than the one before.
- ``stuck digits``: the unit is digits and nothing else (``444444``, ``181818``).
- ``single token/character``: one word or mark, with at most some punctuation around it or one
  more short word (``V.``, ``, but``, ``) )``, ``Vis, no.``).
- ``number/operator``: no word at all (``0.  0,0.``, ``= 3 + 3``).
- ``answer-format loop``: a final answer is announced or boxed.
- ``counter drift``: a counter goes up from copy to copy, and nothing else changes.
- ``tautology``: one thing is said to be itself (``0.03962 is 0.03962``).
- ``long-paragraph``: more than 40 tokens.
- ``wait-loop``: the unit holds the word "wait".
- ``connective+statement``: a sentence of the unit opens with a discourse connective.
- ``phrase chain``: words without the end of a sentence (``which is 576,``).
- ``other``.

The types of the published reference report follow from unit and class: A, "wait" is in the unit
(Wait loop); B, number/operator (number loop); C, a single word that is no connective (gibberish
token, "Vis"); D, a single letter, mark or connective (single character); E, stuck digits.
"""

from __future__ import annotations

import re

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
#: A term grows if its mean lag in the last third is so many times that in the first third.
GROWTH = 1.3

_WORD = re.compile(r"\\?[^\W\d_]+")
_TOKEN = re.compile(r"\\[^\W\d_]+|[^\W\d_]+|\d+|\S")
_ANSWER = re.compile(
    r"\\boxed|\bfinal answer\b|\banswer\b[^.\n]{0,12}(?:is|:|\*\*)|\*\*\s*(?:final\s+)?answer", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?:](?=\s|$)|\n")
_EQUALS = ("is", "=", "equals", "are", "≈")


def classify(unit: str, period: int, *, enumeration: bool, counted: bool, growth: float) -> str:
    """The class of a unit of ``period`` tokens; ``counted`` and ``growth`` as in ``loop_detector.Episode``."""
    if enumeration:
        return "enumeration"
    words = _WORD.findall(unit)
    if growth >= GROWTH and period >= 4:
        return "growing term"
    if re.fullmatch(r"\d+", unit):
        return "stuck digits"
    tokens = _TOKEN.findall(unit)
    digits = any(t[0].isdigit() for t in tokens)
    if not digits and len(words) <= 2 and len(set(tokens)) <= 4 and len({w.lower() for w in words} - {"no"}) <= 1:
        return "wait-loop" if "wait" in unit.lower() else "single token/character"
    if not any(not w.startswith("\\") for w in words) and (digits or not words):
        return "number/operator"
    if _ANSWER.search(unit):
        return "answer-format loop"
    if counted:
        return "counter drift"
    if _is_tautology(tokens):
        return "tautology"
    if period > LONG_UNIT:
        return "long-paragraph"
    low = {w.lower() for w in words}
    if "wait" in low:
        return "wait-loop"
    if _opens_with_connective(unit):
        return "connective+statement"
    if not _SENTENCE_END.search(unit):
        return "phrase chain"
    return "other"


def reference_type(unit: str, loop_class: str) -> str:
    """The letter of the reference report, A to E, or ``other``; see the module."""
    words = [w.lower() for w in _WORD.findall(unit)]
    if "wait" in words:
        return "A"
    if loop_class == "stuck digits":
        return "E"
    if loop_class == "number/operator":
        return "B"
    if loop_class == "single token/character":
        return "C" if any(len(w) > 1 and w not in CONNECTIVES for w in words) else "D"
    return "other"


def _is_tautology(tokens: list[str]) -> bool:
    """Whether most of the unit, taken as a circle, is one thing, a word for equality and the same thing again."""
    n = len(tokens)
    round_trip = tokens * 3
    said = [t for t in tokens if t.lower() not in CONNECTIVES and t not in ",.!?;"]
    for k in range(n, 2 * n):
        if round_trip[k].lower() in _EQUALS:
            size = 0
            for s in range(1, n // 2 + 1):
                if round_trip[k - s : k] == round_trip[k + 1 : k + 1 + s]:
                    size = s
            if size and 2 * size + 1 >= 0.6 * len(said):
                return True
    return False


def _opens_with_connective(unit: str) -> bool:
    for sentence in _SENTENCE_END.split(unit):
        first = _WORD.search(sentence)
        if first and first.group().lower() in CONNECTIVES and not sentence[: first.start()].strip(" \n,*([{-"):
            return True
    return False
