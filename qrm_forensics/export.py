"""One wide row per trace, for people who want the figures and not the report.

Columns, first and in this order (:data:`FIRST`), then every other metric column there
is (sorted by metric, in the order in which the metric declares them), then ``subject``
and ``level``.  What was not measured is null.  Rows are in the order of the run: by
variant, benchmark, problem, sample, seed.

CSV: UTF-8, ``\\n`` line ends, every text in quotes, so that null (nothing) and the empty
text (``""``) differ; lists are written as JSON text.  Values are *not* altered against
formula injection: ``answer`` is model text and often begins with ``-`` or ``=``, and
a table whose answers had been changed would be of no use to the programs it is for.
To look at it in a spreadsheet, import the text columns as text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from qrm_forensics.errors import InputError, StoreError
from qrm_forensics.records import TRACE_KEY
from qrm_forensics.store import Store, write_bytes, write_parquet

FORMATS = ("csv", "parquet", "json")

#: The columns that every export has, first and in this order; these names stay.
FIRST = (
    "variant",
    "benchmark",
    "problem_id",
    "sample",
    "seed",
    "source_file",
    "source_index",
    "strict_status",
    "lenient_status",
    "answer",
    "finish",
    "closed",
    "boxed",
    "n_words",
    "n_chars",
    "n_tokens",
)
#: Those of them that a metric may provide, and their type where none does.
_MEASURED = {
    "closed": pa.bool_(),
    "boxed": pa.bool_(),
    "n_words": pa.int64(),
    "n_chars": pa.int64(),
    "n_tokens": pa.int64(),
}
_LAST = ("subject", "level")

_RowKey = tuple[str, str, str, int, int]


def export_table(store: Store, variant: str | None = None) -> pa.Table:
    """The wide table of a run, or of one variant of it.

    ``answer`` is the one that the strict policy found, or came with verdicts that were imported.  A policy other
    than strict and lenient has a column ``<policy>_status`` before those of the metrics.  ``n_tokens`` is the metric's where
    one gives it, else the completion tokens of the trace.  Of a metric that was measured in
    several versions the newest is taken.  Raises StoreError if two metrics give a column of
    the same name, a metric's column has the name of a fixed one, or a table has a trace twice.
    """
    traces = store.traces([*TRACE_KEY, "source_file", "source_index", "finish", "completion_tokens"], variant=variant)
    keys = _keys(traces)
    made: dict[str, pa.ChunkedArray | pa.Array] = {name: traces.column(name) for name in traces.column_names}
    tokens = made.pop("completion_tokens")

    verdicts = store.verdicts(variant)
    for policy in ("strict", "lenient"):
        part = verdicts.filter(pc.equal(verdicts.column("policy"), policy))
        rows = _rows(keys, part, f"verdicts of policy {policy}")
        made[f"{policy}_status"] = part.column("status").take(rows)
        if policy == "strict":
            made["answer"] = part.column("answer").take(rows)

    extra: list[str] = []
    for policy in sorted(set(pc.unique(verdicts.column("policy")).to_pylist()) - {"strict", "lenient"}):
        part = verdicts.filter(pc.equal(verdicts.column("policy"), policy))
        rows = _rows(keys, part, f"verdicts of policy {policy}")
        extra.append(f"{policy}_status")
        made[extra[-1]] = part.column("status").take(rows)
        if pc.all(pc.is_null(made["answer"])).as_py():
            made["answer"] = part.column("answer").take(rows)
    origin: dict[str, str] = {}
    for name, table in _newest(store.measures(variant)):
        rows = _rows(keys, table, f"measure {name}")
        for column in table.column_names:
            if column in TRACE_KEY:
                continue
            if column in origin or (column in (*FIRST, *_LAST) and column not in _MEASURED):
                other = f"metric {origin[column]}" if column in origin else "the export itself"
                raise StoreError(
                    f"{store.root}: metric {name} and {other} both have a column {column!r}; rename the metric's column"
                )
            origin[column] = name
            made[column] = table.column(column).take(rows)
            if column not in _MEASURED:
                extra.append(column)
    made.setdefault("n_tokens", tokens)
    for column, kind in _MEASURED.items():
        made.setdefault(column, pa.nulls(len(keys), kind))

    problems = store.problems()
    asked = [problems.get((benchmark, problem_id)) for _, benchmark, problem_id, _, _ in keys]
    made["subject"] = pa.array([p.subject if p else None for p in asked], pa.string())
    made["level"] = pa.array([p.level if p else None for p in asked], pa.string())
    return pa.table({name: made[name] for name in (*FIRST, *extra, *_LAST)})


def _keys(table: pa.Table) -> list[_RowKey]:
    return list(zip(*(table.column(name).to_pylist() for name in TRACE_KEY), strict=True))


def _rows(keys: Sequence[_RowKey], table: pa.Table, what: str) -> pa.Array:
    """For each key its row in ``table``, null where it has none (int64)."""
    place: dict[_RowKey, int] = {}
    for row, key in enumerate(_keys(table)):
        if key in place:
            raise StoreError(f"{what}: trace {key} is there twice; delete that table and measure again")
        place[key] = row
    return pa.array([place.get(key) for key in keys], pa.int64())


def _newest(measures: dict[str, pa.Table]) -> list[tuple[str, pa.Table]]:
    """One table per metric, the highest version, sorted by metric."""
    newest: dict[str, tuple[int, pa.Table]] = {}
    for name, table in measures.items():
        metric, _, version = name.rpartition(".v")
        if not metric or not version.isdecimal():
            raise StoreError(
                f"measure {name!r}: not of the form <metric>.v<version>; delete its folder and measure again"
            )
        if metric not in newest or newest[metric][0] < int(version):
            newest[metric] = (int(version), table)
    return [(metric, newest[metric][1]) for metric in sorted(newest)]


def write_export(table: pa.Table, fmt: str, out: Path) -> None:
    """Write the table as ``csv``, ``parquet`` or ``json`` (one array of objects), whole or not at all.

    Raises InputError for an unknown format, an ``out`` that cannot be written, and for a NaN
    or infinity in JSON, which has none.
    """
    if fmt not in FORMATS:
        raise InputError(f"--format {fmt}: unknown; choose one of {', '.join(FORMATS)}")
    if out.is_dir():
        raise InputError(f"{out}: is a folder; give the name of the file to write, such as {out / f'export.{fmt}'}")
    try:
        if fmt == "parquet":
            write_parquet(table, out)
        elif fmt == "csv":
            sink = pa.BufferOutputStream()
            pa_csv.write_csv(_flat(table), sink)
            write_bytes(out, sink.getvalue().to_pybytes())
        else:
            write_bytes(out, _json(table))
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error


def _flat(table: pa.Table) -> pa.Table:
    for i, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            values = [None if v is None else json.dumps(v, ensure_ascii=False) for v in table.column(i).to_pylist()]
            table = table.set_column(i, field.name, pa.array(values, pa.string()))
    return table


def _json(table: pa.Table) -> bytes:
    lines = []
    for row in table.to_pylist():
        lines.append(_json_row(row))
    return ("[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n").encode("utf-8")


def _json_row(row: dict[str, Any]) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        where = ", ".join(str(row[name]) for name in TRACE_KEY)
        raise InputError(
            f"trace {where}: a figure is NaN or infinite, which JSON cannot hold; use csv or parquet"
        ) from error
