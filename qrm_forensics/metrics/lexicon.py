"""The words of a whole run, as the reference against which one response is held.

A *word* here is a run of Latin letters (to U+027F, and U+1E00 to U+1EFF), upper and lower case alike, outside names of
LaTeX commands and environments.  The lexicon knows of each word where it was seen: in one response, in several to one
problem, or in responses to several problems; how often, where a response counts for at most :data:`CAP`; and in which
problems.  So a response is judged by the *others*, to its problem and to other problems.

Responses that loop do not spoil it: beside the cap, a word is not counted in a response that has it *dense* somewhere
(:data:`FLOOR` times within :data:`STRETCH` words), so that one that many responses get stuck in stays rare; and it is
left out altogether where it makes up :data:`DOMINANT` of the letter runs.  Responses to one problem with the same
words, each as often, count once.

Words are held as hashes of 64 bits, uses in a problem as 31 bits; memory does not grow with the length of the texts
and has upper bounds (:data:`WORD_SLOTS`, :data:`PAIR_SLOTS`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qrm_forensics.metrics.lexicon_kernels import (
    add_kernel,
    dense_kernel,
    fill_kernel,
    judge_kernel,
    regrow_pairs_kernel,
    types_kernel,
)
from qrm_forensics.metrics.protocol import as_batch
from qrm_forensics.metrics.scan import Scan, scans

#: Columns of traces that the lexicon is made of.
LEXICON_READS = ("text", "benchmark", "problem_id")
#: How often a word of one response counts at most.
CAP = 5
#: Occurrences below which a word is not over-represented, however rare it is elsewhere.
FLOOR = 20
#: Words within which FLOOR occurrences of a word must lie for it to be dense.
STRETCH = 100
#: Share of the letter runs of a response from which on a word dominates it.
DOMINANT = 0.2
#: Rate where a word is dense over its rate in the reference from which on it is over-represented.
RATIO = 3e4
#: The number of a problem that the lexicon does not have.
NOBODY = -1_000_000_000
#: What the responses to other problems must come to, so that there is a reference: with fewer than RATIO / 2 words
#: nothing could be over-represented.
LEAST_RESPONSES = 20
LEAST_WORDS = 15_000
#: Upper bounds of the tables: slots for words (16 bytes each) and for uses of words in problems (4 bytes each).
WORD_SLOTS = 1 << 22
PAIR_SLOTS = 1 << 24

_ROWS = 16


@dataclass(frozen=True, slots=True)
class Types:
    """The different Latin letter runs of one response (t of them), as ``types_kernel`` finds them."""

    hashes: npt.NDArray[np.uint64]
    words: npt.NDArray[np.int32]
    runs: npt.NDArray[np.int32]
    type_of: npt.NDArray[np.int32]
    shape: npt.NDArray[np.uint8]
    n_words: int
    n_runs: int
    whole: int


def types_of(scan: Scan) -> Types:
    t = scan.tokens
    return Types(
        *types_kernel(
            *(scan.data, t.ids, t.low, t.kinds, t.starts, t.ends),
            *(t.numbered, t.first, t.times, t.folded),
        )
    )


def problem_hash(benchmark: str | None, problem_id: str | None) -> int:
    """64 bits for a problem; a trace without one belongs to the problem of all such traces."""
    name = f"{benchmark or ''}\0{problem_id or ''}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")


@dataclass(slots=True)
class ProblemSize:
    """The responses to one problem: how many, and their words, each response counting at most CAP of a word."""

    number: int
    responses: int = 0
    words: int = 0


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Read-only; see the module.  Tables are open-addressing hash tables of a power of two of slots.

    ``problems`` has, by the hash of a problem, what ``owners`` calls it and the size of its responses; ``members``
    the hashes of the responses.  ``novelty`` is the number of words per word that a response uses and no other does:
    the median over the problems.
    """

    keys: npt.NDArray[np.uint64]
    owners: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    pairs: npt.NDArray[np.uint32]
    problems: dict[int, ProblemSize]
    members: frozenset[int]
    n_responses: int
    n_words: int
    novelty: float

    def reference(self, problem: int) -> tuple[int, int]:
        """(responses, words, each response counting at most CAP of a word) to problems other than this one."""
        own = self.problems.get(problem)
        if own is None:
            return self.n_responses, self.n_words
        return self.n_responses - own.responses, self.n_words - own.words

    def suffices(self, problem: int) -> bool:
        """Whether there is enough of responses to other problems to judge one to this problem."""
        responses, words = self.reference(problem)
        return responses >= LEAST_RESPONSES and words >= LEAST_WORDS

    def judge(self, types: Types, problem: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
        """(flags, limits) of the words of a response (see ``judge_kernel``), those of its prompt not yet excused."""
        own = self.problems.get(problem)
        judged: tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]] = judge_kernel(
            self.keys,
            self.owners,
            self.counts,
            self.pairs,
            types.hashes,
            types.words,
            types.runs,
            types.n_runs,
            NOBODY if own is None else own.number,
            np.uint64(problem),
            _member(types, problem) in self.members,
            self.reference(problem)[1],
            FLOOR,
            RATIO,
            DOMINANT,
        )
        return judged


def _member(types: Types, problem: int) -> int:
    return int(types.whole) ^ problem


@dataclass(slots=True)
class _Builder:
    keys: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(1 << 12, np.uint64))
    owners: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(1 << 12, np.int32))
    counts: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(1 << 12, np.int32))
    pairs: npt.NDArray[np.uint32] = field(default_factory=lambda: np.zeros(1 << 12, np.uint32))
    problems: dict[int, ProblemSize] = field(default_factory=dict)
    members: set[int] = field(default_factory=set)
    n_words: int = 0
    n_pairs: int = 0
    total: int = 0

    def add(self, scan: Scan, problem: int) -> None:
        types = types_of(scan)
        member = _member(types, problem)
        if member in self.members:
            return
        self.members.add(member)
        of = self.problems.setdefault(problem, ProblemSize(len(self.problems)))
        self._make_room(len(types.hashes))
        t = scan.tokens
        dense = dense_kernel(
            *(scan.data, t.ids, t.kinds, t.ends, t.numbered),
            *(types.type_of, types.shape, types.words, FLOOR, STRETCH),
        )
        new_words, new_pairs, added = add_kernel(
            self.keys,
            self.owners,
            self.counts,
            self.pairs,
            types.hashes,
            types.runs,
            dense,
            types.n_runs,
            of.number,
            np.uint64(problem),
            self.total,
            self.n_pairs + len(types.hashes) <= PAIR_SLOTS * 3 // 4,
            CAP,
            FLOOR,
            DOMINANT,
        )
        self.n_words += int(new_words)
        self.n_pairs += int(new_pairs)
        self.total += int(added)
        of.words += int(added)
        of.responses += 1

    def _make_room(self, more: int) -> None:
        slots = _slots(self.n_words + more, len(self.keys))
        if slots > len(self.keys):
            least = self._least(WORD_SLOTS // 2 - more) if slots > WORD_SLOTS else 0
            kept = (self.keys != 0) & ((self.owners < 0) | (self.counts >= least))
            words = self.keys[kept], self.owners[kept], self.counts[kept]
            slots = _slots(len(words[0]) + more, min(slots, WORD_SLOTS))
            if slots == len(self.keys):
                self.keys.fill(0)  # the largest table is emptied and filled again, so that there are never two
            else:
                self.keys = np.zeros(slots, np.uint64)
                self.owners, self.counts = np.empty(slots, np.int32), np.empty(slots, np.int32)
            fill_kernel(*words, self.keys, self.owners, self.counts)
            self.n_words = len(words[0])
        slots = min(_slots(self.n_pairs + more, len(self.pairs)), PAIR_SLOTS)
        if slots > len(self.pairs):
            pairs = np.zeros(slots, np.uint32)
            regrow_pairs_kernel(self.pairs, pairs)
            self.pairs = pairs

    def _least(self, room: int) -> int:
        """The count below which words of a single response must go, so that at most ``room`` words stay if that can be."""
        there = self.keys != 0
        shared = int(np.count_nonzero(there & (self.owners < 0)))
        single = np.bincount(self.counts[there & (self.owners >= 0)], minlength=CAP + 1)
        for least in range(1, CAP + 1):
            if shared + int(single[least:].sum()) <= room:
                return least
        return CAP + 1

    def finish(self) -> Lexicon:
        words = np.array([p.words for p in self.problems.values()], np.int64)
        alone = self.owners[(self.keys != 0) & (self.owners >= 0)]
        new = np.bincount(alone, minlength=len(words))[words > 0] / words[words > 0]
        return Lexicon(
            keys=self.keys,
            owners=self.owners,
            counts=self.counts,
            pairs=self.pairs,
            problems=self.problems,
            members=frozenset(self.members),
            n_responses=sum(p.responses for p in self.problems.values()),
            n_words=self.total,
            novelty=float(np.median(new)) if len(new) else 0.0,
        )


def _slots(entries: int, slots: int) -> int:
    """``slots``, doubled until the entries fill at most three quarters of them."""
    while entries * 4 > slots * 3:
        slots *= 2
    return slots


def build_lexicon(batches: Iterable[pa.Table]) -> Lexicon:
    """The lexicon of all responses in the batches (columns :data:`LEXICON_READS`, any others ignored).

    Does not depend on their order, as long as the bounds are not reached; at the bounds, words that only one response
    has are forgotten, and so are further uses of words in problems.  Raises InputError where a column lacks.
    """
    builder = _Builder()
    for batch in batches:
        table = as_batch(batch, LEXICON_READS)
        for start in range(0, table.num_rows, _ROWS):
            part = table.slice(start, _ROWS)
            names = zip(part.column("benchmark").to_pylist(), part.column("problem_id").to_pylist(), strict=True)
            for scan, name in zip(scans(part), names, strict=True):
                if scan is not None:
                    builder.add(scan, problem_hash(*name))
    return builder.finish()
