"""Declarations, the registry, and running metrics over a trace table."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from qrm_forensics.errors import InputError
from qrm_forensics.measure import run_metrics
from qrm_forensics.metrics import (
    BUILTIN_METRICS,
    Column,
    Metric,
    Show,
    all_metrics,
    catalogue,
    get_metric,
    metric,
    rows,
    said,
)
from qrm_forensics.metrics.registry import collect
from qrm_forensics.records import KEY_FIELDS, TRACE_SCHEMA, Finish, Trace, to_table

WORDS = said("Words.", "단어.")


def _column(name: str = "n_q", dtype: Any = None, show: Show = Show.TABLE, **more: Any) -> Column:
    fields: dict[str, Any] = {"label": WORDS, "definition": WORDS} | more
    return Column(name, dtype or pa.int64(), show, **fields)


def _metric(result: Any, columns: tuple[Column, ...] = (_column(),), name: str = "questions", **more: Any) -> Metric:
    def questions(batch: pa.Table) -> Any:
        """Counts questions."""
        return result(batch) if callable(result) else result

    declared: dict[str, Any] = {"version": 1, "reads": ("text",), "title": WORDS} | more
    return metric(columns=columns, name=name, **declared)(questions)


def _traces(*texts: str | None) -> pa.Table:
    rows = [Trace("v", "b", str(i), 0, 42, "p", t, Finish.STOP) for i, t in enumerate(texts)]
    return to_table(rows, TRACE_SCHEMA)


def test_a_plain_function_becomes_a_metric() -> None:
    @metric(version=3, reads=("text",), columns=(_column(),), title=WORDS)
    def questions(batch: pa.Table) -> Any:
        """Counts questions."""
        return rows(batch, ("n_q",), lambda text: (text.count("?"),))

    assert (questions.name, questions.id, questions.description) == ("questions", "questions.v3", "Counts questions.")
    assert questions(_traces("a? b?", None, ""))["n_q"].to_pylist() == [2, None, 0]
    assert questions.column("n_q").definition["ko"] == "단어."
    with pytest.raises(KeyError, match="no column 'x'"):
        questions.column("x")


@pytest.mark.parametrize(
    "result",
    [{"n_q": [1, None]}, pa.table({"n_q": pa.array([1, None], pa.int32())}), pd.DataFrame({"n_q": [1.0, None]})],
    ids=["dict", "table", "frame"],
)
def test_results_may_be_of_any_table_kind(result: Any) -> None:
    assert _metric(result)(_traces("a", "b"))["n_q"].to_pylist() == [1, None]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"n_q": [1]}, "1 rows for 2 traces"),
        ({"n_z": [1, 2]}, r"declares the columns \['n_q'\], returned \['n_z'\]"),
        ({"n_q": ["x", "y"]}, "column 'n_q' is not int64"),
        ({"n_q": [1.5, 2.0]}, "column 'n_q' is not int64"),
        ({"n_q": [True, False]}, "is not int64: it holds bool"),
        ({}, "declares the columns"),
    ],
)
def test_a_broken_result_is_named(result: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _metric(result)(_traces("a", "b"))


def test_an_error_inside_a_metric_says_which() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        _metric(lambda _: 1 / 0)(_traces("a"))
    assert caught.value.__notes__ == ["in metric questions.v1"]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"name": "No Good"}, "not lower_snake_case"),
        ({"version": 0}, "version must be"),
        ({"reads": ()}, "reads must name"),
        ({"reads": ("txt",)}, r"got \['txt'\]"),
        ({"needs": "logprobs"}, "not among what it reads"),
        ({"grain": "pair"}, "columns of a pair"),
        ({"grain": "run"}, "grain must be"),
        ({"columns": ()}, "declares no columns"),
        ({"columns": (_column(), _column())}, "declared twice"),
        ({"columns": (_column("text"),)}, "taken by a column of traces"),
        ({"columns": (_column("strict_status"),)}, "taken"),
        ({"columns": (_column(better="bigger"),)}, "better must be"),
        ({"columns": (_column(show="pie"),)}, "show must be a Show"),
        ({"columns": (_column(show=Show.SPANS),)}, "SPANS columns"),
        ({"columns": (_column(show=Show.SHARE),)}, "SHARE columns are bool"),
        ({"columns": (_column(definition={"en": "x"}),)}, "definition lacks ko"),
        ({"title": {}}, "title lacks en, ko"),
    ],
)
def test_a_bad_declaration_is_refused(declared: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _metric({}, **declared)


def test_a_pair_metric_reads_both_sides_and_is_not_run_on_traces() -> None:
    paired = _metric({}, grain="pair", reads=("baseline_text", "variant_text"))
    with pytest.raises(InputError, match="measures a pair"):
        run_metrics(_traces("a"), [paired])


def _plugin(made: object, monkeypatch: pytest.MonkeyPatch, name: str = "extra") -> EntryPoint:
    monkeypatch.setattr(f"{__name__}.PLUGIN", made, raising=False)
    return EntryPoint(name, f"{__name__}:PLUGIN", "qrm_forensics.metrics")


def test_entry_points_follow_the_built_in_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [m.name for m in collect(BUILTIN_METRICS, [_plugin(_metric({}), monkeypatch)])]
    assert names == [*(m.name for m in all_metrics()), "questions"]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (_metric({}, name="length"), "two metrics are called 'length': .*length:length and .*PLUGIN"),
        (_metric({}, (_column("n_words"),)), "two metrics have a column 'n_words'"),
        (len, "is not a metric"),
    ],
)
def test_a_clashing_or_broken_plugin_is_named(made: object, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=message):
        collect(BUILTIN_METRICS, [_plugin(made, monkeypatch)])


def test_a_plugin_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(InputError, match=r"no_such_module:x \(entry point 'gone'.*cannot be imported"):
        collect((), [EntryPoint("gone", "no_such_module:x", "qrm_forensics.metrics")])


def test_unknown_metric_names_what_there_is() -> None:
    with pytest.raises(InputError, match=r"'lenght', did you mean 'length'\?; there are: length, "):
        get_metric("lenght")


def test_catalogue_has_a_text_for_every_derived_key() -> None:
    english, korean = catalogue("en"), catalogue("ko")
    assert english.keys() == korean.keys()
    assert {
        "metric.length.title",
        "metric.length.n_words.label",
        "metric.loops.loop.definition",
    } <= english.keys()


def test_run_metrics_puts_the_key_before_the_figures() -> None:
    traces = _traces("one two", None)
    measured = run_metrics(traces)
    assert list(measured) == [m.name for m in all_metrics() if not m.reads_problem]
    length = measured["length"]
    assert length.column_names == [
        *(f.name for f in KEY_FIELDS),
        "n_words",
        "n_chars",
        "n_tokens",
        "n_steps",
        "n_pseudo_tokens",
    ]
    assert length["problem_id"].to_pylist() == ["0", "1"]
    assert length["n_words"].to_pylist() == [2, None]
    assert run_metrics(traces, ["length"])["length"].equals(length)


def test_run_metrics_says_what_the_traces_lack() -> None:
    with pytest.raises(InputError, match="lack the key column"):
        run_metrics(_traces("a").drop_columns(["seed"]), ["length"])
    with pytest.raises(InputError, match=r"lack the column\(s\) completion_tokens"):
        run_metrics(_traces("a").drop_columns(["completion_tokens"]), ["length"])


def test_rows_wants_the_text_first() -> None:
    with pytest.raises(InputError, match=r"'text' as the first column"):
        rows(_traces("a").select(["finish"]), ("x",), lambda f: (f,))
