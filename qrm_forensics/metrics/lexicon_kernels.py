"""Machine code of the lexicon: the words of a response, and hash tables of those of many.

Every kernel is linear in its input.  No array is bound anew in a loop (see ``scan_kernels``).
"""

from __future__ import annotations

import numpy as np

from qrm_forensics.metrics import lexemes, scan_kernels
from qrm_forensics.metrics.kernels import cached, hold, inlined
from qrm_forensics.metrics.scan_kernels import COMMAND, LETTERS

_compiled = cached(lexemes, scan_kernels)

#: Shapes of letter runs: a word of three letters or more, a shorter or all-capital run, a run with letters beyond Latin.
WORD, SHORT, FOREIGN = 1, 2, 3
#: The id of the token "{".
BRACE = 0x7B
#: Owner of a word of the lexicon: the number of the problem whose one response has it; -2 - number where several
#: responses to that problem have it, and no other; SEVERAL where responses to more problems have it.
SEVERAL = -1
#: What ``judge_kernel`` says of a word: over-represented; unknown to the others; so rare among them that it is
#: over-represented where it is dense.
OVER, UNKNOWN, RARE = 1, 2, 4

# From this size of the reference on, a word of more than a thousandth of it is not followed by problem.
_FOLLOWED_TO = 1_000_000


@_compiled
def _mixed(h):  # type: ignore[no-untyped-def]
    """The finalizer of SplitMix64, never 0 (0 is an empty slot)."""
    h ^= h >> np.uint64(30)
    h *= np.uint64(0xBF58476D1CE4E5B9)
    h ^= h >> np.uint64(27)
    h *= np.uint64(0x94D049BB133111EB)
    h ^= h >> np.uint64(31)
    return h if h != np.uint64(0) else np.uint64(1)


@inlined
def _shape(data, start, end):  # type: ignore[no-untyped-def]
    """The shape of a letter run."""
    letters = 0
    small = False
    k = start
    while k < end:
        b = data[np.uint64(k)]
        k += 1
        letters += 1
        if b < 0x80:
            small |= b >= 0x61
        elif 0xC3 <= b <= 0xC9 and k < end:  # U+00C0 to U+027F
            small = True
            k += 1
        elif b == 0xE1 and k + 1 < end and 0xB8 <= data[k] <= 0xBB:  # U+1E00 to U+1EFF
            small = True
            k += 2
        else:
            letters = -1
            break
    hold(data)
    if letters < 0:
        return FOREIGN
    return WORD if letters >= 3 and small else SHORT


@_compiled
def in_environment(data, kinds, ends, i):  # type: ignore[no-untyped-def]
    r"""Whether token i, after a brace, is the name in ``\begin{name`` or ``\end{name``.

    The caller looks for the brace: a call with four arrays costs more than all else that is done for a token.
    """
    if i < 2 or kinds[i - 2] != COMMAND:
        return False
    e = ends[i - 2]
    if e >= 6 and data[e - 1] == 0x6E:  # n
        return data[e - 6] == 0x5C and data[e - 5] == 0x62 and data[e - 4] == 0x65 and data[e - 3] == 0x67
    if e >= 4 and data[e - 1] == 0x64:  # d
        return data[e - 4] == 0x5C and data[e - 3] == 0x65 and data[e - 2] == 0x6E
    return False


@_compiled
def types_kernel(data, ids, low, kinds, starts, ends, numbered, first, times, folded):  # type: ignore[no-untyped-def]
    """The different Latin letter runs of a response, case folded.

    Returns (hashes (t,) uint64, words (t,) int32: occurrences as a word, runs (t,) int32: occurrences in all,
    type_of by id (-1 for what is no such run), shape by id, number of words, number of runs, a hash of all of it).
    """
    size = 128 + first.shape[0]
    named = np.zeros(size, np.int32)  # occurrences as the name of an environment
    for i in numbered:
        if i > 0 and ids[np.uint64(i - 1)] == BRACE and in_environment(data, kinds, ends, i):
            named[ids[i]] += 1
    shape = np.zeros(size, np.uint8)
    type_of = np.full(size, -1, np.int32)
    type_of_low = np.full(size, -1, np.int32)
    hashes = np.empty(size, np.uint64)
    words = np.zeros(size, np.int32)
    runs = np.zeros(size, np.int32)
    types = 0
    n_words = 0
    n_runs = 0
    for name in range(128, size):
        i = first[name - 128]
        count = times[name - 128]
        if kinds[i] != LETTERS:
            continue
        found = _shape(data, starts[i], ends[i])
        shape[name] = found
        if found == FOREIGN:
            continue
        if type_of_low[low[i]] < 0:
            type_of_low[low[i]] = types
            hashes[types] = _mixed(folded[low[i] - 128])
            types += 1
        t = type_of_low[low[i]]
        type_of[name] = t
        runs[t] += count
        n_runs += count
        if found == WORD:
            words[t] += count - named[name]
            n_words += count - named[name]
    whole = np.uint64(0)
    for t in range(types):
        whole += _mixed(hashes[t] + np.uint64(runs[t]))
    return hashes[:types], words[:types], runs[:types], type_of, shape, n_words, n_runs, _mixed(whole)


@_compiled
def _slot_of(keys, h):  # type: ignore[no-untyped-def]
    """The slot of hash h: its own, or the empty one where it belongs."""
    mask = np.uint64(keys.shape[0] - 1)
    slot = h & mask
    while keys[slot] != np.uint64(0) and keys[slot] != h:
        slot = (slot + np.uint64(1)) & mask
    return slot


@_compiled
def _pair_slot(pairs, name):  # type: ignore[no-untyped-def]
    """The slot of a 31-bit name (its lowest bit is clear), or the empty one where it belongs."""
    mask = np.uint64(pairs.shape[0] - 1)
    slot = (np.uint64(name) >> np.uint64(1)) & mask
    while pairs[slot] != np.uint32(0) and (pairs[slot] & np.uint32(0xFFFFFFFE)) != name:
        slot = (slot + np.uint64(1)) & mask
    return slot


@_compiled
def _pair_name(h, problem_hash):  # type: ignore[no-untyped-def]
    name = np.uint32(_mixed(h ^ problem_hash) >> np.uint64(32)) & np.uint32(0xFFFFFFFE)
    return name if name != np.uint32(0) else np.uint32(2)


@_compiled
def _dominates(count, n_runs, floor, share):  # type: ignore[no-untyped-def]
    return count >= floor and count >= share * n_runs


@_compiled
def dense_kernel(data, ids, kinds, ends, numbered, type_of, shape, words, floor, stretch):  # type: ignore[no-untyped-def]
    """(t,) uint8: whether ``floor`` occurrences of a word lie within ``stretch`` words somewhere."""
    row = np.full(words.shape[0], -1, np.int32)
    n_rows = 0
    for t in range(words.shape[0]):
        if words[t] >= floor:
            row[t] = n_rows
            n_rows += 1
    row_of = np.full(type_of.shape[0], -2, np.int32)  # by id: -2 no word, -1 a word that is too rare
    for name in range(type_of.shape[0]):
        if shape[name] == WORD:
            row_of[name] = row[type_of[name]]
    last = np.empty((n_rows, floor), np.int32)
    seen = np.zeros(n_rows, np.int64)
    dense = np.zeros(n_rows, np.uint8)
    word = 0
    for i in numbered:
        r = row_of[ids[i]]
        if r == -2 or (i > 0 and ids[i - 1] == BRACE and in_environment(data, kinds, ends, i)):
            continue
        if r >= 0 and dense[r] == 0:
            last[r, seen[r] % floor] = word
            seen[r] += 1
            if seen[r] >= floor and word - last[r, seen[r] % floor] < stretch:
                dense[r] = 1
        word += 1
    found = np.zeros(words.shape[0], np.uint8)
    for t in range(words.shape[0]):
        if row[t] >= 0:
            found[t] = dense[row[t]]
    return found


@_compiled
def add_kernel(  # type: ignore[no-untyped-def]
    keys,
    owners,
    counts,
    pairs,
    hashes,
    runs,
    dense,
    n_runs,
    problem,
    problem_hash,
    total,
    with_pairs,
    cap,
    floor,
    share,
):
    """Add one response to the tables, which have room for all of its words.

    Returns (words that are new, pairs that are new, what the response adds to the size of the reference).
    A word that dominates the response is left out; one that is dense somewhere is there, but is not counted.
    """
    new_words = 0
    new_pairs = 0
    added = 0
    for t in range(hashes.shape[0]):
        if _dominates(runs[t], n_runs, floor, share):
            continue
        slot = _slot_of(keys, hashes[t])
        if keys[slot] == np.uint64(0):
            keys[slot] = hashes[t]
            owners[slot] = problem
            counts[slot] = 0
            new_words += 1
        elif owners[slot] != SEVERAL:
            mine = owners[slot] == problem or owners[slot] == -2 - problem
            owners[slot] = -2 - problem if mine else SEVERAL
        counted = 0 if dense[t] else min(runs[t], cap)
        counts[slot] += counted
        added += counted
        # So frequent a word is never unknown nor over-represented.
        if not with_pairs or (total > _FOLLOWED_TO and counts[slot] > total // 1000):
            continue
        name = _pair_name(hashes[t], problem_hash)
        at = _pair_slot(pairs, name)
        if pairs[at] == np.uint32(0):
            pairs[at] = name
            new_pairs += 1
        else:
            pairs[at] = name | np.uint32(1)
    return new_words, new_pairs, added


@_compiled
def fill_kernel(words, of, times, keys, owners, counts):  # type: ignore[no-untyped-def]
    """Put different words (hashes, owners and counts, each (k,)) into empty tables."""
    for k in range(words.shape[0]):
        slot = _slot_of(keys, words[k])
        keys[slot] = words[k]
        owners[slot] = of[k]
        counts[slot] = times[k]


@_compiled
def regrow_pairs_kernel(pairs, new_pairs):  # type: ignore[no-untyped-def]
    for i in range(pairs.shape[0]):
        if pairs[i] != np.uint32(0):
            new_pairs[_pair_slot(new_pairs, pairs[i] & np.uint32(0xFFFFFFFE))] = pairs[i]


@_compiled
def judge_kernel(  # type: ignore[no-untyped-def]
    keys,
    owners,
    counts,
    pairs,
    hashes,
    words,
    runs,
    n_runs,
    problem,
    problem_hash,
    member,
    reference,
    floor,
    ratio,
    share,
):
    """What each word of a response is, in the light of the other responses.

    Returns (flags (t,) of UNKNOWN, RARE and OVER; limits (t,): the rate from which on a word is over-represented).
    ``member``: the tables hold the response itself, which then does not speak for itself.  ``reference``: size of the
    responses to other problems.
    """
    flags = np.zeros(hashes.shape[0], np.uint8)
    limits = np.zeros(hashes.shape[0], np.float64)
    for t in range(hashes.shape[0]):
        many = runs[t] >= floor
        if words[t] == 0 and not many:
            continue
        slot = _slot_of(keys, hashes[t])
        there = keys[slot] != np.uint64(0)
        elsewhere = there and owners[slot] != problem and owners[slot] != -2 - problem
        if elsewhere and not many:
            continue
        dominates = _dominates(runs[t], n_runs, floor, share)
        own = member and not dominates
        at = _pair_slot(pairs, _pair_name(hashes[t], problem_hash))
        if pairs[at] != np.uint32(0) and (not own or (pairs[at] & np.uint32(1)) != 0):
            continue  # another response to the same problem uses it
        if words[t] > 0 and not elsewhere:
            flags[t] |= UNKNOWN
        if many:
            # What the response itself counts for is in it only where the word is not dense, so not over-represented.
            count = np.int64(counts[slot]) if there else 0
            limits[t] = ratio * (count + 0.5) / (reference + 0.5)
            if words[t] >= floor and limits[t] <= 1.0:
                flags[t] |= RARE
            elif words[t] < floor and dominates and runs[t] >= limits[t] * n_runs:
                flags[t] |= OVER
    return flags, limits
