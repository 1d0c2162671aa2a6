"""One response with everything that is known of it: text, tokens, marks, loops, stated answers, events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np

from qrm_forensics import answers
from qrm_forensics.metrics.loop_detector import FoundEpisode, LoopReport, report_loops
from qrm_forensics.metrics.scan import Scan, scan_text
from qrm_forensics.metrics.statements import CONCLUDED, canonical, statements
from qrm_forensics.notebook.vocabulary import Vocabulary
from qrm_forensics.records import Finish, Kind, Problem, Trace
from qrm_forensics.report.folding import LoopSpan, Segment, fold
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.keys import EVENTS, MARKS
from qrm_forensics.report.model import Event, Mark

#: Responses that something other than the model ended.
CUT = (Finish.LENGTH, Finish.LOOP_STOPPED)


@dataclass(frozen=True, slots=True)
class Stated:
    """An answer that the response states: in a box, or by "the answer is".

    ``start`` and ``end`` are code points, ``changed`` is whether it is another one than the answer stated before.
    """

    start: int
    end: int
    answer: str
    changed: bool


@dataclass(frozen=True)
class Response:
    """What one variant wrote to one problem.

    ``figures`` has the row of the table ``responses``: statuses by policy, answer, and every measured column.
    ``text`` is everything after the prompt, empty where generation failed.  Positions are code points of ``text``.
    """

    trace: Trace
    problem: Problem
    figures: Mapping[str, Any]
    vocabulary: Vocabulary
    texts: Texts
    #: Ranges of ``text`` that were written for the model (thinking budgets); None where that is not known.
    forced: tuple[tuple[int, int], ...] | None = ()
    #: ``file:line`` where that should stand.
    forced_at: str = ""

    @property
    def variant(self) -> str:
        return self.trace.variant

    @property
    def text(self) -> str:
        return self.trace.text or ""

    @property
    def finish(self) -> Finish:
        return self.trace.finish

    @property
    def cut(self) -> bool:
        """Whether something other than the model ended it: the token limit, or what stops loops."""
        return self.finish in CUT

    def status(self, policy: str) -> str | None:
        """``correct``, ``wrong``, ``missing``, ``unscored``, or None where the policy did not judge it."""
        found: str | None = self.figures.get(f"{policy}_status")
        return found

    @cached_property
    def scan(self) -> Scan:
        return scan_text(self.text)

    @cached_property
    def _report(self) -> LoopReport:
        return report_loops(self.scan, closed=False if self.cut else None)

    @property
    def episodes(self) -> tuple[FoundEpisode, ...]:
        """Loops (tiers 1 and 2) and enumerations (tier 3), in the order of their onsets."""
        return self._report.episodes

    @cached_property
    def loops(self) -> tuple[LoopSpan, ...]:
        """The loops, each with what it repeats and how often."""
        found = self._report.loops
        return tuple(LoopSpan(e.body_start_char, e.end_char, e.unit, e.repeats, e.onset_char) for e in found)

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The text with its loops folded; the segments joined are the text."""
        return fold(self.text, self.loops)

    @cached_property
    def marks(self) -> tuple[Mark, ...]:
        """What is not the model's, and what the metrics point at: false equations, statements of the correct answer, gibberish, loops."""
        found = [Mark("forced", start, end) for start, end in self.forced or ()]
        found += [
            Mark(kind, span["start"], span["end"])
            for column, kind in MARKS.items()
            for span in self.figures.get(column) or ()
        ]
        return tuple(sorted(found, key=lambda m: (m.start, m.end)))

    @cached_property
    def stated(self) -> tuple[Stated, ...]:
        """The answers that are boxed or called the answer, in the order of the text; none for code problems."""
        if self.problem.kind is Kind.CODE:
            return ()
        found = statements(self.scan)
        told: list[Stated] = []
        before: object = None
        rows = np.flatnonzero((found.rules != CONCLUDED) & ~found.words)
        chars = self.scan.chars(np.stack([found.starts[rows], found.ends[rows]], axis=1).ravel()).reshape(-1, 2)
        for start, end in chars.tolist():
            answer = self.text[start:end]
            choice = self.problem.kind is Kind.CHOICE
            key = (answers.choice_letter(answer) or "") if choice else canonical(answer).key
            if key == "":
                continue
            told.append(Stated(start, end, answer, before is not None and key != before))
            before = key
        return tuple(told)

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """The timeline: first right answer, changes of the answer, final answer, first slip, loop onset, what was written for
        the model, limit.
        """
        length = len(self.text)
        places = [(kind, self.figures.get(column)) for column, kind in EVENTS.items()]
        places += [("answer_change", s.start) for s in self.stated if s.changed]
        places += [("forced", start) for start, _ in self.forced or ()]
        if self.cut:
            places.append(("limit", length))
        made = [Event(kind, int(at), min(1.0, at / length)) for kind, at in places if at is not None and length]
        return tuple(sorted(made, key=lambda e: e.char))

    @cached_property
    def token_texts(self) -> tuple[str, ...] | None:
        """The text of every generated token; None where the ids, or the vocabulary to read them, are not there.

        Tokens that share a character of several bytes have it with the one that completes it.
        """
        if self.trace.token_ids is None:
            return None
        return self.vocabulary.pieces(self.trace.token_ids)

    @cached_property
    def token_chars(self) -> tuple[int, ...] | None:
        """Where every token begins, in code points of ``text``; None as for ``token_texts``, or where they do not agree.

        The end token has no text: it begins where the text ends.
        """
        pieces = self.token_texts
        if pieces is None:
            return None
        starts = list(accumulate((len(p) for p in pieces), initial=0))
        joined = "".join(pieces)
        if not joined.startswith(self.text):
            return None
        return tuple(min(s, len(self.text)) for s in starts[:-1])

    def __repr__(self) -> str:
        from qrm_forensics.notebook.terminal import plain, response_view

        return plain(response_view(self))

    def _repr_html_(self) -> str:
        from qrm_forensics.notebook.html import response_html

        return str(response_html(self))
