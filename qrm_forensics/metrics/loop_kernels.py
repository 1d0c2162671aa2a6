"""Following repetition through a sequence of tokens: the innermost loops of the loop detector.

*Lag*: the distance from a token to the one that it is compared with.  A *segment* is a stretch
of tokens that mostly repeat what stands one lag earlier, where the lag may move a little
at a time (a word more or less in a copy, a counter that gets a digit longer).

``links`` (m,) int32 holds, for each token inside a segment, ``lag << 2 | flag``, else 0.

Method: the latest position of each k-gram gives the lag at which it recurs (one table of a fixed size,
so that work and memory do not depend on the text); a walk from there scores token by token, is
ended by an X-drop (Altschul et al., BLAST, 1990), and is realigned at a
mismatch within a narrow band.  A k-gram is forgotten with a probability of
1 - exp(-lag / 2 ** TABLE_BITS), which puts off where a very long period is first seen.
Cost: linear; each token is compared with a bounded number of others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qrm_forensics.metrics.kernels import cached, hold, inlined

_compiled = cached()

#: Flags of links: equal to the token one lag before; equal to that two lags before; different.
EQUAL, EQUAL_TWO_BACK, DIFFERENT = 1, 2, 3
#: Numbers of masked tokens in a stream; ASCII characters are their own number and words begin at 128.
CONNECTIVE, NUMBER = 1, 2
FIRST_WORD = 128
#: A number is one token up to so many digits, so that an endless run of digits is a run of tokens.
NUMBER_DIGITS = 8

#: Tokens in a k-gram, entries of the table, and the bits of an entry that hold a position.
K = 6
TABLE_BITS = 14
POSITION = (1 << 20) - 1
#: Score of a token that equals the one a lag earlier, and of one that equals only the copy before that.
MATCH, MATCH_TWO_BACK = 1.0, 0.5
#: A segment ends where its score drops by more than this below its best (a young one sooner, see Walk).
X_DROP = 24.0
#: A grown segment (best at least YOUNG) gives way to another lag only after a drop of so much.
YOUNG, LOST = 20.0, 8.0
#: Where a segment asks whether a smaller lag would do as well, and up to which one all are tried.
SETTLED, SHORT_LAGS = 30.0, 48
#: How many tokens decide that, and how many of them may differ.
RECENT, MOST_WRONG = 24, 9
#: So many tokens may pass for noise though hardly any recurs.
BRIDGE = 20
#: How far the lag may move at a mismatch, and how many tokens decide it.
SHIFT, WINDOW = 3, 6
#: A walk begins only if some of so many tokens ahead recur.
AHEAD = 16
#: The tokens themselves are followed where so many, and such a share of a lag, recur with numbers masked.
MIN_REGION, REGION_SHARE = 50, 0.8
#: Regions are made of blocks of so many tokens; digits are dense in a block that has so many times as many
#: tokens once its numbers are spelled out.
BLOCK, DENSE = 32, 2.5

_DIGIT_KIND = 3


class Walk(NamedTuple):
    """How segments are followed.  ``penalty``: for a token that differs; ``penalty_digit``: for a digit in the
    place of another.  A walk begins where ``start_run`` k-grams in a row recur at one lag and ``ahead`` of the
    AHEAD next tokens do; it ends at a drop of ``young + slope * best``, at most X_DROP.  It is
    realigned up to ``retry`` tokens after its best.  Segments shorter than ``min_length`` are not kept."""

    penalty: float
    penalty_digit: float
    start_run: int
    ahead: int
    young: float
    slope: float
    retry: int
    min_length: int


#: For the stream with numbers masked, which is followed everywhere; for the tokens, where that one repeats; and for ids.
WALK_MASKED = Walk(0.7, 0.7, 6, 8, 5.0, 0.15, 6, 8)
WALK_TOKENS = Walk(0.7, 2.0, 2, 0, 8.0, 0.4, 12, 30)
WALK_IDS = Walk(0.7, 0.7, 4, 6, 8.0, 0.4, 8, 30)


@_compiled
def masked_streams(low, kinds, codes, starts, ends, connective):  # type: ignore[no-untyped-def]
    """(x2, x3, at): the tokens in lower case with connectives as one token (m,); the same with each
    number as one token (n,); and where each token of x3 begins in x2 (n + 1,), the last entry m."""
    m = low.shape[0]
    x2 = np.empty(m, np.int32)
    x3 = np.empty(m, np.int32)
    at = np.empty(m + 1, np.int32)
    n = 0
    run = 0  # digits so far in the number
    end = -1
    for i in range(m):
        v = low[i]
        if connective[codes[i]]:
            v = np.int32(CONNECTIVE)
        x2[i] = v
        digit = kinds[i] == _DIGIT_KIND
        more = digit & (run > 0) & (run < NUMBER_DIGITS) & (starts[i] == end)
        run = digit * (1 + run * more)
        end = ends[i]
        # What goes on with a number is written over by what comes next.
        x3[n] = np.int32(NUMBER) if digit else v
        at[n] = i
        n += 1 - more
    at[n] = m
    return x2, x3[:n], at[: n + 1]


@_compiled
def _table(n):  # type: ignore[no-untyped-def]
    """An empty table; of one entry where there is nothing to look up.

    Never smaller for a short text: in a small table two k-grams of a short period that fall on one entry
    displace each other for ever, and the loop is not seen.
    """
    return np.zeros(1 << TABLE_BITS if n > 0 else 1, np.uint32)


@_compiled
def follow(x, lo, hi, walk, table, links, spans, scores, count):  # type: ignore[no-untyped-def]
    """Find the segments of x[lo:hi]; writes links, spans[k] = (start, end) and scores[k] from k = count on.

    Returns the new count.  ``table`` is ``_table``'s, or was used for this x before lo.  At a mismatch the
    lag may move by up to SHIFT, where the next WINDOW tokens agree better; a k-gram that recurs at a lag
    not far from the present one (an eighth of it, and four tokens) moves it too.
    """
    # An entry is a position in its low bits and a tag of the hash above them.  A false one would have to be
    # false for some k-grams in a row to begin a walk, and the walk then compares the tokens.
    base = np.uint64(0xD1342543DE82EF95)
    mix = np.uint64(0x9E3779B97F4A7C15)
    tag_bits = np.uint64(0xFFFFFFFF ^ POSITION)
    position = np.uint64(POSITION)
    shift = np.uint64(64)
    size = table.shape[0]
    while size > 1:
        size >>= 1
        shift -= np.uint64(1)
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
    home = 0  # the lag that held for more than a copy; an inserted token moves the lag for one copy only
    since = 0
    settled = False  # whether it was asked if a smaller lag would do
    taken = lo  # segments do not overlap
    last = 0
    run = 0
    for i in range(lo + K - 1, hi):
        here = np.uint64(i)
        h = h * base + np.uint64(x[here] + 1)
        g = (h ^ (h >> np.uint64(32))) * mix
        slot = g >> shift
        tag = g & tag_bits
        entry = np.uint64(table[slot])
        now = np.uint64(i + 1) & position
        table[slot] = np.uint32(tag | now)
        h = h - power * np.uint64(x[np.uint64(i - K + 1)] + 1)
        # Without branches, which here would be guessed wrong half the time; an empty entry gives a lag beyond lo.
        d = np.int64((now - entry) & position)
        d = d * ((entry & tag_bits) == tag) * (d <= i - lo)
        if lag == 0:
            run = run * (d == last) + (d != 0)
            last = d
            if run < walk.start_run:
                continue
            if (run - walk.start_run) & 7 or not _promising(x, i, d, hi, walk.ahead):
                continue
        else:
            j = i - lag
            back = np.uint64(j)
            if x[here] == x[back]:
                links[here] = (lag << 2) | EQUAL
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
                two = links[back] >> 2
                if two > 0 and j >= start and x[here] == x[np.uint64(j - two)]:
                    links[i] = (lag << 2) | EQUAL_TWO_BACK
                    score += MATCH_TWO_BACK
                    if score > best:
                        best = score
                        best_at = i
                else:
                    digits = 48 <= x[here] < 58 and 48 <= x[back] < 58
                    cost = walk.penalty_digit if digits else walk.penalty
                    score -= cost
                    links[i] = (lag << 2) | DIFFERENT
                    if lag > 1 and i - best_at <= walk.retry and i + WINDOW + 1 < hi:
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
            run = run * (d == last) + (d != 0)
            last = d
            if best - score > min(walk.young + walk.slope * best, X_DROP):
                count = _close(links, spans, scores, count, start, best_at, i + 1, best, walk.min_length)
                taken = best_at + 1
                lag = 0
            if d == 0:
                continue
            if lag > 0:
                if i - best_at < K:
                    continue
                other = i - best_at >= BRIDGE and _nothing_equal(links, best_at + 1, i - K + 1)
                if d == lag and not other:
                    continue
                if abs(d - lag) * 8 <= lag + 32 and not other:
                    lag = d
                    since = i
                    settled = False
                    for q in range(i - K + 1, i + 1):
                        if links[q] & 3 != EQUAL:
                            score += MATCH
                        links[q] = (lag << 2) | EQUAL
                    if score > best:
                        best = score
                        best_at = i
                    continue
                if run < walk.start_run or (best >= YOUNG and best - score < LOST and not other):
                    continue
                if (run - walk.start_run) & 7 or not _promising(x, i, d, hi, walk.ahead):
                    continue
                count = _close(links, spans, scores, count, start, best_at, i + 1, best, walk.min_length)
                taken = best_at + 1
            elif run < walk.start_run or (run - walk.start_run) & 7 or not _promising(x, i, d, hi, walk.ahead):
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
        count = _close(links, spans, scores, count, start, best_at, hi, best, walk.min_length)
    return count


@_compiled
def _nothing_equal(links, start, end):  # type: ignore[no-untyped-def]
    """Whether less than a quarter of the tokens are EQUAL, so that what recurs after them is another thing."""
    equal = 0
    for i in range(start, end):
        equal += (links[i] & 3) == EQUAL
    return equal * 4 < end - start


@_compiled
def _promising(x, i, lag, hi, ahead):  # type: ignore[no-untyped-def]
    """Whether at least ``ahead`` of the AHEAD tokens after i recur at the lag, or the text ends there."""
    if i + AHEAD + 1 > hi:
        return True
    agree = 0
    for q in range(1, AHEAD + 1):
        if x[i + q] == x[i + q - lag]:
            agree += 1
        elif q - agree > AHEAD - ahead:
            return False
    return True


@_compiled
def _fundamental(x, i, lag, lo):  # type: ignore[no-untyped-def]
    """The smallest lag below SHORT_LAGS, or near lag / 2 to lag / 8, under which x[:i + 1] recurs too, else ``lag``.

    Noise hides the latest copy now and then, and a walk begins at a multiple of the period.
    """
    # A part of the unit that recurs within it is no period: the smaller lag must do about as well.
    wrong = 3
    for k in range(RECENT):
        wrong += x[i - k] != x[i - k - lag] if i - k - lag >= lo else 1
    wrong = min(wrong, MOST_WRONG)
    for other in range(1, min(lag, SHORT_LAGS)):
        if i - RECENT + 1 - other < lo:
            break
        # Most are ruled out by the last three tokens.
        three = np.int64(x[np.uint64(i)] == x[np.uint64(i - other)])
        three += x[np.uint64(i - 1)] == x[np.uint64(i - 1 - other)]
        three += x[np.uint64(i - 2)] == x[np.uint64(i - 2 - other)]
        if three >= 2 and _recurs(x, i, other, lo, wrong):
            return other
    for q in range(8, 1, -1):
        centre = (lag + (q >> 1)) // q
        if centre + q < SHORT_LAGS:
            continue
        for s in range(2 + q):
            if centre - s >= SHORT_LAGS and _recurs(x, i, centre - s, lo, wrong):
                return centre - s
            if SHORT_LAGS <= centre + s < lag and _recurs(x, i, centre + s, lo, wrong):
                return centre + s
    return lag


@_compiled
def _recurs(x, i, lag, lo, wrong):  # type: ignore[no-untyped-def]
    """Whether all but ``wrong`` of the RECENT tokens up to i equal those a lag earlier, and two of the last three."""
    if i - RECENT + 1 - lag < lo:
        return False
    left = wrong
    for k in range(3):
        if x[i - k] != x[i - k - lag]:
            left -= 1
    if left < wrong - 1 or left < 0:
        return False
    for k in range(3, RECENT):
        if x[i - k] != x[i - k - lag]:
            if left == 0:
                return False
            left -= 1
    return True


@_compiled
def _close(links, spans, scores, count, start, best_at, stop, best, min_length):  # type: ignore[no-untyped-def]
    for q in range(best_at + 1, stop):
        links[q] = 0
    if best_at + 1 - start >= min_length:
        spans[count, 0] = start
        spans[count, 1] = best_at + 1
        scores[count] = best
        count += 1
    return count


@_compiled
def _realigned(x, i, lag, home, lo):  # type: ignore[no-untyped-def]
    """The lag near ``lag``, or ``home``, under which the tokens after the mismatch at i recur best; ties keep it."""
    agree = _agreement(x, i, lag, 0)
    if agree >= WINDOW - 1:
        return lag
    best = max(agree + 1, 2)
    found = lag
    if home != lag and i + 1 - home >= lo:
        agree = _agreement(x, i, home, best - 1)
        if agree >= best:
            best = agree
            found = home
    for s in range(1, min(SHIFT, lag >> 1) + 1):
        # a token was left out of this copy: the one at i itself should recur
        other = lag - s
        lacks = 0 if x[i] == x[i - other] else 1
        agree = _agreement(x, i, other, best + lacks) - lacks
        if agree > best:
            best = agree
            found = other
        # a token was put into this copy
        other = lag + s
        if i + 1 - other >= lo:
            agree = _agreement(x, i, other, best)
            if agree > best:
                best = agree
                found = other
    return found


@inlined
def _agreement(x, i, lag, enough):  # type: ignore[no-untyped-def]
    """How many of the WINDOW tokens after i equal those a lag earlier, or 0 if no more than ``enough`` do."""
    # All are counted, as leaving early costs more when it is not foreseen.
    agree = 0
    for q in range(1, WINDOW + 1):
        agree += x[np.uint64(i + q)] == x[np.uint64(i + q - lag)]
    hold(x)
    return agree if agree > enough else 0


@_compiled
def segments_of_text(x2, x3, at):  # type: ignore[no-untyped-def]
    """(links2, spans2, scores2, links3, spans3, scores3): segments of both streams.

    The stream with numbers masked is followed first, and the other one only where that one recurs over
    MIN_REGION tokens and REGION_SHARE of its lag (tokens that are equal have equal masks), or
    where digits are dense.
    """
    m = x2.shape[0]
    n = x3.shape[0]
    links3 = np.zeros(n, np.int32)
    spans3 = np.empty((n // WALK_MASKED.min_length + 2, 2), np.int32)
    scores3 = np.empty(n // WALK_MASKED.min_length + 2, np.float64)
    count3 = follow(x3, 0, n, WALK_MASKED, _table(n), links3, spans3, scores3, 0)
    blocks = n // BLOCK + 1
    hot = np.zeros(blocks, np.uint8)
    kept = 0
    for s in range(count3):
        a = int(spans3[s, 0])
        b = int(spans3[s, 1])
        lag = int(links3[a]) >> 2
        if at[b] - at[a] < MIN_REGION or b - a < REGION_SHARE * lag:
            continue
        spans3[kept, 0] = a
        spans3[kept, 1] = b
        scores3[kept] = scores3[s]
        kept += 1
        hot[max(a - lag - BLOCK, 0) // BLOCK : (b + BLOCK) // BLOCK + 1] = 1
    for k in range(blocks):
        a = k * BLOCK
        b = min(a + BLOCK, n)
        if b > a and at[b] - at[a] >= DENSE * (b - a):
            hot[max(k - 1, 0) : k + 2] = 1
    links2 = np.zeros(m, np.int32)
    spans2 = np.empty((m // WALK_TOKENS.min_length + 2, 2), np.int32)
    scores2 = np.empty(m // WALK_TOKENS.min_length + 2, np.float64)
    count2 = 0
    # What an earlier region left in the table lies before the region, and is passed over for that.
    table = _table(m if hot.any() else 0)
    k = 0
    while k < blocks:
        if not hot[k]:
            k += 1
            continue
        a = k * BLOCK
        while k < blocks and hot[k]:
            k += 1
        b = min(k * BLOCK, n)
        count2 = follow(x2, at[a], at[b], WALK_TOKENS, table, links2, spans2, scores2, count2)
    return links2, spans2[:count2], scores2[:count2], links3, spans3[:kept], scores3[:kept]


@_compiled
def segments_of_ids(x):  # type: ignore[no-untyped-def]
    """(links, spans, scores): segments of one stream of tokens numbered from FIRST_WORD on."""
    m = x.shape[0]
    links = np.zeros(m, np.int32)
    spans = np.empty((m // WALK_IDS.min_length + 2, 2), np.int32)
    scores = np.empty(m // WALK_IDS.min_length + 2, np.float64)
    count = follow(x, 0, m, WALK_IDS, _table(m), links, spans, scores, 0)
    return links, spans[:count], scores[:count]
