"""LiveCodeBench's comparison of what a program printed or returned with what it should have.

Printed: as many lines, each equal without the white space around it, or else equal as
lists of decimal numbers.  Returned: equal as JSON values, where a number is its value
(``1`` is ``1.0``).  Rules of ``lcb_runner/evaluation/testing_util.py`` of LiveCodeBench.
"""

from __future__ import annotations

import json
import sys
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from qrm_forensics.errors import InputError

_SHOWN: Final = 40


def printed(got: bytes, wanted: str) -> str | None:
    """How printed output differs from what is wanted; None where it does not."""
    lines, expected = _lines(got.decode("utf-8", "replace")), _lines(wanted)
    if len(lines) != len(expected):
        return f"{len(lines)} lines instead of {len(expected)}"
    for number, (line, right) in enumerate(zip(lines, expected, strict=True), 1):
        if line != right and not _same_numbers(line, right):
            return f"line {number} is {shown(line)} instead of {shown(right)}"
    return None


def returned(got: bytes, wanted: str) -> str | None:
    """How a value, as JSON, differs from what is wanted; None where it does not.  Raises InputError for a gold that is no JSON."""
    try:
        expected = _value(wanted)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the output of the test is not JSON ({error})") from None
    try:
        text = got.decode("utf-8")
        same = _value(text) == expected
    except (ValueError, RecursionError):
        return "returned no JSON"
    return None if same else f"returned {shown(text)} instead of {shown(wanted)}"


def shown(text: str) -> str:
    """The beginning of a text, in quotation marks."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _same_numbers(line: str, right: str) -> bool:
    words, expected = line.split(), right.split()
    if len(words) != len(expected):
        return False
    try:
        return all(Decimal(word) == Decimal(want) for word, want in zip(words, expected, strict=True))
    except (InvalidOperation, ValueError):  # not numbers, or a signalling NaN
        return False


def _value(text: str) -> Any:
    return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> int | Decimal:
    """An integer; where it is longer than Python converts in bounded time, a decimal of the same value."""
    limit = sys.get_int_max_str_digits()
    return int(digits) if not limit or len(digits) <= limit else Decimal(digits)
