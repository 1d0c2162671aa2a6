"""The loops over tokens of the loop detector, compiled by numba; ``loop_detector`` says what they find.

*Lag*: the distance from a token to the one that it is compared with.  A *segment* is a stretch
of tokens that mostly repeat what stands one lag earlier, where the lag may change a little
at a time (a word more or less in a copy, a counter that gets a digit longer).

``links`` (m,) int32 holds, for each token inside a segment, ``lag << 2 | flag``, else 0.

Cost: linear in the tokens.  The table of k-grams has a fixed size and keeps the latest position
of a k-gram, so a repetition is seen with a probability that falls with its period
(about exp(-period / 16,384) per token), which reaches 1/2 per token at 11,000 tokens; and each
token is compared with a bounded number of others.
"""

from __future__ import annotations

import numpy as np
from numba import njit

#: Flags of links: equal to the token one lag before; equal to that two lags before; different.
EQUAL, EQUAL_TWO_BACK, DIFFERENT = 1, 2, 3

#: Tokens in a k-gram.
K = 6
TABLE_BITS = 14
#: Stream numbers of masked tokens; all others are pseudo-token numbers, where ASCII is itself and words are 128 upwards.
CONNECTIVE, NUMBER = 1, 2
#: A number is one token up to so many digits, so that an endless run of digits is a run of tokens.
NUMBER_DIGITS = 8

#: Score of a token that equals the one a lag earlier, and of one that equals only the copy before that.
MATCH, MATCH_TWO_BACK = 1.0, 0.5
#: A segment ends where its score has dropped by so much below its best; a young one (best below 20) earlier.
X_DROP, YOUNG_DROP, YOUNG = 24.0, 12.0, 20.0
SHORT_LAGS = 48
#: Where a segment asks whether a smaller lag would do.
SETTLED = 30.0
#: A grown segment gives way to another lag only after a drop of so much.
LOST = 8.0
#: How far the lag may move at a mismatch, and how many tokens decide it.
SHIFT, WINDOW = 3, 6

#: A counter that is not met again within so many new numbers is looked for anew.
MAX_LOST = 3
#: Score of its own that a stretch has which is joined to one of a multiple of its lag.
OWN = 60.0
#: Regions are made of blocks of so many tokens; digits are dense in a block that has so many times as many once
#: its numbers are spelled out.
BLOCK, DENSE = 32, 2.5

_DIGIT_KIND = 3


@njit(cache=True, nogil=True)
def masked_streams(low, kinds, codes, starts, ends, connective):  # type: ignore[no-untyped-def]
    """(x2, x3, at): the tokens in lower case with connectives as one token (m,); the same with each
    number as one token (n,); and where each token of x3 begins in x2 (n + 1,), the last entry m."""
    m = low.shape[0]
    x2 = np.empty(m, np.int32)
    x3 = np.empty(m, np.int32)
    at = np.empty(m + 1, np.int32)
    n = 0
    run = 0
    for i in range(m):
        v = low[i]
        if kinds[i] == _DIGIT_KIND:
            x2[i] = v
            if 0 < run < NUMBER_DIGITS and starts[i] == ends[i - 1]:
                run += 1
                continue
            run = 1
            x3[n] = NUMBER
        else:
            run = 0
            if connective[codes[i]]:
                v = np.int32(CONNECTIVE)
            x2[i] = v
            x3[n] = v
        at[n] = i
        n += 1
    at[n] = m
    return x2, x3[:n], at[: n + 1]


@njit(cache=True, nogil=True)
def follow(x, lo, hi, penalty, penalty_digit, start_run, min_length, links, spans, scores, count):  # type: ignore[no-untyped-def]
    """Find the segments of x[lo:hi]; writes links, spans[k] = (start, end) and scores[k] from k = count on.

    Returns the new count.  A walk begins where ``start_run`` k-grams in a row recur at one lag, and
    scores MATCH for each token that recurs, -``penalty`` for each that does not, and
    -``penalty_digit`` for a digit in the place of another.  At a mismatch the lag may move by up
    to SHIFT, where the next WINDOW tokens agree better; a k-gram that recurs at a lag within
    [0.6, 1.7] of the present one moves it too.
    """
    table = np.zeros(1 << TABLE_BITS, np.uint64)
    base = np.uint64(0xD1342543DE82EF95)
    mix = np.uint64(0x9E3779B97F4A7C15)
    high = np.uint64(0xFFFFFFFF00000000)
    low_half = np.uint64(0xFFFFFFFF)
    shift = np.uint64(64 - TABLE_BITS)
    bits = np.uint64(TABLE_BITS)
    power = np.uint64(1)
    for _ in range(K - 1):
        power = power * base
    h = np.uint64(0)
    for i in range(lo, min(lo + K - 1, hi)):
        h = h * base + np.uint64(x[i] + 1)
    lag = 0
    start = 0
    score = 0.0
    best = 0.0
    best_at = 0
    taken = lo  # segments do not overlap
    home = 0  # the lag that held for more than a copy; an inserted token moves the lag for one copy only
    since = 0
    settled = False  # whether it was asked if a fraction of the lag would do
    last = 0
    run = 0
    for i in range(lo + K - 1, hi):
        h = h * base + np.uint64(x[i] + 1)
        g = (h ^ (h >> np.uint64(32))) * mix
        slot = g >> shift
        tag = (g << bits) & high
        entry = table[slot]
        table[slot] = tag | np.uint64(i + 1)
        h = h - power * np.uint64(x[i - K + 1] + 1)
        d = 0
        if (entry & high) == tag and entry != 0:
            d = i + 1 - np.int64(entry & low_half)
        if lag == 0:
            if d == 0:
                run = 0
                continue
            run = run + 1 if d == last else 1
            last = d
            if run < start_run:
                continue
        else:
            j = i - lag
            if x[i] == x[j]:
                links[i] = (lag << 2) | EQUAL
                score += MATCH
                if score > best:
                    best = score
                    best_at = i
                    if not settled and best >= SETTLED:
                        settled = True
                        lag = _fundamental(x, i, lag, lo)
                        home = lag
                        since = i
                    continue
            else:
                two = links[j] >> 2
                if two > 0 and j >= start and x[i] == x[j - two]:
                    links[i] = (lag << 2) | EQUAL_TWO_BACK
                    score += MATCH_TWO_BACK
                    if score > best:
                        best = score
                        best_at = i
                else:
                    digits = 48 <= x[i] < 58 and 48 <= x[j] < 58
                    cost = penalty_digit if digits else penalty
                    score -= cost
                    links[i] = (lag << 2) | DIFFERENT
                    if lag > 1 and i - best_at <= WINDOW and i + WINDOW + 1 < hi:
                        if i - since > lag + (lag >> 1):
                            home = lag
                        moved = _realigned(x, i, lag, home, lo)
                        if moved != lag:
                            lag = moved
                            since = i
                            links[i] = (lag << 2) | DIFFERENT
                            if x[i] == x[i - lag]:
                                links[i] = (lag << 2) | EQUAL
                                score += MATCH + cost
                                if score > best:
                                    best = score
                                    best_at = i
            run = run + 1 if d == last else 1
            last = d
            drop = best - score
            if drop > X_DROP or (drop > YOUNG_DROP and best < YOUNG):
                count = _close(links, spans, scores, count, start, best_at, i + 1, best, min_length)
                taken = best_at + 1
                lag = 0
            if d == 0:
                continue
            if lag > 0:
                if d == lag or i - best_at < K:
                    continue
                if abs(d - lag) * 8 <= lag + 32:
                    lag = d
                    since = i
                    for q in range(i - K + 1, i + 1):
                        if links[q] & 3 != EQUAL:
                            score += MATCH
                        links[q] = (lag << 2) | EQUAL
                    if score > best:
                        best = score
                        best_at = i
                    continue
                if run < start_run or (best >= YOUNG and best - score < LOST):
                    continue
                count = _close(links, spans, scores, count, start, best_at, i + 1, best, min_length)
                taken = best_at + 1
                lag = 0
            elif run < start_run:
                continue
        lag = d
        start = max(i - K - run + 2, taken)
        while start > taken and start - lag > lo and x[start - 1] == x[start - 1 - lag]:
            start -= 1
        for q in range(start, i + 1):
            links[q] = (lag << 2) | EQUAL
        score = (i + 1 - start) * MATCH
        best = score
        best_at = i
        settled = False
        home = lag
        since = i
    if lag > 0:
        count = _close(links, spans, scores, count, start, best_at, hi, best, min_length)
    return count


@njit(cache=True, nogil=True)
def _fundamental(x, i, lag, lo):  # type: ignore[no-untyped-def]
    """The smallest lag below SHORT_LAGS, or near lag / 2 to lag / 8, under which x[:i + 1] recurs too, else ``lag``.

    Noise hides the latest copy now and then, and a walk begins at a multiple of the period.
    """
    for other in range(1, min(lag, SHORT_LAGS)):
        if _recurs(x, i, other, lo):
            return other
    for q in range(8, 1, -1):
        centre = (lag + (q >> 1)) // q
        for s in range(2 + q):
            if centre - s >= SHORT_LAGS and _recurs(x, i, centre - s, lo):
                return centre - s
            if SHORT_LAGS <= centre + s < lag and _recurs(x, i, centre + s, lo):
                return centre + s
    return lag


@njit(cache=True, nogil=True)
def _recurs(x, i, lag, lo):  # type: ignore[no-untyped-def]
    """Whether at least 15 of the 24 tokens up to i equal those a lag earlier."""
    if i - 23 - lag < lo:
        return False
    left = 9
    for k in range(24):
        if x[i - k] != x[i - k - lag]:
            if left == 0:
                return False
            left -= 1
    return True


@njit(cache=True, nogil=True)
def _close(links, spans, scores, count, start, best_at, stop, best, min_length):  # type: ignore[no-untyped-def]
    for q in range(best_at + 1, stop):
        links[q] = 0
    if best_at + 1 - start >= min_length:
        spans[count, 0] = start
        spans[count, 1] = best_at + 1
        scores[count] = best
        count += 1
    return count


@njit(cache=True, nogil=True)
def _realigned(x, i, lag, home, lo):  # type: ignore[no-untyped-def]
    """The lag near ``lag``, or ``home``, under which the tokens after the mismatch at i recur best; ties keep it."""
    agree = 0
    j = i - lag
    for q in range(1, WINDOW + 1):
        if x[i + q] == x[j + q]:
            agree += 1
    if agree >= WINDOW - 1:
        return lag
    best = agree + 1
    found = lag
    if home != lag and i + 1 - home >= lo:
        agree = 0
        for q in range(WINDOW + 1):
            if x[i + q] == x[i + q - home]:
                agree += 1
        if agree > best:
            best = agree
            found = home
    for s in range(1, min(SHIFT, lag >> 1) + 1):
        # a token was left out of this copy: the one at i itself must recur, and it does not count
        other = lag - s
        agree = -1
        for q in range(WINDOW + 1):
            if x[i + q] == x[i + q - other]:
                agree += 1
        if agree > best:
            best = agree
            found = other
        # a token was put into this copy
        other = lag + s
        if i + 1 - other >= lo:
            agree = 0
            for q in range(1, WINDOW + 1):
                if x[i + q] == x[i + q - other]:
                    agree += 1
            if agree > best:
                best = agree
                found = other
    return found


@njit(cache=True, nogil=True)
def copies(links, start, end):  # type: ignore[no-untyped-def]
    """Sum of 1 / lag over the linked tokens: how many copies follow the first."""
    total = 0.0
    for i in range(start, end):
        if links[i] != 0:
            total += 1.0 / (links[i] >> 2)
    return total


@njit(cache=True, nogil=True)
def segments_of_text(x2, x3, at, min_tokens, min_share):  # type: ignore[no-untyped-def]
    """(links2, spans2, scores2, links3, spans3, scores3): segments of both streams.

    The stream with numbers masked is followed first, and the other one only where that one recurs over
    ``min_tokens`` tokens and ``min_share`` of its lag (tokens that are equal have equal masks), or
    where digits are dense.
    """
    m = x2.shape[0]
    n = x3.shape[0]
    links3 = np.zeros(n, np.int32)
    spans3 = np.empty((n // 8 + 2, 2), np.int32)
    scores3 = np.empty(n // 8 + 2, np.float64)
    count3 = follow(x3, 0, n, 0.7, 0.7, 3, 8, links3, spans3, scores3, 0)
    blocks = n // BLOCK + 1
    hot = np.zeros(blocks, np.uint8)
    kept = 0
    for s in range(count3):
        a = np.int64(spans3[s, 0])
        b = np.int64(spans3[s, 1])
        lag = np.int64(links3[a] >> 2)
        if at[b] - at[a] < min_tokens or b - a < min_share * lag:
            continue
        spans3[kept, 0] = a
        spans3[kept, 1] = b
        scores3[kept] = scores3[s]
        kept += 1
        hot[max(a - lag - BLOCK, 0) // BLOCK : (b + BLOCK) // BLOCK + 1] = 1
    for k in range(blocks):
        a = k * BLOCK
        b = min(a + BLOCK, n)
        if at[b] - at[a] >= DENSE * (b - a):
            hot[max(k - 1, 0) : k + 2] = 1
    links2 = np.zeros(m, np.int32)
    spans2 = np.empty((m // 30 + 2, 2), np.int32)
    scores2 = np.empty(m // 30 + 2, np.float64)
    count2 = 0
    k = 0
    while k < blocks:
        if not hot[k]:
            k += 1
            continue
        a = k * BLOCK
        while k < blocks and hot[k]:
            k += 1
        b = min(k * BLOCK, n)
        count2 = follow(x2, at[a], at[b], 0.7, 2.0, 2, 30, links2, spans2, scores2, count2)
    return links2, spans2[:count2], scores2[:count2], links3, spans3[:kept], scores3[:kept]


@njit(cache=True, nogil=True)
def _alike(x, end, start, stop, lag):  # type: ignore[no-untyped-def]
    """Whether three tenths of the trigrams at ``start`` occur within a copy or so before ``end``: one loop, interrupted."""
    room = min(np.int64(lag) + 8, 512)
    size = min(48, stop - start - 2)
    known = 0
    for i in range(start, start + size):
        for j in range(end - 3, max(end - 3 - room, -1), -1):
            if x[i] == x[j] and x[i + 1] == x[j + 1] and x[i + 2] == x[j + 2]:
                known += 1
                break
    return known * 10 >= size * 3


@njit(cache=True, nogil=True)
def commensurate(a, b):  # type: ignore[no-untyped-def]
    """Whether the greater of two lags is about one to eight times the other."""
    ratio = max(a, b) / min(a, b)
    return ratio < 8.5 and abs(ratio - np.round(ratio)) <= min(0.25, 0.12 * ratio)


@njit(cache=True, nogil=True)
def episodes(x, links, spans, scores, min_copies, gap, gap_share):  # type: ignore[no-untyped-def]
    """Join segments: (bounds (e, 2), scores (e,)), in the order of the text.

    Segments with fewer than ``min_copies`` copies after the first are left out.  Two are joined across
    at most ``gap`` tokens, half a lag, or ``gap_share`` of what is joined so far, where one mean
    lag is a multiple of the other and they say the same.
    """
    bounds = np.empty((spans.shape[0], 2), np.int64)
    totals = np.empty(spans.shape[0], np.float64)
    count = 0
    lag = 0.0
    for s in range(spans.shape[0]):
        a = np.int64(spans[s, 0])
        b = np.int64(spans[s, 1])
        r = copies(links, a, b)
        if r < min_copies:
            continue
        mean = (b - a) / r
        # A short stretch before a loop, at a fraction of its period, is another matter.
        like = max(mean, lag) <= 1.5 * min(mean, lag)
        if count > 0 and commensurate(mean, lag) and (like or totals[count - 1] >= OWN):
            end = bounds[count - 1, 1]
            allowed = max(gap, 0.5 * min(mean, lag), gap_share * (b - bounds[count - 1, 0]))
            if a - end <= allowed and _alike(x, end, a, b, max(lag, mean)):
                bounds[count - 1, 1] = b
                totals[count - 1] += scores[s]
                lag = min(mean, lag)
                continue
        bounds[count, 0] = a
        bounds[count, 1] = b
        totals[count] = scores[s]
        lag = mean
        count += 1
    return bounds[:count], totals[:count]


@njit(cache=True, nogil=True)
def _number_at(x, starts, ends, i):  # type: ignore[no-untyped-def]
    """(first token, end, value) of the number that holds the digit at i; value -1 above 15 digits, which count nothing."""
    a = i
    while a > 0 and i - a < 16 and 48 <= x[a - 1] < 58 and ends[a - 1] == starts[a]:
        a -= 1
    b = i + 1
    while b < x.shape[0] and b - i < 16 and 48 <= x[b] < 58 and ends[b - 1] == starts[b]:
        b += 1
    value = np.int64(0)
    if b - a > 15:
        return a, b, np.int64(-1)
    for q in range(a, b):
        value = value * 10 + (x[q] - 48)
    return a, b, value


@njit(cache=True, nogil=True)
def _one_counter(values, deltas):  # type: ignore[no-untyped-def]
    """(steps, others) among numbers and what each has changed by, 0 where that is not known."""
    count = values.shape[0]
    # The most frequent difference, if one has a majority (Boyer and Moore); without one any will do.
    step = np.int64(0)
    votes = 0
    for k in range(count):
        if deltas[k] == 0:
            continue
        if votes == 0:
            step = deltas[k]
            votes = 1
        elif deltas[k] == step:
            votes += 1
        else:
            votes -= 1
    steps = 0
    others = 0
    reached = np.int64(0)
    lost = MAX_LOST
    for k in range(count):
        # A copy or two may have lost their number to noise.
        ahead = values[k] - reached
        if lost >= MAX_LOST or (step != 0 and ahead % step == 0 and 0 <= ahead // step <= MAX_LOST):
            if lost < MAX_LOST or deltas[k] == step:
                steps += 1
            else:
                others += 1
            reached = values[k]
            lost = 0
        else:
            others += 1
            lost += 1
    return steps, others


@njit(cache=True, nogil=True)
def progress(x, starts, ends, links, start, end):  # type: ignore[no-untyped-def]
    """(steps of one counter, other new numbers) in the linked tokens of x[start:end].

    A number is *new* if it differs from the one a copy earlier, which itself differs from the one
    before.  It is a step of the counter if it changed by the most frequent difference, and is the
    number that the counter has reached or the next one.
    """
    values = np.empty((end - start) // 2 + 1, np.int64)
    deltas = np.empty((end - start) // 2 + 1, np.int64)
    count = 0
    i = start
    while i < end:
        if not 48 <= x[i] < 58:
            i += 1
            continue
        a, b, value = _number_at(x, starts, ends, i)
        stop = min(b, end)
        changed = -1
        while i < stop:
            if links[i] & 3 == DIFFERENT:
                changed = i
                break
            i += 1
        i = stop
        if changed < 0 or value < 0:
            continue
        j = changed - (links[changed] >> 2)
        if not 48 <= x[j] < 58:
            continue
        c, d, before = _number_at(x, starts, ends, j)
        if before < 0:
            continue
        again = False
        for q in range(c, d):
            if links[q] & 3 == DIFFERENT:
                again = True
        if again:
            values[count] = value
            deltas[count] = value - before
            count += 1
    return _one_counter(values[:count], deltas[:count])


@njit(cache=True, nogil=True)
def established(links, start, end):  # type: ignore[no-untyped-def]
    """The first token from ``start`` whose lag holds, but for small moves, for as many tokens as it is long.

    Before a loop comes up to its period it may copy something else for a while, or repeat a part of
    its unit.  ``start`` if no lag holds so long.
    """
    i = start
    while i < end:
        if links[i] == 0:
            i += 1
            continue
        lag = links[i] >> 2
        first = lag
        k = i + 1
        while k < end and k - i < first:
            if links[k] != 0:
                now = links[k] >> 2
                if abs(now - lag) > SHIFT:
                    break
                lag = now
            k += 1
        if k - i >= first:
            return i
        i = k
    return start


@njit(cache=True, nogil=True)
def walk_back(x, start, lag, lo, penalty, drop):  # type: ignore[no-untyped-def]
    """Continue a segment to the left of ``start`` at its lag: (new start, lag there).

    The same scoring as in ``follow``, mirrored, which bridges changed tokens up to a loss of ``drop``.
    """
    score = 0.0
    best = 0.0
    at = start
    at_lag = lag
    i = start - 1
    while i - lag >= lo:
        if x[i] == x[i - lag]:
            score += MATCH
            if score > best:
                best = score
                at = i
                at_lag = lag
        else:
            score -= penalty
            if best - score > drop:
                break
            agree = 0
            room = min(WINDOW, i - lag - lo)
            for q in range(1, room + 1):
                if x[i - q] == x[i - q - lag]:
                    agree += 1
            if agree < room - 1:
                top = agree + 1
                found = lag
                for s in range(1, min(SHIFT, lag >> 1) + 1):
                    agree = 0
                    for q in range(1, room + 1):
                        if x[i - q] == x[i - q - lag + s]:
                            agree += 1
                    if agree > top:
                        top = agree
                        found = lag - s
                    if i - room - lag - s >= lo:
                        agree = -1
                        for q in range(room + 1):
                            if x[i - q] == x[i - q - lag - s]:
                                agree += 1
                        if agree > top:
                            top = agree
                            found = lag + s
                if found != lag:
                    lag = found
                    if x[i] == x[i - lag]:
                        score += MATCH + penalty
                        if score > best:
                            best = score
                            at = i
                            at_lag = lag
        i -= 1
    return at, at_lag


@njit(cache=True, nogil=True)
def _value(x2, a, b):  # type: ignore[no-untyped-def]
    value = np.int64(0)
    for q in range(a, b):
        value = value * 10 + (x2[q] - 48)
    return value


@njit(cache=True, nogil=True)
def progress_masked(x2, x3, at, links3, start, end):  # type: ignore[no-untyped-def]
    """(steps of one counter, other new numbers, words) in the linked tokens of x3[start:end].

    As ``progress``, in the stream where a number is one token; ``words`` counts the other tokens that
    are no single character.
    """
    values = np.empty(end - start, np.int64)
    deltas = np.empty(end - start, np.int64)
    count = 0
    words = 0
    for i in range(start, end):
        if x3[i] >= 128 or x3[i] == CONNECTIVE:
            words += 1
        if x3[i] != NUMBER or links3[i] == 0:
            continue
        j = i - (links3[i] >> 2)
        if x3[j] != NUMBER or links3[j] == 0:
            continue
        k = j - (links3[j] >> 2)
        if x3[k] != NUMBER:
            continue
        value = _value(x2, at[i], at[i + 1])
        before = _value(x2, at[j], at[j + 1])
        earlier = _value(x2, at[k], at[k + 1])
        if value != before and before != earlier and value != earlier:
            values[count] = value
            deltas[count] = value - before
            count += 1
    steps, others = _one_counter(values[:count], deltas[:count])
    return steps, others, words


@njit(cache=True, nogil=True)
def segments_of_ids(x):  # type: ignore[no-untyped-def]
    """(links, spans, scores): segments of one stream of tokens numbered from 128."""
    m = x.shape[0]
    links = np.zeros(m, np.int32)
    spans = np.empty((m // 30 + 2, 2), np.int32)
    scores = np.empty(m // 30 + 2, np.float64)
    count = follow(x, 0, m, 0.7, 0.7, 3, 30, links, spans, scores, 0)
    return links, spans[:count], scores[:count]
