"""Loops in one response: where they begin, what repeats, how often, and whether they end.

A *loop* is an episode in which the response copies itself over and over.  What counts is the
evidence: each token that equals the one a lag earlier adds 1, each that does not takes
something away (``loop_kernels``), and a number that is new in copy after copy takes
``NEW_NUMBER`` away, because text whose every line brings in new numbers is an enumeration.
The numbers of one counter that advances by the same step are not new.

Tiers: 1, the tokens repeat as they are; 2, they repeat once case and discourse connectives, or a
counter amid words, are masked ("So, x. Thus, x."); 3, they repeat only once every number is
masked, which is an enumeration and never a loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from qrm_forensics.metrics import lexemes, loop_episodes, loop_kernels
from qrm_forensics.metrics.loop_classes import Unit, classify, reference_type
from qrm_forensics.metrics.scan import Scan, Tokens, scan_text

#: Evidence for a loop, in tokens that repeat, and copies after the first.
MIN_EVIDENCE, MIN_COPIES = 180.0, 3.3
#: An exact loop (such a share of equal tokens) needs less: so much evidence, and copies of a short and of a long unit.
EXACT_SHARE, EXACT_EVIDENCE, EXACT_COPIES, EXACT_COPIES_LONG = 0.97, 100.0, 4.0, 2.0
#: Every loop: that share of equal tokens, which chance reaches only in two-letter alphabets.
LEAST_SHARE = 0.6
#: A loop with a counter needs more, and to each step so many tokens that are no digits (words, where it shows only
#: with the numbers masked); with less it is an enumeration.
COUNTER_EVIDENCE, FIXED_PER_STEP, WORDS_PER_STEP = 220.0, 2.5, 5.0
#: There is a counter if it takes so many steps to a copy, and other numbers are new so often to a step at most.
STEPS, OTHERS = 0.4, 0.45
#: A number beside the counter is new in every copy, if in so many.
EVERY_COPY = 0.7
#: What a number takes away that is new copy after copy, and a token at a lag that is no multiple of the period.
NEW_NUMBER, STRAY = 15.0, 0.5
#: An enumeration has so much evidence (a number is one token) and copies after the first.
MIN_ENUMERATION, ENUMERATION_COPIES = 100.0, 4.0
#: Share of the rest of the response that lies in loops from the onset of a degenerate suffix on.
SUFFIX_SHARE = 0.7
#: A loop ends with the response if at most so many tokens, or two periods, follow it.
END_SLACK = 64
#: Tier 1: at most this share of the equal tokens are equal only under the mask.
MAX_MASKED = 0.10
#: A stretch is looked into from this score on.
MIN_STRETCH = 60.0
#: Copies can only grow where such a share of the tokens is at no multiple of the period.
GROWING = 0.1
#: Characters of a unit that are kept.
UNIT_CAP = 400

_WAIT = lexemes.CODES["wait"]

Ints = npt.NDArray[np.int32]
#: Marks that end what came before them; ASCII characters are their own token numbers.
_CLOSING = frozenset(map(ord, ".,;:!?)]}"))


@dataclass(frozen=True, slots=True)
class Episode:
    """A stretch of repetition, in tokens.

    ``body_start`` begins the first copy, ``onset`` the second, whose first token is the first that is
    repeated; ``end`` is past the last.  ``period`` is the lag that most tokens share, ``repeats`` counts
    copies, the first one included.  ``unit`` (start, end) is a copy that was found undisturbed.
    ``counted`` is whether a counter goes up from copy to copy, ``growth`` by how much the copies grow from
    the first to the last quarter of the tokens, 1 unless they grow all along.
    """

    tier: int
    body_start: int
    onset: int
    end: int
    period: int
    repeats: float
    evidence: float
    unit: tuple[int, int]
    counted: bool
    growth: float

    @property
    def tokens(self) -> int:
        return self.end - self.body_start


@cache
def _connective() -> npt.NDArray[np.bool_]:
    table = np.zeros(256, dtype=np.bool_)
    table[lexemes.codes_of(lexemes.CONNECTIVES)] = True
    return table


def find_episodes(tokens: Tokens) -> list[Episode]:
    """Loops (tiers 1 and 2) and enumerations (tier 3) of one response, in the order of their onsets."""
    x2, x3, at = loop_kernels.masked_streams(
        tokens.low, tokens.kinds, tokens.codes, tokens.starts, tokens.ends, _connective()
    )
    links2, spans2, scores2, links3, spans3, scores3 = loop_kernels.segments_of_text(x2, x3, at)
    found = []
    for s in _candidates(x2, tokens.starts, tokens.ends, links2, spans2, scores2):
        evidence, counted = s.evidence, _is_counter(s.steps, s.new, s.copies)
        if counted and _other_than_digits(x2[s.start : s.end]) < FIXED_PER_STEP * s.copies:
            continue
        if s.is_loop(counted=counted) and loop_episodes.regular(x2, s.start, s.end, s.period):
            found.append(_episode(x2, tokens.ids, links2, s, evidence, counted))
    masked = loop_episodes.stretches(x3, links3, spans3, scores3).tolist() if len(spans3) else []
    for start, end, score in masked:
        if score < MIN_ENUMERATION:
            continue
        start, end = int(start), int(end)
        first, last = int(at[start]), int(at[end])
        there = [e for e in found if e.tier < 3 and e.onset < last and e.end > first]
        covered = sum(min(e.end, last) - max(e.onset, first) for e in there)
        # A counter is one token here, not digit by digit, so that more of its loop is seen, and whether it is one.
        only_counted = all(e.counted for e in there)
        if covered > 0.5 * (last - first) and not only_counted:
            continue
        *figures, words, numbers = loop_episodes.measure_masked(x2, x3, at, links3, start, end)
        s = _Stretch(start, end, score, *figures)
        if s.copies < ENUMERATION_COPIES:
            continue
        counted = _is_counter(s.steps, s.new, s.copies) and words >= WORDS_PER_STEP * s.copies
        if counted and s.is_loop(counted=True):
            if covered <= 0.9 * (last - first):
                found = [e for e in found if e not in there]
                found.append(_in_tokens(_episode(x3, x3, links3, s, s.evidence, True), at, 2))
            continue
        if only_counted and s.new >= EVERY_COPY * s.copies:
            found = [e for e in found if e not in there or not 0.7 * s.copies <= e.repeats <= 1.4 * s.copies]
            there = [e for e in there if e in found]
        if not there and s.copies <= 2 * numbers < 1.8 * (end - start):
            found.append(_in_tokens(_episode(x3, x3, links3, s, score, False), at, 3))
    return _apart(found)


def _is_counter(steps: int, others: int, copies: float) -> bool:
    return steps >= STEPS * copies and others <= OTHERS * steps


def _other_than_digits(x: Ints) -> int:
    return int(np.count_nonzero((x < ord("0")) | (x > ord("9"))))


def find_episodes_of_ids(token_ids: npt.NDArray[Any]) -> list[Episode]:
    """Loops (tier 1) in a sequence of token ids (m,); the same under any renaming of the ids."""
    _, first, named = np.unique(token_ids, return_index=True, return_inverse=True)
    # By first appearance, and above the characters, of which the kernels know digits.
    x = (first.argsort().argsort().astype(np.int32) + loop_kernels.FIRST_WORD)[named.ravel()]
    links, spans, scores = loop_kernels.segments_of_ids(x)
    nowhere = np.arange(len(x), dtype=np.int32)
    found = []
    for s in _candidates(x, nowhere, nowhere, links, spans, scores):
        if s.is_loop(counted=False) and loop_episodes.regular(x, s.start, s.end, s.period):
            found.append(_episode(x, x, links, s, s.evidence, False))
    return _apart(found)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """What is known of joined segments before it is known what they are; a row of ``loop_episodes.candidates``."""

    start: int
    end: int
    score: float
    period: int
    copies: float
    equal: float
    stray: int
    steps: int
    new: int

    @property
    def evidence(self) -> float:
        return self.score - NEW_NUMBER * self.new - STRAY * self.stray

    def is_loop(self, *, counted: bool) -> bool:
        if self.equal < LEAST_SHARE:
            return False
        if counted:
            return self.evidence >= COUNTER_EVIDENCE and self.copies >= MIN_COPIES
        exact = self.equal >= EXACT_SHARE
        if self.evidence >= MIN_EVIDENCE:
            return self.copies >= (EXACT_COPIES_LONG if exact else MIN_COPIES)
        return exact and self.evidence >= EXACT_EVIDENCE and self.copies >= EXACT_COPIES


def _candidates(
    x: Ints, starts: Ints, ends: Ints, links: Ints, spans: Ints, scores: npt.NDArray[np.float64]
) -> Iterator[_Stretch]:
    if len(spans):
        rows = loop_episodes.candidates(x, starts, ends, links, spans, scores, EXACT_EVIDENCE, MIN_STRETCH)
        for start, end, score, period, copies, equal, stray, steps, new in rows.tolist():
            yield _Stretch(int(start), int(end), score, int(period), copies, equal, int(stray), int(steps), int(new))


def _apart(found: list[Episode]) -> list[Episode]:
    """The episodes in the order of their onsets; loops that overlap are one if their periods agree, else end to end."""
    out = [e for e in found if e.tier == 3]
    last: Episode | None = None
    for e in sorted((e for e in found if e.tier < 3), key=lambda e: e.onset):
        if last is not None and e.onset < last.end:
            if e.end <= last.end:
                continue
            if loop_episodes.commensurate(float(e.period), float(last.period)):
                more = last.repeats + e.repeats - 1
                last = replace(last, end=e.end, repeats=more, evidence=last.evidence + e.evidence)
                out[-1] = last
                continue
            e = replace(e, onset=last.end, body_start=last.end)
        out.append(e)
        last = e
    return sorted(out, key=lambda e: (e.onset, e.tier))


def _episode(x: Ints, ids: Ints, links: Ints, s: _Stretch, evidence: float, counted: bool) -> Episode:
    onset, lag, masked, unit_start, unit_end = loop_episodes.describe(x, ids, links, s.start, s.end, s.period)
    return Episode(
        tier=1 if masked <= MAX_MASKED else 2,
        body_start=onset - lag,
        onset=onset,
        end=s.end,
        period=s.period,
        repeats=1.0 + s.copies,
        evidence=evidence,
        unit=(unit_start, unit_end),
        counted=counted,
        growth=loop_episodes.growth(links, s.start, s.end) if s.stray >= GROWING * (s.end - s.start) else 1.0,
    )


def _in_tokens(e: Episode, at: Ints, tier: int) -> Episode:
    """An episode of the stream with each number as one token, in tokens."""
    unit = (int(at[e.unit[0]]), int(at[e.unit[1]]))
    return replace(
        e,
        tier=tier,
        body_start=int(at[e.body_start]),
        onset=int(at[e.onset]),
        end=int(at[e.end]),
        period=unit[1] - unit[0],
        unit=unit,
    )


@dataclass(frozen=True, slots=True)
class FoundEpisode:
    """An episode with its place in the text, in characters (code points), and what it says."""

    tier: int
    body_start_char: int
    onset_char: int
    end_char: int
    period: int
    repeats: float
    tokens: int
    unit: str
    loop_class: str
    reference: str
    terminal: bool
    evidence: float
    onset_token: int


@dataclass(frozen=True)
class LoopReport:
    """What was found in one response of ``n_tokens`` pseudo-tokens.

    ``episodes`` are in the order of their onsets.  ``onset_char`` is the onset of the response: that of the
    degenerate suffix, the earliest loop from which at least SUFFIX_SHARE of the tokens lie in loops;
    where there is none, that of the longest loop.  ``onset_token`` counts pseudo-tokens, and
    ``onset_id`` token ids where they were given and show the loop too.
    """

    episodes: tuple[FoundEpisode, ...]
    n_tokens: int
    coverage: float
    first: FoundEpisode | None
    onset_id: int | None

    @cached_property
    def loops(self) -> tuple[FoundEpisode, ...]:
        return tuple(e for e in self.episodes if e.tier < 3)

    @property
    def loop(self) -> bool:
        return self.first is not None

    @cached_property
    def main(self) -> FoundEpisode | None:
        """The longest loop, or without one the longest enumeration."""
        return max(self.loops or self.episodes, key=lambda e: e.tokens, default=None)

    @property
    def onset_char(self) -> int | None:
        return self.first.onset_char if self.first else None

    @property
    def terminal(self) -> bool:
        return any(e.terminal for e in self.loops)


def find_loops(
    text: str, *, closed: bool | None = None, token_ids: Sequence[int] | npt.NDArray[Any] | None = None
) -> LoopReport:
    """The loops of one response.

    ``closed``: whether the thinking was ended (None: whether the text holds ``</think>``), which
    decides if a loop at the end is terminal.  ``token_ids`` (m,): the response as the model wrote it.
    """
    return report_loops(scan_text(text), closed=closed, token_ids=token_ids)


def report_loops(
    scan: Scan, *, closed: bool | None = None, token_ids: Sequence[int] | npt.NDArray[Any] | None = None
) -> LoopReport:
    """As ``find_loops``, of a response that is scanned already."""
    tokens = scan.tokens
    n = len(tokens.ids)
    episodes = find_episodes(tokens)
    if not episodes:
        return LoopReport((), n, 0.0, None, None)
    # A loop that began after the last </think> was not ended by it.
    mark = scan.data.tobytes().rfind(b"</think>") if closed is not False else -1
    if closed and mark < 0:
        mark = len(scan.data)
    told = _told(episodes, scan, mark)
    loops = [e for e in episodes if e.tier < 3]
    if not loops:
        return LoopReport(told, n, 0.0, None, None)
    coverage, suffix = _covered(loops, n)
    chosen = suffix or max(loops, key=lambda e: e.tokens)
    onset_id = None if token_ids is None else _onset_in_ids(np.asarray(token_ids), chosen, n)
    return LoopReport(told, n, coverage, told[episodes.index(chosen)], onset_id)


def _covered(loops: list[Episode], n: int) -> tuple[float, Episode | None]:
    """(share of the n tokens in loops, the loop that begins the degenerate suffix); by onset, loops do not overlap."""
    covered = 0
    suffix = None
    limit = n
    for e in reversed(loops):
        # the first copy may reach into the loop before
        if covered + e.end - e.onset >= SUFFIX_SHARE * (n - e.onset):
            suffix = e
        covered += max(0, min(e.end, limit) - e.body_start)
        limit = min(limit, e.body_start)
    return min(1.0, covered / n), suffix


def _told(episodes: list[Episode], scan: Scan, mark: int) -> tuple[FoundEpisode, ...]:
    """The episodes in characters; ``mark`` is the byte offset before which the thinking's end closes what began."""
    tokens = scan.tokens
    n = len(tokens.ids)
    offsets = np.array(
        [[tokens.starts[e.body_start], tokens.starts[e.onset], tokens.ends[e.end - 1]] for e in episodes]
    )
    order = np.argsort(offsets, axis=None, kind="stable")
    chars = np.empty(offsets.size, np.int64)
    chars[order] = scan.chars(offsets.ravel()[order])
    out = []
    for e, (body, onset, end), first in zip(
        episodes, chars.reshape(-1, 3).tolist(), offsets[:, 1].tolist(), strict=True
    ):
        unit = _unit(e, scan)
        loop_class = "enumeration" if e.tier == 3 else classify(unit)
        found = FoundEpisode(
            tier=e.tier,
            body_start_char=body,
            onset_char=onset,
            end_char=end,
            period=e.period,
            repeats=e.repeats,
            tokens=e.tokens,
            unit=unit.text if len(unit.text) <= UNIT_CAP else unit.text[: UNIT_CAP - 1] + "…",
            loop_class=loop_class,
            reference=reference_type(unit, loop_class),
            terminal=first >= mark and n - e.end <= max(2 * e.period, END_SLACK),
            evidence=e.evidence,
            onset_token=e.onset,
        )
        out.append(found)
    return tuple(out)


def _unit(e: Episode, scan: Scan) -> Unit:
    """The undisturbed copy, turned so that it does not begin with the punctuation of the copy before."""
    tokens = scan.tokens
    start, end = e.unit
    turned = 0
    for name in tokens.ids[start : start + max(0, min(end - start, e.end - end, 4))].tolist():
        if name not in _CLOSING:
            break
        turned += 1
    if turned == end - start:
        turned = 0
    start, end = start + turned, end + turned
    again = min(2 * end - start, e.end)
    text = scan.slice(int(tokens.starts[start]), int(tokens.ends[end - 1]))
    twice = scan.slice(int(tokens.starts[start]), int(tokens.ends[again - 1])) if again > end else text
    waits = tokens.codes[e.body_start : e.end].tobytes().count(_WAIT) / e.repeats
    return Unit(text, twice, e.period, waits, e.counted, e.growth)


def _onset_in_ids(ids: npt.NDArray[Any], loop: Episode, n: int) -> int | None:
    """The onset, in ids, of the loop that lies where ``loop`` does, both as shares of the response."""
    if not len(ids):
        return None
    lo, hi = loop.onset / n * len(ids), loop.end / n * len(ids)
    there = [e for e in find_episodes_of_ids(ids) if min(e.end, hi) - max(e.onset, lo) > 0]
    return min((e.onset for e in there), key=lambda onset: abs(onset - lo), default=None)
