"""Run metrics over traces: over a table, or over the row groups of a run with all cores."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from qrm_forensics.errors import InputError
from qrm_forensics.metrics import Metric, all_metrics, get_metric
from qrm_forensics.metrics.protocol import PROBLEM_COLUMNS
from qrm_forensics.records import (
    KEY_FIELDS,
    PROBLEM_SCHEMA,
    TRACE_KEY,
    TRACE_SCHEMA,
    Finish,
    Kind,
    Problem,
    Trace,
    to_table,
)
from qrm_forensics.store import RowGroup, Store, read_row_group

#: Traces that are measured at a time, so that what the metrics share of them stays small.
BATCH = 64
#: Below this many bytes of traces, starting other processes takes longer than it saves.
WORTH_A_POOL = 48 << 20


def run_metrics(
    traces: pa.Table,
    metrics: Sequence[Metric | str] | None = None,
    *,
    problems: Mapping[tuple[str, str], Problem] | None = None,
    corpora: Mapping[str, Any] | None = None,
) -> dict[str, pa.Table]:
    """Measure every trace: metric name -> its key columns (variant … seed) and the metric's columns.

    ``metrics`` are metrics or their names; None takes every one of grain ``trace``, and without
    ``problems`` ((benchmark, id) -> problem) only those that read no column of the problem.  ``corpora`` has, by the name of the metric, what its ``corpus`` function made; where it
    is None, it is made of these traces.  Row i of each table is row i of ``traces``.  Raises
    InputError for an unknown metric, a metric of another grain, traces that lack a column, or
    a problem that is not there.
    """
    chosen = (
        [m for m in all_metrics() if m.grain == "trace" and (problems is not None or not m.reads_problem)]
        if metrics is None
        else [get_metric(m) if isinstance(m, str) else m for m in metrics]
    )
    for m in chosen:
        if m.grain != "trace":
            raise InputError(
                f"metric {m.name!r} measures a {m.grain}, not a trace; it is run where two variants are compared"
            )
    lacking = [f.name for f in KEY_FIELDS if f.name not in traces.column_names]
    if lacking:
        raise InputError(f"traces lack the key column(s) {', '.join(lacking)}")
    if corpora is None:
        corpora = {m.name: make_corpus_of(m, traces) for m in chosen if m.corpus is not None}
    if any(m.reads_problem for m in chosen):
        traces = with_problems(traces, problems or {})
    measured: dict[str, list[pa.Table]] = {m.name: [] for m in chosen}
    for start in range(0, max(traces.num_rows, 1), BATCH):
        batch = traces.slice(start, BATCH)
        for m in chosen:
            measured[m.name].append(m(batch, corpora.get(m.name)))
    keys = traces.select([f.name for f in KEY_FIELDS]).cast(pa.schema(KEY_FIELDS))
    return {name: _beside(keys, pa.concat_tables(parts)) for name, parts in measured.items()}


def warm_up(metric: Metric) -> None:
    """Have the machine code of a metric compiled (once per installation, numba keeps it) or loaded."""
    said = "Wait, so 2 + 2 = 4. The answer is \\boxed{4}. " * 30 + "</think>"
    trace = Trace("warm-up", "warm-up", "1", 0, 0, "2 + 2?", said, Finish.STOP)
    problem = Problem("warm-up", "1", "2 + 2?", "2 + 2?", "4", Kind.MATH, None, None)
    traces = to_table([trace], TRACE_SCHEMA)
    metric(with_problems(traces, {("warm-up", "1"): problem}), make_corpus_of(metric, traces))


def make_corpus_of(metric: Metric, traces: pa.Table) -> Any:
    """What the ``corpus`` function of a metric makes of a table of traces; None where it has none."""
    if metric.corpus is None:
        return None
    table = traces.select(list(metric.corpus_reads))
    return metric.corpus(table.slice(start, BATCH) for start in range(0, max(table.num_rows, 1), BATCH))


def make_corpora(store: Store, metrics: Sequence[Metric]) -> dict[str, Any]:
    """By the name of the metric, what its ``corpus`` function makes of every trace of the run, read piece by piece."""
    return {m.name: m.corpus(_pieces(store, m.corpus_reads)) for m in metrics if m.corpus is not None}


def _pieces(store: Store, columns: Sequence[str]) -> Iterator[pa.Table]:
    for variant, benchmark in store.cells():
        for group in store.row_groups(variant, benchmark):
            table = read_row_group(group, columns)
            for start in range(0, table.num_rows, BATCH):
                yield table.slice(start, BATCH)


def measure_groups(
    store: Store,
    tasks: Sequence[tuple[RowGroup, Sequence[Metric]]],
    *,
    corpora: Mapping[str, Any],
    workers: int | None = None,
) -> Iterator[tuple[int, dict[str, pa.Table]]]:
    """Measure row groups of a run as they come: (index into ``tasks``, the tables of ``run_metrics``), in any order.

    Uses ``workers`` processes (None: one per core) where there is enough to do for them.
    """
    n_workers = min(workers or os.cpu_count() or 1, len(tasks))
    if n_workers <= 1 or sum(group.bytes for group, _ in tasks) < WORTH_A_POOL:
        problems = store.problems()
        for i, (group, metrics) in enumerate(tasks):
            yield i, _measure_group(group, metrics, problems, corpora)
        return
    import joblib

    with tempfile.TemporaryDirectory(prefix="qrm-forensics-") as scratch:
        # Written once and mapped by every worker, so that there is one copy of it in memory.
        shared = str(Path(scratch) / "corpora.joblib")
        joblib.dump(dict(corpora), shared)
        with joblib.Parallel(n_jobs=n_workers, return_as="generator_unordered", pre_dispatch="2*n_jobs") as pool:
            job = joblib.delayed(_measure_in_worker)
            yield from pool(
                job(i, group, [m.name for m in metrics], str(store.root), shared)
                for i, (group, metrics) in enumerate(tasks)
            )


def _measure_in_worker(
    index: int, group: RowGroup, names: Sequence[str], root: str, shared: str
) -> tuple[int, dict[str, pa.Table]]:
    return index, _measure_group(group, [get_metric(n) for n in names], _problems_of(root), _corpora_of(shared))


@lru_cache(maxsize=1)
def _problems_of(root: str) -> dict[tuple[str, str], Problem]:
    return Store(Path(root)).problems()


@lru_cache(maxsize=1)
def _corpora_of(path: str) -> dict[str, Any]:
    import joblib

    corpora: dict[str, Any] = joblib.load(path, mmap_mode="r")
    return corpora


def _measure_group(
    group: RowGroup,
    metrics: Sequence[Metric],
    problems: Mapping[tuple[str, str], Problem],
    corpora: Mapping[str, Any],
) -> dict[str, pa.Table]:
    wanted = {name for m in metrics for name in m.reads} - set(PROBLEM_COLUMNS)
    columns = [*TRACE_KEY, *sorted(wanted - set(TRACE_KEY))]
    return run_metrics(read_row_group(group, columns), metrics, problems=problems, corpora=corpora)


def with_problems(traces: pa.Table, problems: Mapping[tuple[str, str], Problem]) -> pa.Table:
    """The traces with the columns of their problems (``question``, ``gold``, ``kind``, ``subject``, ``level``).

    Raises InputError for a trace whose problem is not there.
    """
    keys = zip(traces.column("benchmark").to_pylist(), traces.column("problem_id").to_pylist(), strict=True)
    asked = []
    for key in keys:
        if key not in problems:
            raise InputError(f"problem {key[1]!r} of {key[0]} is not among the problems; its traces cannot be measured")
        asked.append(problems[key])
    for name in PROBLEM_COLUMNS:
        values = [getattr(p, name) for p in asked]
        field = PROBLEM_SCHEMA.field(name)
        texts = [None if v is None else str(v) for v in values]
        traces = traces.append_column(pa.field(name, field.type), pa.array(texts, field.type))
    return traces


def _beside(keys: pa.Table, measured: pa.Table) -> pa.Table:
    return pa.table([*keys.columns, *measured.columns], schema=pa.schema([*keys.schema, *measured.schema]))
