"""Machine code that divides a response into phases, linear in its words."""

from __future__ import annotations

import numpy as np

from qrm_forensics.metrics import lexemes, phrases
from qrm_forensics.metrics.kernels import cached
from qrm_forensics.metrics.phrases import CHECK, FINAL, OPENING, READING

_compiled = cached(lexemes, phrases)

#: The phases, as segments are numbered.
PHASES = ("understand", "process", "check", "final")
_UNDERSTAND, _PROCESS, _CHECK, _FINAL = range(len(PHASES))

#: A cue counts that ends within so many words of its paragraph.
CUE_WORDS = 12


@_compiled
def segments_kernel(n, blocks, starts, ends, token_starts, token_ends, at, lists, boxes, think):  # type: ignore[no-untyped-def]
    """(int64 byte offsets (k + 1,) of the bounds of segments, uint8 (k,) their phases); neighbours differ in phase.

    ``n`` is the length in bytes; ``blocks`` the words that begin a paragraph; ``at`` the last tokens of phrases and ``lists`` their lists;
    ``boxes`` offsets of closed boxes, ``think`` the end of the last closing tag or -1.
    """
    n_words = starts.shape[0]
    paragraphs = blocks.shape[0]
    begins = np.empty(paragraphs + 1, np.int64)
    phases = np.empty(paragraphs + 1, np.uint8)
    final = np.zeros(paragraphs + 1, np.bool_)  # whether it has a box, or says so
    body = think if think >= 0 else n
    count = 0
    event = 0
    box = 0
    opening = True
    for paragraph in range(paragraphs):
        first = blocks[paragraph]
        if starts[first] >= body:
            break
        word = blocks[paragraph + 1] if paragraph + 1 < paragraphs else n_words
        end = starts[word] if word < n_words else n
        near = ends[min(first + CUE_WORDS, word) - 1]
        cues = 0  # near the beginning
        anywhere = 0
        while event < at.shape[0] and token_starts[at[event]] < end:
            anywhere |= lists[event]
            if token_ends[at[event]] <= near:
                cues |= lists[event]
            event += 1
        while box < boxes.shape[0] and boxes[box] < min(end, body):
            final[count] = True
            box += 1
        if cues & FINAL:
            final[count] = True
        opening = opening and ((anywhere if count == 0 else cues) & (OPENING | READING)) != 0
        if opening or cues & READING:
            phases[count] = _UNDERSTAND
        elif cues & CHECK:
            phases[count] = _CHECK
        else:
            phases[count] = _PROCESS
        begins[count] = starts[first] if count else 0
        count += 1
    last = count
    while last > 0 and final[last - 1]:
        last -= 1
        phases[last] = _FINAL
    if think >= 0 and n_words > 0 and ends[n_words - 1] > think:
        begins[count] = think
        phases[count] = _FINAL
        count += 1
    bounds = np.empty(count + 1, np.int64)
    found = 0
    for k in range(count):
        if found == 0 or phases[k] != phases[found - 1]:
            bounds[found] = begins[k]
            phases[found] = phases[k]
            found += 1
    bounds[found] = n
    return bounds[: found + 1].copy(), phases[:found].copy()


@_compiled
def shares_kernel(points, phases, row):  # type: ignore[no-untyped-def]
    """Write the share of each phase, in characters, and the number of segments of checking."""
    sums = np.zeros(len(PHASES), np.int64)
    checks = 0
    for k in range(phases.shape[0]):
        sums[phases[k]] += points[k + 1] - points[k]
        checks += phases[k] == _CHECK
    if phases.shape[0]:
        for phase in range(len(PHASES)):
            row[phase] = sums[phase] / points[-1]
    row[len(PHASES)] = checks
