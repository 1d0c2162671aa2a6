"""The most telling single problems: which, why, and each variant's words."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from qrm_forensics.benchmarks.code_tests import shown_gold
from qrm_forensics.records import Finish, Status
from qrm_forensics.report.claims import Ledger, Source, count, where
from qrm_forensics.report.data import SAMPLE_KEY, BenchmarkData, RunData
from qrm_forensics.report.keys import EVENTS, MARKS
from qrm_forensics.report.model import Case, Claim, Event, Excerpt, Mark, Sentence
from qrm_forensics.report.spread import number, text, whole

#: A text of at most this many characters is shown whole; else this much of it, in three parts.
WHOLE_TEXT = 1600
_BEGINNING, _MIDDLE, _END = 600, 400, 600
#: How far back from a cut a word boundary is looked for.
_WORD = 80
#: Context shown before the point where a loop begins.
_BEFORE_LOOP = 120

Rows = NDArray[np.bool_]
_SHOWN = (
    *("finish", "source_file", "source_index", "n_words", "n_chars", "n_tokens", "loop", "loop_unit", "loop_class"),
    *("loop_repeats", "loop_period", "outcome", *EVENTS),
)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Responses of one variant that show one thing: rows, the most telling first, of how many."""

    key: str
    variant: str
    reference: str | None
    rows: list[int]
    of: int


def build_cases(
    run: RunData, data: BenchmarkData, references: Mapping[str, str], max_cases: int, ledger: Ledger
) -> tuple[Case, ...]:
    """At most ``max_cases``, chosen by fixed rules: reasons take turns, and inside a reason variants do.

    No problem is shown twice.
    """
    candidates = [c for v in data.variants for c in _candidates(run, data, v, references.get(v))]
    chosen: list[tuple[int, _Candidates]] = []
    problems: set[int] = set()
    for row, why in _turns(candidates):
        problem = int(data.problem_of_row[row])
        if len(chosen) == max_cases:
            break
        if problem not in problems:
            problems.add(problem)
            chosen.append((row, why))
    responses = _responses(run, data, [row for row, _ in chosen])
    # Of imported scores there are no words to show, and a case is its words.
    worded = {row for (_, row), excerpt in responses.items() if excerpt.parts}
    return tuple(_case(run, data, row, why, responses, ledger) for row, why in chosen if row in worded)


def _candidates(run: RunData, data: BenchmarkData, variant: str, reference: str | None) -> list[_Candidates]:
    policy = run.policy
    frame = data.of(variant)
    judged = frame[f"right:{policy}"].notna().to_numpy()
    right = (frame[f"right:{policy}"] == 1).to_numpy()
    missing = (frame[f"status:{policy}"] == Status.MISSING).to_numpy()
    loop, to_the_end = _true(frame, "loop"), _true(frame, "loop_terminal")
    cut = frame["finish"].isin([Finish.LENGTH, Finish.LOOP_STOPPED]).to_numpy() | _true(frame, "truncated")
    own_end = frame["finish"].eq(Finish.STOP).to_numpy() | _true(frame, "closed")
    repeats, length = _known(frame, "loop_repeats"), _known(frame, "n_words")
    rows = frame["row"].to_numpy()
    found = []

    def add(key: str, mask: Rows, among: Rows, order: NDArray[np.float64], against: str | None) -> None:
        picked = np.flatnonzero(mask & among)
        ranked = sorted(picked, key=lambda i: (order[i], rows[i]))
        if ranked:
            found.append(_Candidates(key, variant, against, [int(rows[i]) for i in ranked], int(among.sum())))

    closed_wrong = judged & ~right & ~missing & ~loop & own_end
    if reference is not None and reference != variant:
        was = data.right(reference, policy)[rows]
        shared, was_right = judged & np.isfinite(was), was == 1
        add("case.loop_to_limit", was_right & ~right & to_the_end & cut, shared, -repeats, reference)
        add("case.missing_box", was_right & missing & ~loop, shared, length, reference)
        add("case.closed_wrong", was_right & closed_wrong, shared, length, reference)
        add("case.variant_right", (was == 0) & right, shared, length, reference)
        add("case.loop", was_right & ~right & loop & ~(to_the_end & cut), shared, -repeats, reference)
    elif reference is None:
        add("case.alone_loop", loop & ~right, judged, -repeats, None)
        add("case.alone_missing_box", missing & ~loop, judged, length, None)
        add("case.alone_closed_wrong", closed_wrong, judged, length, None)
        add("case.alone_right", right, judged, length, None)
    if {"strict", "lenient"} <= set(run.policies):
        strict, lenient = frame["right:strict"].to_numpy(np.float64), frame["right:lenient"].to_numpy(np.float64)
        both = np.isfinite(strict) & np.isfinite(lenient)
        add("case.scorer_disagrees", both & (strict != lenient), both, length, None)
    return found


def _true(frame: pd.DataFrame, column: str) -> Rows:
    """Whether a yes/no column is true; null and unmeasured are not."""
    return (frame[column] == 1).to_numpy() if column in frame else np.zeros(len(frame), dtype=bool)


def _known(frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A measured column with 0 where it is null or was not measured."""
    return np.nan_to_num(frame[column].to_numpy(np.float64)) if column in frame else np.zeros(len(frame))


def _turns(candidates: list[_Candidates]) -> Iterator[tuple[int, _Candidates]]:
    """Rows in the order in which they are offered: one per reason and round, the variants of a reason in turn."""
    by_reason: dict[str, list[_Candidates]] = {}
    for c in candidates:
        by_reason.setdefault(c.key, []).append(c)
    queues = []
    for key in sorted(by_reason, key=_ORDER.index):
        # the variant with the most such responses first
        several = sorted(by_reason[key], key=lambda c: -len(c.rows))
        taken = zip_longest(*([(row, c) for row in c.rows] for c in several))
        queues.append([offer for turn in taken for offer in turn if offer is not None])
    for turn in zip_longest(*queues):
        yield from (offer for offer in turn if offer is not None)


_ORDER = [
    "case.loop_to_limit",
    "case.closed_wrong",
    "case.missing_box",
    "case.variant_right",
    "case.loop",
    "case.alone_loop",
    "case.alone_closed_wrong",
    "case.alone_missing_box",
    "case.alone_right",
    "case.scorer_disagrees",
]


def _responses(run: RunData, data: BenchmarkData, rows: list[int]) -> dict[tuple[str, int], Excerpt]:
    """(variant, row) -> its response, of the chosen rows only; one variant's texts are in memory at a time."""
    found = {}
    shown = [c for c in _SHOWN if c in data.frame] + [
        f"{kind}:{p}" for p in run.policies for kind in ("status", "answer")
    ]
    wanted = {data.keys[row]: row for row in rows}
    marks = _marks(run, data.name, set(wanted))
    for variant in data.variants if rows else ():
        frame = data.of(variant)
        values = frame.loc[frame["row"].isin(rows), ["row", *shown]].to_dict("records")
        table = run.store.traces([*SAMPLE_KEY, "text"], variant=variant, benchmark=data.name)
        texts = {
            wanted[key]: table["text"][i].as_py()
            for i, key in enumerate(zip(*(table[c].to_pylist() for c in SAMPLE_KEY), strict=True))
            if key in wanted
        }
        for response in values:
            row = int(response["row"])
            found[variant, row] = _excerpt(run, variant, response, texts[row], marks.get((variant, data.keys[row]), ()))
    return found


def _marks(
    run: RunData, benchmark: str, wanted: set[tuple[str, int, int]]
) -> dict[tuple[str, tuple[str, int, int]], tuple[Mark, ...]]:
    """(variant, sample key) -> the marks of that response, in the order of the text."""
    found: dict[tuple[str, tuple[str, int, int]], list[Mark]] = {}
    problems = pa.array({key[0] for key in wanted}, pa.string())
    for column, kind in MARKS.items():
        if column not in run.spans or not wanted:
            continue
        table = run.spans[column]
        near = pc.and_(pc.equal(table["benchmark"], benchmark), pc.is_in(table["problem_id"], problems))
        for row in table.filter(near).to_pylist():
            key = (row["problem_id"], row["sample"], row["seed"])
            if key in wanted:
                spans = found.setdefault((row["variant"], key), [])
                spans += [Mark(kind, s["start"], s["end"]) for s in row[column] or ()]
    return {key: tuple(sorted(marks, key=lambda m: (m.start, m.end))) for key, marks in found.items()}


def _events(response: Mapping[Hashable, object], length: int) -> tuple[Event, ...]:
    made = []
    for column, kind in EVENTS.items():
        at = whole(response, column)
        if at is not None and length:
            made.append(Event(kind, at, min(1.0, at / length)))
    return tuple(sorted(made, key=lambda e: e.char))


def _case(
    run: RunData,
    data: BenchmarkData,
    row: int,
    why: _Candidates,
    responses: Mapping[tuple[str, int], Excerpt],
    ledger: Ledger,
) -> Case:
    problem_id, sample, seed = data.keys[row]
    problem = run.problems[data.name, problem_id]
    first = [v for v in (why.reference, why.variant) if v is not None]
    order = first + [v for v in data.variants if v not in first]
    return Case(
        id=f"{data.name}/{problem_id}/{sample}/{seed}",
        benchmark=data.name,
        problem_id=problem_id,
        sample=sample,
        seed=seed,
        reason=_reason(run, data, why, ledger),
        question=problem.question,
        gold=shown_gold(problem),
        subject=problem.subject,
        level=problem.level,
        excerpts=tuple(responses[v, row] for v in order if (v, row) in responses),
    )


def _reason(run: RunData, data: BenchmarkData, why: _Candidates, ledger: Ledger) -> Sentence:
    name = f"cases/{data.name}/{why.variant}/{why.key.removeprefix('case.')}"
    variants = [v for v in (why.reference, why.variant) if v is not None]
    tables = ["verdicts", "traces", *(run.tables[c] for c in ("loop", "closed") if c in run.tables)]
    source: Source = {
        "table": "+".join(dict.fromkeys(tables)),
        "filter": where(benchmark=data.name, variant=variants)
        + ("" if why.key == "case.scorer_disagrees" else f" and {where(policy=run.policy)}"),
    }
    slots: dict[str, Claim | str] = {"variant": why.variant}
    if why.reference is not None:
        slots["reference"] = why.reference
    slots["count"] = ledger.add(count(f"{name}/count", len(why.rows), "definition.case_count", of=why.of, **source))
    slots["of"] = ledger.add(count(f"{name}/of", why.of, "definition.case_of", **source))
    return Sentence(why.key, slots)


def _excerpt(
    run: RunData, variant: str, response: Mapping[Hashable, object], said: str | None, marks: tuple[Mark, ...]
) -> Excerpt:
    at_loop = whole(response, "loop_onset_char")
    loops = response.get("loop") == 1
    source, index = text(response, "source_file"), whole(response, "source_index")
    return Excerpt(
        variant=variant,
        status={p: text(response, f"status:{p}") or "" for p in run.policies},
        answer={p: text(response, f"answer:{p}") for p in run.policies},
        finish=str(response["finish"]),
        n_words=whole(response, "n_words"),
        n_chars=whole(response, "n_chars"),
        n_tokens=whole(response, "n_tokens"),
        parts=cut_parts(said or "", at_loop),
        loop_unit=text(response, "loop_unit") if loops else None,
        loop_repeats=number(response, "loop_repeats") if loops else None,
        loop_period=whole(response, "loop_period") if loops else None,
        source=None if source is None else f"{source}#{index}" if index is not None else source,
        loop_class=text(response, "loop_class") if loops else None,
        outcome=text(response, "outcome"),
        marks=marks,
        events=_events(response, len(said or "")),
    )


def cut_parts(said: str, around: int | None = None) -> tuple[tuple[int, str], ...]:
    """Beginning, middle and end of a text with their offsets, cut between words where a word ends nearby.

    The whole text where it is short; no part for an empty one.  The middle shows the
    surroundings of the character ``around`` (where a loop begins) unless the beginning or the end shows it.
    """
    if len(said) <= WHOLE_TEXT:
        return ((0, said),) if said else ()
    first_stop = _boundary(said, _BEGINNING, -1)
    last_start = _boundary(said, len(said) - _END, 1)
    centre = (len(said) - _MIDDLE) // 2
    if around is not None and first_stop < around < last_start:
        centre = around - _BEFORE_LOOP
    start = _boundary(said, min(max(centre, first_stop), last_start), 1)
    stop = _boundary(said, min(start + _MIDDLE, last_start), -1)
    middle = ((start, said[start:stop]),) if start < stop else ()
    return ((0, said[:first_stop]), *middle, (last_start, said[last_start:]))


def _boundary(said: str, at: int, step: int) -> int:
    """The nearest place from ``at`` in the direction of ``step`` where a word begins; ``at`` itself if none is near."""
    for i in range(at, at + step * _WORD, step):
        if 0 < i < len(said) and said[i - 1].isspace() and not said[i].isspace():
            return i
    return at
