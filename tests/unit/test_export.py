"""The wide table: its columns and order, what is null, and the three file forms."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qrm_forensics.errors import InputError, StoreError
from qrm_forensics.export import FIRST, export_table, write_export
from qrm_forensics.records import KEY_FIELDS, Finish, Kind, Problem, Status, Trace, Variant, Verdict
from qrm_forensics.store import Store

TEXT = 'line\nbreak, "quote"\r\n한국어 =1+1'


def trace(variant: str, problem: str, seed: int = 42, **more: Any) -> Trace:
    return Trace(variant, "B", problem, 0, seed, "p", "t", Finish.STOP, **more)


def measure(columns: dict[str, list[Any]], keys: list[tuple[str, str, int]]) -> pa.Table:
    table = pa.table(
        [[v for v, _, _ in keys], ["B"] * len(keys), [p for _, p, _ in keys], [0] * len(keys), [s for _, _, s in keys]],
        schema=pa.schema(KEY_FIELDS),
    )
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return table


@pytest.fixture
def store(tmp_path: Path) -> Store:
    variants = [Variant("bf16", "m", "bf16", 1), Variant("awq-w3g128", "m", "awq-w3g128", 1)]
    made = Store.create(tmp_path / "run", request={"kind": "test"}, variants=variants, baseline="bf16")
    made.write_problems(
        [
            Problem("B", "p10", "q", "p", "1", Kind.MATH, "Algebra", "2"),
            Problem("B", "p2", "q", "p", "1", Kind.MATH, None, None),
        ]
    )
    made.append_traces(
        "bf16", "B", [trace("bf16", "p2", 43), trace("bf16", "p2"), trace("bf16", "p10", completion_tokens=7)]
    )
    made.append_traces("awq-w3g128", "B", [trace("awq-w3g128", "p2", source_file="x.jsonl", source_index=3)])
    verdicts = {
        "strict": [Verdict("bf16", "B", "p10", 0, 42, "strict", Status.CORRECT, TEXT, "boxed", None)],
        "lenient": [
            Verdict("bf16", "B", "p2", 0, 43, "lenient", Status.WRONG, "9", "any", None),
            Verdict("bf16", "B", "p10", 0, 42, "lenient", Status.CORRECT, "1", "any", None),
        ],
    }
    for policy, rows in verdicts.items():
        made.write_verdicts(policy, "bf16", "B", rows, "s")
    return made


def test_columns_and_rows_without_any_measure(store: Store) -> None:
    table = export_table(store)
    assert table.column_names == [*FIRST, "subject", "level"]
    assert FIRST == (
        "variant", "benchmark", "problem_id", "sample", "seed", "source_file", "source_index", "strict_status",
        "lenient_status", "answer", "finish", "closed", "boxed", "n_words", "n_chars", "n_tokens",
    )  # fmt: skip
    rows = table.to_pylist()
    assert [(r["variant"], r["problem_id"], r["seed"]) for r in rows] == [
        ("bf16", "p10", 42), ("bf16", "p2", 42), ("bf16", "p2", 43), ("awq-w3g128", "p2", 42)
    ]  # fmt: skip
    assert [r["strict_status"] for r in rows] == ["correct", None, None, None]
    assert [r["lenient_status"] for r in rows] == ["correct", None, "wrong", None]
    assert [r["answer"] for r in rows] == [TEXT, None, None, None]
    assert [r["n_tokens"] for r in rows] == [7, None, None, None]
    assert [r["subject"] for r in rows] == ["Algebra", None, None, None]
    assert (rows[3]["source_file"], rows[3]["source_index"]) == ("x.jsonl", 3)
    assert {r["closed"] for r in rows} == {r["n_words"] for r in rows} == {None}


def test_measures_are_joined_by_key_and_sorted_by_metric(store: Store) -> None:
    keys = [("bf16", "p2", 43), ("bf16", "p10", 42)]
    store.write_measure("zipf.v1", "bf16", "B", measure({"z": [1, 2]}, keys), "s")
    length = {"n_words": [5, 6], "longest": [8, 9], "n_chars": [50, 60]}
    store.write_measure("length.v2", "bf16", "B", measure(length, keys), "s")
    table = export_table(store)
    assert table.column_names[len(FIRST) :] == ["longest", "z", "subject", "level"]
    assert table.column("n_words").to_pylist() == [6, None, 5, None]
    assert table.column("n_chars").to_pylist() == [60, None, 50, None]
    assert table.column("z").to_pylist() == [2, None, 1, None]


def test_newest_version_of_a_metric_wins(store: Store) -> None:
    keys = [("bf16", "p10", 42)]
    for version in (2, 10, 9):
        store.write_measure(f"loops.v{version}", "bf16", "B", measure({"loop": [version]}, keys), "s")
    assert export_table(store).column("loop").to_pylist()[0] == 10


@pytest.mark.parametrize("column", ["x", "answer", "subject", "n_words"])
def test_one_name_for_two_columns_is_refused(store: Store, column: str) -> None:
    keys = [("bf16", "p10", 42)]
    store.write_measure("b.v1", "bf16", "B", measure({column: [1]}, keys), "s")
    if column in ("x", "n_words"):
        export_table(store)
        store.write_measure("a.v1", "bf16", "B", measure({column: [1]}, keys), "s")
    with pytest.raises(StoreError, match=rf"metric b and .* both have a column '{column}'"):
        export_table(store)


def test_a_trace_measured_twice_is_refused(store: Store) -> None:
    store.write_measure("a.v1", "bf16", "B", measure({"x": [1, 2]}, [("bf16", "p10", 42)] * 2), "s")
    with pytest.raises(StoreError, match="there twice"):
        export_table(store)


def full(store: Store) -> pa.Table:
    keys = [("bf16", "p10", 42), ("bf16", "p2", 42)]
    columns = {
        "share": [0.1, None],
        "closed": [True, False],
        "spans": [[{"start": 1, "end": 2}], []],
        "unit": ["", TEXT],
    }
    store.write_measure("m.v1", "bf16", "B", measure(columns, keys), "s")
    return export_table(store)


def test_three_forms_hold_the_same(store: Store, tmp_path: Path) -> None:
    table = full(store)
    for fmt in ("csv", "json", "parquet"):
        write_export(table, fmt, tmp_path / "out" / f"t.{fmt}")
    assert pq.read_table(tmp_path / "out" / "t.parquet").to_pylist() == table.to_pylist()
    assert json.loads((tmp_path / "out" / "t.json").read_text("utf-8")) == table.to_pylist()
    data = (tmp_path / "out" / "t.csv").read_bytes().decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(data, newline="")))
    assert list(rows[0]) == table.column_names
    for got, want in zip(rows, table.to_pylist(), strict=True):
        for name, value in want.items():
            if value is None:
                assert got[name] == ""
            elif name in ("spans", "closed"):
                assert json.loads(got[name]) == value
            else:
                assert got[name] == str(value), name
    header, first = data.split("\n", 1)[0], data.split("\n", 1)[1]
    assert header.startswith('"variant","benchmark","problem_id"')
    assert ',"",' in first and ",," in first  # an empty text and a null are not the same
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"t.csv", "t.json", "t.parquet"}


def test_no_rows(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "run", request={}, variants=[], baseline=None)
    store.write_problems([])
    table = export_table(store)
    assert table.num_rows == 0 and table.column_names == [*FIRST, "subject", "level"]
    write_export(table, "json", tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text("utf-8")) == []


def test_what_cannot_be_written_is_one_clear_error(store: Store, tmp_path: Path) -> None:
    table = export_table(store)
    with pytest.raises(InputError, match="csv, parquet, json"):
        write_export(table, "xlsx", tmp_path / "x.xlsx")
    with pytest.raises(InputError, match="is a folder"):
        write_export(table, "csv", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_export(table, "csv", tmp_path / "file" / "x.csv")
    infinite = table.append_column("x", pa.array([float("inf")] * 4))
    with pytest.raises(InputError, match="trace bf16, B, p10, 0, 42"):
        write_export(infinite, "json", tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()


def test_import_and_export_do_without_torch() -> None:
    code = (
        "import sys\n"
        "import qrm_forensics.importers.qrm, qrm_forensics.export, qrm_forensics.benchmarks.coverage\n"
        "heavy = {'torch', 'transformers', 'plotly', 'math_verify', 'sympy', 'tokenizers', 'safetensors'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
