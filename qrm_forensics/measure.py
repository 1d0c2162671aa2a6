"""Run metrics over traces."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from qrm_forensics.errors import InputError
from qrm_forensics.metrics import Metric, all_metrics, get_metric
from qrm_forensics.records import KEY_FIELDS


def run_metrics(traces: pa.Table, metrics: Sequence[Metric | str] | None = None) -> dict[str, pa.Table]:
    """Measure every trace: metric name -> its key columns (variant … seed) and the metric's columns.

    ``metrics`` are metrics or their names; None takes every one of grain ``trace``.
    Row i of each table is row i of ``traces``.  Raises InputError for an unknown metric,
    a metric of another grain, or traces that lack a column.
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
    keys = traces.select([f.name for f in KEY_FIELDS]).cast(pa.schema(KEY_FIELDS))
    return {m.name: _beside(keys, m(traces)) for m in chosen}


def _beside(keys: pa.Table, measured: pa.Table) -> pa.Table:
    return pa.table([*keys.columns, *measured.columns], schema=pa.schema([*keys.schema, *measured.schema]))
