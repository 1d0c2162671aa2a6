"""Machine code for what several metrics of the surface share: known words, phrases, lines and sentences, boxes.

Every kernel is linear in the length of its input, whatever the input.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from qrm_forensics.metrics import lexemes, scan_kernels
from qrm_forensics.metrics.kernels import cached
from qrm_forensics.metrics.lexemes import CODES
from qrm_forensics.metrics.scan_kernels import LETTERS

_compiled = cached(lexemes, scan_kernels)

_BOXED = np.uint8(CODES["boxed"])
_THINK = np.uint8(CODES["think"])


@_compiled
def known_kernel(codes, kinds, numbered):  # type: ignore[no-untyped-def]
    """(int32: the tokens that have a code, uint8: their codes, 0 for commands, int64 (256,): how many have each code)."""
    at = np.empty(numbered.shape[0] + 1, np.int32)
    n = np.uint64(0)
    for i in numbered:
        at[n] = i
        n += np.uint64(codes[np.uint64(i)] != 0)
    plain = np.empty(n, np.uint8)
    counts = np.zeros(256, np.int64)
    for k in range(np.int64(n)):
        code = codes[at[k]]
        plain[k] = code * (kinds[at[k]] == LETTERS)
        counts[code] += 1
    return at[: np.int64(n)].copy(), plain, counts


@_compiled
def phrases_kernel(known, plain, step, lists):  # type: ignore[no-untyped-def]
    """(int32 the last token of every phrase that occurs, uint8 the lists that it is of)."""
    n = known.shape[0]
    at = np.empty(n + 1, np.int32)
    what = np.empty(n + 1, np.uint8)
    found = 0
    state = 0
    before = -9
    for k in range(n):
        token = known[k]
        # Without branches, which would be mispredicted: a gap takes the state back to its start.
        state = step[state * (token == before + 1), plain[k]]
        before = token
        at[found] = token
        what[found] = lists[state]
        found += lists[state] != 0
    return at[:found].copy(), what[:found].copy()


@njit(cache=True, nogil=True, inline="always")
def _ends_sentence(data, start, end, alone):  # type: ignore[no-untyped-def]
    """Whether data[start:end], a word, ends a sentence; ``alone`` where it is the first of its sentence."""
    k = end - 1
    while k > start:  # closing marks after the full stop
        b = data[k]
        if b == 0x22 or b == 0x27 or b == 0x29 or b == 0x2A or b == 0x5D or b == 0x7D or b == 0x24:  # " ' ) * ] } $
            k -= 1
        elif k - 2 > start and data[k - 2] == 0xE2 and data[k - 1] == 0x80 and (b == 0x99 or b == 0x9D):  # ’ ”
            k -= 3
        else:
            break
    b = data[k]
    if b == 0x21 or b == 0x3F:  # ! ?
        return True
    if b == 0x2E:
        if k >= start + 3 and data[k - 2] == 0x2E and _letter(data[k - 1]) and _letter(data[k - 3]):
            return False  # e.g., i.e.
        if alone:
            for i in range(start, k):
                if not 0x30 <= data[i] <= 0x39:
                    return True
            return k == start  # "12." at the beginning of a sentence numbers an item of a list
        return True
    if k - 2 >= start and b >= 0x80:
        if data[k - 2] == 0xE3:  # 。
            return data[k - 1] == 0x80 and b == 0x82
        if data[k - 2] == 0xEF:  # ！ ？
            return data[k - 1] == 0xBC and (b == 0x81 or b == 0x9F)
        if data[k - 2] == 0xE2:  # …
            return data[k - 1] == 0x80 and b == 0xA6
    return False


@njit(cache=True, nogil=True, inline="always")
def _letter(b):  # type: ignore[no-untyped-def]
    return 0x41 <= (b & 0xDF) <= 0x5A


def _last_bytes() -> npt.NDArray[np.bool_]:
    """Whether a word that ends in the byte may end a sentence; of most words it settles that they do not."""
    may = np.zeros(256, np.bool_)
    may[list(b".!?\"')*]}$")] = True
    may[[0x82, 0x81, 0x9F, 0xA6, 0x99, 0x9D]] = True  # last bytes of 。！？…’”
    return may


_MAY_END = _last_bytes()


@_compiled
def layout_kernel(data, starts, ends):  # type: ignore[no-untyped-def]
    """(int32: the words that begin a block of lines, the words that begin a sentence)."""
    n = starts.shape[0]
    blocks = np.empty(n + 1, np.int32)
    sentences = np.empty(n + 1, np.int32)
    n_blocks = 0
    n_sentences = 0
    if n > 0:
        blocks[0] = 0
        sentences[0] = 0
        n_blocks = 1
        n_sentences = 1
    for i in range(1, n):
        gap = ends[i - 1]
        if data[gap] == 0x20 and starts[i] == gap + 1 and not _MAY_END[data[gap - 1]]:
            continue
        lines = 0
        for b in data[gap : starts[i]]:
            lines += b == 0x0A
        if lines or _ends_sentence(data, starts[i - 1], gap, i - 1 == sentences[n_sentences - 1]):
            sentences[n_sentences] = i
            n_sentences += 1
        if lines > 1:
            blocks[n_blocks] = i
            n_blocks += 1
    return blocks[:n_blocks].copy(), sentences[:n_sentences].copy()


@njit(cache=True, nogil=True, inline="always")
def _is(data, at, n, word):  # type: ignore[no-untyped-def]
    if at < 0 or at + len(word) > n:
        return False
    same = True
    for k in range(len(word)):
        same &= data[at + k] == word[k]
    return same


_CLOSING_TAG = b"</think>"
_BOX = b"\\boxed"


@_compiled
def boxes_kernel(data, starts, known, plain, counts):  # type: ignore[no-untyped-def]
    r"""(int32 byte offsets of the ``\boxed{`` whose brace is closed, end of the last ``</think>`` or -1).

    A box is ``\boxed``, up to four spaces or tabs, and a brace; one backslash too many
    before it belongs to it.  ``\{`` and ``\}`` are characters.  A brace closes the last open one.
    """
    n = data.shape[0]
    think = -1
    k = known.shape[0] - 1
    while counts[_THINK] and k >= 0 and think < 0:
        if plain[k] == _THINK:
            at = starts[known[k]] - 2
            if _is(data, at, n, _CLOSING_TAG):
                think = at + len(_CLOSING_TAG)
        k -= 1
    first = -1
    k = 0
    while counts[_BOXED] and k < known.shape[0] and first < 0:
        if plain[k] == 0 and _is(data, starts[known[k]], n, _BOX):
            first = starts[known[k]]
        k += 1
    if first < 0:
        return np.empty(0, np.int32), think
    # Braces that are open before the first box cannot close it, so they are left out.
    opened = 0
    boxes = 0
    braces = 0
    for b in data[first:]:
        braces += b == 0x7B
        boxes += b == 0x5C
    stack = np.empty(braces, np.int32)  # number of a box, -1 for a plain brace
    offsets = np.empty(boxes, np.int32)
    closed = np.zeros(boxes, np.bool_)
    boxes = 0
    i = first
    while i < n:
        b = data[i]
        if b == 0x7B:
            stack[opened] = -1
            opened += 1
        elif b == 0x7D:
            if opened:
                opened -= 1
                if stack[opened] >= 0:
                    closed[stack[opened]] = True
        elif b == 0x5C:
            # "\\boxed{": of two backslashes the second one begins the command.
            if i + 1 < n and data[i + 1] == 0x5C and _box_brace(data, i + 1, n) > 0:
                i += 1
            brace = _box_brace(data, i, n)
            if brace > 0:
                offsets[boxes] = i
                stack[opened] = boxes
                opened += 1
                boxes += 1
                i = brace
            else:
                i += 1  # whatever follows a backslash is no brace
        i += 1
    found = 0
    out = np.empty(boxes, np.int32)
    for k in range(boxes):
        if closed[k]:
            out[found] = offsets[k]
            found += 1
    return out[:found].copy(), think


@njit(cache=True, nogil=True, inline="always")
def _box_brace(data, at, n):  # type: ignore[no-untyped-def]
    r"""Where the brace of a ``\boxed{`` at ``at`` is, -1 if there is none."""
    if not _is(data, at, n, _BOX):
        return -1
    k = at + len(_BOX)
    stop = min(k + 4, n - 1)
    while k < stop and (data[k] == 0x20 or data[k] == 0x09):
        k += 1
    return k if k < n and data[k] == 0x7B else -1
