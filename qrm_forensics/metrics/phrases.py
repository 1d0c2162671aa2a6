"""The lists of phrases as one Aho-Corasick automaton over the codes of known words.

Aho and Corasick, "Efficient string matching", CACM 18(6), 1975: every occurrence of every
phrase in one pass, whatever the number of phrases.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qrm_forensics.metrics.lexemes import (
    CHECK_CUES,
    CODES,
    FINAL_CUES,
    OPENING_CUES,
    READING_CUES,
    SELF_REFERENCE,
)

#: Bits that say which list a phrase is of.
SELF, CHECK, OPENING, READING, FINAL = 1, 2, 4, 8, 16

LISTS = (
    (SELF, SELF_REFERENCE),
    (CHECK, CHECK_CUES),
    (OPENING, OPENING_CUES),
    (READING, READING_CUES),
    (FINAL, FINAL_CUES),
)


class Automaton(NamedTuple):
    """``step`` (states, codes) uint8: the state after a word; ``lists`` (states,) uint8: lists of the phrases that end there."""

    step: npt.NDArray[np.uint8]
    lists: npt.NDArray[np.uint8]


@cache
def automaton() -> Automaton:
    """The automaton of all lists; state 0 is its start, where it stays at a word (code 0) that no phrase holds."""
    trie: list[dict[int, int]] = [{}]
    lists = [0]
    for bit, phrases in LISTS:
        for phrase in phrases:
            state = 0
            for word in phrase.split():
                if CODES[word] not in trie[state]:
                    trie[state][CODES[word]] = len(trie)
                    trie.append({})
                    lists.append(0)
                state = trie[state][CODES[word]]
            lists[state] |= bit
    if len(trie) > 256:
        raise AssertionError(f"{len(trie)} states do not fit one byte; use int16, at a cost in speed")
    step = np.zeros((len(trie), max(CODES.values()) + 1), np.uint8)
    queue = deque([(0, 0)])  # a state, and the longest other one that is a suffix of it
    while queue:
        state, suffix = queue.popleft()
        step[state] = step[suffix] if state else 0
        lists[state] |= lists[suffix]
        for code, child in trie[state].items():
            queue.append((child, int(step[state, code])))
            step[state, code] = child
    return Automaton(step, np.array(lists, np.uint8))


def _contained(phrases: tuple[str, ...]) -> list[str]:
    spaced = [f" {phrase} " for phrase in phrases]
    return [a.strip() for i, a in enumerate(spaced) for j, b in enumerate(spaced) if i != j and a in b]


if _contained(SELF_REFERENCE):
    raise AssertionError(
        f"these phrases are parts of others, which would be counted twice: {_contained(SELF_REFERENCE)}"
    )
