"""The two passes over token numbers that the features are read from; both linear in the tokens."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def copies(ids, gram):  # type: ignore[no-untyped-def]
    """For each token of ``ids`` int32 [m]: (lag, run), int32 [m] each.

    ``lag``: tokens back to where the ``gram`` tokens that end here were last seen, 0 where they are new.
    ``run``: for how many tokens on end the lag has been the same, 0 where they are new.
    """
    m = ids.shape[0]
    size = 64
    while size < 2 * m + 2:
        size *= 2
    mask = size - 1
    table = np.full(size, -1, np.int32)
    hashes = np.empty(m, np.uint64)
    lag = np.zeros(m, np.int32)
    run = np.zeros(m, np.int32)
    base = np.uint64(0x9E3779B97F4A7C15)
    leaving = np.uint64(1)
    for _ in range(gram):
        leaving *= base
    h = np.uint64(0)
    for i in range(m):
        h = h * base + np.uint64(ids[i] + 1)
        if i >= gram:
            h -= np.uint64(ids[i - gram] + 1) * leaving
        hashes[i] = h
        if i < gram - 1:
            continue
        slot = np.int64(((h ^ (h >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)) >> np.uint64(32)) & mask
        while table[slot] >= 0:
            if hashes[table[slot]] == h:
                lag[i] = i - table[slot]
                break
            slot = (slot + 1) & mask
        table[slot] = i
        if lag[i] > 0:
            run[i] = run[i - 1] + 1 if lag[i] == lag[i - 1] else 1
    return lag, run


@njit(cache=True, nogil=True)
def types(ids, window):  # type: ignore[no-untyped-def]
    """For each token of ``ids`` int32 [m]: (different tokens among the last ``window``, int32 [m]; never seen before, bool [m])."""
    m = ids.shape[0]
    distinct = np.zeros(m, np.int32)
    first = np.zeros(m, np.bool_)
    top = 0
    for i in range(m):
        top = max(top, ids[i])
    inside = np.zeros(top + 1, np.int32)
    seen = np.zeros(top + 1, np.bool_)
    count = 0
    for i in range(m):
        token = ids[i]
        first[i] = not seen[token]
        seen[token] = True
        count += inside[token] == 0
        inside[token] += 1
        if i >= window:
            old = ids[i - window]
            inside[old] -= 1
            count -= inside[old] == 0
        distinct[i] = count
    return distinct, first
