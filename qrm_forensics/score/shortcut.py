r"""Lenient verdicts that need no worker: what math-verify is certain to say of two plain answers.

Two rules, both about the piece that math-verify reads first (see ``extraction``).
Where it is the same LaTeX as the gold answer, letter by letter (but for the size of
fractions), both are normalised to the same string, which math-verify takes for equal
whatever it means.  Where both are
plain numbers they always parse, so no other piece is tried, and they are compared as
exact fractions; only two decimals too close for a sure rounding are left to it.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from qrm_forensics import answers
from qrm_forensics.score.extraction import Latex, Plain, Reading, Unclear, first_reading
from qrm_forensics.score.latex_spans import BOX

_PLAIN_NUMBER = re.compile(
    r"-?\d{1,15}(?:\^(?:\\circ|\{\\circ\}))?|-?\d{1,9}\.\d{1,9}|-?\\[dt]?frac\{\d{1,9}\}\{[1-9]\d{0,8}\}"
    r"|(?:\\\$)?[1-9]\d{0,2}(?:,(?:\\!)?\d{3}){1,3}",
    re.ASCII,
)

# The normalisation drops these, and never all of a text that holds any other letter or digit.
_DROPPED = re.compile(r"\\mathrm\{th\}|\\displaystyle|\\ldots|\\text\s*\{\s*\}")
_SAYS_SOMETHING = re.compile(r"[A-Za-z0-9]")
_FRACTION_NAME = re.compile(r"\\[dtc]frac")

#: So many places say to which side of any rounding to 5 places a decimal falls; loops write them without end.
_PLACES = 50


def content(reading: Reading | None) -> str | None:
    """The one answer that a reading holds, as written; None where it is more than that, or followed by percent."""
    if isinstance(reading, Latex) and len(reading.parts) == 1 and not reading.parts[0].percent:
        return reading.parts[0].content.strip()
    if isinstance(reading, Plain):
        groups = dict(reading.groups)
        if "percent" in groups or "expr" in groups:
            return None
        whole = "".join(value for name, value in reading.groups if name.startswith("integer"))
        places = "".join(value for name, value in reading.groups if name.startswith("decimal"))
        return (whole.replace(",", "").replace(" ", "") or "0") + places.replace(",", ".")
    return None


class Gold(NamedTuple):
    """The one answer that math-verify reads in a gold text, in the spelling that is compared, and whether it is plain."""

    answer: str
    spelling: str
    plain: bool


@functools.lru_cache(maxsize=4096)
def read_gold(gold: str) -> Gold | None:
    r"""What is in the box of a gold text or, where it has none, all of it as if boxed; None where that is not one answer."""
    solution = BOX in gold
    if solution and "final answer" in gold.lower():
        return None  # in worked solutions that ranks with boxes
    try:
        reading = first_reading(gold if solution else f"{BOX}{gold}}}")
    except Unclear:
        return None
    answer = content(reading) if isinstance(reading, Latex) and reading.boxed else None
    return Gold(answer, _spelling(answer), plain(answer)) if answer else None


def settle(gold: str, reading: Reading) -> answers.Settled | None:
    """What math-verify says of the piece it reads first, where that is certain without asking it."""
    want, got = read_gold(gold), content(reading)
    if want is None or got is None:
        return None
    if want.plain and (plain(got) or (isinstance(reading, Plain) and _is_long_decimal(got))):
        settled = answers.settle(want.answer, got)
        if settled is not None:
            return settled
    if isinstance(reading, Latex) and want.spelling == _spelling(got) and _SAYS_SOMETHING.search(_DROPPED.sub("", got)):
        return answers.Settled(True, "string")
    return None


def _spelling(answer: str) -> str:
    return _FRACTION_NAME.sub(r"\\frac", answer)


def plain(answer: str) -> bool:
    return _PLAIN_NUMBER.fullmatch(answer) is not None


def _is_long_decimal(answer: str) -> bool:
    whole, point, places = answer.partition(".")
    return bool(point) and len(whole) <= 10 and len(places) > _PLACES and answer.isascii()
