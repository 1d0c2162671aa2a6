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
_SYMBOLS = {"%": Final.VOWEL, "×": Final.VOWEL, "‰": Final.RIEUL, "°": Final.VOWEL, "&": Final.VOWEL}

#: Words whose usual Korean reading the spelling rules below would get wrong.
_WORDS = {
    "aime": Final.CONSONANT,  # 에임
    "but": Final.CONSONANT,
    "check": Final.VOWEL,
    "epoch": Final.CONSONANT,
    "github": Final.VOWEL,
    "hmm": Final.CONSONANT,
    "llm": Final.CONSONANT,
    "loop": Final.VOWEL,
    "math": Final.VOWEL,
    "net": Final.CONSONANT,
    "pp": Final.VOWEL,
}
_RIEUL_END = re.compile(r"(?:l|le)$")
_CONSONANT_END = re.compile(
    r"(?:m|n|ng|[aeiou][mn]e|ck|ook|[aeiou]p|[^aeiou][aeiou]k|[ai]c|[aeo]b|(?:data|sub)set|[bhlpv]ot|chat)$"
)
_ACRONYM = re.compile(r"[A-Z]+|[bcdfghjklmnpqrstvwxz]+|awq|gpqa")
_TAIL = re.compile(r"[A-Za-z]+$")
#: A model's version is read in English: 알원, 큐웬 쓰리.
_VERSION = re.compile(r"(?<![A-Za-z])(?:(?P<one>(?:deepseek-)?[ro]1)|(?:qwen|llama|phi|gemma)[ -]?3)$", re.IGNORECASE)
_FRACTION = re.compile(r"(?<![\d/.,])(\d[\d,]*)/\d[\d,]*$")
_TRAILING_ZEROS = re.compile(r"(?<![\d.])[1-9][\d,]*?((?:0,?)+)$")
_OPENING = " \t\n\"'`*_“‘«「『〈《([{（［"
_BRACKETS = {")": "(", "]": "[", "）": "（", "］": "［"}
_SILENT = " \t\n\"'`*_”’»」』〉》}.,:;!?…。"


def final_sound(text: str) -> Final:
    """How ``text`` ends when it is read aloud in Korean; a trailing parenthesis is not read.

    A fraction is read from below (``12/50``: 50분의 12), so that its numerator decides.
    """
    word = unicodedata.normalize("NFC", text)
    while (shorter := _without_parenthesis(word.rstrip(_SILENT))) != word:
        word = shorter
    word = word.rstrip(_SILENT + "".join(_BRACKETS))
    if fraction := _FRACTION.search(word):
        word = fraction[1].rstrip(",")
    if not word:
        return Final.UNKNOWN
    last = word[-1]
    if "가" <= last <= "힣":
        tail = (ord(last) - ord("가")) % 28
        return Final.VOWEL if tail == 0 else Final.RIEUL if tail == 8 else Final.CONSONANT
    if word.endswith("%p"):
        return Final.VOWEL  # 퍼센트포인트
    if last in _DIGITS:
        if version := _VERSION.search(word):
            return Final.CONSONANT if version["one"] else Final.VOWEL
        zeros = _TRAILING_ZEROS.search(word)
        # 조 (10^12) and 해 (10^20) end in a vowel; 십, 백, 천, 만, 억, 경 do not.
        return Final.VOWEL if zeros and zeros[1].count("0") in (*range(12, 16), *range(20, 24)) else _DIGITS[last]
    if last in _SYMBOLS:
        return _SYMBOLS[last]
    if "α" <= last.lower() <= "ω":
        return Final.CONSONANT if last.lower() in "εου" else Final.VOWEL
    latin = _TAIL.search(word)
    return _latin(latin[0]) if latin else Final.UNKNOWN


def _without_parenthesis(word: str) -> str:
    """``word`` without the parenthesis that it ends in, with what is nested in it; as it is where nothing would be left."""
    if not word or word[-1] not in _BRACKETS:
        return word
    close, opening, depth = word[-1], _BRACKETS[word[-1]], 0
    for at in range(len(word) - 1, -1, -1):
        depth += (word[at] == close) - (word[at] == opening)
        if depth == 0:
            return word[:at].rstrip() if word[:at].strip(_OPENING) else word
    return word


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
