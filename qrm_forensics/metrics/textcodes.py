"""Text as arrays: code points, word numbers, and the pseudo-tokens that stand in for model tokens.

Everything here is linear in the text, and every position is a code-point offset, the
index of a Python string.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]

_SPACE, _LETTER, _SINGLE = 0, 1, 2
_FIRST_WORD = 0x110000  # above every code point
_COMMAND = 1 << 40  # added to the number of its word


def codes(text: str) -> npt.NDArray[np.uint32]:
    """Code points, uint32 (n_chars,); lone surrogates keep their value."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def map_chars(
    points: npt.NDArray[np.uint32], ascii_table: npt.NDArray[np.uint8], other: Callable[[str], int]
) -> npt.NDArray[np.uint8]:
    """One byte per character: ``ascii_table`` (128,) below U+0080, ``other(character)`` above."""
    out = ascii_table[np.minimum(points, 127)]
    foreign = np.flatnonzero(points > 127)
    if foreign.size:
        kinds, which = np.unique(points[foreign], return_inverse=True)
        out[foreign] = np.array([other(chr(k)) for k in kinds], dtype=np.uint8)[which]
    return out


def number(items: Sequence[Hashable]) -> tuple[Ints, int]:
    """Equal items get equal numbers, 0 upwards in order of first appearance; and how many there are."""
    index = {item: i for i, item in enumerate(dict.fromkeys(items))}
    return np.fromiter(map(index.__getitem__, items), np.int64, len(items)), len(index)


@dataclass(frozen=True, slots=True)
class PseudoTokens:
    """``ids`` are equal exactly where the tokens' text is; token i is ``text[starts[i]:ends[i]]``."""

    ids: Ints
    starts: Ints
    ends: Ints


def pseudo_tokens(text: str) -> PseudoTokens:
    r"""Split into ``\command``, runs of letters, and single other characters; whitespace is dropped.

    Each digit stands alone, as in the tokenizer of Qwen2, so that lengths and periods are
    of the size of model tokens.  A letter is what ``str.isalpha`` says; a command is a
    backslash with the letters that follow it.
    """
    points = codes(text)
    kind = map_chars(points, _ASCII_KINDS, _kind)
    letter = kind == _LETTER
    run_start = letter & ~_shifted(letter, 1)
    command = (points == ord("\\")) & _shifted(letter, -1)
    starts = np.flatnonzero((kind == _SINGLE) | command | (run_start & ~_shifted(command, 1)))

    # Each run of letters belongs to one token, its command's or its own, and both go left to right.
    commands = command[starts]
    spelled = np.flatnonzero(commands | letter[starts])
    names, _ = number(_runs(points, letter))
    ids = points[starts].astype(np.int64)
    ids[spelled] = names + _FIRST_WORD
    ids[commands] += _COMMAND
    ends = starts + 1
    ends[spelled] = np.flatnonzero(letter & ~_shifted(letter, -1)) + 1
    return PseudoTokens(ids, starts, ends)


def _runs(points: npt.NDArray[np.uint32], letter: _Bools) -> Sequence[Hashable]:
    """The runs of letters, in order; as bytes where all letters are ASCII, which is faster."""
    masked = np.where(letter, points, np.uint32(ord(" ")))
    if masked.size and masked.max() < 128:
        return masked.astype(np.uint8).tobytes().split()
    return masked.tobytes().decode("utf-32-le").split()


def _shifted(flags: _Bools, by: int) -> _Bools:
    """``flags`` moved right by one (``by=1``) or left by one (``by=-1``), False moving in."""
    out = np.zeros_like(flags)
    if by == 1:
        out[1:] = flags[:-1]
    else:
        out[:-1] = flags[1:]
    return out


def _kind(character: str) -> int:
    if character.isspace():
        return _SPACE
    return _LETTER if character.isalpha() else _SINGLE


_ASCII_KINDS = np.array([_kind(chr(i)) for i in range(128)], dtype=np.uint8)
