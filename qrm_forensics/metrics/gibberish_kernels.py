"""Machine code of the gibberish metric: where words are dense, runs of digits, letters by script.

Every kernel is linear in its input.  No array is bound anew in a loop (see ``scan_kernels``).
"""

from __future__ import annotations

import numpy as np

from qrm_forensics.metrics import lexemes, lexicon_kernels, scan_kernels
from qrm_forensics.metrics.kernels import cached
from qrm_forensics.metrics.lexicon_kernels import BRACE, OVER, RARE, UNKNOWN, WORD, in_environment
from qrm_forensics.metrics.scan_kernels import DIGIT

_compiled = cached(lexemes, lexicon_kernels, scan_kernels)


@_compiled
def mark_kernel(data, ids, kinds, ends, numbered, type_of, shape, runs, flags, limits, floor, stretch, window, least):  # type: ignore[no-untyped-def]
    """(token numbers (k,), what they are (k,) uint8) of the letter runs that are gibberish, in order.

    OVER: every run flagged so, and a word flagged RARE where ``floor`` of it lie within s <= ``stretch`` words and
    floor / s reaches its limit.  UNKNOWN: a word flagged so, in a window of ``window`` words that has at least
    ``least`` different ones.
    """
    # Of each id: 0 no Latin letter run, 1 such a run, 2 a word; 4 more where it is flagged.
    code = np.zeros(type_of.shape[0], np.uint8)
    for name in range(code.shape[0]):
        if type_of[name] >= 0:
            code[name] = (2 if shape[name] == WORD else 1) + (4 if flags[type_of[name]] != 0 else 0)
    n_flagged = 0
    for t in range(flags.shape[0]):
        if flags[t] != 0:
            n_flagged += runs[t]
    at = np.empty(n_flagged, np.int32)
    place = np.empty(n_flagged, np.int32)  # how many words there are before
    marks = np.zeros(n_flagged, np.uint8)
    queue = np.empty(n_flagged, np.int32)  # the unknown words among them
    inside = np.zeros(flags.shape[0], np.int32)
    row = np.empty(flags.shape[0], np.int32)
    n_rare = 0
    for t in range(flags.shape[0]):
        if (flags[t] & RARE) != 0:
            row[t] = n_rare
            n_rare += 1
    last = np.empty((n_rare, floor), np.int32)  # the last occurrences of a rare word, as a ring
    seen = np.zeros(n_rare, np.int64)
    head = 0
    tail = 0
    marked = 0
    different = 0
    k = 0
    word = 0
    for i in numbered:
        what = code[ids[i]]
        if what == 0:
            continue
        is_word = (what & 2) != 0 and not (i > 0 and ids[i - 1] == BRACE and in_environment(data, kinds, ends, i))
        if what >= 4:
            t = type_of[ids[i]]
            at[k] = i
            place[k] = word
            if (flags[t] & OVER) != 0:
                marks[k] = OVER
            if is_word and (flags[t] & RARE) != 0:
                r = row[t]
                last[r, seen[r] % floor] = k
                seen[r] += 1
                if seen[r] >= floor:
                    length = word + 1 - place[last[r, seen[r] % floor]]
                    if length <= stretch and floor >= limits[t] * length:
                        for q in range(floor):
                            marks[last[r, q]] = OVER
            if is_word and (flags[t] & UNKNOWN) != 0:
                queue[tail] = k
                tail += 1
                inside[t] += 1
                if inside[t] == 1:
                    different += 1
                while place[queue[head]] <= word - window:
                    gone = type_of[ids[at[queue[head]]]]
                    inside[gone] -= 1
                    if inside[gone] == 0:
                        different -= 1
                    head += 1
                if different >= least:
                    for q in range(max(head, marked), tail):
                        if marks[queue[q]] == 0:
                            marks[queue[q]] = UNKNOWN
                    marked = tail
            k += 1
        if is_word:
            word += 1
    kept = np.flatnonzero(marks[:k])
    return at[kept], marks[kept]


@_compiled
def _looks_random(data, start, end, digits):  # type: ignore[no-untyped-def]
    """Whether the digits of data[start:end] neither repeat with some period, nor are a list of numbers in order,
    nor belong to equations."""
    n = 0
    equals = 0
    numbers = 0
    rising = 0
    falling = 0
    length = 0
    before = 0
    value = 0
    for k in range(start, end):
        b = data[k]
        if 0x30 <= b <= 0x39:
            digits[n] = b
            n += 1
            value = (value * 10 + (b - 0x30)) % 1_000_000_007
            length += 1
            continue
        if b == 0x3D:
            equals += 1
        if length > 0 and b != 0x2E:
            if numbers > 0:
                rising += value >= before
                falling += value <= before
            numbers += 1
            before = value
            value = 0
            length = 0
    if equals >= 5 or (numbers >= 10 and max(rising, falling) >= 0.8 * (numbers - 1)):
        return False
    for lag in range(1, n // 2 + 1):
        different = 0
        allowed = (n - lag) // 5
        head = min(n - lag, 128)  # where digits are random, these decide
        for k in range(head):
            different += digits[k] != digits[k + lag]
        if different > allowed:
            continue
        for k in range(head, n - lag):
            different += digits[k] != digits[k + lag]
        if different <= allowed:
            return False
    return True


@_compiled
def digits_kernel(data, kinds, starts, ends, long, window, least):  # type: ignore[no-untyped-def]
    """(length of the longest run of digits, its first byte or -1, first bytes and ends of the runs of ``long`` digits
    or more, first bytes of the windows that look random).

    A window is ``window`` bytes that begin with a digit and hold at least ``least`` digits; windows do not overlap.
    """
    longest = np.int64(0)
    longest_at = -1
    long_starts = np.empty(data.shape[0] // long + 1, np.int64)
    long_ends = np.empty(data.shape[0] // long + 1, np.int64)
    n_long = 0
    at = np.empty(kinds.shape[0], np.int32)  # first bytes of the digits
    n = np.int64(0)
    run = np.int64(0)
    previous_end = np.int32(-1)
    for i in range(kinds.shape[0]):
        # Without a branch on what the token is, which no processor foresees.
        digit = np.int64(kinds[i] == DIGIT)
        run = (run & -np.int64(starts[i] == previous_end) & -digit) + digit
        at[n] = starts[i]
        n += digit
        previous_end = ends[i]
        if run > longest:
            longest = run
            longest_at = at[n - run]
        if run >= long:
            if run == long:
                long_starts[n_long] = at[n - run]
                n_long += 1
            long_ends[n_long - 1] = previous_end
    found = np.empty(data.shape[0] // window + 1, np.int64)
    n_found = 0
    free = 0  # windows begin here or later
    digits = np.empty(window, np.uint8)
    for k in range(n - least + 1):
        if at[k + least - 1] - at[k] < window and at[k] >= free:
            free = min(at[k] + window, data.shape[0])
            if _looks_random(data, at[k], free, digits):
                found[n_found] = at[k]
                n_found += 1
    return longest, longest_at, long_starts[:n_long], long_ends[:n_long], found[:n_found]


@_compiled
def _point(data, i, n):  # type: ignore[no-untyped-def]
    """(code point, length in bytes) of a character beyond ASCII."""
    b = np.int64(data[i])
    if b < 0xE0 and i + 1 < n:
        return ((b & 0x1F) << 6) | (np.int64(data[i + 1]) & 0x3F), 2
    if b < 0xF0 and i + 2 < n:
        return ((b & 0x0F) << 12) | ((np.int64(data[i + 1]) & 0x3F) << 6) | (np.int64(data[i + 2]) & 0x3F), 3
    if i + 3 < n:
        return (
            ((b & 0x07) << 18)
            | ((np.int64(data[i + 1]) & 0x3F) << 12)
            | ((np.int64(data[i + 2]) & 0x3F) << 6)
            | (np.int64(data[i + 3]) & 0x3F)
        ), 4
    return np.int64(0xFFFD), 1


@_compiled
def scripts_kernel(data, leads, table, counts):  # type: ignore[no-untyped-def]
    """Count the letters of each script among the characters that begin at ``leads`` into ``counts``; returns the
    number of U+FFFD."""
    replaced = 0
    for k in range(leads.shape[0]):
        point, _ = _point(data, leads[k], data.shape[0])
        if point == 0xFFFD:
            replaced += 1
        elif point < table.shape[0]:
            counts[table[point]] += 1
    return replaced


@_compiled
def bursts_kernel(data, table, home):  # type: ignore[no-untyped-def]
    """Stretches of letters of scripts that are not at home, which no letter at home interrupts.

    ``home`` (scripts,) is 1 for scripts at home, 2 for what is no letter, 0 for others.  Returns (first bytes, ends,
    letters, script (-1 where a stretch has several)), each (b,).
    """
    n = data.shape[0]
    room = 0
    i = 0
    while i < n:
        if data[i] < 0x80:
            i += 1
            continue
        point, size = _point(data, i, n)
        if point < table.shape[0] and home[table[point]] == 0:
            room += 1
        i += size
    begins = np.empty(room, np.int64)
    ends = np.empty(room, np.int64)
    letters = np.empty(room, np.int64)
    script = np.empty(room, np.int64)
    count = 0
    away = False
    i = 0
    while i < n:
        b = data[i]
        if b < 0x80:
            if 0x41 <= (b & 0xDF) <= 0x5A:
                away = False
            i += 1
            continue
        point, size = _point(data, i, n)
        which = table[point] if point < table.shape[0] else np.uint8(0)
        what = home[which]
        if what == 1:
            away = False
        elif what == 0:
            if not away:
                begins[count] = i
                letters[count] = 0
                script[count] = which
                count += 1
                away = True
            letters[count - 1] += 1
            ends[count - 1] = i + size
            if script[count - 1] != which:
                script[count - 1] = -1
        i += size
    return begins[:count], ends[:count], letters[:count], script[:count]
