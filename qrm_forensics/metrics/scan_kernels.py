"""The machine code of the scan: bytes in, numbered tokens and words out.

Every kernel is linear in the length of its input, whatever the input.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from qrm_forensics.metrics.lexemes import CODES, LONGEST_WORD

#: Kinds of pseudo-tokens.
COMMAND, LETTERS, DIGIT, OTHER = 1, 2, 3, 4

# Classes of characters (low bits) and what else is known of them (flags).
_SPACE, _LETTER, _DIGIT, _OTHER = 0, 1, 2, 3
_WORD_FLAG = 0x10
_CLASS = 0x0F
#: The first code point that the table of classes does not hold; none above is assigned to a letter or a space.
_TABLE_END = 0x33500


def _character_classes() -> npt.NDArray[np.uint8]:
    table = np.full(_TABLE_END, _OTHER, dtype=np.uint8)
    for point in range(_TABLE_END):
        character = chr(point)
        if character.isalpha():
            table[point] = _LETTER | _WORD_FLAG
        elif character.isspace():
            table[point] = _SPACE
        elif character.isdecimal():
            table[point] = _DIGIT | _WORD_FLAG
        elif character.isalnum() or character == "_":
            table[point] = _OTHER | _WORD_FLAG
    return table


def _known_words() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """The words of CODES by length as one byte string, where those of each length begin in it, and their codes."""
    words = sorted(CODES, key=len)
    first = [sum(len(w) < length for w in words) for length in range(LONGEST_WORD + 2)]
    text = np.frombuffer("".join(words).encode("ascii"), np.uint8).copy()
    return text, np.array(first, np.int64), np.array([CODES[w] for w in words], np.uint8)


_tables: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.uint8]] | None = None


def static_tables() -> tuple[
    npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.uint8]
]:
    global _tables
    if _tables is None:
        _tables = (_character_classes(), *_known_words())
    return _tables


@njit(cache=True, nogil=True, inline="always")
def _decode(data, i, n):  # type: ignore[no-untyped-def]
    """(code point, length in bytes) of the character at i; a broken sequence counts as one byte."""
    b = np.int64(data[i])
    if b < 0x80:
        return b, 1
    if 0xC0 <= b < 0xE0 and i + 1 < n:
        return ((b & 0x1F) << 6) | (np.int64(data[i + 1]) & 0x3F), 2
    if 0xE0 <= b < 0xF0 and i + 2 < n:
        return ((b & 0x0F) << 12) | ((np.int64(data[i + 1]) & 0x3F) << 6) | (np.int64(data[i + 2]) & 0x3F), 3
    if b >= 0xF0 and i + 3 < n:
        return (
            ((b & 0x07) << 18)
            | ((np.int64(data[i + 1]) & 0x3F) << 12)
            | ((np.int64(data[i + 2]) & 0x3F) << 6)
            | (np.int64(data[i + 3]) & 0x3F)
        ), 4
    return np.int64(0xFFFD), 1


@njit(cache=True, nogil=True, inline="always")
def _slot(table, hashes, starts, ends, data, h, start, end):  # type: ignore[no-untyped-def]
    """The slot of data[start:end] in an open-addressing table: its own, or the free one where it belongs."""
    mask = table.shape[0] - 1
    slot = np.int64(h & np.uint64(mask))
    while True:
        entry = table[slot]
        if entry < 0:
            return slot
        if hashes[entry] == h and ends[entry] - starts[entry] == end - start:
            same = True
            at = starts[entry]
            for k in range(end - start):
                if data[at + k] != data[start + k]:
                    same = False
                    break
            if same:
                return slot
        slot = (slot + 1) & mask


@njit(cache=True, nogil=True)
def _table_size(n):  # type: ignore[no-untyped-def]
    """A power of two that holds all different words of n bytes: there are at most n / 2 of them.

    Nothing grows in the kernels: an array that is bound anew in a loop costs a reference count per turn.
    """
    size = 64
    while size < n // 2 + 2:
        size *= 2
    return size


@njit(cache=True, nogil=True)
def words_kernel(data, classes):  # type: ignore[no-untyped-def]
    """(ids, starts, ends, number of different words, code points)."""
    n = data.shape[0]
    room = n // 2 + 1
    ids = np.empty(room, np.int32)
    starts = np.empty(room, np.int32)
    ends = np.empty(room, np.int32)
    table = np.full(_table_size(n), -1, np.int32)
    hashes = np.empty(room, np.uint64)
    first = np.empty(room, np.int32)
    last = np.empty(room, np.int32)
    types = 0
    count = 0
    points = 0
    i = 0
    while i < n:
        # whitespace
        b = data[i]
        if b < 0x80:
            if (classes[b] & _CLASS) == _SPACE:
                i += 1
                points += 1
                continue
        else:
            point, size = _decode(data, i, n)
            if point < _TABLE_END and (classes[point] & _CLASS) == _SPACE:
                i += size
                points += 1
                continue
        begin = i
        h = np.uint64(0xCBF29CE484222325)
        while i < n:
            b = data[i]
            if b < 0x80:
                if (classes[b] & _CLASS) == _SPACE:
                    break
                h = (h ^ np.uint64(b)) * np.uint64(0x100000001B3)
                i += 1
            else:
                point, size = _decode(data, i, n)
                if point < _TABLE_END and (classes[point] & _CLASS) == _SPACE:
                    break
                for k in range(i, i + size):
                    h = (h ^ np.uint64(data[k])) * np.uint64(0x100000001B3)
                i += size
            points += 1
        h ^= h >> np.uint64(32)
        slot = _slot(table, hashes, first, last, data, h, begin, i)
        entry = table[slot]
        if entry < 0:
            entry = types
            hashes[types] = h
            first[types] = begin
            last[types] = i
            table[slot] = types
            types += 1
        ids[count] = entry
        starts[count] = begin
        ends[count] = i
        count += 1
    return ids[:count].copy(), starts[:count].copy(), ends[:count].copy(), types, points


@njit(cache=True, nogil=True)
def _folded(data, start, end, out):  # type: ignore[no-untyped-def]
    """Write data[start:end] in lower case to ``out`` and return its length, 0 if it is too long for a known word.

    Folds ASCII, and the four letters that re.IGNORECASE takes for an ASCII one (İ, ı, ſ, K).
    """
    k = start
    size = 0
    while k < end:
        if size >= out.shape[0]:
            return 0
        b = data[k]
        if b < 0x80:
            out[size] = b + 32 if 0x41 <= b <= 0x5A else b
            k += 1
        elif b == 0xC4 and k + 1 < end and (data[k + 1] == 0xB0 or data[k + 1] == 0xB1):
            out[size] = 0x69
            k += 2
        elif b == 0xC5 and k + 1 < end and data[k + 1] == 0xBF:
            out[size] = 0x73
            k += 2
        elif b == 0xE2 and k + 2 < end and data[k + 1] == 0x84 and data[k + 2] == 0xAA:
            out[size] = 0x6B
            k += 3
        else:
            out[size] = b
            k += 1
        size += 1
    return size


@njit(cache=True, nogil=True)
def _code_of(low, size, known, first, codes):  # type: ignore[no-untyped-def]
    """The code of low[:size]; ``known`` holds the words by length, the w-th of all at an offset of its own."""
    at = 0
    for length in range(size):
        at += length * (first[length + 1] - first[length])
    for w in range(first[size], first[size + 1]):
        same = True
        for k in range(size):
            if known[at + k] != low[k]:
                same = False
                break
        if same:
            return codes[w]
        at += size
    return np.uint8(0)


@njit(cache=True, nogil=True)
def tokens_kernel(data, classes, known, first_known, codes):  # type: ignore[no-untyped-def]
    """(ids, low ids, starts, ends, kinds, codes), one entry per pseudo-token.

    Single ASCII characters are their own number (0 to 127); everything else is numbered from 128.
    """
    n = data.shape[0]
    ids = np.empty(n, np.int32)
    low = np.empty(n, np.int32)
    starts = np.empty(n, np.int32)
    ends = np.empty(n, np.int32)
    kinds = np.empty(n, np.uint8)
    marks = np.empty(n, np.uint8)
    size_of_table = _table_size(n)
    room = n // 2 + 1
    table = np.full(size_of_table, -1, np.int32)
    hashes = np.empty(room, np.uint64)
    first = np.empty(room, np.int32)
    last = np.empty(room, np.int32)
    low_of = np.empty(room, np.int32)
    code_of = np.empty(room, np.uint8)
    buffer = np.empty(64, np.uint8)
    # Lower-case forms have a table of their own, in which a hash of 64 bits stands for the text.
    low_table = np.full(size_of_table, -1, np.int32)
    low_hashes = np.empty(room, np.uint64)
    types = 0
    low_types = 0
    count = 0
    i = 0
    touched = False  # whether the character before is a letter, digit or underscore
    while i < n:
        point, size = _decode(data, i, n)
        what = classes[point] if point < _TABLE_END else np.uint8(_OTHER)
        kind = what & _CLASS
        if kind == _SPACE:
            touched = False
            i += size
            continue
        begin = i
        starts[count] = begin
        named = False
        if kind == _LETTER:
            kinds[count] = LETTERS
            named = True
        elif point == 0x5C and i + 1 < n:
            following, _ = _decode(data, i + 1, n)
            if following < _TABLE_END and (classes[following] & _CLASS) == _LETTER:
                kinds[count] = COMMAND
                named = True
                touched = False
                i += 1
        if not named:
            kinds[count] = DIGIT if kind == _DIGIT else OTHER
            i += size
            ends[count] = i
            marks[count] = 0
            touched = (what & _WORD_FLAG) != 0
            if point < 0x80:
                ids[count] = point
                low[count] = point
                count += 1
                continue
        h = np.uint64(0xCBF29CE484222325)
        if named:
            while i < n:
                b = data[i]
                if b < 0x80:
                    if (classes[b] & _CLASS) != _LETTER:
                        break
                    h = (h ^ np.uint64(b)) * np.uint64(0x100000001B3)
                    i += 1
                else:
                    point, size = _decode(data, i, n)
                    if point >= _TABLE_END or (classes[point] & _CLASS) != _LETTER:
                        break
                    for k in range(i, i + size):
                        h = (h ^ np.uint64(data[k])) * np.uint64(0x100000001B3)
                    i += size
            ends[count] = i
            if kinds[count] == COMMAND:
                h = (h ^ np.uint64(0x5C)) * np.uint64(0x100000001B3)
        else:
            for k in range(begin, i):
                h = (h ^ np.uint64(data[k])) * np.uint64(0x100000001B3)
        h ^= h >> np.uint64(32)
        slot = _slot(table, hashes, first, last, data, h, begin, i)
        entry = table[slot]
        if entry < 0:
            entry = types
            hashes[types] = h
            first[types] = begin
            last[types] = i
            table[slot] = types
            types += 1
            code_of[entry] = 0
            if named:
                offset = 1 if kinds[count] == COMMAND else 0
                length = _folded(data, begin + offset, i, buffer)
                if 0 < length <= LONGEST_WORD:
                    code_of[entry] = _code_of(buffer, length, known, first_known, codes)
            lh = np.uint64(0x9E3779B97F4A7C15)
            for k in range(begin, i):
                b = data[k]
                lh = (lh ^ np.uint64(b + 32 if 0x41 <= b <= 0x5A else b)) * np.uint64(0x100000001B3)
            lh ^= lh >> np.uint64(29)
            mask = low_table.shape[0] - 1
            slot = np.int64(lh & np.uint64(mask))
            while low_table[slot] >= 0 and low_hashes[low_table[slot]] != lh:
                slot = (slot + 1) & mask
            if low_table[slot] < 0:
                low_table[slot] = low_types
                low_hashes[low_types] = lh
                low_types += 1
                low_of[entry] = low_types - 1
            else:
                low_of[entry] = low_table[slot]
        ids[count] = 128 + entry
        low[count] = 128 + low_of[entry]
        if named:
            following = np.int64(0x20)
            if i < n:
                following, _ = _decode(data, i, n)
            closed = following < _TABLE_END and (classes[following] & _WORD_FLAG) != 0
            marks[count] = np.uint8(0) if touched or closed else code_of[entry]
            touched = True
        count += 1
    return (
        ids[:count].copy(),
        low[:count].copy(),
        starts[:count].copy(),
        ends[:count].copy(),
        kinds[:count].copy(),
        marks[:count].copy(),
    )


#: Bytes from one count of code points to the next.
_BLOCK = 256


@njit(cache=True, nogil=True, inline="always")
def _points(data, start, end):  # type: ignore[no-untyped-def]
    """How many characters begin in data[start:end]."""
    points = 0
    for b in data[start:end]:  # a slice has no negative index, so this becomes vector code
        points += (b & 0xC0) != 0x80
    return points


@njit(cache=True, nogil=True)
def blocks_kernel(data):  # type: ignore[no-untyped-def]
    """int64: code points before every _BLOCK-th byte."""
    out = np.zeros(data.shape[0] // _BLOCK + 1, np.int64)
    for k in range(1, out.shape[0]):
        out[k] = out[k - 1] + _points(data, (k - 1) * _BLOCK, k * _BLOCK)
    return out


@njit(cache=True, nogil=True)
def chars_kernel(data, blocks, offsets):  # type: ignore[no-untyped-def]
    """Code points before each of the byte offsets."""
    out = np.empty(offsets.shape[0], np.int64)
    for i in range(offsets.shape[0]):
        block = offsets[i] // _BLOCK
        out[i] = blocks[block] + _points(data, block * _BLOCK, offsets[i])
    return out
