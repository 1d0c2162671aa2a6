r"""Whole-word counts, ASCII case folded, with the word boundaries of Python's ``\b``."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from qrm_forensics.metrics.textcodes import codes, map_chars

_FOREIGN_WORD = 0xFF
# The non-ASCII letters that re.IGNORECASE takes for an ASCII one.
_FOLDED = {"İ": ord("i"), "ı": ord("i"), "ſ": ord("s"), "\u212a": ord("k")}


def _fold(character: str) -> int:
    if character in _FOLDED:
        return _FOLDED[character]
    if character.isalnum() or character == "_":
        return ord(character.lower()) if character.isascii() else _FOREIGN_WORD
    return ord(" ") if character.isspace() else ord("-" if character == "-" else ".")


_ASCII = np.array([_fold(chr(i)) for i in range(128)], dtype=np.uint8)
_ASCII_BYTES = _ASCII.tobytes() + bytes([_FOREIGN_WORD]) * 128
_TO_SPACES = bytes.maketrans(b".-", b"  ")
_WORD = re.compile(rb"[a-z0-9_\xff]")


@dataclass(frozen=True, slots=True)
class Words:
    r"""A text whose words are folded; ``tally`` counts maximal runs of ``\w`` characters."""

    folded: bytes
    tally: Counter[bytes]

    def count(self, word: str) -> int:
        return self.tally[word.encode("ascii")]

    def count_phrase(self, first: str, second: str, joined_by: str = " ") -> int:
        r"""Occurrences of two whole words with a run of whitespace (or one of the other ``joined_by``) between."""
        pattern = _PHRASES.get((first, second, joined_by)) or _compile_phrase(first, second, joined_by)
        return sum(m.start() == 0 or not _WORD.match(self.folded, m.start() - 1) for m in pattern.finditer(self.folded))


_PHRASES: dict[tuple[str, str, str], re.Pattern[bytes]] = {}


def _compile_phrase(first: str, second: str, joined_by: str) -> re.Pattern[bytes]:
    # Begins with plain letters, so that the scan can jump; the left boundary is looked at afterwards.
    between = "|".join(" +" if c == " " else re.escape(c) for c in joined_by)
    pattern = re.compile(rf"{first}(?:{between}){second}(?![a-z0-9_\xff])".encode("latin-1"))
    return _PHRASES.setdefault((first, second, joined_by), pattern)


def words_of(text: str) -> Words:
    """Fold and count the words of a text, in linear time."""
    if text.isascii():
        folded = text.encode("ascii").translate(_ASCII_BYTES)
    else:
        folded = map_chars(codes(text), _ASCII, _fold).tobytes()
    return Words(folded, Counter(folded.translate(_TO_SPACES).split()))
