"""From segments to episodes: which belong together, what they have in common, where they begin.

Compiled by numba, as ``loop_kernels``, whose ``links`` are read here; nothing is quadratic in the tokens.
"""

from __future__ import annotations

import numpy as np

from qrm_forensics.metrics import loop_counters, loop_kernels
from qrm_forensics.metrics.kernels import cached
from qrm_forensics.metrics.loop_counters import progress, progress_masked
from qrm_forensics.metrics.loop_kernels import DIFFERENT, EQUAL, MATCH, NUMBER, SHIFT, WINDOW

_compiled = cached(loop_counters, loop_kernels)

#: Segments of fewer copies after the first are left out.
MIN_SEGMENT = 0.5
#: Two segments are joined across so many tokens, half a lag, or such a share of what is joined so far.
GAP, GAP_SHARE = 120.0, 0.15
#: Score of its own that a stretch has which is joined to one of a multiple of its lag.
OWN = 60.0
#: Whether another lag fits better is asked of so many tokens; it must do so by such a share to be longer.
STEADY_SAMPLE, STEADY_LAGS, STEADY = 400, 64, 0.04
#: A lag is a multiple of the period to such a share, and to three tokens; the period is the commonest lag, or what
#: such a share of the tokens has near a fraction of it.
NEAR, FRACTION = 0.06, 1 / 7
#: Walking back to the onset: the penalty of a token that differs, and the drop that ends it.
BACK_PENALTY, BACK_DROP = 1.0, 10.0
#: The longest lag that is tried on a stretch that may be exact, and the share of its tokens that may differ.
EXACT_LAGS, EXACT_MISSES = 512, 0.03
#: Tokens that are looked at for regularity, and by how much of the way to certainty a lag must beat chance.
SAMPLE, REGULAR = 2048, 0.15
#: Share of one token among those that repeat it alone.
ALONE = 0.72
#: Copies that are looked at for an undisturbed one.
COPIES = 32

START, END, SCORE = 0, 1, 2


@_compiled
def commensurate(a, b):  # type: ignore[no-untyped-def]
    """Whether the greater of two lags is about one to eight times the other."""
    ratio = max(a, b) / min(a, b)
    return ratio < 8.5 and abs(ratio - np.round(ratio)) <= min(0.25, 0.12 * ratio)


@_compiled
def _alike(x, end, start, stop, lag):  # type: ignore[no-untyped-def]
    """Whether three tenths of the trigrams at ``start`` occur within a copy or so before ``end``: one loop, interrupted."""
    room = min(np.int64(lag) + 8, 512)
    size = min(48, stop - start - 2)
    wanted = (size * 3 + 9) // 10
    for i in range(start, start + size):
        if wanted > start + size - i:
            return False
        for j in range(end - 3, max(end - 3 - room, -1), -1):
            if x[i] == x[j] and x[i + 1] == x[j + 1] and x[i + 2] == x[j + 2]:
                wanted -= 1
                break
        if wanted <= 0:
            return True
    return False


@_compiled
def stretches(x, links, spans, scores):  # type: ignore[no-untyped-def]
    """Segments joined where they are one loop interrupted: (start, end, score) (e, 3), in the order of the text."""
    out = np.empty((spans.shape[0], 3), np.float64)
    count = 0
    lag = 0.0
    for s in range(spans.shape[0]):
        a = np.int64(spans[s, 0])
        b = np.int64(spans[s, 1])
        mean = _mean_lag(links, a, b)
        if b - a < MIN_SEGMENT * mean:
            continue
        # A short stretch before a loop, at a fraction of its period, is another matter.
        if (
            count > 0
            and commensurate(mean, lag)
            and (max(mean, lag) <= 1.5 * min(mean, lag) or out[count - 1, SCORE] >= OWN)
        ):
            end = np.int64(out[count - 1, END])
            allowed = max(GAP, 0.5 * min(mean, lag), GAP_SHARE * (b - out[count - 1, START]))
            if a - end <= allowed and _alike(x, end, a, b, max(lag, mean)):
                out[count - 1, END] = b
                out[count - 1, SCORE] += scores[s]
                lag = min(mean, lag)
                continue
        out[count, START] = a
        out[count, END] = b
        out[count, SCORE] = scores[s]
        lag = mean
        count += 1
    return out[:count]


@_compiled
def _mean_lag(links, a, b):  # type: ignore[no-untyped-def]
    """Harmonic mean of the lags, which is the length over the number of copies."""
    total = 0.0
    i = a
    while i < b:
        lag = links[i] >> 2
        k = i + 1
        while k < b and links[k] >> 2 == lag:
            k += 1
        if lag > 0:
            total += (k - i) / lag
        i = k
    return (b - a) / max(total, 1e-9)


@_compiled
def growth(links, start, end):  # type: ignore[no-untyped-def]
    """By how much the copies grow: the mean lag of the last quarter of the linked tokens over that of the first.

    1 unless each quarter's mean exceeds the one before by a twentieth.
    """
    means = np.zeros(4)
    for part in range(4):
        total = 0
        linked = 0
        for i in range(start + (end - start) * part // 4, start + (end - start) * (part + 1) // 4):
            total += links[i] >> 2
            linked += links[i] != 0
        means[part] = total / max(1, linked)
        if part > 0 and means[part] < 1.05 * means[part - 1]:
            return 1.0
    return means[3] / max(1.0, means[0])


@_compiled
def measure(x, links, start, end, steady):  # type: ignore[no-untyped-def]
    """(period, copies after the first, share of EQUAL, stray) of the linked tokens of a stretch.

    ``stray`` counts those whose lag is no multiple of the period.  ``steady``: whether to look for the period
    among all short lags, not only those that were followed.
    """
    longest = 0
    linked = 0
    equal = 0
    for i in range(start, end):
        link = links[i]
        longest = max(longest, link)
        linked += link != 0
        equal += (link & 3) == EQUAL
    counts = np.zeros((longest >> 2) + 2, np.int32)
    # By runs of one lag, as adding to the same count token after token has to wait for itself.
    i = start
    while i < end:
        lag = links[np.uint64(i)] >> 2
        k = i + 1
        while k < end and links[np.uint64(k)] >> 2 == lag:
            k += 1
        counts[lag] += k - i
        i = k
    counts[0] = 0
    period = _period(counts, linked)
    if steady and growth(links, start, end) == 1.0:
        period = _steadiest(x, start, end, period)
    stray = 0
    copies = 0.0
    for lag in range(1, counts.shape[0]):
        if counts[lag] > 0:
            multiple = max(1, (lag + (period >> 1)) // period)
            if abs(lag - multiple * period) > max(3.0, NEAR * period) * multiple:
                stray += counts[lag]
            copies += counts[lag] * multiple / lag
    return period, copies, equal / linked, stray


@_compiled
def _steadiest(x, start, end, period):  # type: ignore[no-untyped-def]
    """The smallest lag under which about as many tokens recur, without realignment, as under ``period``, twice or
    thrice that, or any lag up to STEADY_LAGS; ``period`` if under none half of them do."""
    size = min(int(end - start), STEADY_SAMPLE)
    a = int(start + end - size) // 2
    best = 0.5
    for k in range(STEADY_LAGS + 3):
        lag = k + 1 if k < STEADY_LAGS else period * (k + 1 - STEADY_LAGS)
        best = max(best, _share(x, a, a + size, lag, best))
    for k in range(STEADY_LAGS + 3):
        lag = k + 1 if k < STEADY_LAGS else period * (k + 1 - STEADY_LAGS)
        if best > 0.5 and _share(x, a, a + size, lag, best - STEADY) >= best - STEADY:
            return lag
    return period


@_compiled
def _share(x, a, b, lag, least):  # type: ignore[no-untyped-def]
    """Share of x[a + lag : b] that equals what stands ``lag`` earlier; 0 if that is below ``least``."""
    size = b - a - lag
    if size < 2 * lag or size < 16:
        return 0.0
    left = int((1 - least) * size)
    wrong = _differing(x, a + lag, b, lag, left)
    return (size - wrong) / size if wrong <= left else 0.0


@_compiled
def _differing(x, start, end, lag, most):  # type: ignore[no-untyped-def]
    """How many of x[start:end] differ from what stands ``lag`` earlier; some number above ``most`` if more than that do."""
    wrong = 0
    i = start
    while i < end and wrong <= most:
        stop = min(i + 64, end)
        # Slices have no negative index, so this becomes vector code.
        late = x[i:stop]
        early = x[i - lag : stop - lag]
        for k in range(late.shape[0]):
            wrong += late[k] != early[k]
        i = stop
    return wrong


@_compiled
def straighten(x, links, start, end):  # type: ignore[no-untyped-def]
    """Give a stretch that is exact at one lag that lag, where a part of the unit had taken it: (start, end), else (0, 0).

    All but EXACT_MISSES of the tokens must recur, over three copies at least, not counting the first copy
    of the stretch, where the part may have repeated alone.  The links are rewritten.
    """
    for lag in range(1, min(EXACT_LAGS, (end - start) // 2) + 1):
        most = int(EXACT_MISSES * (end - start))
        if _differing(x, start + lag, end, lag, most) > most:
            continue
        first = start + lag
        while first > max(start, lag) and x[first - 1] == x[first - 1 - lag]:
            first -= 1
        links[start:first] = 0
        for i in range(first, end):
            links[i] = (lag << 2) | (EQUAL if x[i] == x[i - lag] else DIFFERENT)
        last = end
        while last < x.shape[0] and links[last] == 0 and x[last] == x[last - lag]:
            links[last] = (lag << 2) | EQUAL
            last += 1
        return first, last
    return 0, 0


@_compiled
def candidates(x, starts, ends, links, spans, scores, least, look_into):  # type: ignore[no-untyped-def]
    """What could be a loop: (start, end, score, period, copies after the first, share of EQUAL, stray, steps, new) (e, 9).

    The stretches of a score of ``look_into`` or more, made exact where they are, then of ``least``.
    ``steps`` and ``new`` are of ``loop_counters.progress``.
    """
    joined = stretches(x, links, spans, scores)
    out = np.empty((joined.shape[0], 9), np.float64)
    count = 0
    for k in range(joined.shape[0]):
        start = np.int64(joined[k, START])
        end = np.int64(joined[k, END])
        score = joined[k, SCORE]
        if score < look_into:
            continue
        period, copies, equal, stray = measure(x, links, start, end, score >= least)
        if equal < 1 - EXACT_MISSES:
            # Where a part of the unit repeats within it, a walk may go from part to part.
            first, last = straighten(x, links, start, end)
            if first < last:
                start = first
                end = last
                score = float(end - start)
                period, copies, equal, stray = measure(x, links, start, end, False)
        if score >= least:
            steps, new = progress(x, starts, ends, links, start, end, period)
            row = out[count]
            row[START], row[END], row[SCORE] = start, end, score
            row[3], row[4], row[5], row[6], row[7], row[8] = period, copies, equal, stray, steps, new
            count += 1
    return out[:count]


@_compiled
def measure_masked(x2, x3, at, links, start, end):  # type: ignore[no-untyped-def]
    """(period, copies after the first, share of EQUAL, stray, steps, new, words, numbers) of a stretch of x3."""
    period, copies, equal, stray = measure(x3, links, start, end, False)
    steps, new, words = progress_masked(x2, x3, at, links, start, end, period)
    numbers = 0
    for i in range(start, end):
        numbers += x3[i] == NUMBER
    return period, copies, equal, stray, steps, new, words, numbers


@_compiled
def regular(x, start, end, period):  # type: ignore[no-untyped-def]
    """Whether the tokens recur at one lag more than their few kinds alone would make them.

    Tokens of two or three kinds recur by chance wherever one looks for the best lag.  So where one token in
    four equals another at random, a single lag must do better than that, unless one token
    is repeated and that is all.
    """
    size = min(int(end - start), SAMPLE)
    a = int(start + end - size) // 2
    counts = np.zeros(256, np.int64)
    for i in range(a, a + size):
        counts[x[i] & 255] += 1
    chance = 0.0
    for c in counts:
        chance += (c / size) ** 2
    if chance < 0.25 or counts.max() >= ALONE * size:
        return True
    best = 0.0
    for k in range(65):
        lag = k if k > 0 else period
        if lag < 1 or 4 * lag > size:
            continue
        equal = 0
        for i in range(a + lag, a + size):
            equal += x[i] == x[i - lag]
        best = max(best, equal / (size - lag))
    return best - chance >= REGULAR * (1 - chance)


@_compiled
def _period(counts, linked):  # type: ignore[no-untyped-def]
    """The commonest lag, or the one near a fraction of it that enough tokens have: noise hides the latest copy."""
    most = np.argmax(counts)
    for q in range(8, 1, -1):
        low = np.int64(np.floor((1 - NEAR) * most / q))
        high = np.int64(np.ceil((1 + NEAR) * most / q)) + 1
        if low >= 1 and counts[low:high].sum() >= FRACTION * linked:
            return low + np.argmax(counts[low:high])
    return most


@_compiled
def describe(x, ids, links, start, end, period):  # type: ignore[no-untyped-def]
    """(onset, lag there, share of the EQUAL tokens whose ``ids`` differ, start and end of an undisturbed copy)."""
    equal = 0
    masked = 0
    for i in range(start, end):
        if links[i] & 3 == EQUAL:
            equal += 1
            masked += ids[i] != ids[i - (links[i] >> 2)]
    anchor = _established(links, start, end)
    onset, lag = _walk_back(x, anchor, links[anchor] >> 2, 0)
    a, b = _undisturbed(links, onset, end, period)
    return onset, lag, masked / max(1, equal), a, b


@_compiled
def _established(links, start, end):  # type: ignore[no-untyped-def]
    """The first token from ``start`` whose lag holds, but for small moves, for as many tokens as it is long.

    Before a loop comes up to its period it may copy something else for a while, or repeat a part of
    its unit.  ``start`` if no lag holds so long.
    """
    i = start
    while i < end:
        if links[i] == 0:
            i += 1
            continue
        first = links[i] >> 2
        lag = first
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


@_compiled
def _walk_back(x, start, lag, lo):  # type: ignore[no-untyped-def]
    """Continue a segment to the left of ``start`` at its lag: (new start, lag there).

    Scored as in ``loop_kernels.follow``, mirrored, so that changed tokens of the second copy are bridged.
    """
    score = 0.0
    best = 0.0
    at = np.int64(start)
    lag = np.int64(lag)
    at_lag = lag
    i = at - 1
    while i - lag >= lo:
        if x[i] == x[i - lag]:
            score += MATCH
            if score > best:
                best = score
                at = i
                at_lag = lag
        else:
            score -= BACK_PENALTY
            if best - score > BACK_DROP:
                break
            moved = _realigned_back(x, i, lag, lo)
            if moved != lag:
                lag = moved
                if x[i] == x[i - lag]:
                    score += MATCH + BACK_PENALTY
                    if score > best:
                        best = score
                        at = i
                        at_lag = lag
        i -= 1
    return at, at_lag


@_compiled
def _realigned_back(x, i, lag, lo):  # type: ignore[no-untyped-def]
    """The lag near ``lag`` under which the tokens before the mismatch at i recur best; ties keep it."""
    room = min(WINDOW, i - lag - lo)
    agree = 0
    for q in range(1, room + 1):
        if x[i - q] == x[i - q - lag]:
            agree += 1
    if agree >= room - 1:
        return lag
    best = agree + 1
    found = lag
    for s in range(1, min(SHIFT, lag >> 1) + 1):
        # a token was put into this copy
        agree = 0
        for q in range(1, room + 1):
            if x[i - q] == x[i - q - lag + s]:
                agree += 1
        if agree > best:
            best = agree
            found = lag - s
        # a token was left out of this copy: the one at i itself must recur, and it does not count
        if i - room - lag - s >= lo:
            agree = -1
            for q in range(room + 1):
                if x[i - q] == x[i - q - lag - s]:
                    agree += 1
            if agree > best:
                best = agree
                found = lag + s
    return found


@_compiled
def _undisturbed(links, onset, end, period):  # type: ignore[no-untyped-def]
    """(start, end) of the copy, among the first COPIES from the second on, that differs least from the one before."""
    # a short copy is undisturbed if the next one is too
    size = period if period > 24 else 2 * period
    best = size + 1
    found = onset
    at = onset
    for _ in range(COPIES):
        if at + size > end:
            break
        wrong = 0
        for i in range(at, at + size):
            wrong += (links[i] & 3) != EQUAL
        if wrong < best:
            best = wrong
            found = at
        if wrong == 0:
            break
        # the next copy begins at the token that is compared with this one's first
        after = at + period
        for i in range(at + (period >> 1) + 1, min(at + 2 * period + 1, end)):
            if links[i] != 0 and i - (links[i] >> 2) == at:
                after = i
                break
        at = after
    return found, min(found + period, end)
