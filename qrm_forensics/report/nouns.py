"""The words that every part of a report is made of: a number with its evidence, and a statement made from numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Unit(StrEnum):
    """How a claim's value is read.  ``SHARE`` is 0..1 and shown in %; ``POINTS`` is a difference of shares."""

    COUNT = "count"
    SHARE = "share"
    POINTS = "points"
    WORDS = "words"
    TOKENS = "tokens"
    CHARS = "chars"
    SECONDS = "seconds"
    PER_1000_WORDS = "per-1000-words"
    RATIO = "ratio"
    P_VALUE = "p-value"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Claim:
    """One number of a report with its evidence.

    ``id`` is stable and readable, e.g. ``accuracy/MATH-500/awq-w3g128/strict``.
    ``value`` is None where the number does not exist (then ``note`` says why, as a
    catalogue key).  ``definition`` is a catalogue key ``definition.<…>`` whose text
    is the exact definition.  ``table`` and ``filter`` say which rows of which stored
    table give the number again.  ``ci_low``/``ci_high``: 95 % interval, same unit.
    """

    id: str
    value: float | int | None
    unit: Unit
    definition: str
    numerator: int | None = None
    denominator: int | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    ci_method: str | None = None
    table: str = ""
    filter: str = ""
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Sentence:
    """A statement made from data: catalogue key and slots.  ``severity``: good | info | warning | bad."""

    key: str
    slots: dict[str, Claim | str] = field(default_factory=dict)
    severity: str = "info"
