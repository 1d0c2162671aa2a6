"""Writing systems in a response: which letters belong to none that one would expect there.

Expected (*at home*) are Latin and Greek, every script of the problem and the prompt, the script of most letters of
the response, and any that has at least a tenth of its letters and 100 of them: models that reason in Chinese about an
English problem do nothing wrong.  What is left are single foreign words, or *bursts*.  Mathematical alphanumerics,
letterlike symbols, superscripts and modifier letters belong to no script.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from qrm_forensics.metrics.gibberish_kernels import bursts_kernel, scripts_kernel
from qrm_forensics.metrics.scan import Scan

_TABLE_END = 0x33500
_NONE, _LATIN, _GREEK = 0, 1, 2
# Blocks in which letters are symbols: spacing modifiers to combining marks, general punctuation to arrows and
# symbols, the mathematical alphanumerics, Arabic and Latin.
_SYMBOLS = ((0x02B0, 0x0370), (0x2000, 0x2C00), (0x1D400, 0x1D800), (0x1EE00, 0x1EF00))
_HAN = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00), (0x20000, _TABLE_END))
_HANGUL = ((0x1100, 0x1200), (0x3131, 0x318F), (0xA960, 0xA980), (0xAC00, 0xD7FC))
# First words of character names that are not the name of a script.
_ALIASES = {
    "CJK": "Han",
    "IDEOGRAPHIC": "Han",
    "HIRAGANA": "Kana",
    "KATAKANA": "Kana",
    "HALFWIDTH": "Kana",
    "FULLWIDTH": "Latin",
    "MICRO": "Greek",
    "FEMININE": "Latin",
    "MASCULINE": "Latin",
    "MODIFIER": "",
}

#: A burst of at least so many letters of one script is a passage in another language.
PASSAGE = 20
_SHARE, _LETTERS = 0.1, 100


@cache
def _scripts() -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """(number of the script of every code point, names of the scripts); number 0 is no letter of any script."""
    names = {"": _NONE, "Latin": _LATIN, "Greek": _GREEK, "Han": 3, "Hangul": 4, "Kana": 5}
    table = np.zeros(_TABLE_END, np.uint8)
    for number, ranges in ((3, _HAN), (4, _HANGUL)):
        for start, end in ranges:
            table[start:end] = number
    for point in range(0x80, 0x20000):
        if table[point] or not chr(point).isalpha() or any(a <= point < b for a, b in _SYMBOLS):
            continue
        name = unicodedata.name(chr(point), "OTHER")
        word = name.split()[0].split("-")[0]
        script = "Hangul" if "HANGUL" in name else _ALIASES.get(word, word.title())
        # Past 255 scripts the rest would be one; Unicode has fewer.
        table[point] = names.setdefault(script, min(len(names), 255))
    return table, tuple(names)


@dataclass(frozen=True, slots=True)
class Mixing:
    """Letters of scripts not at home.  ``starts``, ``ends`` (b,) are bytes of the short bursts, in order.

    ``passages`` is the number of longer ones, ``first`` the first byte of any (-1 without), ``letters`` all their
    letters, ``scripts`` the names by falling number of letters, ``replaced`` the number of U+FFFD.
    """

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    short_letters: int
    passages: int
    first: int
    letters: int
    scripts: tuple[str, ...]
    replaced: int


_NO_OFFSETS = np.zeros(0, np.int64)


def _leads(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """First bytes of the characters beyond ASCII."""
    return np.flatnonzero(data >= 0xC0)


def mixing(scan: Scan, asked: Callable[[], Sequence[Scan]]) -> Mixing:
    """What of a response is in a script that neither it nor what was asked (prompt, question) is written in.

    ``asked`` is called only where that matters.
    """
    data = scan.data
    if not len(data) or int(data.max()) < 0x80:
        return Mixing(_NO_OFFSETS, _NO_OFFSETS, 0, 0, -1, 0, (), 0)
    table, names = _scripts()
    counts = np.zeros(len(names), np.int64)
    replaced = int(scripts_kernel(data, _leads(data), table, counts))
    home = np.zeros(len(names), np.uint8)
    home[_NONE], home[_LATIN], home[_GREEK] = 2, 1, 1
    if counts[_GREEK + 1 :].any():
        expected = np.zeros(len(names), np.int64)
        for text in asked():
            scripts_kernel(text.data, _leads(text.data), table, expected)
        counts[_NONE] = 0
        folded = data | 0x20
        counts[_LATIN] += int(np.count_nonzero((folded >= 0x61) & (folded <= 0x7A)))
        many = np.maximum(counts.sum() * _SHARE, _LETTERS)
        home[1:][(expected[1:] > 0) | (counts[1:] >= many) | (counts[1:] == counts.max())] = 1
        if home[names.index("Kana")]:
            home[names.index("Han")] = 1  # Japanese is written in both
        counts[home > 0] = 0
    else:
        counts[:] = 0
    if not counts.any():
        return Mixing(_NO_OFFSETS, _NO_OFFSETS, 0, 0, -1, 0, (), replaced)
    starts, ends, letters, script = bursts_kernel(data, table, home)
    short = (letters < PASSAGE) | (script < 0)
    order = np.argsort(-counts, kind="stable")
    return Mixing(
        starts[short],
        ends[short],
        int(letters[short].sum()),
        int(np.count_nonzero(~short)),
        int(starts[0]),
        int(letters.sum()),
        tuple(names[k] for k in order if counts[k]),
        replaced,
    )
