"""The machine code of the scan: bytes in, numbered tokens and words out.

Every kernel is linear in the length of its input, whatever the input.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt
from numba import boolean, int64, njit, uint64
from numba.extending import intrinsic

from qrm_forensics.metrics import lexemes
from qrm_forensics.metrics.kernels import cached, hold, inlined
from qrm_forensics.metrics.lexemes import CODES, LONGEST_WORD

_compiled = cached(lexemes)

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


#: log2 of the slots of the table of known words.
_KNOWN_BITS = 10


def _known_words() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
    """The words of CODES as an open-addressing table: their ``_key``s (0: free), and their codes."""
    keys, codes = np.zeros(1 << _KNOWN_BITS, np.uint64), np.zeros(1 << _KNOWN_BITS, np.uint8)
    for word, code in CODES.items():
        _put(keys, codes, np.frombuffer(word.encode("ascii"), np.uint8), code)
    return keys, codes


_tables: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64], npt.NDArray[np.uint8]] | None = None


def static_tables() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
    """The classes of characters, and the keys and codes of known words."""
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
def _small(word):  # type: ignore[no-untyped-def]
    """Eight bytes, each an ASCII letter or beyond ASCII, with the letters in lower case; a backslash becomes a bar."""
    return word | ((~word & _TOPS) >> np.uint64(2))


@inlined
def _key(data, start, end, fold):  # type: ignore[no-untyped-def]
    """A number, not 0, for data[start:end]: up to seven bytes are in it, with their number above them; of more it is
    a hash, with a number above that no short one has.  ``fold``: upper and lower case are alike."""
    n = data.shape[0]
    size = end - start
    if size < 8:
        if start + 8 <= n:
            word = _eight(data, start)
        else:
            word = np.uint64(0)
            for k in range(size):
                word |= np.uint64(data[np.uint64(start + k)]) << np.uint64(8 * k)
        if fold:
            word = _small(word)
        hold(data)
        return (word & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1))) | (np.uint64(size) << np.uint64(56))
    h = np.uint64(size)
    k = start
    while k < end:
        word = _eight(data, min(k, end - 8))
        if fold:
            word = _small(word)
        h = (h ^ word) * _GOLDEN
        h ^= h >> np.uint64(29)
        k += 8
    h ^= h >> np.uint64(32)
    hold(data)
    return h | (np.uint64(0xFF) << np.uint64(56))


@inlined
def _find(keys, bits, key):  # type: ignore[no-untyped-def]
    """The slot of a key in an open-addressing table of 2 ** bits: its own, or the free one (key 0) where it belongs."""
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    slot = ((key ^ (key >> np.uint64(31))) * _GOLDEN) >> np.uint64(64 - bits)
    while keys[slot] != np.uint64(0) and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    hold(keys)
    return slot


@_compiled
def _put(keys, codes, data, code):  # type: ignore[no-untyped-def]
    """Put a known word into its table."""
    key = _key(data, 0, data.shape[0], False)
    slot = _find(keys, _KNOWN_BITS, key)
    keys[slot] = key
    codes[slot] = code


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


@_compiled
def _most_slots(room):  # type: ignore[no-untyped-def]
    """Slots that a table of up to ``room`` entries, at most half full, may grow to."""
    slots = 1 << _BITS
    while slots <= 2 * room:
        slots *= 4
    return slots


@_compiled
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
        key = _key(data, begin, end, False)
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


@_compiled
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


@_compiled
def _code_of(data, start, end, known, codes, buffer):  # type: ignore[no-untyped-def]
    """The code of data[start:end], letters, or 0; ``buffer`` is scratch."""
    if end - start <= LONGEST_WORD:
        key = _key(data, start, end, True)
    else:
        key = np.uint64(0)
    for b in data[start:end]:
        if b >= 0x80:
            length = _folded(data, start, end, buffer)
            key = _key(buffer, 0, length, False) if length > 0 else np.uint64(0)
            break
    if key == np.uint64(0):
        return np.uint8(0)
    return codes[_find(known, _KNOWN_BITS, key)]


# Classes of bytes: those of characters, a backslash apart (a class of its own here), and what does not stand alone.
_BACKSLASH, _LONG = 4, 5


def _byte_classes() -> npt.NDArray[np.uint8]:
    table = np.full(256, _LONG, np.uint8)
    table[:128] = [_OTHER if c != "\\" else _BACKSLASH for c in map(chr, range(128))]
    for point in range(128):
        character = chr(point)
        if character.isalpha():
            table[point] = _LETTER
        elif character.isspace():
            table[point] = _SPACE
        elif character.isdecimal():
            table[point] = _DIGIT
    return table


def _boundaries() -> npt.NDArray[np.uint8]:
    """Whether a token, or whitespace, begins at a character, by the class before it (times 8) and its own."""
    table = np.ones(64, np.uint8)
    table[[_SPACE * 8 + _SPACE, _LETTER * 8 + _LETTER, _BACKSLASH * 8 + _LETTER]] = 0
    return table


_BYTE_CLASSES = _byte_classes()
_BOUNDARIES = _boundaries()
_KINDS = np.array([0, LETTERS, DIGIT, OTHER, OTHER], np.uint8)


@_compiled
def _bounds(data, classes):  # type: ignore[no-untyped-def]
    """(uint32: where tokens and stretches of whitespace begin, then the length; how many of them are whitespace)."""
    n = data.shape[0]
    out = np.empty(n + 1, np.uint32)
    count = np.uint64(0)
    spaces = np.uint64(0)
    before = np.uint64(_OTHER)
    i = np.int64(0)
    while i < n:
        if i + 8 <= n and _eight(data, i) & _TOPS == np.uint64(0):
            for k in range(8):
                at = np.uint64(i + k)
                what = np.uint64(_BYTE_CLASSES[np.uint64(data[at])])
                begins = np.uint64(_BOUNDARIES[(before << np.uint64(3)) | what])
                out[count] = at
                count += begins
                spaces += begins & np.uint64(what == np.uint64(_SPACE))
                before = what
            i += 8
            continue
        what = np.uint64(_BYTE_CLASSES[np.uint64(data[np.uint64(i)])])
        size = 1
        if what == np.uint64(_LONG):
            point, size = _decode(data, i, n)
            what = np.uint64(classes[np.uint64(point)] & _CLASS) if point < _TABLE_END else np.uint64(_OTHER)
        begins = np.uint64(_BOUNDARIES[(before << np.uint64(3)) | what])
        out[count] = i
        count += begins
        spaces += begins & np.uint64(what == np.uint64(_SPACE))
        before = what
        i += size
    out[count] = n
    return out[: np.int64(count) + 1], np.int64(spaces)


@_compiled
def _flags(data, i, n, classes):  # type: ignore[no-untyped-def]
    """Whether the character at i is a letter, digit or underscore."""
    point, _ = _decode(data, i, n)
    return point < _TABLE_END and (classes[point] & _WORD_FLAG) != 0


@_compiled
def tokens_kernel(data, classes, known, codes):  # type: ignore[no-untyped-def]
    """(ids, low ids, starts, ends, kinds, codes), one entry per pseudo-token; (numbered, first, times, folded) of those that are no
    single ASCII character but letters: their tokens; of each number from 128 on the first token and how many; of each low
    one a key of the text in lower case; (starts, ends) of the words.

    Single ASCII characters but letters are their own number (0 to 127); everything else is numbered from 128.
    """
    n = data.shape[0]
    bounds, spaces = _bounds(data, classes)
    n_bounds = bounds.shape[0] - 1
    m = n_bounds - spaces
    # One more, as what is written for whitespace is overwritten by what comes next.
    ids = np.empty(m + 1, np.int32)
    starts = np.empty(m + 1, np.int32)
    ends = np.empty(m + 1, np.int32)
    kinds = np.empty(m + 1, np.uint8)
    numbered = np.empty(m + 1, np.int32)
    gaps = np.empty(spaces + 1, np.int32)
    # Unsigned, an index is known not to count from the end.
    count = np.uint64(0)
    n_gaps = np.uint64(0)
    n_numbered = np.uint64(0)
    for k in range(n_bounds):
        begin = np.int64(bounds[np.uint64(k)])
        end = np.int64(bounds[np.uint64(k + 1)])
        b = np.uint64(data[np.uint64(begin)])
        what = np.uint64(_BYTE_CLASSES[b])
        run = np.uint64(end - begin > 1) & np.uint64(what == np.uint64(_BACKSLASH))
        if what == np.uint64(_LONG):
            point, _ = _decode(data, begin, n)
            what = np.uint64(classes[np.uint64(point)] & _CLASS) if point < _TABLE_END else np.uint64(_OTHER)
            run = np.uint64(what != np.uint64(_SPACE))
        space = np.uint64(what == np.uint64(_SPACE))
        starts[count] = begin
        ends[count] = end
        ids[count] = b
        kinds[count] = _KINDS[what]
        numbered[n_numbered] = count
        n_numbered += run | np.uint64(what == np.uint64(_LETTER))
        count += space ^ np.uint64(1)
        gaps[n_gaps] = k
        n_gaps += space
    low = ids[:m].copy()
    marks = np.zeros(m, np.uint8)
    # A word ends where whitespace begins, and the next one begins after it.
    word_starts = np.empty(spaces + 1, np.int32)
    word_ends = np.empty(spaces + 1, np.int32)
    opening = n_bounds > 0 and (spaces == 0 or gaps[0] > 0)
    shift = np.int64(opening)
    n_words = spaces + shift
    word_starts[0] = 0
    for k in range(spaces):
        word_starts[np.uint64(k + shift)] = bounds[np.uint64(gaps[np.uint64(k)] + 1)]
    for k in range(1 - shift, spaces):
        word_ends[np.uint64(k + shift - 1)] = bounds[np.uint64(gaps[np.uint64(k)])]
    if spaces > 0 and gaps[spaces - 1] == n_bounds - 1:
        n_words -= 1
    elif n_words > 0:
        word_ends[n_words - 1] = n
    # Different tokens are numbered by a table.
    room = np.int64(n_numbered)
    slots = _most_slots(room)
    keys = np.empty(slots, np.uint64)
    entries = np.empty(slots, np.int32)
    of_type = np.empty(room, np.uint64)
    first = np.empty(room, np.int32)
    last = np.empty(room, np.int32)
    first_token = np.empty(room, np.int32)
    times = np.zeros(room, np.int32)
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
    for k in range(room):
        here = np.uint64(numbered[np.uint64(k)])
        begin = np.int64(starts[here])
        i = np.int64(ends[here])
        kind = COMMAND if data[np.uint64(begin)] == 0x5C else kinds[here]
        kinds[here] = kind
        key = _key(data, begin, i, False)
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
            first_token[entry] = here
            n_types += 1
            if 2 * n_types >= 1 << bits:
                bits = _grown(keys, entries, bits, of_type, n_types)
            code_of[entry] = 0
            if kind <= LETTERS:
                code_of[entry] = _code_of(data, begin + (kind == COMMAND), i, known, codes, buffer)
            key = _key(data, begin, i, True)
            slot = np.int64(_find(low_keys, low_bits, key))
            if low_keys[slot] == np.uint64(0):
                low_keys[slot] = key
                low_entries[slot] = n_low
                of_low[n_low] = key
                low_of[entry] = n_low
                n_low += 1
                if 2 * n_low >= 1 << low_bits:
                    low_bits = _grown(low_keys, low_entries, low_bits, of_low, n_low)
            else:
                low_of[entry] = low_entries[slot]
        name = np.uint64(entry)
        ids[here] = 128 + entry
        low[here] = 128 + low_of[name]
        times[name] += 1
        # A code is that of a whole word: no letter, digit or underscore touches it.
        closed = False
        if i < n:
            b = data[np.uint64(i)]
            closed = (classes[np.uint64(b)] & _WORD_FLAG) != 0 if b < 0x80 else _flags(data, i, n, classes)
        if kind == LETTERS and begin > 0:
            b = data[np.uint64(begin - 1)]
            if b < 0x80:
                closed |= (classes[np.uint64(b)] & _WORD_FLAG) != 0
            elif here > 0 and ends[here - np.uint64(1)] == begin:
                closed |= _flags(data, np.int64(starts[here - np.uint64(1)]), n, classes)
        marks[here] = np.uint8(0) if closed or kind > LETTERS else code_of[name]
    return (
        ids[:m],
        low,
        starts[:m],
        ends[:m],
        kinds[:m],
        marks,
        numbered[:room].copy(),
        first_token[:n_types].copy(),
        times[:n_types].copy(),
        of_low[:n_low].copy(),
        word_starts[:n_words],
        word_ends[:n_words],
    )


#: Bytes from one count of code points to the next.
_BLOCK = 64


@njit(cache=True, nogil=True, inline="always")
def _points(data, start, end):  # type: ignore[no-untyped-def]
    """How many characters begin in data[start:end]."""
    points = 0
    for b in data[start:end]:  # a slice has no negative index, so this becomes vector code
        points += (b & 0xC0) != 0x80
    return points


@_compiled
def blocks_kernel(data):  # type: ignore[no-untyped-def]
    """int64: code points before every _BLOCK-th byte."""
    out = np.zeros(data.shape[0] // _BLOCK + 1, np.int64)
    for k in range(1, out.shape[0]):
        out[k] = out[k - 1] + _points(data, (k - 1) * _BLOCK, k * _BLOCK)
    return out


@_compiled
def chars_kernel(data, blocks, offsets):  # type: ignore[no-untyped-def]
    """Code points before each of the byte offsets."""
    out = np.empty(offsets.shape[0], np.int64)
    for i in range(offsets.shape[0]):
        block = offsets[i] // _BLOCK
        out[i] = blocks[block] + _points(data, block * _BLOCK, offsets[i])
    return out


@_compiled
def points_kernel(data):  # type: ignore[no-untyped-def]
    """Code points."""
    return _points(data, 0, data.shape[0])
