r"""Which piece of a response math-verify reads first, found without running its expressions over the whole text.

``math_verify.parse`` runs up to ten regular expressions over a response, sorts what
they find by priority and by where it ends (last first), and reads the first piece
that parses.  Nearly always that is the first piece, and finding only that one is cheap:
boxes come before everything else, and without a box the last matches decide.

``first_reading`` returns exactly the piece that math-verify 0.9.0 would try first, or
raises ``Unclear`` where that cannot be told in bounded time; then the whole text is for
math-verify itself.  Two arguments carry it.  *Starts*: an expression can match only
where its fixed first part stands (an opening mark that reaches a box, the word
"answer"), so trying it there and nowhere else finds the same matches.  *Cuts*: where no
match can reach across a position (a word behind white space, outside of every
environment), the matches behind it are the same with and without the text before it.
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from qrm_forensics.score.latex_spans import BOX, Environments, Part, Span, TooMuchWork, box_content, boxed_spans

#: The versions whose extraction this is; with others every response is read by math-verify itself.
VERSIONS: Final = (("math-verify", "0.9.0"), ("latex2sympy2_extended", "1.11.0"))


class Unclear(Exception):
    """It cannot be told in bounded time which piece would be read."""


class Latex(NamedTuple):
    """Environments, or the content of boxes, to be read as LaTeX; several are read as one set."""

    parts: tuple[Part, ...]
    boxed: bool


class Plain(NamedTuple):
    """A number or an expression outside of LaTeX: the named groups of math-verify's expression that are not empty."""

    groups: tuple[tuple[str, str], ...]


Reading = Latex | Plain


def supported() -> bool:
    """Whether the installed libraries extract as described here."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return all(version(name) == known for name, known in VERSIONS)
    except PackageNotFoundError:
        return False


def first_reading(text: str) -> Reading | None:
    """What math-verify tries first in a response (boxes first, then LaTeX and numbers); None where it finds nothing.

    Raises Unclear where the whole text has to be searched for it.
    """
    environments = Environments(text)
    try:
        found = _boxed(text, environments) or _unboxed(text, environments)
    except TooMuchWork:
        raise Unclear from None
    if found is not None and _hopes(text, found.end):
        raise Unclear
    return None if found is None else found.reading()


def boxed_readings(text: str, most: int = 40) -> list[Latex]:
    """The first ``most`` pieces that math-verify tries in a response with boxes, in its order; [] where that is unclear."""
    try:
        if _hopes(text, 0):
            return []
        found = [_of_span(span, True) for span in boxed_spans(text, Environments(text))]
    except (TooMuchWork, Unclear):
        return []
    first, brace = text.find(BOX), text.rfind("}")
    if 0 <= first < brace - len(BOX):
        found.append(_bare_box(text, first, brace + 1))
    found.sort(key=lambda one: (one.end, -one.start), reverse=True)
    return [reading for one in found[:most] if isinstance(reading := one.reading(), Latex)]


def _hopes(text: str, end: int) -> bool:
    """Whether "final answer is 5. I hope", which ranks with boxes, might end behind ``end``."""
    return text.find("I hope", max(0, end - 5)) >= 0 and "final answer is" in _folded(text)


def _unboxed(text: str, environments: Environments) -> _Found | None:
    last_mark = _last_mark(text, len(text))
    if last_mark < 0:
        return None
    folded = _folded(text)
    if "i hope" in folded and "final answer is" in folded:
        raise Unclear
    return _anchored(text, folded, last_mark, environments) or _unanchored(text, last_mark, environments)


class _Found(NamedTuple):
    """A match of math-verify's expressions: its half-open span, and what would be read."""

    start: int
    end: int
    reading: Callable[[], Reading]


# --------------------------------------------------------------------------- boxes


def _boxed(text: str, environments: Environments) -> _Found | None:
    r"""Environments around boxes, and everything from the first ``\boxed{`` to the last ``}``: what ends last."""
    last_box = text.rfind(BOX)
    if last_box < 0:
        return None
    cut = _cut_before(text, last_box, _WIDTH)
    for begin in (cut, 0) if cut else (0,):
        spans = deque(boxed_spans(text, environments, begin), maxlen=1)
        brace = text.rfind("}", begin)
        if spans and spans[0].end > brace:
            return _of_span(spans[0], True)
        first = text.find(BOX)
        if brace > first + len(BOX):
            return _bare_box(text, first, brace + 1)
    return None


def _bare_box(text: str, begin: int, end: int) -> _Found:
    return _Found(begin, end, lambda: Latex((Part(box_content(text[begin:end], every=False), False),), True))


def _of_span(span: Span, boxed: bool) -> _Found:
    return _Found(span.start, span.end, lambda: _reading(span, boxed))


def _reading(span: Span, boxed: bool) -> Latex:
    return Latex(tuple(Part(box_content(part.content, every=True), part.percent) for part in span.parts), boxed)


# --------------------------------------------------------------------------- numbers and expressions outside of LaTeX

_NUMBER = (
    r"(?<!\d)(?:(?P<integer1>-?[1-9]\d{0,2}(?:[ ,]\d{3})+)(?P<decimal1>\.\d+)?|(?P<integer2>-?\d+)(?P<decimal2>[.,]\d+)"
    r"|(?P<decimal3>\.\d+)|(?P<integer3>-?\d+))(?P<percent>\s*(?:%|[Pp]ercent|\s*[Pp]ercentage|\s*[Pp]ct))?"
)
_OPERATORS = r"\+\-\*\×\/\^\(\)\÷"
_EXPRESSION = rf"(?P<expr>-?\(?-?\d[\d\.\s{_OPERATORS}]*[{_OPERATORS}][\d\.\s{_OPERATORS}]+\)?)"
_CURRENCY = re.escape("$€£¥₹₽₪₩₫฿₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₴₵₶₷₸₹₺₻₼₽₾₿")
_BEFORE = r"(?:^|\s|\=)(?:\*\*)?"
_AFTER = r"(?:\*\*)?(?:\.|,|:|\s|\)|\$|$)"
_BARE_EXPRESSION = rf"(?:{_BEFORE}{_EXPRESSION}{_AFTER})"
_BARE_NUMBER = rf"(?:{_BEFORE}[{_CURRENCY}]?{_NUMBER})"
_EITHER = rf"(?:{_BARE_EXPRESSION}|{_BARE_NUMBER})"

EXPRESSION = re.compile(_BARE_EXPRESSION)
NUMBER = re.compile(_BARE_NUMBER)
FINAL_ANSWER_IS = re.compile(rf"(?i:final answer.{{0,100}}?)\s+is\:?{_EITHER}")
ANSWER_COLON = re.compile(rf"(?i:answer):(?:.{{0,100}}=\s*|.{{0,50}}?){_EITHER}(?!\s*=)")
ANSWER = re.compile(rf"(?i:answer)(?:.{{0,100}}=\s*|.{{0,50}}?){_EITHER}(?!\s*=)")

# The first of the expressions above goes back and forth within a run of such characters.
_RUN = rf"[\d.,\s{_OPERATORS}]"
_LONG_RUN = re.compile(rf"{_RUN}{{129,}}")
_LONG_SPACE = re.compile(r"\s{1000}")
_OPERATOR = re.compile(f"[{_OPERATORS}]")
_DIGIT = re.compile(r"\d")
_LAST_DIGIT = re.compile(r".*\d", re.DOTALL)
_MOST_STEPS = 2_000_000


def _check_runs(text: str, begin: int, end: int) -> None:
    """Raise Unclear where that takes long: the lengths of the long runs, times the starts and operators in them."""
    steps = 0
    for run in _LONG_RUN.finditer(text, begin, end):
        words = run.group()
        steps += len(words) * (1 + len(words) - len("".join(words.split()))) * (1 + len(_OPERATOR.findall(words)))
    if steps > _MOST_STEPS:
        raise Unclear


def _groups(match: re.Match[str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in match.groupdict().items() if value)


def _later(found: Iterable[_Found | None]) -> _Found | None:
    """The one that ends last; of those the longest; of those the first."""
    best: _Found | None = None
    for one in found:
        if one is not None and (best is None or (one.end, -one.start) > (best.end, -best.start)):
            best = one
    return best


# --------------------------------------------------------------------------- behind the word "answer"

# They see at most 115 characters, then a run, a word ("is", "percent") and another run: less than this where no
# run is long, so that the same words always give the same match.
_REACH = 450
_MOST_SEARCHES = 1000
_FEW = 30

#: Characters beyond ASCII that the expressions take for letters of "final answer" when case is ignored.
_LOOKALIKES = ("\u0130", "\u0131", "\u017f")
_IS = re.compile(r"\s+is:?")


def _folded(text: str) -> str:
    """The text in lower case, position by position, for finding ASCII words in it."""
    if text.isascii():
        return text.lower()
    if any(letter in text for letter in _LOOKALIKES):
        raise Unclear
    return text.encode("ascii", "replace").lower().decode("ascii")


def _places(word: str, folded: str, end: int) -> list[int]:
    found = []
    at = folded.find(word, 0, end)
    while at >= 0:
        found.append(at)
        at = folded.find(word, at + 1, end)
    return found


def _anchored(text: str, folded: str, last_mark: int, environments: Environments) -> _Found | None:
    """Behind "final answer is", else behind "answer:", else behind "answer"."""
    answers = _places("answer", folded, last_mark)
    if not answers:
        return None
    finals = [at - 6 for at in answers if folded.startswith("final ", max(at - 6, 0))]
    colons = [at for at in answers if text.startswith(":", at + 6)]
    for places, span, expression in (
        (finals, _behind_is(text, environments, finals), FINAL_ANSWER_IS),
        (colons, _behind_word(environments, colons, len("answer:")), ANSWER_COLON),
        (answers, _behind_word(environments, answers, len("answer")), ANSWER),
    ):
        found = _later([_of_span(span, False) if span else None, _Expressions(text, expression).last(places)])
        if found is not None:
            return found
    return None


def _behind_word(environments: Environments, places: list[int], skip: int) -> Span | None:
    """The last joined environments that open at most 50 characters behind a word of ``skip`` characters."""
    last: Span | None = None
    end = 0
    clear_from = clear_to = 0  # no environment opens in between
    for at in places:
        begin, stop = at + skip, at + skip + 51
        if at < end or (clear_from <= begin and stop <= clear_to):
            continue
        opening = environments.next_opening(begin, stop + 2000)
        clear_from, clear_to = begin, stop + 2000 if opening is None else opening
        while opening is not None and opening < stop:
            span = environments.joined(opening)
            if span is not None:
                last, end = span._replace(start=at), span.end
                break
            opening = environments.next_opening(opening + 1, stop)
    return last


def _behind_is(text: str, environments: Environments, places: list[int]) -> Span | None:
    """The last joined environments right behind an "is" that stands behind "final answer" and up to 100 characters."""
    last: Span | None = None
    end = 0
    for at in places:
        begin = at + len("final answer")
        stop = environments.after_space(min(begin + 101, len(text))) + len("is:")
        if at < end or text.find("is", begin, stop) < 0:
            continue
        for match in _IS.finditer(text, begin, stop):
            span = environments.joined_after_space(match.end()) if match.start() <= begin + 100 else None
            if span is not None:
                last, end = span._replace(start=at), span.end
                break
    return last


class _Expressions:
    """The last match of an expression that begins at given places; the same words are searched once."""

    def __init__(self, text: str, expression: re.Pattern[str]) -> None:
        self._text = text
        self._expression = expression
        self._known: dict[str, tuple[int, Plain] | None] = {}
        self._no_digit_from, self._digit = 0, -1  # where there is none, and the next one

    def last(self, places: list[int]) -> _Found | None:
        begin = max(0, len(places) - _FEW)
        if begin and not self._reached(places, begin):
            found = self._last(places[begin:])
            if found is not None:
                return found
        return self._last(places)

    def _reached(self, places: list[int], index: int) -> bool:
        """Whether a match from an earlier place might reach across ``places[index]``, so that none begins there."""
        at = places[index]
        low = at - _REACH
        if _LONG_RUN.search(self._text, max(0, low), at) is not None:
            return True
        near = itertools.takewhile(lambda place: place >= low, reversed(places[:index]))
        return any((match := self._match(place)) is not None and place + match[0] > at for place in near)

    def _last(self, places: list[int]) -> _Found | None:
        last: _Found | None = None
        for at in places:
            if last is None or at >= last.end:
                match = self._match(at)
                if match is not None:
                    length, plain = match
                    last = _Found(at, at + length, lambda plain=plain: plain)  # type: ignore[misc]
        return last

    def _match(self, at: int) -> tuple[int, Plain] | None:
        text = self._text
        if not self._no_digit_from <= at <= self._digit:
            digit = _DIGIT.search(text, at)
            self._no_digit_from, self._digit = at, len(text) if digit is None else digit.start()
        if self._digit > at + 150 and not text[at + 140 : at + 141].isspace():
            return None  # between what is skipped (at most 113 characters) and the number is only white space
        words = text[at : at + _REACH]
        if words not in self._known:
            if len(self._known) > _MOST_SEARCHES or _LONG_RUN.search(words) is not None:
                raise Unclear
            match = self._expression.match(words)
            self._known[words] = None if match is None else (match.end(), Plain(_groups(match)))
        return self._known[words]


# --------------------------------------------------------------------------- anywhere


def _unanchored(text: str, mark: int, environments: Environments) -> _Found | None:
    """The LaTeX, expression or number that ends last, looked for in pieces of the text from its end."""
    end, width = len(text), _WIDTH
    while mark >= 0:
        begin = _cut_before(text, mark, width)
        after = _cut(text, mark + 1, min(end, mark + 1000))  # nothing begins behind the last mark
        found = _last_between(text, environments, begin, end if after is None else after)
        if found is not None or begin == 0:
            return found
        end, width = begin, 2 * width
        mark = _last_mark(text, end)
    return None


def _last_between(text: str, environments: Environments, begin: int, end: int) -> _Found | None:
    """The one of those that begin in [begin, end), both of which no match reaches across."""
    last: list[_Found | None] = [
        _of_span(span, False) for span in deque(_spans(text, environments, begin, end), maxlen=1)
    ]
    if _OPERATOR.search(text, begin, end) is not None:
        _check_runs(text, begin, end)
        last.append(_last_plain(EXPRESSION, text, begin, end))
    if _LONG_SPACE.search(text, begin, end) is not None:
        raise Unclear
    last.append(_last_plain(NUMBER, text, begin, end))
    return _later(last)


def _last_mark(text: str, end: int) -> int:
    """Where the last digit or opening mark before ``end`` stands; -1 where there is none, and so nothing to be found."""
    digit = _LAST_DIGIT.match(text, 0, end)
    begin = 0 if digit is None else digit.end()
    return max(begin - 1, *(text.rfind(mark, begin, end) for mark in ("$", "\\", "[")))


def _last_plain(expression: re.Pattern[str], text: str, begin: int, end: int) -> _Found | None:
    # One character more, so that ``end`` is not taken for the end of the text.
    matches = deque(expression.finditer(text, begin, end + 1), maxlen=1)
    if not matches:
        return None
    match = matches[0]
    return _Found(match.start(), match.end(), lambda: Plain(_groups(match)))


def _spans(text: str, environments: Environments, begin: int, end: int) -> Iterator[Span]:
    at = environments.next_opening(begin, end)
    while at is not None:
        span = environments.joined(at)
        if span is not None:
            yield span
        at = environments.next_opening(at + 1 if span is None else span.end, end)


# --------------------------------------------------------------------------- cuts

# The first letter of a word other than "and", "or" and "percent"; or an equals sign, which can only begin a match.
_CUT = re.compile(r"(?<=\s)[B-NQ-Zb-nq-z]|=")
_TRIES = 40
_WIDTH = 500


def _cut_before(text: str, before: int, width: int) -> int:
    """A position about ``width`` before ``before``, or several times that, that no match reaches across; else 0."""
    for reach in (width, 8 * width, 64 * width):
        if before <= 2 * reach:
            break
        cut = _cut(text, before - reach, before)
        if cut is not None:
            return cut
    return 0


def _cut(text: str, low: int, high: int) -> int | None:
    r"""A position in [low, high) that no environment, number or expression can contain or continue with.

    Inline mathematics ends with the line, so it is enough that none opens in the line
    before it; ``\[`` must have been followed by ``\]``; and ``$$`` must not stand both
    before and behind it, because only the whole text tells which of them open.
    """
    at = low
    for _ in range(_TRIES):
        match = _CUT.search(text, at, high)
        if match is None:
            return None
        at = match.start()
        line = text.rfind("\n", 0, at) + 1
        opened = text.rfind("\\[", 0, at)
        if text.find("$", line, at) >= 0 or text.find("\\(", line, at) >= 0 or text.find("[", line, at) >= 0:
            at = text.find("\n", at, high) + 1  # nor is there one in the rest of this line
        elif opened >= 0 and (closed := text.find("\\]", opened + 2, high)) >= at:
            at = closed
        elif opened >= 0 and closed < 0:
            return None
        else:
            return at if _lacks(text, "$$", 0, at) or _lacks(text, "$$", at - 1, len(text)) else None
        if at == 0:
            return None
    return None


def _lacks(text: str, mark: str, begin: int, end: int) -> bool:
    return text.find(mark[0], begin, end) < 0 or text.find(mark, begin, end) < 0  # one character is found much faster
