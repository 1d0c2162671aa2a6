"""New numbers in what repeats: the steps of one counter, or the progress of an enumeration.

Compiled by numba, as ``loop_kernels``, whose ``links`` are read here.
"""

from __future__ import annotations

import numpy as np

from qrm_forensics.metrics import loop_kernels
from qrm_forensics.metrics.kernels import cached, hold, inlined
from qrm_forensics.metrics.loop_kernels import CONNECTIVE, DIFFERENT, FIRST_WORD, NUMBER

_compiled = cached(loop_kernels)

#: A counter that is not met again within so many new numbers is looked for anew.
MAX_LOST = 3


@inlined
def _number_at(x, starts, ends, i):  # type: ignore[no-untyped-def]
    """(first token, end, value) of the number that holds the digit at i; value -1 above 15 digits, which count nothing."""
    a = i
    while a > 0 and i - a < 16 and 48 <= x[a - 1] < 58 and ends[a - 1] == starts[a]:
        a -= 1
    b = i + 1
    while b < x.shape[0] and b - i < 16 and 48 <= x[b] < 58 and ends[b - 1] == starts[b]:
        b += 1
    value = _value(x, a, b) if b - a <= 15 else np.int64(-1)
    hold(x, starts, ends)
    return a, b, value


@inlined
def _value(x2, a, b):  # type: ignore[no-untyped-def]
    value = np.int64(0)
    for q in range(a, b):
        value = value * 10 + (x2[q] - 48)
    hold(x2)
    return value


@_compiled
def _one_counter(values, deltas, places, period):  # type: ignore[no-untyped-def]
    """(steps, others) among new numbers, what each has changed by, and where it stands.

    A counter is at one number throughout a copy, so it advances only a third of a period after it did last.
    """
    # The most frequent difference, if one has a majority (Boyer and Moore); without one any will do.
    step = np.int64(0)
    votes = 0
    for k in range(values.shape[0]):
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
    since = np.int64(0)
    lost = MAX_LOST
    for k in range(values.shape[0]):
        ahead = values[k] - reached
        if lost >= MAX_LOST:
            # no counter is known; this may be one
            expected = deltas[k] == step
            advances = True
        elif ahead == 0:
            expected = True
            advances = False
        else:
            # a copy or two may have lost their number to noise
            due = 3 * (places[k] - since) > period
            expected = due and step != 0 and ahead % step == 0 and 0 < ahead // step <= MAX_LOST
            advances = expected
        if expected:
            steps += 1
            lost = 0
        else:
            others += 1
            lost += 1
        if advances:
            reached = values[k]
            since = places[k]
            lost = 0
    return steps, others


@_compiled
def progress(x, starts, ends, links, start, end, period):  # type: ignore[no-untyped-def]
    """(steps of one counter, other new numbers) in the linked tokens of x[start:end].

    A number is *new* if it differs from the one a copy earlier, which itself differs from the one
    before.  It is a step of the counter if it is the number that the counter has reached, or a copy
    later one of the next few, where the counter goes by the most frequent difference.
    """
    values = np.empty((end - start) // 2 + 1, np.int64)
    deltas = np.empty((end - start) // 2 + 1, np.int64)
    places = np.empty((end - start) // 2 + 1, np.int64)
    count = 0
    i = start
    while i < end:
        if links[i] & 3 != DIFFERENT or not 48 <= x[i] < 58:
            i += 1
            continue
        changed = i
        _, b, value = _number_at(x, starts, ends, i)
        i = min(b, end)
        if value < 0:
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
            places[count] = changed
            count += 1
    return _one_counter(values[:count], deltas[:count], places[:count], period)


@_compiled
def progress_masked(x2, x3, at, links3, start, end, period):  # type: ignore[no-untyped-def]
    """(steps of one counter, other new numbers, words) in the linked tokens of x3[start:end].

    As ``progress``, in the stream where a number is one token; ``words`` counts the other tokens that
    are no single character.
    """
    values = np.empty(end - start, np.int64)
    deltas = np.empty(end - start, np.int64)
    places = np.empty(end - start, np.int64)
    count = 0
    words = 0
    for i in range(start, end):
        if x3[i] >= FIRST_WORD or x3[i] == CONNECTIVE:
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
            places[count] = i
            count += 1
    steps, others = _one_counter(values[:count], deltas[:count], places[:count], period)
    return steps, others, words
