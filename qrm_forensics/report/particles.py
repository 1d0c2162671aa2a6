"""Korean particles: which form follows a word, by how its last syllable sounds when read aloud.

A particle has one form after a consonant and one after a vowel (은/는, 이/가, 을/를,
과/와, 이나/나, …); 으로/로 takes the vowel form after ㄹ as well.  Numbers, units,
recipe names and Latin words are read as a Korean engineer reads them: ``awq-w3g128``
ends in 팔, ``bf16`` in 육, ``%`` in 퍼센트.  Where the reading cannot be known the
neutral spelling is used: 은(는), (으)로.
"""

from __future__ import annotations

import re
import unicodedata
from enum import Enum


class Final(Enum):
    """How a word ends."""

    VOWEL = "vowel"
    CONSONANT = "consonant"
    RIEUL = "rieul"
    UNKNOWN = "unknown"


#: (after a consonant, after a vowel)
PAIRS: tuple[tuple[str, str], ...] = (
    ("은", "는"),
    ("이", "가"),
    ("을", "를"),
    ("과", "와"),
    ("으로", "로"),
    ("이나", "나"),
    ("이며", "며"),
    ("이고", "고"),
    ("이라", "라"),
    ("이었", "였"),
)

_DIGITS = {
    "0": Final.CONSONANT,  # 영, 십, 백, 천, 만, 억
    "1": Final.RIEUL,
    "2": Final.VOWEL,
    "3": Final.CONSONANT,
    "4": Final.VOWEL,
    "5": Final.VOWEL,
    "6": Final.CONSONANT,
    "7": Final.RIEUL,
    "8": Final.RIEUL,
    "9": Final.VOWEL,
}
_LETTERS = {"l": Final.RIEUL, "r": Final.RIEUL, "m": Final.CONSONANT, "n": Final.CONSONANT}
_SYMBOLS = {"%": Final.VOWEL, "×": Final.VOWEL, "‰": Final.RIEUL, "°": Final.VOWEL}

#: Words whose usual Korean reading the spelling rules below would get wrong.
_WORDS = {
    "but": Final.CONSONANT,
    "check": Final.VOWEL,
    "loop": Final.VOWEL,
    "hmm": Final.CONSONANT,
    "math": Final.VOWEL,
    "pp": Final.VOWEL,
    "llm": Final.CONSONANT,
}
_RIEUL_END = re.compile(r"(?:l|[bcdfgkptz]le|[aeiouy]le)$")
_CONSONANT_END = re.compile(r"(?:m|n|ng|[aeiou][mn]e|ck|[aeiou]p|[^aeiou][aeiou]k)$")
_ACRONYM = re.compile(r"[A-Z]+|[bcdfghjklmnpqrstvwxz]+|[aeiou]w[a-z]?|awq|aime|gpqa")
_TAIL = re.compile(r"[A-Za-z]+$")
_PARENTHESIS = re.compile(r"\s*(?:\([^()]*\)|\[[^\[\]]*\])$")
_CLOSING = " \t\n\"'`*_”’»」』)]}.,!?…"


def final_sound(text: str) -> Final:
    """How ``text`` ends when it is read aloud in Korean; a trailing parenthesis is not read."""
    word = unicodedata.normalize("NFC", text).rstrip()
    while (shorter := _PARENTHESIS.sub("", word)) != word and shorter:
        word = shorter
    word = word.rstrip(_CLOSING)
    if not word:
        return Final.UNKNOWN
    last = word[-1]
    if "가" <= last <= "힣":
        tail = (ord(last) - ord("가")) % 28
        return Final.VOWEL if tail == 0 else Final.RIEUL if tail == 8 else Final.CONSONANT
    if word.endswith("%p"):
        return Final.VOWEL  # 퍼센트포인트
    if last in _DIGITS:
        zeros = re.search(r"(?<![\d.])[1-9][\d,]*?((?:0,?)+)$", word)
        if zeros is not None and 12 <= zeros[1].count("0") < 16:
            return Final.VOWEL  # 조
        return _DIGITS[last]
    if last in _SYMBOLS:
        return _SYMBOLS[last]
    latin = _TAIL.search(word)
    return _latin(latin[0]) if latin else Final.UNKNOWN


def _latin(word: str) -> Final:
    lower = word.lower()
    if lower in _WORDS:
        return _WORDS[lower]
    if len(word) == 1 or _ACRONYM.fullmatch(word):  # read letter by letter
        return _LETTERS.get(lower[-1], Final.VOWEL)
    if _RIEUL_END.search(lower):
        return Final.RIEUL
    return Final.CONSONANT if _CONSONANT_END.search(lower) else Final.VOWEL


def particle(text: str, wanted: str) -> str:
    """The form of the particle ``wanted`` (``은/는`` or one of its forms) that follows ``text``.

    Raises ValueError for a particle that is not in :data:`PAIRS`.
    """
    for consonant, vowel in PAIRS:
        if wanted in (consonant, vowel, f"{consonant}/{vowel}"):
            break
    else:
        raise ValueError(f"unknown particle {wanted!r}; known: {', '.join('/'.join(p) for p in PAIRS)}")
    final = final_sound(text)
    if final is Final.UNKNOWN:
        return f"(으){vowel}" if consonant == "으로" else f"{consonant}({vowel})"
    if final is Final.RIEUL and consonant == "으로":
        return vowel
    return vowel if final is Final.VOWEL else consonant
