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
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from qrm_forensics.metrics import lexemes, loop_kernels
from qrm_forensics.metrics.loop_classes import classify, reference_type
from qrm_forensics.metrics.scan import Scan, Tokens, scan_text

#: Evidence for a loop, in tokens that repeat, and copies after the first.
MIN_EVIDENCE, MIN_COPIES = 150.0, 3.3
#: An exact loop (such a share of equal tokens) needs less: so much evidence, and copies of a short and of a long unit.
EXACT_SHARE, EXACT_EVIDENCE, EXACT_COPIES, EXACT_COPIES_LONG = 0.97, 100.0, 4.0, 2.0
#: A loop with a counter needs more, and so many words to each step; with less it is an enumeration.
COUNTER_EVIDENCE, WORDS_PER_STEP = 220.0, 5.0
#: There is a counter if it takes so many steps to a copy.
STEPS = 0.4
#: What a number takes away that is new copy after copy, and a token at a lag that is no multiple of the period.
NEW_NUMBER, STRAY = 15.0, 0.5
#: An enumeration has so much evidence (a number is one token) and copies after the first.
MIN_ENUMERATION, ENUMERATION_COPIES = 80.0, 4.0
#: Share of the rest of the response that lies in loops from the onset of a degenerate suffix on.
SUFFIX_SHARE = 0.7
#: A loop ends with the response if at most so many tokens, or two periods, follow it.
END_SLACK = 64
#: Tier 1: at most this share of the equal tokens are equal only under the mask.
MAX_MASKED = 0.10
#: Characters of a unit that are kept.
UNIT_CAP = 400

Ints = npt.NDArray[np.int32]


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


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Joined segments x[start:end] before it is known what they are.

    ``equal``: share of the linked tokens that equal the one a lag earlier; ``stray``: how many
    have a lag that is no multiple of the period (to 6 %, and 3 tokens).
    """

    links: Ints
    start: int
    end: int
    score: float
    copies: float
    period: int
    equal: float
    stray: int
    growth: float

    @classmethod
    def of(cls, links: Ints, start: int, end: int, score: float) -> _Stretch:
        linked = links[start:end]
        linked = linked[linked != 0]
        lags = linked >> 2
        period = _period(lags)
        multiple = np.maximum(1, (lags + period // 2) // period)
        stray = np.abs(lags - multiple * period) > np.maximum(3, 0.06 * period) * multiple
        return cls(
            links,
            start,
            end,
            score,
            copies=float((multiple / lags).sum()),
            period=period,
            equal=float(np.mean((linked & 3) == loop_kernels.EQUAL)),
            stray=int(stray.sum()),
            growth=_growth(lags),
        )

    def evidence(self, new_numbers: int) -> float:
        return self.score - NEW_NUMBER * new_numbers - STRAY * self.stray

    def is_loop(self, evidence: float, *, counted: bool) -> bool:
        exact = self.equal >= EXACT_SHARE
        if counted and not exact:
            return evidence >= COUNTER_EVIDENCE and self.copies >= MIN_COPIES
        if evidence >= MIN_EVIDENCE:
            return self.copies >= (EXACT_COPIES_LONG if exact else MIN_COPIES)
        return exact and evidence >= EXACT_EVIDENCE and self.copies >= EXACT_COPIES


def _period(lags: Ints) -> int:
    """The commonest lag, or the one near a fraction of it that a seventh of the tokens have: noise hides the latest copy."""
    counts = np.bincount(lags)
    most = int(counts.argmax())
    for q in range(8, 1, -1):
        low, high = int(np.floor(0.94 * most / q)), int(np.ceil(1.06 * most / q)) + 1
        if low >= 1 and counts[low:high].sum() * 7 >= len(lags):
            return low + int(counts[low:high].argmax())
    return most


def _growth(lags: Ints) -> float:
    """The median lag of the last quarter of the tokens over that of the first, where each quarter's exceeds the last."""
    medians = [float(np.median(part)) for part in np.array_split(lags, 4) if part.size]
    rising = all(b > a for a, b in pairwise(medians))
    return medians[-1] / medians[0] if rising else 1.0


def _stretches(x: Ints, links: Ints, spans: Ints, scores: npt.NDArray[np.float64]) -> Iterator[_Stretch]:
    """Joined segments that could be anything, by score and copies."""
    bounds, totals = loop_kernels.episodes(x, links, spans, scores, 0.5, 120, 0.15)
    for (start, end), score in zip(bounds.tolist(), totals.tolist(), strict=True):
        if score >= MIN_ENUMERATION:
            made = _Stretch.of(links, start, end, score)
            if made.copies >= EXACT_COPIES_LONG:
                yield made


def find_episodes(tokens: Tokens) -> list[Episode]:
    """Loops (tiers 1 and 2) and enumerations (tier 3) of one response, in the order of their onsets."""
    x2, x3, at = loop_kernels.masked_streams(
        tokens.low, tokens.kinds, tokens.codes, tokens.starts, tokens.ends, _connective()
    )
    links2, spans2, scores2, links3, spans3, scores3 = loop_kernels.segments_of_text(x2, x3, at, 50, 0.8)
    found = []
    for s in _stretches(x2, links2, spans2, scores2):
        steps, new = loop_kernels.progress(x2, tokens.starts, tokens.ends, links2, s.start, s.end)
        evidence, counted = s.evidence(new), steps >= STEPS * s.copies
        if s.is_loop(evidence, counted=counted):
            found.append(_episode(x2, tokens.ids, s, evidence, counted))
    for s in _stretches(x3, links3, spans3, scores3):
        start, end = int(at[s.start]), int(at[s.end])
        if s.copies < ENUMERATION_COPIES:
            continue
        there = [e for e in found if e.tier < 3 and e.onset < end and e.end > start]
        covered = sum(min(e.end, end) - max(e.onset, start) for e in there)
        # A counter that costs evidence digit by digit is one token here, so that more of its loop is seen.
        if covered > (0.9 if all(e.counted for e in there) else 0.5) * (end - start):
            continue
        steps, new, words = loop_kernels.progress_masked(x2, x3, at, links3, s.start, s.end)
        evidence, counted = s.evidence(new), steps >= STEPS * s.copies and words >= WORDS_PER_STEP * s.copies
        if counted and s.is_loop(evidence, counted=True):
            found = [e for e in found if e not in there]
            found.append(_in_tokens(_episode(x3, x3, s, evidence, True), at, 2))
        elif not there:
            found.append(_in_tokens(_episode(x3, x3, s, s.score, False), at, 3))
    return _apart(found)


def _apart(found: list[Episode]) -> list[Episode]:
    """The episodes in the order of their onsets; loops that overlap are one if their periods agree, and else end to end."""
    out = [e for e in found if e.tier == 3]
    last: Episode | None = None
    for e in sorted((e for e in found if e.tier < 3), key=lambda e: e.onset):
        if last is not None and e.onset < last.end:
            if e.end <= last.end:
                continue
            if loop_kernels.commensurate(float(e.period), float(last.period)):
                joined = replace(
                    last, end=e.end, repeats=last.repeats + e.repeats - 1, evidence=last.evidence + e.evidence
                )
                out[-1] = last = joined
                continue
            e = replace(e, onset=last.end, body_start=last.end)
        out.append(e)
        last = e
    return sorted(out, key=lambda e: (e.onset, e.tier))


def find_episodes_of_ids(token_ids: npt.NDArray[Any]) -> list[Episode]:
    """Loops (tier 1) in a sequence of token ids (m,); the same under any renaming of the ids."""
    _, first, named = np.unique(token_ids, return_index=True, return_inverse=True)
    # By first appearance, and above the characters, of which the kernels know digits.
    x = (first.argsort().argsort().astype(np.int32) + 128)[named.ravel()]
    links, spans, scores = loop_kernels.segments_of_ids(x)
    found = []
    for s in _stretches(x, links, spans, scores):
        evidence = s.evidence(0)
        if s.is_loop(evidence, counted=False):
            found.append(_episode(x, x, s, evidence, False))
    return _apart(found)


def _episode(x: Ints, ids: Ints, s: _Stretch, evidence: float, counted: bool) -> Episode:
    equal = np.flatnonzero((s.links[s.start : s.end] & 3) == loop_kernels.EQUAL) + s.start
    masked = float(np.mean(ids[equal] != ids[equal - (s.links[equal] >> 2)]))
    anchor = loop_kernels.established(s.links, s.start, s.end)
    onset, lag = loop_kernels.walk_back(x, anchor, int(s.links[anchor] >> 2), 0, 1.0, 10.0)
    return Episode(
        tier=1 if masked <= MAX_MASKED else 2,
        body_start=onset - lag,
        onset=onset,
        end=s.end,
        period=s.period,
        repeats=1.0 + s.copies,
        evidence=evidence,
        unit=_undisturbed(s.links, onset, s.end, s.period),
        counted=counted,
        growth=s.growth,
    )


def _undisturbed(links: Ints, onset: int, end: int, period: int) -> tuple[int, int]:
    """The copy, among the first 32 from the second on, that differs least from the one before."""
    differs = np.cumsum((links[onset:end] & 3) != loop_kernels.EQUAL)
    best = (period + 1, onset, min(onset + period, end))
    at = onset
    for _ in range(32):
        stop = at + period
        if stop > end:
            break
        wrong = int(differs[stop - onset - 1] - (differs[at - onset - 1] if at > onset else 0))
        best = min(best, (wrong, at, stop))
        if not wrong:
            break
        # the next copy begins at the token that was compared with this one's first
        ahead = np.arange(at + period // 2 + 1, min(at + 2 * period + 1, end))
        linked = ahead[ahead - (links[ahead] >> 2) == at]
        at = int(linked[0]) if linked.size else stop
    return best[1], best[2]


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

    @property
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
    told = tuple(_told(e, scan, n, ended=int(tokens.starts[e.onset]) < mark) for e in episodes)
    loops = [e for e in episodes if e.tier < 3]
    if not loops:
        return LoopReport(told, n, 0.0, None, None)
    covered = np.zeros(n + 1, dtype=np.int64)
    for e in loops:
        covered[e.body_start : e.end] = 1
    ahead = covered[::-1].cumsum()[::-1]
    suffix = (e for e in loops if ahead[e.onset] >= SUFFIX_SHARE * (n - e.onset))
    chosen = next(suffix, None) or max(loops, key=lambda e: e.tokens)
    first = told[episodes.index(chosen)]
    onset_id = None if token_ids is None else _onset_in_ids(np.asarray(token_ids), chosen, n)
    return LoopReport(told, n, float(covered.sum() / n), first, onset_id)


def _told(e: Episode, scan: Scan, n: int, *, ended: bool) -> FoundEpisode:
    tokens = scan.tokens
    body, onset, end = scan.chars(
        [tokens.starts[e.body_start], tokens.starts[e.onset], tokens.ends[e.end - 1]]
    ).tolist()
    unit = scan.slice(int(tokens.starts[e.unit[0]]), int(tokens.ends[e.unit[1] - 1]))
    loop_class = classify(unit, e.period, enumeration=e.tier == 3, counted=e.counted, growth=e.growth)
    return FoundEpisode(
        tier=e.tier,
        body_start_char=body,
        onset_char=onset,
        end_char=end,
        period=e.period,
        repeats=e.repeats,
        tokens=e.tokens,
        unit=unit if len(unit) <= UNIT_CAP else unit[: UNIT_CAP - 1] + "…",
        loop_class=loop_class,
        reference=reference_type(unit, loop_class),
        terminal=not ended and n - e.end <= max(2 * e.period, END_SLACK),
        evidence=e.evidence,
        onset_token=e.onset,
    )


def _onset_in_ids(ids: npt.NDArray[Any], loop: Episode, n: int) -> int | None:
    """The onset, in ids, of the loop that lies where ``loop`` does, both as shares of the response."""
    if not len(ids):
        return None
    lo, hi = loop.onset / n * len(ids), loop.end / n * len(ids)
    there = [e for e in find_episodes_of_ids(ids) if min(e.end, hi) - max(e.onset, lo) > 0]
    return min((e.onset for e in there), key=lambda onset: abs(onset - lo), default=None)
