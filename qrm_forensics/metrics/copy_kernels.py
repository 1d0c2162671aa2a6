"""Machine code for repetition among words: copied sequences, repeated sentences, windows of a fixed width.

Every kernel is linear in the number of words, whatever the words.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Words of a sequence that is looked for earlier in the response.
GRAM = 8
#: Words of a sentence that is counted.
SHORTEST_SENTENCE = 3
#: Words that ttr_last_2k looks at.
LAST = 2000
WIDE, NARROW = 500, 100

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_OLDEST = np.uint64(pow(0x9E3779B97F4A7C15, GRAM - 1, 2**64))


@njit(cache=True, nogil=True, inline="always")
def _mixed(h):  # type: ignore[no-untyped-def]
    h ^= h >> np.uint64(29)
    h *= np.uint64(0xBF58476D1CE4E5B9)
    return h ^ (h >> np.uint64(32))


@njit(cache=True, nogil=True, inline="always")
def _power_of_two(n):  # type: ignore[no-untyped-def]
    size = 64
    while size < n:
        size *= 2
    return size


@njit(cache=True, nogil=True)
def copies_kernel(ids):  # type: ignore[no-untyped-def]
    """uint8 per sequence of GRAM words: 1 where the same words occurred before; exact, by comparing them."""
    grams = max(ids.shape[0] - GRAM + 1, 0)
    out = np.zeros(grams, np.uint8)
    if grams == 0:
        return out
    table = np.full(_power_of_two(2 * grams), -1, np.int32)
    mask = table.shape[0] - 1
    h = np.uint64(0)
    for k in range(GRAM - 1):
        h = h * _MULTIPLIER + np.uint64(ids[k] + 1)
    like = -1  # an earlier sequence that the one before equals
    for i in range(grams):
        if i > 0:
            h -= np.uint64(ids[i - 1] + 1) * _OLDEST
        h = h * _MULTIPLIER + np.uint64(ids[i + GRAM - 1] + 1)
        if like >= 0 and ids[like + GRAM] == ids[i + GRAM - 1]:
            like += 1
            out[i] = 1
            continue
        like = -1
        slot = np.int64(_mixed(h) & np.uint64(mask))
        while True:
            at = table[slot]
            if at < 0:
                table[slot] = i
                break
            same = True
            for k in range(GRAM):
                if ids[at + k] != ids[i + k]:
                    same = False
                    break
            if same:
                out[i] = 1
                like = at
                break
            slot = (slot + 1) & mask
    return out


@njit(cache=True, nogil=True)
def copying_kernel(copied, least, row, curve):  # type: ignore[no-untyped-def]
    """Write the share of copied sequences, where the copying sets in for good, and the share in equal slices."""
    grams = copied.shape[0]
    if grams == 0:
        return
    total = 0
    lead = 0  # copied less fresh sequences so far
    lowest = 0
    onset = 0
    for i in range(grams):
        total += copied[i]
        lead += 1 if copied[i] else -1
        if lead < lowest:
            lowest = lead
            onset = i + 1
    row[0] = total / grams
    if lead - lowest >= least:
        row[1] = onset / grams
    points = curve.shape[0]
    if grams >= points:
        for k in range(points):
            begin = k * grams // points
            end = (k + 1) * grams // points
            inside = 0
            for i in range(begin, end):
                inside += copied[i]
            curve[k] = inside / (end - begin)


@njit(cache=True, nogil=True)
def diversity_kernel(ids, types, row, curve):  # type: ignore[no-untyped-def]
    """Write the type-token ratios (see ``diversity``) and their course in windows of WIDE words."""
    n = ids.shape[0]
    if n == 0:
        return
    latest = np.full(types, -n - WIDE - LAST, np.int32)  # before every window
    wide = 0
    narrow = 0
    sum_wide = np.int64(0)
    sum_narrow = np.int64(0)
    worst = WIDE + 1
    worst_at = 0
    last = 0
    points = curve.shape[0]
    point = 0
    for i in range(n):
        # The word that leaves a window takes its kind along if it was the last of it; the one that enters
        # brings its own if it is the first.
        if i >= NARROW:
            gone = i - NARROW
            narrow -= latest[ids[gone]] == gone
        if i >= WIDE:
            gone = i - WIDE
            wide -= latest[ids[gone]] == gone
        word = ids[i]
        before = latest[word]
        latest[word] = i
        wide += before <= i - WIDE
        narrow += before <= i - NARROW
        if i >= n - LAST and before < n - LAST:
            last += 1
        if i >= NARROW - 1:
            sum_narrow += narrow
        if i >= WIDE - 1:
            sum_wide += wide
            begin = i - WIDE + 1
            if wide < worst:
                worst = wide
                worst_at = begin
            while point < points and begin == point * (n - WIDE) // (points - 1):
                curve[point] = wide / WIDE
                point += 1
    row[0] = types / n
    row[1] = last / min(n, LAST)
    if n >= NARROW:
        row[2] = sum_narrow / (n - NARROW + 1) / NARROW
    if n >= WIDE:
        row[3] = sum_wide / (n - WIDE + 1) / WIDE
        row[4] = worst / WIDE
        row[5] = worst_at
        row[6] = worst_at / n


@njit(cache=True, nogil=True)
def sentences_kernel(ids, sentences, row):  # type: ignore[no-untyped-def]
    """Write how many sentences of SHORTEST_SENTENCE words or more there are, how many different ones, the largest
    number of times that one occurs, and the share that occurred before.  ``sentences`` are the words that begin
    one.  Returns the first and last word of the one that occurs most often (the earliest of several), -1 without."""
    count = sentences.shape[0]
    table = np.full(_power_of_two(2 * count), -1, np.int32)
    mask = table.shape[0] - 1
    hashes = np.empty(count, np.uint64)
    begins = np.empty(count, np.int32)
    lengths = np.empty(count, np.int32)
    times = np.zeros(count, np.int32)
    kinds = 0
    counted = 0
    for sentence in range(count):
        begin = sentences[sentence]
        end = sentences[sentence + 1] if sentence + 1 < count else ids.shape[0]
        length = end - begin
        if length < SHORTEST_SENTENCE:
            continue
        counted += 1
        h = np.uint64(0)
        for word in ids[begin:end]:
            h = h * _MULTIPLIER + np.uint64(word + 1)
        h = _mixed(h)
        slot = np.int64(h & np.uint64(mask))
        while True:
            kind = table[slot]
            if kind < 0:
                table[slot] = kinds
                hashes[kinds] = h
                begins[kinds] = begin
                lengths[kinds] = length
                times[kinds] = 1
                kinds += 1
                break
            if hashes[kind] == h and lengths[kind] == length:
                at = begins[kind]
                same = True
                for k in range(length):
                    if ids[at + k] != ids[begin + k]:
                        same = False
                        break
                if same:
                    times[kind] += 1
                    break
            slot = (slot + 1) & mask
    row[0] = counted
    row[1] = kinds
    row[2] = 0
    if kinds == 0:
        return -1, -1
    most = 0
    for kind in range(kinds):
        if times[kind] > times[most]:
            most = kind
    row[2] = times[most]
    row[3] = (counted - kinds) / counted
    return begins[most], begins[most] + lengths[most] - 1


@njit(cache=True, nogil=True, inline="always")
def _word_of(words, offset):  # type: ignore[no-untyped-def]
    """The last word that begins at or before a byte offset."""
    low = 0
    high = words.shape[0]
    while high - low > 1:
        middle = (low + high) // 2
        if words[middle] <= offset:
            low = middle
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def reference_kernel(words, copied, token_starts, at, lists, bit, row):  # type: ignore[no-untyped-def]
    """Write how many phrases of the list ``bit`` there are, their rate per 1,000 words, and the rate outside copies.

    ``words`` are the starts of the words; ``at`` the last tokens of phrases and ``lists``
    their lists.  A word is copied where a sequence that holds it occurred before.
    """
    n = words.shape[0]
    fresh = 0
    covered = 0  # words before this one are copied
    for word in range(copied.shape[0]):
        if copied[word]:
            covered = word + GRAM
        fresh += word >= covered
    fresh += n - max(covered, copied.shape[0])
    found = 0
    fresh_found = 0
    for event in range(at.shape[0]):
        if not lists[event] & bit:
            continue
        found += 1
        word = _word_of(words, token_starts[at[event]])
        fresh_word = True
        for k in range(max(word - GRAM + 1, 0), min(word + 1, copied.shape[0])):
            if copied[k]:
                fresh_word = False
        fresh_found += fresh_word
    row[0] = found
    if n:
        row[1] = 1000 * found / n
    if fresh:
        row[2] = 1000 * fresh_found / fresh
