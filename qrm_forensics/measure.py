"""Run metrics over traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from qrm_forensics.errors import InputError
from qrm_forensics.metrics import Metric, all_metrics, get_metric
from qrm_forensics.metrics.protocol import PROBLEM_COLUMNS
from qrm_forensics.records import KEY_FIELDS, PROBLEM_SCHEMA, Problem

#: Traces that are measured at a time, so that what the metrics share of them stays small.
BATCH = 64


def run_metrics(
    traces: pa.Table,
    metrics: Sequence[Metric | str] | None = None,
    *,
    problems: Mapping[tuple[str, str], Problem] | None = None,
    corpora: Mapping[str, Any] | None = None,
) -> dict[str, pa.Table]:
    """Measure every trace: metric name -> its key columns (variant … seed) and the metric's columns.

    ``metrics`` are metrics or their names; None takes every one of grain ``trace``.
    ``problems`` ((benchmark, id) -> problem) is needed by metrics that read columns of the
    problem.  ``corpora`` has, by the name of the metric, what its ``corpus`` function made; where it
    is None, it is made of these traces.  Row i of each table is row i of ``traces``.  Raises
    InputError for an unknown metric, a metric of another grain, traces that lack a column, or
    a problem that is not there.
    """
    chosen = (
        [m for m in all_metrics() if m.grain == "trace"]
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
        corpora = {m.name: m.corpus([traces]) for m in chosen if m.corpus is not None}
    if any(m.reads_problem for m in chosen):
        traces = with_problems(traces, problems or {})
    measured: dict[str, list[pa.Table]] = {m.name: [] for m in chosen}
    for start in range(0, max(traces.num_rows, 1), BATCH):
        batch = traces.slice(start, BATCH)
        for m in chosen:
            measured[m.name].append(m(batch, corpora.get(m.name)))
    keys = traces.select([f.name for f in KEY_FIELDS]).cast(pa.schema(KEY_FIELDS))
    return {name: _beside(keys, pa.concat_tables(parts)) for name, parts in measured.items()}


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
