"""Machine code that counts markers and places them among the words.

Linear in the number of known words, whatever the text.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from qrm_forensics.metrics import lexemes, scan_kernels
from qrm_forensics.metrics.kernels import cached
from qrm_forensics.metrics.lexemes import CODES, MARKERS, PHRASE_MARKERS, SWITCHES
from qrm_forensics.metrics.scan_kernels import _TABLE_END, _WORD_FLAG, _decode

_compiled = cached(lexemes, scan_kernels)

#: Words of the span at each end of the response that is looked at alone.
SPAN = 1000
#: Where a kernel writes its figures: the markers of one word, those of two, and then these.
N_COUNTS = len(MARKERS) + len(PHRASE_MARKERS)
TOTAL, RATE, WAIT_RATE, NOWAIT, SWITCHED, SWITCH_RATE = range(N_COUNTS, N_COUNTS + 6)
WAIT_FIRST, WAIT_LAST, WAIT_GAIN, WAIT_RATIO, FIRST, LAST, GAIN = range(N_COUNTS + 6, N_COUNTS + 13)

_WAIT = MARKERS.index("wait")
_PAIRS = np.array([[CODES[w] for w in phrase.split()] for phrase in PHRASE_MARKERS], np.uint8)
_HYPHENED = PHRASE_MARKERS.index("double check")
_SO = np.uint8(CODES["so"])
_N_SINGLE = len(MARKERS)
_SWITCH_CODES = np.array([CODES[w] for w in SWITCHES], np.uint8)


@_compiled
def markers_kernel(data, codes, starts, ends, known, plain, of_code, words, slots, nowait, row):  # type: ignore[no-untyped-def]
    """Write the counts and rates; (int64 byte offset of every marker, whether it is "wait").

    ``known`` are the tokens that have a code, ``plain`` their codes but for commands, ``of_code``
    how many there are of each code; ``words`` the starts of the words; ``slots`` for each code the number of its marker, else
    -1, or -2 where it begins one of two words; ``nowait`` whether it is one of NoWait's.
    """
    n_words = words.shape[0]
    long = n_words >= 2 * SPAN
    head = words[SPAN] if long else 0
    tail = words[n_words - SPAN] if long else 0
    count = np.zeros(N_COUNTS, np.int64)
    at = np.empty(known.shape[0], np.int64)
    waits = np.empty(known.shape[0], np.bool_)
    found = 0
    first = last = wait_first = wait_last = 0
    for k in range(known.shape[0]):
        token = known[k]
        code = plain[k]
        if code == 0:  # a command: the backslash is a boundary like any other
            code = codes[token]
        slot = slots[code]
        if slot == -1:
            continue
        if slot == -2 and k + 1 < known.shape[0] and known[k + 1] <= token + 2:
            following = known[k + 1]
            for pair in range(_PAIRS.shape[0]):
                if code == _PAIRS[pair, 0] and plain[k + 1] == _PAIRS[pair, 1]:
                    hyphen = (
                        following == token + 2
                        and pair == _HYPHENED
                        and data[starts[token + 1]] == 0x2D
                        and ends[token] == starts[token + 1]
                        and ends[token + 1] == starts[following]
                    )
                    if following == token + 1 or hyphen:
                        slot = _N_SINGLE + pair
        if slot < 0:
            continue
        count[slot] += 1
        place = starts[token]
        at[found] = place
        waits[found] = slot == _WAIT
        found += 1
        if long and place < head:
            first += 1
            wait_first += slot == _WAIT
        elif long and place >= tail:
            last += 1
            wait_last += slot == _WAIT
    n_nowait = 0
    for code in range(nowait.shape[0]):
        if nowait[code]:
            n_nowait += of_code[code]
    switched = 0
    for code in _SWITCH_CODES:
        switched += of_code[code]
    for slot in range(N_COUNTS):
        row[slot] = count[slot]
    row[TOTAL] = found
    row[NOWAIT] = n_nowait
    row[SWITCHED] = switched
    if n_words:
        row[RATE] = 1000 * found / n_words
        row[WAIT_RATE] = 1000 * count[_WAIT] / n_words
        row[SWITCH_RATE] = 1000 * switched / n_words
    if long:
        row[WAIT_FIRST] = wait_first
        row[WAIT_LAST] = wait_last
        row[WAIT_GAIN] = wait_last - wait_first
        if wait_first:
            row[WAIT_RATIO] = wait_last / wait_first
        row[FIRST] = first
        row[LAST] = last
        row[GAIN] = last - first
    return at[:found].copy(), waits[:found].copy()


@_compiled
def _of_rank(values, rank):  # type: ignore[no-untyped-def]
    """The value that ``rank`` others precede in order, of whole numbers from 0 up; linear, by two counts."""
    largest = 0
    for value in values:
        largest = max(largest, value)
    high = np.zeros(largest // 1024 + 1, np.int32)
    for value in values:
        high[value // 1024] += 1
    top = 0
    while rank >= high[top]:
        rank -= high[top]
        top += 1
    low = np.zeros(1024, np.int32)
    for value in values:
        if value // 1024 == top:
            low[value % 1024] += 1
    bottom = 0
    while rank >= low[bottom]:
        rank -= low[bottom]
        bottom += 1
    return top * 1024 + bottom


@_compiled
def _median_distance(at):  # type: ignore[no-untyped-def]
    n = at.shape[0] - 1
    if n < 1:
        return np.nan
    distances = np.empty(n, np.int64)
    for i in range(n):
        distances[i] = at[i + 1] - at[i]
    upper = _of_rank(distances, n // 2)
    return float(upper) if n % 2 else (_of_rank(distances, n // 2 - 1) + upper) / 2


@_compiled
def distances_kernel(points, waits, out):  # type: ignore[no-untyped-def]
    """Write the median distances between successive "wait"s and between successive markers, NaN below two."""
    out[0] = _median_distance(points[waits])
    out[1] = _median_distance(points)


@_compiled
def so_comma_kernel(data, starts, ends, known, plain, classes):  # type: ignore[no-untyped-def]
    r"""Matches of ``\bSo,\b``: the whole word "So" as written, a comma, and then a letter, digit or underscore."""
    n = data.shape[0]
    found = 0
    for k in range(known.shape[0]):
        end = ends[known[k]]
        if plain[k] != _SO and (plain[k] != 0 or end - starts[known[k]] != 3):  # or the command "\\So"
            continue
        if end + 1 >= n or data[end] != 0x2C or data[end - 1] != 0x6F or data[end - 2] != 0x53:  # So,
            continue
        point, _ = _decode(data, end + 1, n)
        found += point < _TABLE_END and (classes[point] & _WORD_FLAG) != 0
    return found


@njit(cache=True, nogil=True, inline="always")
def _equal(data, a, b, size):  # type: ignore[no-untyped-def]
    same = True
    for k in range(size):
        same &= data[a + k] == data[b + k]
    return same


@_compiled
def equal_runs_kernel(data, least):  # type: ignore[no-untyped-def]
    """Maximal runs of at least ``least`` (3 or more) equal characters, line feeds left out: what
    ``(.)\\1{least-1,}`` matches.

    Of such a run, one of every ``least - 2`` bytes has its own kind one character and (ASCII) two characters on, so
    only there the run is followed, both ways.
    """
    n = data.shape[0]
    found = 0
    place = 0
    stride = least - 2
    while place + 2 < n:
        b = data[place]
        if b < 0x80:
            if b != data[place + 1] or b != data[place + 2]:
                place += stride
                continue
        else:
            near = b == data[place + 2]
            for k in range(place + 3, min(place + 5, n)):
                near |= b == data[k]
            if not near:
                place += stride
                continue
        begin = place
        while begin > 0 and (data[begin] & 0xC0) == 0x80:
            begin -= 1
        b = data[begin]
        size = 1 if b < 0xC0 else 2 if b < 0xE0 else 3 if b < 0xF0 else 4
        length = 1
        end = begin + size
        while end + size <= n and _equal(data, begin, end, size):
            length += 1
            end += size
        before = begin - size
        while before >= 0 and _equal(data, begin, before, size):
            length += 1
            before -= size
        found += length >= least and b != 0x0A
        while place < end:
            place += stride
    return found
