"""Everything that follows from the responses: verdicts, measures, outcomes, the early warning.

Each table is stamped with the hash of what it was made from and is made again when that
changed.  Nothing here generates, and nothing needs torch.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from qrm_forensics.export import export_table
from qrm_forensics.measure import make_corpora, measure_groups, warm_up
from qrm_forensics.metrics import Metric, all_metrics
from qrm_forensics.observing import Observer, Silent, Stopwatch
from qrm_forensics.recipes import thinking_of
from qrm_forensics.records import TRACE_KEY, Kind, Status
from qrm_forensics.sandbox import described
from qrm_forensics.score import POLICIES, Grader
from qrm_forensics.score.code_judge import provisional
from qrm_forensics.score.stamp import golds_hash, lenient_of, verdict_stamp
from qrm_forensics.store import Store, hash_of, read_row_group
from qrm_forensics.symptoms import RULES_VERSION, calibrate, judge

if TYPE_CHECKING:
    from qrm_forensics.early_warning import EarlyWarning

#: The table of outcomes, stored beside those of the metrics.
SYMPTOMS_TABLE = "symptoms.v1"
#: The analysis that judges the early warning, and how many bytes of a benchmark's responses it reads at most.
FORESEEN = "early_warning"
FORESEEN_VERSION = 1  # raised with every change that can alter its figures
FORESEE_BYTES = 256 << 20


def derive(
    store: Store,
    observer: Observer | None = None,
    watch: Stopwatch | None = None,
    *,
    steps: Sequence[str] = ("score", "measure"),
    workers: int | None = None,
) -> None:
    """Score and measure every cell whose derived tables are missing or stale."""
    observer = observer or Silent()
    watch = watch or Stopwatch("derive")
    if "score" in steps:
        with watch.timing("score"):
            _score(store, observer, workers or min(2, os.cpu_count() or 1), watch)
    if "measure" in steps:
        with watch.timing("measure"):
            _measure(store, observer)
            judged = _judge(store, observer)
            _foresee(store, judged, observer)


def _score(store: Store, observer: Observer, workers: int, watch: Stopwatch) -> None:
    problems = store.problems()
    golds = golds_hash(problems)
    stale: list[tuple[str, str, str]] = []
    for variant, benchmark in store.cells():
        stamp = verdict_stamp(store, variant, benchmark, golds)
        known = [store.derived_stamp("verdicts", policy, variant, benchmark) for policy in POLICIES]
        if any(k != stamp for k in known):
            stale.append((variant, benchmark, stamp))
    if not stale:
        return
    if any(problems[key].kind is Kind.CODE for key in problems):
        watch.host["code sandbox"] = described()
    with Grader(workers=workers, lenient=lenient_of(store)) as grader:
        for variant, benchmark, stamp in stale:
            traces = store.stream_records(variant, benchmark)
            pairs = ((problems[benchmark, t.problem_id], t) for t in traces)
            count = sum(g.rows for g in store.row_groups(variant, benchmark))
            observer.begin("score", f"{variant} · {benchmark}", count * len(POLICIES))
            verdicts = []
            for verdict in grader.grade(pairs, policies=POLICIES):
                verdicts.append(verdict)
                observer.advance()
            for policy in POLICIES:
                kept = [v for v in verdicts if v.policy == policy]
                made_of = f"{stamp}-provisional" if provisional(kept) else stamp  # judged again next time
                store.write_verdicts(policy, variant, benchmark, kept, made_of)
            observer.end()


def _measure(store: Store, observer: Observer) -> None:
    metrics = [m for m in all_metrics() if m.grain == "trace"]
    problems = store.problems()
    asked = hash_of([[b, i, p.question, p.gold, str(p.kind), p.subject, p.level] for (b, i), p in problems.items()])
    cells = {cell: store.cell_stamp(*cell) for cell in store.cells()}
    everything = hash_of([[*cell, stamp] for cell, stamp in cells.items()])
    stale: dict[tuple[str, str], list[Metric]] = {}
    stamps: dict[tuple[str, str, str], str] = {}
    for cell, made_of in cells.items():
        for m in metrics:
            # What a metric is made from: the cell, and where it reads them the problems and the other cells.
            parts = [made_of, *[asked] * m.reads_problem, *[everything] * (m.corpus is not None)]
            stamp = made_of if len(parts) == 1 else hash_of(parts)
            if store.derived_stamp("measures", m.id, *cell) != stamp:
                stale.setdefault(cell, []).append(m)
                stamps[*cell, m.name] = stamp
    if not stale:
        return
    observer.begin("measure", "machine code of the metrics (compiled once per installation)", len(metrics))
    for m in metrics:
        warm_up(m)
        observer.advance()
    observer.end()
    corpora: dict[str, Any] = {}
    learning = {m.name: m for ms in stale.values() for m in ms if m.corpus is not None}
    if learning:
        observer.begin("measure", f"reference of {', '.join(learning)}", 1)
        corpora = make_corpora(store, list(learning.values()))
        observer.advance()
        observer.end()
    tasks = [(cell, group) for cell in stale for group in store.row_groups(*cell)]
    waiting = Counter(cell for cell, _ in tasks)
    made: dict[int, dict[str, pa.Table]] = {}
    observer.begin("measure", f"{len(metrics)} metrics, {len(stale)} cells", sum(group.rows for _, group in tasks))
    for i, tables in measure_groups(store, [(group, stale[cell]) for cell, group in tasks], corpora=corpora):
        cell, group = tasks[i]
        made[i] = tables
        waiting[cell] -= 1
        if not waiting[cell]:
            pieces = [made.pop(k) for k, (owner, _) in enumerate(tasks) if owner == cell]
            for m in stale[cell]:
                table = pa.concat_tables([piece[m.name] for piece in pieces])
                store.write_measure(m.id, *cell, table, stamps[*cell, m.name])
        observer.advance(group.rows)
    observer.end()


def _judge(store: Store, observer: Observer) -> str:
    """One outcome per response, by thresholds that the baseline's correct responses set; again when anything changed.

    Returns the hash of what the outcomes were made from.
    """
    metrics = [m for m in all_metrics() if m.grain == "trace"]
    made_of = [
        [*cell]
        + [store.derived_stamp("verdicts", policy, *cell) for policy in POLICIES]
        + [store.derived_stamp("measures", m.id, *cell) for m in metrics]
        for cell in store.cells()
    ]
    stamp = hash_of([made_of, store.baseline, RULES_VERSION])
    if all(store.derived_stamp("measures", SYMPTOMS_TABLE, *cell) == stamp for cell in store.cells()):
        return stamp
    observer.begin("measure", "outcomes", 1)
    table = export_table(store)
    judged = judge(table, calibrate(table, store.baseline))
    for variant, benchmark in store.cells():
        own = pc.and_(pc.equal(judged["variant"], variant), pc.equal(judged["benchmark"], benchmark))
        store.write_measure(SYMPTOMS_TABLE, variant, benchmark, judged.filter(own), stamp)
    observer.advance()
    observer.end()
    return stamp


def _foresee(store: Store, made_of: str, observer: Observer) -> None:
    """Judge the early warning on every benchmark, all variants without a thinking budget together; again when anything changed."""
    made_of = hash_of([made_of, FORESEEN_VERSION])
    kept = store.analysis(FORESEEN)
    if kept is not None and kept[0] == made_of:
        return
    from qrm_forensics.early_warning import evaluate

    observer.begin("measure", "early warning", 1)
    wide = export_table(store).select(
        ["variant", "benchmark", *TRACE_KEY[2:], "closed", "loop_onset_token", "n_tokens", "strict_status"]
    )
    facts = {tuple(row[k] for k in TRACE_KEY): row for row in wide.to_pylist()}
    found: dict[str, Any] = {}
    for benchmark in dict.fromkeys(b for _, b in store.cells()):
        rows, texts = _within(store, benchmark, FORESEE_BYTES)
        told = [facts[row] for row in rows]
        known = [t["n_tokens"] for t in told]
        columns: dict[str, Any] = {
            "onset": [t["loop_onset_token"] for t in told],
            "tokens": known if all(n is not None for n in known) else None,
            "correct": [None if t["strict_status"] is None else t["strict_status"] == Status.CORRECT for t in told],
        }
        groups, closed = [row[2] for row in rows], [t["closed"] for t in told]
        found[benchmark] = {
            "responses": len(texts),
            "of": sum(1 for key in facts if key[1] == benchmark and _free(key[0])),
            **{
                target: _plain(evaluate(texts, closed, groups, target=target, **columns))
                for target in ("unclosed", "loop")
            },
        }
    store.write_analysis(FORESEEN, found, made_of)
    observer.advance()
    observer.end()


def _within(store: Store, benchmark: str, limit: int) -> tuple[list[tuple[Any, ...]], list[str | None]]:
    """Keys and texts of the responses to as many problems, drawn by the hash of their ids, as ``limit`` bytes hold."""
    groups = [g for v, b in store.cells() if b == benchmark and _free(v) for g in store.row_groups(v, b)]
    share = min(1.0, limit / max(sum(g.bytes for g in groups), 1))
    keys: list[tuple[Any, ...]] = []
    texts: list[str | None] = []
    for group in groups:
        for row in read_row_group(group, [*TRACE_KEY, "text"]).to_pylist():
            if int(hash_of(row["problem_id"])[:8], 16) < share * 2**32:
                keys.append(tuple(row[k] for k in TRACE_KEY))
                texts.append(row["text"])
    return keys, texts


def _free(variant: str) -> bool:
    """Whether a variant thinks as long as it likes: a forced ``</think>`` would be foreseen from nothing."""
    return thinking_of(variant)[1].kind == "free"


def _plain(result: EarlyWarning) -> dict[str, Any]:
    """The figures as JSON: without the alarms of single responses, and with names for the allowed shares."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(k): plain(v) for k, v in value.items() if k != "alarms"}
        return [plain(v) for v in value] if isinstance(value, list | tuple) else value

    figures: dict[str, Any] = plain(asdict(result))
    return figures
