r"""Find the final answer in a response, and compare short answers without a computer algebra system.

Nothing here evaluates model output: it is read with regular expressions whose time is
linear in the text, brackets are matched with one stack, and numbers are compared as
exact fractions.  What cannot be settled for certain is left open (``None``), for the
scorer to settle with math-verify in a worker that can be killed.

*Where the answer is.*  Under ``strict`` it is the last balanced ``\boxed{...}`` after the
last ``</think>``; a response that never closes its reasoning, or closes it and boxes
nothing, has no answer.  ``\boxed`` is the only command that counts: ``\fbox{...}``, and
a brace-less ``\boxed 5``, do not.  ``\{`` and ``\}`` are characters, not brackets.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final, NamedTuple

THINK_END: Final = "</think>"

#: Numbers with more digits than twice this are not read (but long integers are compared as strings).
MAX_NUMBER_DIGITS: Final = 50

#: Longer answers are only trimmed, not normalised.
MAX_NORMALISED_CHARS: Final = 2000

_MAX_NESTED_BOXES: Final = 8

#: Two decimals further apart than this differ for every rounding to 5 or more places.
_APART: Final = Fraction(2, 100_000)


class Found(NamedTuple):
    """An answer: its text (trimmed), the rule that found it, and its half-open character span in the response."""

    answer: str
    rule: str
    span: tuple[int, int]


class Missing(NamedTuple):
    """No answer, and why not."""

    reason: str


class Settled(NamedTuple):
    """A comparison that needs no algebra: the outcome, and what settled it (``string``, ``number`` or ``base``)."""

    equal: bool
    how: str


# --------------------------------------------------------------------------- where the answer is

# One backslash too many ("\\boxed") is a common slip and still a box.  The quantifiers are bounded.
_BRACES = re.compile(r"\\?\\boxed[ \t]{0,4}\{|\\.|[{}]", re.DOTALL)


def last_box(text: str, start: int = 0) -> tuple[int, int] | None:
    r"""Half-open span of the content of the ``\boxed{...}`` that closes last at or after ``start``.

    A box whose bracket is never closed is skipped, however many of them there are.  Of
    nested boxes the outer one is returned.  One pass, linear in the text.
    """
    at = text.find("\\boxed", start)
    if at < 0:
        return None
    open_brackets: list[int] = []  # start of a box's content, or -1 for any other bracket
    found: tuple[int, int] | None = None
    for match in _BRACES.finditer(text, max(start, at - 1)):
        token = match.group()
        if token == "{":
            open_brackets.append(-1)
        elif token == "}":
            if open_brackets and (begin := open_brackets.pop()) >= 0:
                found = (begin, match.start())
        elif token[-1] == "{" and len(token) > 2:
            open_brackets.append(match.end())
    return found


def _unnested(text: str, span: tuple[int, int]) -> tuple[int, int]:
    r"""The span within ``\boxed{\boxed{5}}``, trimmed of surrounding white space."""
    begin, end = _trimmed(text, *span)
    for _ in range(_MAX_NESTED_BOXES):
        match = _BRACES.match(text, begin, end)
        if match is None or not match.group().startswith("\\boxed"):
            break
        inner = last_box(text[:end], begin)
        if inner != (match.end(), end - 1):
            break
        begin, end = _trimmed(text, *inner)
    return begin, end


def _trimmed(text: str, begin: int, end: int) -> tuple[int, int]:
    content = text[begin:end]
    begin += len(content) - len(content.lstrip())
    return begin, begin + len(content.strip())


def after_thinking(text: str) -> int | None:
    """Where the answer part begins: the end of the last ``</think>``; None where there is none."""
    at = text.rfind(THINK_END)
    return None if at < 0 else at + len(THINK_END)


def find_boxed(text: str) -> Found | Missing:
    r"""The answer under ``strict``: the last balanced ``\boxed{...}`` after the last ``</think>``."""
    start = after_thinking(text)
    if start is None:
        return Missing("the reasoning is never closed: no </think>")
    span = last_box(text, start)
    if span is None:
        unclosed = text.find("\\boxed", start) >= 0
        return Missing("no closed \\boxed{...} after </think>" if unclosed else "no \\boxed{...} after </think>")
    begin, end = _unnested(text, span)
    if begin == end:
        return Missing("the last \\boxed{} after </think> is empty")
    return Found(text[begin:end], "boxed", (begin, end))


def gold_answer(gold: str) -> str:
    r"""The answer within a gold text: its last ``\boxed{...}`` where it is a worked solution, else the text itself."""
    span = last_box(gold)
    if span is None:
        return gold.strip()
    begin, end = _unnested(gold, span)
    return gold[begin:end]


# --------------------------------------------------------------------------- multiple choice

#: Raised with every change that can alter which option a response is read to choose.
CHOICE_RULES_VERSION: Final = 2

_CHOICE = re.compile(r"[\s$*({\[]*(?:\\(?:text|mathrm|mathbf|textbf|mbox)\s?\{)?[\s(*]*([A-Za-z])[\s)}*.\]$]*")
_CHOICE_LINE = re.compile(
    r"\banswer\*{0,2}(?:\s+is)?\*{0,2}\s{0,3}[:：]?[\s*$({\[]{0,6}(?:\\(?:text|mathrm|mathbf|textbf|mbox|boxed)\{)?[\s(*]{0,3}([A-J])(?![A-Za-z'])",
    re.IGNORECASE,
)

#: "C) 5 metres" in a box: a letter with its mark, then the option's own words.
_CHOICE_WITH_TEXT = re.compile(
    r"[\s$*({]{0,6}(?:\\(?:text|mathrm|mathbf|textbf|mbox)\s?\{)?[\s(*]{0,3}([A-J])[*]{0,2}[).:](?=[\s*}~\\])"
)
_ANOTHER_CHOICE = re.compile(r"\(?\b[A-J]\)")


def choice_letter(text: str) -> str | None:
    r"""The letter of a bare choice such as ``C``, ``(C)``, ``\text{(C)}`` or ``**C.**``, upper case; None otherwise."""
    match = _CHOICE.fullmatch(text) if len(text) <= 60 else None
    return match[1].upper() if match else None


def _letter_before_text(box: str) -> str | None:
    """The letter of ``C) 5 metres``; None where a second option is named, too ("(A) or (B)")."""
    match = _CHOICE_WITH_TEXT.match(box)
    return match[1] if match and not _ANOTHER_CHOICE.search(box, match.end()) else None


def find_choice(text: str, policy: str) -> Found | Missing:
    r"""The letter chosen: the last of ``\boxed{C}`` and ``Answer: C``.

    ``strict`` looks only after the last ``</think>``, ``lenient`` in the whole response.
    """
    start = after_thinking(text) if policy == "strict" else 0
    if start is None:
        return Missing("the reasoning is never closed: no </think>")
    found: Found | None = None
    span = last_box(text, start)
    if span is not None:
        begin, end = _unnested(text, span)
        letter = choice_letter(text[begin:end]) or _letter_before_text(text[begin:end])
        if letter is not None:
            found = Found(letter, "boxed", (begin, end))
    for match in _CHOICE_LINE.finditer(text, start):
        # "the answer is a number" is English, "Answer: a" is a choice: a bare "a" or "i" needs its colon.
        if match[1] in "ai" and ":" not in match.group():
            continue
        if found is None or match.start() > found.span[0]:
            found = Found(match[1].upper(), "answer-line", match.span(1))
    return found or Missing("no \\boxed{letter} and no line 'Answer: letter'")


# --------------------------------------------------------------------------- one spelling

_CHARACTERS = str.maketrans({"\u2212": "-", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\x00": " ", "°": "^\\circ"})
_DROPPED = re.compile(r"\\(?:left|right)(?=\s*[()\[\]|]|\s*\\[{}|])|\\displaystyle(?![A-Za-z])|\\!")
_THIN_SPACE = re.compile(r"\\[,;: ]|~|\\q?quad(?![A-Za-z])")
_FRAC_NAME = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_FRAC_ARGS = (
    (re.compile(r"\\frac\s*(\d)\s*(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s*(\{[^{}]{0,99}\})\s*(\d)"), r"\\frac\1{\2}"),
    (re.compile(r"\\frac\s*(\d)\s*(\{)"), r"\\frac{\1}\2"),
)
_WHOLE_TEXT = re.compile(r"\\(?:text|mbox|textbf|textit|mathrm|mathbf|mathit)\s?\{([^{}\\]*)\}")
_SUBSCRIPT = re.compile(r"_\{(\w)\}")
_CIRCLE = re.compile(r"\^\s?(?:\{\s?\\circ\s?\}|\\circ(?![A-Za-z]))|\\degrees?(?![A-Za-z])")
_ENCLOSED = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))


def normalise(answer: str) -> str:
    r"""One spelling for answers that are written differently but certainly mean the same.

    Undone: math delimiters, spacing commands, ``\left``/``\right``, ``\dfrac``/``\tfrac``,
    ``\frac14``, a ``\text{...}`` around the whole, ``{,}``, a final full stop, white space.
    Kept, because removing it could make different answers equal: white space between
    digits (``2 3`` is not ``23``) and after a comma before three digits (``1, 234`` is a
    list), upper and lower case, units, percent signs, and the kind of bracket.
    """
    text = answer.translate(_CHARACTERS).strip()
    if len(text) > MAX_NORMALISED_CHARS:
        return text
    for _ in range(3):
        text = _unwrapped(text)
    text = text.replace("{,}", ",")
    text = re.sub(r",(?:\\!)+\s*", ",", text)  # "11,\! 111" is a thousands separator
    text = _DROPPED.sub("", text)
    text = _THIN_SPACE.sub(" ", text)
    text = _FRAC_NAME.sub(r"\\frac", text)
    for pattern, replacement in _FRAC_ARGS:
        text = pattern.sub(replacement, text)
    text = _CIRCLE.sub(r"^\\circ", text)
    text = _SUBSCRIPT.sub(r"_\1", text)
    text = re.sub(r"(\d)\s+(?=\d)", "\\1\x00", text)
    text = re.sub(r"(\\[A-Za-z]+)\s+(?=[A-Za-z])", "\\1\x00", text)
    text = re.sub(r"(\d,)\s+(?=\d{3}(?!\d))", "\\1\x00", text)
    text = re.sub(r"\s+", "", text).replace("\x00", " ")
    match = re.fullmatch(r"\(([A-Z])\)", text)
    return match[1] if match else text


def _unwrapped(text: str) -> str:
    text = text.strip()
    for left, right in _ENCLOSED:
        inner = text[len(left) : -len(right)]
        if len(text) > len(left) + len(right) and text.startswith(left) and text.endswith(right):
            if left not in inner and right not in inner and not inner.endswith("\\"):
                text = inner.strip()
            break
    match = _WHOLE_TEXT.fullmatch(text)
    if match:
        text = match[1].strip()
    if text.endswith(".") and not text.endswith(("..", "\\right.")) and len(text) > 1:
        text = text[:-1].rstrip()
    return text


# --------------------------------------------------------------------------- comparison

_INTEGER = re.compile(r"([+-]?)(\d+)")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")
_DECIMAL = re.compile(r"[+-]?\d*\.\d+")
_FRACTION = re.compile(r"([+-]?)(?:\\frac\{(-?\d+)\}\{(-?\d+)\}|(\d+)/(\d+))")
_BASED = re.compile(r"(\d[\dA-F]*)_(?:\{(\d+)\}|(\d))")


class Quantity(NamedTuple):
    """A plain number: its value, whether it was written with a decimal point, and whether all its digits were read."""

    value: Fraction
    decimal: bool
    exact: bool = True


def as_number(normal: str) -> Quantity | None:
    r"""The number that a normalised answer spells; None where it is anything more than a plain number.

    Read: integers (leading zeros, sign, thousands commas), decimals, ``\frac{a}{b}``,
    ``a/b``, with ``\$`` before or ``^\circ`` after it.  Of a decimal that goes on for more
    than 50 places, as loops write them, the first 50 are read.
    """
    text = normal.removeprefix("\\$").removeprefix("$").removesuffix("^\\circ")
    if not text.isascii():
        return None
    whole, point, places = text.partition(".")
    if len(places) > MAX_NUMBER_DIGITS and len(whole) <= MAX_NUMBER_DIGITS and _DECIMAL.fullmatch(text):
        return Quantity(Fraction(f"{whole}{point}{places[:MAX_NUMBER_DIGITS]}"), True, False)
    if sum(c.isdigit() for c in text) > 2 * MAX_NUMBER_DIGITS:
        return None
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    if _INTEGER.fullmatch(text):
        return Quantity(Fraction(int(text)), False)
    if _DECIMAL.fullmatch(text):
        return Quantity(Fraction(text), True)
    match = _FRACTION.fullmatch(text)
    if match is None:
        return None
    above, below = int(match[2] or match[4]), int(match[3] or match[5])
    if below == 0:
        return None
    value = Fraction(above, below)
    return Quantity(-value if match[1] == "-" else value, False)


def settle(gold: str, answer: str) -> Settled | None:
    """Whether two short answers are the same, where that is certain without algebra; None where it is not.

    Never "equal" for answers of different value.  Two integers or exact fractions are
    always settled; where a decimal is involved, only exact equality and a distance of
    more than 2e-5 are (in between it is a question of rounding).
    """
    a, b = gold.strip(), answer.strip()
    x, y = _INTEGER.fullmatch(a), _INTEGER.fullmatch(b)
    if not (x and y):
        a, b = normalise(gold), normalise(answer)
        x, y = _INTEGER.fullmatch(a), _INTEGER.fullmatch(b)
    if a and a == b:
        return Settled(True, "string")
    if x and y:
        return Settled(_canonical(x) == _canonical(y), "number")
    p, q = _BASED.fullmatch(a), _BASED.fullmatch(b)
    if p and q:
        same = p[1].lstrip("0") == q[1].lstrip("0") and (p[2] or p[3]) == (q[2] or q[3])
        return Settled(same, "base")
    m, n = as_number(a), as_number(b)
    if m is None or n is None:
        return None
    if m.value == n.value and m.exact and n.exact:
        return Settled(True, "number")
    if not (m.decimal or n.decimal) or abs(m.value - n.value) > _APART:
        return Settled(False, "number")
    return None


def _canonical(match: re.Match[str]) -> str:
    digits = match[2].lstrip("0")
    return "-" + digits if digits and match[1] == "-" else digits
