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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from qrm_forensics.metrics import lexemes, loop_kernels
from qrm_forensics.metrics.loop_classes import classify, reference_type
from qrm_forensics.metrics.scan import Scan, Tokens, scan_text

#: Evidence for a loop, in tokens that repeat.
MIN_EVIDENCE = 180.0
#: Copies after the first one.
MIN_COPIES = 2.0
#: A loop that is exact needs less: so much evidence, so many copies after the first, such a share of equal tokens.
EXACT_EVIDENCE, EXACT_COPIES, EXACT_SHARE = 100.0, 4.0, 0.98
NEW_NUMBER = 15.0
#: A loop with a counter holds so many words to each step at least; with fewer it is an enumeration.
WORDS_PER_STEP = 5.0
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
    ``counted`` is whether a counter goes up from copy to copy, ``growth`` the mean lag in the last
    third of the tokens divided by that in the first third.
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
    links2, spans2, scores2, links3, spans3, scores3 = loop_kernels.segments_of_text(x2, x3, at, 50, 0.8)
    if not len(spans3):
        return []
    found = []
    bounds, figures = loop_kernels.episodes(x2, links2, spans2, scores2, 1.0, 120, 0.15)
    for (start, end), (score, copies) in zip(bounds.tolist(), figures.tolist(), strict=True):
        if score < EXACT_EVIDENCE or copies < MIN_COPIES:
            continue
        steps, new = loop_kernels.progress(x2, tokens.starts, tokens.ends, links2, start, end)
        evidence = score - NEW_NUMBER * new
        if _is_loop(evidence, copies, links2[start:end]):
            found.append(_episode(x2, tokens.ids, links2, start, end, copies, evidence, steps >= 0.4 * copies))
    bounds, figures = loop_kernels.episodes(x3, links3, spans3, scores3, 1.0, 120, 0.15)
    for (start, end), (score, copies) in zip(bounds.tolist(), figures.tolist(), strict=True):
        if score < MIN_ENUMERATION or copies < ENUMERATION_COPIES:
            continue
        covered = sum(max(0, min(e.end, at[end]) - max(e.onset, at[start])) for e in found if e.tier < 3)
        if covered > 0.5 * (at[end] - at[start]):
            continue
        steps, new, words = loop_kernels.progress_masked(x2, x3, at, links3, start, end)
        evidence = score - NEW_NUMBER * new
        counting = evidence >= MIN_EVIDENCE and steps >= 0.4 * copies and words >= WORDS_PER_STEP * copies
        made = _episode(x3, x3, links3, start, end, copies, evidence if counting else score, counting)
        if counting:
            found = [e for e in found if e.end <= at[start] or e.onset >= at[end]]
        found.append(_in_tokens(made, at, 2 if counting else 3))
    return sorted(found, key=lambda e: (e.onset, e.tier))


def find_episodes_of_ids(token_ids: npt.NDArray[Any]) -> list[Episode]:
    """Loops (tier 1) in a sequence of token ids (m,); the same under any renaming of the ids."""
    _, first, named = np.unique(token_ids, return_index=True, return_inverse=True)
    # By first appearance, and above the characters, of which the kernels know digits.
    x = (first.argsort().argsort().astype(np.int32) + 128)[named.ravel()] if len(first) else np.empty(0, np.int32)
    links, spans, scores = loop_kernels.segments_of_ids(x)
    bounds, figures = loop_kernels.episodes(x, links, spans, scores, 1.0, 120, 0.15)
    return [
        _episode(x, x, links, start, end, copies, score, False)
        for (start, end), (score, copies) in zip(bounds.tolist(), figures.tolist(), strict=True)
        if copies >= MIN_COPIES and _is_loop(score, copies, links[start:end])
    ]


def _is_loop(evidence: float, copies: float, links: Ints) -> bool:
    if evidence >= MIN_EVIDENCE:
        return True
    if evidence < EXACT_EVIDENCE or copies < EXACT_COPIES:
        return False
    return float(np.mean((links & 3) == loop_kernels.EQUAL)) >= EXACT_SHARE


def _episode(
    x: Ints, ids: Ints, links: Ints, start: int, end: int, copies: float, evidence: float, counted: bool
) -> Episode:
    where = np.flatnonzero(links[start:end]) + start
    lags = links[where] >> 2
    equal = where[(links[where] & 3) == loop_kernels.EQUAL]
    masked = float(np.mean(ids[equal] != ids[equal - (links[equal] >> 2)]))
    third = max(1, len(lags) // 3)
    onset, lag = loop_kernels.walk_back(x, start, int(links[start] >> 2), 0, 0.7, 12.0)
    period = int(np.bincount(lags).argmax())
    return Episode(
        tier=1 if masked <= MAX_MASKED else 2,
        body_start=onset - lag,
        onset=onset,
        end=end,
        period=period,
        repeats=1.0 + copies,
        evidence=evidence,
        unit=_undisturbed(links, onset, end, period),
        counted=counted,
        growth=float(lags[-third:].mean() / lags[:third].mean()),
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
    """An episode of the stream of numbers as one token, in tokens."""
    onset, start, end = int(at[e.onset]), int(at[e.body_start]), int(at[e.end])
    unit = (int(at[e.unit[0]]), int(at[e.unit[1]]))
    period = max(1, unit[1] - unit[0])
    return Episode(tier, start, onset, end, period, e.repeats, e.evidence, unit, e.counted, e.growth)


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
