r"""Where math stands in a text: the environments that math-verify's extraction looks for, found in linear time.

math-verify finds ``$...$``, ``$$...$$``, ``\(...\)``, ``\[...\]``, `` [...] `` and bare
number fractions, joined by "and", "or" and commas, with regular expressions of several
nested lazy loops.  Each of those environments has exactly one possible end: its content
may not contain its closing mark.  So one search for the closing mark decides what the
expressions find by trying, and that is what is done here.  Every function follows
``math_verify.parser.make_latex_env_pattern`` (0.9.0) and, for boxes,
``latex2sympy2_extended.math_normalization.extract_boxed_content`` (1.11.0).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

BOX: Final = "\\boxed{"

_FRACTION = re.compile(r"-?\\frac\{-?\d+(?:[.,]\d+)?\}\{-?\d+(?:[.,]\d+)?\}")
_PERCENT = re.compile(r"\s*(\\?%|[Pp]ercent|[Pp]ct)?")
_JOINT = re.compile(r"\s*(?:,?and|,?or|,)\s*")
_SPACE = re.compile(r"\s*")
_MARK = re.compile(r"[$\\\[]")
_MAX_JOINED = 5


class TooMuchWork(Exception):
    """The text is built so that finding its environments takes too long; it is for a process that can be killed."""


class Part(NamedTuple):
    """One environment: its content, and whether a percent sign follows."""

    content: str
    percent: bool


class Span(NamedTuple):
    """Environments joined by "and", "or" or commas: their half-open span in the text, and their contents."""

    start: int
    end: int
    parts: tuple[Part, ...]


class Environments:
    """The environments of one text, within a budget of ``work`` characters that searches may pass over."""

    def __init__(self, text: str, work: int | None = None) -> None:
        self._text = text
        self._left = 30 * len(text) + 1_000_000 if work is None else work
        self._clear = (0, 0)

    def next_opening(self, at: int, before: int) -> int | None:
        """The first position in [at, before) where an environment might open."""
        clear_from, clear_to = self._clear  # no environment opens in between
        low = clear_to if clear_from <= at <= clear_to else at
        for mark in _MARK.finditer(self._text, low, before + 1):
            opening = self._opening(mark.start(), low)
            if opening is not None and opening < before:
                self._clear = (at, opening)
                self._pay(opening - low >> 3)
                return opening
        self._clear = (at, max(low, before))
        self._pay(max(0, before - low) >> 3)
        return None

    def _opening(self, at: int, low: int) -> int | None:
        text = self._text
        if text[at] == "[":
            at -= 1
            return at if at >= low and text[at].isspace() else None
        if text[at] == "\\":
            after = text[at + 1 : at + 2]
            if after == "f" and at > low and text[at - 1] == "-":
                return at - 1
            return at if after in ("[", "(", "f") else None
        return at

    def joined(self, at: int, boxed: bool = False) -> Span | None:
        r"""The environment that opens at ``at`` and up to five more joined to it; None where none opens.

        With ``boxed`` only environments that contain a closed ``\boxed{...}`` count.
        """
        found = self._environment(at, boxed)
        if found is None:
            return None
        part, end = self._part(found)
        parts = [part]
        for _ in range(_MAX_JOINED):
            if boxed:
                end = self.after_space(end)
            joint = _JOINT.match(self._text, end)
            if joint is None:
                break
            found = self._environment_after_space(joint.end(), boxed)
            if found is None:
                break
            part, end = self._part(found)
            parts.append(part)
        if boxed:
            end = self.after_space(end)
        return Span(at, end, tuple(parts))

    def joined_after_space(self, at: int) -> Span | None:
        """The joined environments that open at ``at`` or behind white space there."""
        first = self.after_space(at)
        span = self.joined(first) if first < len(self._text) else None
        if span is None and first > at:
            span = self.joined(first - 1)  # " [...] " needs one of the spaces itself
        return span

    # ------------------------------------------------------------------ one environment

    def _part(self, found: tuple[int, int, int]) -> tuple[Part, int]:
        begin, close, end = found
        percent = _PERCENT.match(self._text, end)
        assert percent is not None
        return Part(self._text[begin:close], percent[1] is not None), percent.end()

    def _environment_after_space(self, at: int, boxed: bool) -> tuple[int, int, int] | None:
        found = self._environment(at, boxed)
        if found is None and self._text[at - 1].isspace():  # " [...] " needs one of the spaces itself
            found = self._environment(at - 1, boxed)
        return found

    def _environment(self, at: int, boxed: bool) -> tuple[int, int, int] | None:
        """Begin and end of the content, and end of the whole, of the environment that opens at ``at``."""
        text = self._text
        char = text[at : at + 1]
        if char == "$":
            found = self._dollars(at)
        elif char == "\\":
            after = text[at + 1 : at + 2]
            if after == "[":
                found = self._bracketed(at, "\\]", len(text))
            elif after == "(":
                found = self._bracketed(at, "\\)", self._line_end(at + 2))
            else:
                return None if boxed else self._fraction(at)
        elif char == "-":
            return None if boxed else self._fraction(at)
        elif char and text.startswith("[", at + 1) and char.isspace():
            found = self._square(at)
        else:
            return None
        if found is None or not boxed:
            return found
        return found if self._holds_box(found[0], found[1]) else None

    def _dollars(self, at: int) -> tuple[int, int, int] | None:
        text = self._text
        before = text[at - 1] if at else ""
        if before == "\\":
            return None
        if text.startswith("$$", at):  # and if this fails, "$" fails too: its content would begin with "$"
            close = self._find("$$", at + 2, len(text))
            if close <= at + 2 or text[close - 1] == "\\":
                return None
            return at + 2, close, close + 2
        if before.isdecimal():  # "5$ and 6$" are prices
            return None
        stop = self._line_end(at + 1)
        close = self._find("$", at + 1, stop)
        while close > 0 and text[close - 1] == "\\":
            close = self._find("$", close + 1, stop)
        return (at + 1, close, close + 1) if close > at + 1 else None

    def _bracketed(self, at: int, mark: str, stop: int) -> tuple[int, int, int] | None:
        text = self._text
        if at and text[at - 1] == "\\":
            return None
        close = self._find(mark, at + 2, stop)
        if close <= at + 2 or text[close - 1] == "\\":
            return None
        return at + 2, close, close + 2

    def _square(self, at: int) -> tuple[int, int, int] | None:
        text = self._text
        close = self._find("]", at + 2, self._line_end(at + 2))
        if close <= at + 2 or text.find("[", at + 2, close) >= 0:
            return None
        return (at + 2, close, close + 2) if text[close + 1 : close + 2].isspace() else None

    def _fraction(self, at: int) -> tuple[int, int, int] | None:
        match = _FRACTION.match(self._text, at)
        return None if match is None else (at, match.end(), match.end())

    def _holds_box(self, begin: int, end: int) -> bool:
        box = self._text.find(BOX, begin, end)
        return box >= 0 and self._text.find("}", box + len(BOX) + 1, end) >= 0

    # ------------------------------------------------------------------ searches that are paid for

    def _find(self, mark: str, begin: int, end: int) -> int:
        found = self._text.find(mark, begin, end)
        self._pay((end if found < 0 else found) - begin)
        return found

    def _line_end(self, at: int) -> int:
        found = self._text.find("\n", at)
        end = len(self._text) if found < 0 else found
        self._pay(end - at)
        return end

    def after_space(self, at: int) -> int:
        """The first position from ``at`` on that is not white space."""
        match = _SPACE.match(self._text, at)
        assert match is not None
        self._pay(match.end() - at)
        return match.end()

    def _pay(self, characters: int) -> None:
        self._left -= characters + 8
        if self._left < 0:
            raise TooMuchWork


def boxed_spans(text: str, environments: Environments, begin: int = 0) -> Iterator[Span]:
    r"""Joined environments with a closed ``\boxed{...}`` in each, from ``begin`` on, left to right without overlap.

    An environment that opens at ``p`` can only reach the first box behind ``p`` (its
    content has no closing mark before it), so per box only what lies between the box
    before and it is looked at.
    """
    end, before = begin, begin
    box = text.find(BOX, begin)
    while box >= 0:
        for at in _reaching(text, before, box):
            if at >= end and (span := environments.joined(at, boxed=True)) is not None:
                yield span
                end = span.end
        before = box
        box = text.find(BOX, box + 1)


def _reaching(text: str, begin: int, box: int) -> list[int]:
    """Every position in [begin, box) where an environment can open that has no closing mark before ``box``."""
    found: set[int] = set()
    line = max(text.rfind("\n", begin, box) + 1, begin)
    # "$": the last one that is not escaped; "$$": the last two, since three in a row open one later
    at = text.rfind("$", line, box)
    while at > 0 and text[at - 1] == "\\":
        at = text.rfind("$", line, at)
    found.add(at)
    at = text.rfind("$$", begin, box)
    found.update((at, at - 1) if at > begin else (at,))
    for opening, closing, low in (("\\[", "\\]", begin), ("\\(", "\\)", line)):
        at = text.find(opening, max(text.rfind(closing, low, box), low), box)
        while at >= 0:
            found.add(at)
            at = text.find(opening, at + 1, box)
    at = text.rfind("[", line, box) - 1  # the white space before it may be the end of the line before
    found.add(at)
    return sorted(p for p in found if begin <= p < box)


# --------------------------------------------------------------------------- the content of boxes

_BOX_NAME = re.compile(r"\\boxed|\\fbox")
_BRACE = re.compile(r"[{}]")
_SEPARATOR = re.compile(r"\b(?:and|or)\b|,|;")


def box_content(text: str, every: bool) -> str:
    r"""What the boxes of ``text`` hold, joined by commas; the text itself where it has none.

    ``every``: all boxes (but the same content once in a row), read from the right up to
    one that never closes.  Otherwise the last box, and those before it that are only a
    few characters, or a short separator, away.
    """
    contents: list[str] = []
    limit = len(text)
    next_start: int | None = None
    for name in _names_from_the_right(text):
        at = _SPACE.match(text, name.end()).end()  # type: ignore[union-attr]
        if at >= limit:
            break
        close = _closing_brace(text, at, limit) if text[at] == "{" else None
        if close is None:
            if not contents:
                contents.append(text[at:])
            break
        content = text[at + 1 : close].strip()
        if not every and next_start is not None and not _belongs(text[close + 1 : next_start], content, contents[-1]):
            break
        if not contents or contents[-1] != content:
            contents.append(content)
        next_start = limit = name.start()
    return ",".join(reversed(contents)) if contents else text


def _names_from_the_right(text: str) -> Iterator[re.Match[str]]:
    step = 2_000
    end = len(text)
    while end > 0:
        begin = max(0, end - step)
        yield from reversed([m for m in _BOX_NAME.finditer(text, begin, min(len(text), end + 5)) if m.start() < end])
        end, step = begin, 2 * step


def _closing_brace(text: str, at: int, limit: int) -> int | None:
    depth = 0
    for brace in _BRACE.finditer(text, at, limit):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return brace.start()
    return None


def _belongs(between: str, content: str, next_content: str) -> bool:
    if len(between) < 10:
        return True
    return next_content != content and len(between) < 70 and _SEPARATOR.search(between) is not None
