"""Folding loops, and finding where texts part: what a reader of long responses needs, without any markup.

All positions are in characters (code points) from the beginning of the response, as in the span
columns of the metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from qrm_forensics.metrics.loop_detector import find_loops

#: Copies of the unit that stay visible before the rest is folded, and bounds of what they may take, in characters.
COPIES_SHOWN, LEAST_SHOWN, MOST_SHOWN = 2, 160, 400
#: What would be folded is shown where it is shorter.
LEAST_FOLDED = 120
#: How far back from where texts part the beginning of the word is looked for.
_WORD = 40


@dataclass(frozen=True, slots=True)
class LoopSpan:
    """A loop in a response, from its first copy at ``start`` to ``end`` (past its last character).

    ``unit`` is what it repeats and ``repeats`` how many copies of it there are, the first included; None where
    that is not known, as for the stored column ``loop_spans``.  ``onset`` is where the second copy begins.
    """

    start: int
    end: int
    unit: str | None = None
    repeats: float | None = None
    onset: int | None = None


class Part(StrEnum):
    """What a segment of a folded response is."""

    TEXT = "text"  #: outside loops
    LOOP = "loop"  #: inside a loop, to be shown: its beginning, or all of it where it is short
    FOLDED = "folded"  #: inside a loop, to be hidden behind "this unit ×176"


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a response; ``loop`` is the index of its loop among those that were given, None outside loops."""

    part: Part
    start: int
    text: str
    loop: int | None = None

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def fold(text: str, loops: Sequence[LoopSpan]) -> tuple[Segment, ...]:
    """The text in segments whose texts joined are the text, exactly; none is empty.

    Each loop gives a ``LOOP`` segment (about COPIES_SHOWN copies, between LEAST_SHOWN and MOST_SHOWN characters) and
    then, where at least LEAST_FOLDED characters are left, a ``FOLDED`` one.  Loops may be in any order, may
    overlap (the one that begins first has what both cover) and may reach beyond the text.
    """
    segments: list[Segment] = []
    position = 0

    def take(part: Part, end: int, loop: int | None = None) -> None:
        nonlocal position
        if end > position:
            segments.append(Segment(part, position, text[position:end], loop))
            position = end

    for i in sorted(range(len(loops)), key=lambda i: (loops[i].start, loops[i].end)):
        span = loops[i]
        end = min(span.end, len(text))
        if end <= max(position, span.start):
            continue
        take(Part.TEXT, span.start)
        shown = min(max(COPIES_SHOWN * len(span.unit or ""), LEAST_SHOWN), MOST_SHOWN)
        if end - position - shown >= LEAST_FOLDED:
            take(Part.LOOP, position + shown, i)
            take(Part.FOLDED, end, i)
        else:
            take(Part.LOOP, end, i)
    take(Part.TEXT, len(text))
    return tuple(segments)


def loop_spans(text: str, *, closed: bool | None = None) -> tuple[LoopSpan, ...]:
    """The loops of a response, found again in its text: with the unit and the copies of each.

    The stored column ``loop_spans`` has their places alone, those that touch joined, and ``loop_unit`` only
    that of the longest.  ``closed`` as for ``find_loops``.
    """
    found = find_loops(text, closed=closed).loops
    return tuple(LoopSpan(e.body_start_char, e.end_char, e.unit, e.repeats, e.onset_char) for e in found)


def shared_start(texts: Iterable[str]) -> int:
    """Number of characters that all texts begin with; 0 for none or one text.

    Where they part inside a word, the whole word belongs to what differs.
    """
    several = list(texts)
    if len(several) < 2:
        return 0
    # What the first and the last in order share, all share.
    least, most = min(several), max(several)
    length = next(_differing(least, most), len(least))
    if all(len(t) == length for t in several):
        return length
    first = several[0]
    within = any(length < len(t) and t[length].isalnum() for t in several)
    back = length
    while within and back > max(0, length - _WORD) and first[back - 1].isalnum():
        back -= 1
    return back if not within or back == 0 or not first[back - 1].isalnum() else length


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Index of the first element that differs, or at which one of them ends; None where they are equal."""
    at = next(_differing(one, other), min(len(one), len(other)))
    return None if at == len(one) == len(other) else at


def _differing(one: Sequence[object], other: Sequence[object]) -> Iterator[int]:
    return (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
