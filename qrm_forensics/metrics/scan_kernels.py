"""The machine code of the scan: bytes in, numbered tokens and words out.

Every kernel is linear in the length of its input, whatever the input.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt
from numba import boolean, int64, njit, uint64
from numba.extending import intrinsic

from qrm_forensics.metrics.kernels import hold, inlined
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


@intrinsic
def _eight(typing_context, data, at):  # type: ignore[no-untyped-def]
    """data[at : at + 8] as one number, the first byte lowest; the caller sees to it that they are there."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        word = builder.load(builder.bitcast(place, context.get_value_type(uint64).as_pointer()), align=1)
        return word if sys.byteorder == "little" else builder.bswap(word)

    return uint64(data, int64), generate


@intrinsic
def _low_zeros(typing_context, word):  # type: ignore[no-untyped-def]
    """How many bits below the lowest 1 of a number that is not 0."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], context.get_constant(boolean, True))

    return int64(uint64), generate


_ONES = np.uint64(0x0101010101010101)
_TOPS = np.uint64(0x8080808080808080)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@inlined
def _not_letters(word):  # type: ignore[no-untyped-def]
    """The top bits of those of eight bytes that are no ASCII letter."""
    low = (word | (_ONES * np.uint64(0x20))) & ~_TOPS
    return ~((low + _ONES * np.uint64(0x1F)) & ~(low + _ONES * np.uint64(0x05)) & ~word) & _TOPS


@inlined
def _key(data, start, end):  # type: ignore[no-untyped-def]
    """A number, not 0, for data[start:end]: up to seven bytes are in it, with their number above them; of more it is
    a hash, with a number above that no short one has."""
    n = data.shape[0]
    size = end - start
    if size < 8:
        if start + 8 <= n:
            word = _eight(data, start) & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1))
        else:
            word = np.uint64(0)
            for k in range(size):
                word |= np.uint64(data[start + k]) << np.uint64(8 * k)
        hold(data)
        return word | (np.uint64(size) << np.uint64(56))
    h = np.uint64(size)
    k = start
    while k + 8 <= end:
        h = (h ^ _eight(data, k)) * _GOLDEN
        h ^= h >> np.uint64(29)
        k += 8
    h = (h ^ _eight(data, end - 8)) * _GOLDEN
    h ^= h >> np.uint64(32)
    hold(data)
    return h | (np.uint64(0xFF) << np.uint64(56))


@inlined
def _slot(keys, entries, bits, first, last, data, key, start, end):  # type: ignore[no-untyped-def]
    """The slot of data[start:end] in an open-addressing table of 2 ** bits: its own, or the free one (key 0) where it
    belongs.  Entries are ``data[first:last]``."""
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    slot = ((key ^ (key >> np.uint64(31))) * _GOLDEN) >> np.uint64(64 - bits)
    while keys[slot] != np.uint64(0):
        if keys[slot] == key:
            if end - start < 8:
                break
            at = np.int64(first[entries[slot]])
            same = last[entries[slot]] - at == end - start
            k = np.int64(0)
            while same and k + 8 < end - start:
                same = _eight(data, at + k) == _eight(data, start + k)
                k += 8
            if same and _eight(data, at + (end - start) - 8) == _eight(data, end - 8):
                break
        slot = (slot + np.uint64(1)) & mask
    hold(keys, entries, first, last, data)
    return np.int64(slot)


@inlined
def _grown(keys, entries, bits, of_entry, n_entries):  # type: ignore[no-untyped-def]
    """The bits of a table four times as large, in which the entries (keys ``of_entry``) are put again.

    A table uses the first slots of arrays that are large enough for any text: those that are not used cost nothing,
    and an array that is bound anew in a loop would cost a reference count per turn.
    """
    bits += 2
    mask = (np.int64(1) << bits) - 1
    keys[: mask + 1] = 0
    for entry in range(n_entries):
        key = of_entry[entry]
        slot = np.int64(((key ^ (key >> np.uint64(31))) * _GOLDEN) >> np.uint64(64 - bits))
        while keys[slot] != np.uint64(0):
            slot = (slot + 1) & mask
        keys[slot] = key
        entries[slot] = entry
    hold(keys, entries, of_entry)
    return bits


#: log2 of the slots of a table to begin with.
_BITS = 9


@njit(cache=True, nogil=True)
def _most_slots(room):  # type: ignore[no-untyped-def]
    """Slots that a table of up to ``room`` entries, at most half full, may grow to."""
    slots = 1 << _BITS
    while slots <= 2 * room:
        slots *= 4
    return slots


@njit(cache=True, nogil=True)
def words_kernel(data, starts, ends):  # type: ignore[no-untyped-def]
    """(ids, number of different words) of the words data[starts:ends]."""
    count = starts.shape[0]
    ids = np.empty(count, np.int32)
    slots = _most_slots(count)
    keys = np.empty(slots, np.uint64)
    entries = np.empty(slots, np.int32)
    of_type = np.empty(count, np.uint64)
    first = np.empty(count, np.int32)
    last = np.empty(count, np.int32)
    bits = np.int64(_BITS)
    keys[: 1 << _BITS] = 0
    n_types = 0
    for w in range(count):
        begin = np.int64(starts[w])
        end = np.int64(ends[w])
        key = _key(data, begin, end)
        slot = _slot(keys, entries, bits, first, last, data, key, begin, end)
        if keys[np.uint64(slot)] == np.uint64(0):
            keys[slot] = key
            entries[slot] = n_types
            of_type[n_types] = key
            first[n_types] = begin
            last[n_types] = end
            ids[w] = n_types
            n_types += 1
            if 2 * n_types >= 1 << bits:
                bits = _grown(keys, entries, bits, of_type, n_types)
        else:
            ids[w] = entries[np.uint64(slot)]
    return ids, n_types


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
    """(ids, low ids, starts, ends, kinds, codes), one entry per pseudo-token; (starts, ends) of the words.

    Single ASCII characters are their own number (0 to 127); everything else is numbered from 128.
    """
    n = data.shape[0]
    ids = np.empty(n, np.int32)
    low = np.empty(n, np.int32)
    starts = np.empty(n, np.int32)
    ends = np.empty(n, np.int32)
    kinds = np.empty(n, np.uint8)
    marks = np.empty(n, np.uint8)
    word_starts = np.empty(n // 2 + 2, np.int32)
    word_ends = np.empty(n // 2 + 2, np.int32)
    # Different tokens beside ASCII characters: the 52 letters, and others that take two bytes or more each.
    room = n // 2 + 53
    slots = _most_slots(room)
    keys = np.empty(slots, np.uint64)
    entries = np.empty(slots, np.int32)
    of_type = np.empty(room, np.uint64)
    first = np.empty(room, np.int32)
    last = np.empty(room, np.int32)
    low_of = np.empty(room, np.int32)
    code_of = np.empty(room, np.uint8)
    buffer = np.empty(64, np.uint8)
    # Lower-case forms have a table of their own, in which a hash of 64 bits stands for the text.
    low_keys = np.empty(slots, np.uint64)
    low_entries = np.empty(slots, np.int32)
    of_low = np.empty(room, np.uint64)
    bits = np.int64(_BITS)
    low_bits = np.int64(_BITS)
    keys[: 1 << _BITS] = 0
    low_keys[: 1 << _BITS] = 0
    n_types = 0
    n_low = 0
    count = 0
    i = np.int64(0)
    touched = False  # whether the character before is a letter, digit or underscore
    inside = False  # a word
    word_begin = np.int64(0)
    n_words = 0
    while i < n:
        # Unsigned, an index is known not to count from the end.
        here = np.uint64(count)
        begin = i
        point = np.int64(data[np.uint64(i)])
        size = 1
        if point >= 0x80:
            point, size = _decode(data, i, n)
        what = classes[np.uint64(point)] if point < _TABLE_END else np.uint8(_OTHER)
        kind = what & _CLASS
        kind_of_token = LETTERS
        if kind != _LETTER:
            named = False
            if point == 0x5C and i + 1 < n:
                following, _ = _decode(data, i + 1, n)
                named = following < _TABLE_END and (classes[following] & _CLASS) == _LETTER
            if not named:
                # Whitespace and single characters alike, without a branch, which would often be mispredicted:
                # what is written for whitespace is overwritten by the next.
                there = kind != _SPACE
                word_begin = word_begin if inside else begin
                word_starts[np.uint64(n_words)] = word_begin
                word_ends[np.uint64(n_words)] = begin
                n_words += inside and not there
                inside = there
                i += size
                touched = (what & _WORD_FLAG) != 0
                ids[here] = point
                low[here] = point
                starts[here] = begin
                ends[here] = i
                kinds[here] = DIGIT if kind == _DIGIT else OTHER
                marks[here] = 0
                if point < 0x80 or not there:
                    count += there
                    continue
                kind_of_token = OTHER
            else:
                kind_of_token = COMMAND
                touched = False
                i += 1
        if kind_of_token != OTHER:
            word_begin = word_begin if inside else begin
            inside = True
            starts[here] = begin
            kinds[here] = kind_of_token
            while i < n:
                if i + 8 <= n:
                    stops = _not_letters(_eight(data, i))
                    if stops == np.uint64(0):
                        i += 8
                        continue
                    i += _low_zeros(stops) >> 3
                b = data[np.uint64(i)]
                if b < 0x80:
                    if (classes[b] & _CLASS) != _LETTER:
                        break
                    i += 1
                else:
                    point, size = _decode(data, i, n)
                    if point >= _TABLE_END or (classes[point] & _CLASS) != _LETTER:
                        break
                    i += size
            ends[here] = i
        key = _key(data, begin, i)
        slot = _slot(keys, entries, bits, first, last, data, key, begin, i)
        if keys[np.uint64(slot)] != np.uint64(0):
            entry = np.int64(entries[np.uint64(slot)])
        else:
            entry = np.int64(n_types)
            keys[slot] = key
            entries[slot] = entry
            of_type[entry] = key
            first[entry] = begin
            last[entry] = i
            n_types += 1
            if 2 * n_types >= 1 << bits:
                bits = _grown(keys, entries, bits, of_type, n_types)
            code_of[entry] = 0
            if kind_of_token != OTHER:
                offset = 1 if kind_of_token == COMMAND else 0
                length = _folded(data, begin + offset, i, buffer)
                if 0 < length <= LONGEST_WORD:
                    code_of[entry] = _code_of(buffer, length, known, first_known, codes)
            lh = np.uint64(0x9E3779B97F4A7C15)
            for k in range(begin, i):
                b = data[k]
                lh = (lh ^ np.uint64(b + 32 if 0x41 <= b <= 0x5A else b)) * np.uint64(0x100000001B3)
            lh ^= lh >> np.uint64(29)
            lh |= np.uint64(lh == np.uint64(0))  # 0 is a free slot
            mask = (np.int64(1) << low_bits) - 1
            slot = np.int64(((lh ^ (lh >> np.uint64(31))) * _GOLDEN) >> np.uint64(64 - low_bits))
            while low_keys[slot] != np.uint64(0) and low_keys[slot] != lh:
                slot = (slot + 1) & mask
            if low_keys[slot] == np.uint64(0):
                low_keys[slot] = lh
                low_entries[slot] = n_low
                of_low[n_low] = lh
                low_of[entry] = n_low
                n_low += 1
                if 2 * n_low >= 1 << low_bits:
                    low_bits = _grown(low_keys, low_entries, low_bits, of_low, n_low)
            else:
                low_of[entry] = low_entries[slot]
        ids[here] = 128 + entry
        low[here] = 128 + low_of[np.uint64(entry)]
        if kind_of_token != OTHER:
            following = np.int64(0x20)
            if i < n:
                following = np.int64(data[np.uint64(i)])
                if following >= 0x80:
                    following, _ = _decode(data, i, n)
            closed = following < _TABLE_END and (classes[np.uint64(following)] & _WORD_FLAG) != 0
            marks[here] = np.uint8(0) if touched or closed else code_of[np.uint64(entry)]
            touched = True
        count += 1
    word_starts[n_words] = word_begin
    word_ends[n_words] = n
    n_words += inside
    return (
        ids[:count].copy(),
        low[:count].copy(),
        starts[:count].copy(),
        ends[:count].copy(),
        kinds[:count].copy(),
        marks[:count].copy(),
        word_starts[:n_words].copy(),
        word_ends[:n_words].copy(),
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


@njit(cache=True, nogil=True)
def points_kernel(data):  # type: ignore[no-untyped-def]
    """Code points."""
    return _points(data, 0, data.shape[0])
