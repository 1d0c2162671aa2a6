"""What a metric is: one decorated function that reads columns of traces and returns columns.

::

    @metric(
        version=1,
        reads=("text",),
        columns=(
            Column(
                "n_questions",
                pa.int64(),
                Show.HISTOGRAM,
                unit="marks",
                label=said("Question marks", "물음표 수"),
                definition=said("Number of '?' characters.", "'?' 문자의 개수."),
            ),
        ),
        title=said("Questions", "질문"),
    )
    def questions(batch: pa.Table) -> Mapping[str, Sequence[object]]:
        return rows(batch, ("n_questions",), lambda text: (text.count("?"),))

The decorated name becomes a :class:`Metric`.  Calling it checks the whole contract: the
columns that it reads are there, it returns exactly what it declares, of the declared
types, one row per trace.  A metric never writes HTML, a colour or a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from qrm_forensics.errors import InputError
from qrm_forensics.records import PROBLEM_SCHEMA, TRACE_SCHEMA, VERDICT_SCHEMA

#: A text in every language of the reports: language code -> text.
Said: TypeAlias = Mapping[str, str]
Better: TypeAlias = Literal["higher", "lower"] | None
Grain: TypeAlias = Literal["trace", "pair"]
#: What a metric function may return: declared column name -> one value per row.
Columns: TypeAlias = Mapping[str, Any] | pd.DataFrame | pa.Table

LANGUAGES = ("en", "ko")
#: Arrow type of a SPANS column: half-open ranges of code-point offsets into the text.
SPAN_TYPE = pa.list_(pa.struct([pa.field("start", pa.int64()), pa.field("end", pa.int64())]))

#: What a metric may read of the problem that a trace answers, beside the columns of the trace.
PROBLEM_COLUMNS = ("question", "gold", "kind", "subject", "level")

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SURROGATE = re.compile("[\ud800-\udfff]")
_PAIR_SIDES = ("baseline_", "variant_")
#: Column names that one wide row per trace has already.
RESERVED = frozenset({*TRACE_SCHEMA.names, *VERDICT_SCHEMA.names, "strict_status", "lenient_status"})


class Show(StrEnum):
    """How a report presents a column."""

    HISTOGRAM = "histogram"
    SHARE = "share"
    SPANS = "spans"
    TIMELINE = "timeline"
    TABLE = "table"
    HIDDEN = "hidden"


def said(en: str, ko: str) -> Said:
    """A text in English and Korean."""
    return MappingProxyType({"en": en, "ko": ko})


@dataclass(frozen=True, slots=True)
class Column:
    """One column that a metric returns.

    ``definition`` is one exact sentence per language; reports print it beside the number.
    ``unit`` is an English plural noun (``words``), or None for a share or a yes/no.
    A value is null where the trace has no text.  A column that can be null elsewhere says
    so in ``nullable_when``.
    """

    name: str
    dtype: pa.DataType
    show: Show
    label: Said
    definition: Said
    unit: str | None = None
    better: Better = None
    nullable_when: str | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """A registered metric.  ``needs`` names a read column without which its values are null.

    ``reads`` are columns of the trace, or of its problem (:data:`PROBLEM_COLUMNS`).  A metric
    that judges a trace by all others has a ``corpus``: a function that makes one read-only,
    picklable object from batches of every trace of the run (columns ``corpus_reads``).  It is then
    called with that object, or with None where there is none, and the columns that need it are null.

    Grain ``trace``: one row per trace, the columns of ``records.TRACE_SCHEMA``.  Grain
    ``pair``: one row per problem that both sides answered, the same columns twice,
    prefixed ``baseline_`` and ``variant_``.
    """

    name: str
    version: int
    reads: tuple[str, ...]
    columns: tuple[Column, ...]
    title: Said
    description: str
    grain: Grain
    needs: str | None
    function: Callable[..., Columns]
    corpus: Callable[[Iterable[pa.Table]], Any] | None = None
    corpus_reads: tuple[str, ...] = ()

    @property
    def reads_problem(self) -> bool:
        """Whether it reads columns of the problem."""
        return any(r.removeprefix(side) in PROBLEM_COLUMNS for r in self.reads for side in ("", *_PAIR_SIDES))

    @property
    def id(self) -> str:
        """``<name>.v<version>``, as measures are stored."""
        return f"{self.name}.v{self.version}"

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(c.name, c.dtype) for c in self.columns])

    def column(self, name: str) -> Column:
        """The declaration of a column; raises KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"metric {self.id} has no column {name!r}; it has {self.schema.names}")

    def __call__(self, batch: pa.Table | pd.DataFrame, corpus: Any = None) -> pa.Table:
        """Measure a batch (columns ``reads``, any height): a table with the declared columns.

        Raises InputError where the batch lacks a column, or the function breaks its declaration.
        """
        table = as_batch(batch, self.reads)
        try:
            result = self.function(table) if self.corpus is None else self.function(table, corpus)
        except Exception as error:
            error.add_note(f"in metric {self.id}")
            raise
        return self._checked(result, table.num_rows)

    def _checked(self, result: Columns, height: int) -> pa.Table:
        names = [str(n) for n in (result.column_names if isinstance(result, pa.Table) else result.keys())]
        declared = [c.name for c in self.columns]
        if sorted(names) != sorted(declared):
            raise InputError(f"metric {self.id}: declares the columns {declared}, returned {names}")
        arrays = []
        for column in self.columns:
            array = _as_array(result[column.name], column, self.id)
            if len(array) != height:
                raise InputError(f"metric {self.id}: column {column.name!r} has {len(array)} rows for {height} traces")
            arrays.append(array)
        return pa.table(arrays, schema=self.schema)


def _as_array(values: Any, column: Column, owner: str) -> Any:
    if isinstance(values, pa.Array | pa.ChunkedArray) and values.type == column.dtype:
        return values
    if isinstance(values, pd.Series):
        values = values.astype(object).where(values.notna(), None).tolist()
    try:
        if pa.types.is_nested(column.dtype) and not isinstance(values, pa.Array | pa.ChunkedArray):
            return pa.array(values, type=column.dtype)
        # Inferred first and then cast safely: pa.array([1.5], pa.int64()) would cut the half off.
        array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
        if _kind(array.type) not in (_kind(column.dtype), "null"):
            raise TypeError(f"it holds {array.type}")
        return array.cast(column.dtype)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"metric {owner}: column {column.name!r} is not {column.dtype}: {error}") from error


def _kind(dtype: pa.DataType) -> str:
    if pa.types.is_integer(dtype) or pa.types.is_floating(dtype):
        return "number"
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
        return "text"
    return str(dtype)


def as_batch(batch: pa.Table | pd.DataFrame, reads: Sequence[str]) -> pa.Table:
    """The columns ``reads`` as an Arrow table with the types of traces.

    A DataFrame's strings may hold lone surrogates; they become U+FFFD, as in the store.
    """
    present = batch.column_names if isinstance(batch, pa.Table) else list(batch.columns)
    lacking = [name for name in reads if name not in present]
    if lacking:
        raise InputError(f"traces lack the column(s) {', '.join(lacking)}; there are: {', '.join(map(str, present))}")
    fields = [pa.field(name, _type_of(name)) for name in reads]
    try:
        if isinstance(batch, pa.Table):
            schema, chosen = pa.schema(fields), batch.select(list(reads))
            return chosen if chosen.schema == schema else chosen.cast(schema)
        return pa.table([pa.array(_plain(batch[f.name]), f.type) for f in fields], schema=pa.schema(fields))
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"traces: a column among {', '.join(reads)} has the wrong type: {error}") from error


def _type_of(name: str) -> pa.DataType:
    for side in _PAIR_SIDES:
        name = name.removeprefix(side)
    return (PROBLEM_SCHEMA if name in PROBLEM_COLUMNS else TRACE_SCHEMA).field(name).type


def _plain(series: pd.Series[Any]) -> list[Any]:
    def value(v: Any) -> Any:
        if isinstance(v, str):
            return v if v.isascii() else _SURROGATE.sub("\ufffd", v)
        if isinstance(v, list | tuple | np.ndarray):
            return v
        return None if pd.isna(v) else v

    return [value(v) for v in series.tolist()]


def rows(batch: pa.Table, names: Sequence[str], measure: Callable[..., Sequence[object]]) -> dict[str, list[object]]:
    """Apply ``measure`` to each row and collect the columns ``names``.

    ``measure`` gets the values of the batch's columns in their order, the first of which
    must be ``text``, and returns one value per name.  A row without text is null throughout.
    """
    if batch.column_names[0] != "text":
        raise InputError(f"rows() needs 'text' as the first column that is read, got {batch.column_names}")
    out: dict[str, list[object]] = {name: [] for name in names}
    nothing = [None] * len(names)
    for values in zip(*(_values(batch[c]) for c in batch.column_names), strict=True):
        measured = nothing if values[0] is None else measure(*values)
        for column, value in zip(out.values(), measured, strict=True):
            column.append(value)
    return out


def _values(column: Any) -> Iterator[Any]:
    """Python values one at a time; lists of numbers as NumPy arrays, without a copy."""
    for chunk in column.chunks:
        if pa.types.is_list(chunk.type):
            flat: npt.NDArray[Any] = np.asarray(chunk.values)
            bounds = np.asarray(chunk.offsets)
            valid = np.asarray(chunk.is_valid())
            for i in range(len(chunk)):
                yield flat[bounds[i] : bounds[i + 1]] if valid[i] else None
        else:
            for scalar in chunk:
                yield scalar.as_py()


def metric(
    *,
    version: int,
    reads: Sequence[str],
    columns: Sequence[Column],
    title: Said,
    grain: Grain = "trace",
    needs: str | None = None,
    name: str | None = None,
    corpus: Callable[[Iterable[pa.Table]], Any] | None = None,
    corpus_reads: Sequence[str] = (),
) -> Callable[[Callable[..., Columns]], Metric]:
    """Declare the function below as a metric, named after it.  Raises InputError on a bad declaration.

    ``reads`` are columns of a trace or of its problem; ``needs`` is the one among them without which nothing
    can be measured (for example ``logprobs``), beside the text.
    """

    def declare(function: Callable[..., Columns]) -> Metric:
        made = Metric(
            name=name or function.__name__,
            version=version,
            reads=tuple(reads),
            columns=tuple(columns),
            title=title,
            description=(function.__doc__ or "").strip(),
            grain=grain,
            needs=needs,
            function=function,
            corpus=corpus,
            corpus_reads=tuple(corpus_reads),
        )
        faults = list(_faults(made))
        if faults:
            raise InputError(f"metric {made.name!r} ({function.__module__}): {'; '.join(faults)}")
        return made

    return declare


def _faults(made: Metric) -> Iterator[str]:
    if not _NAME.fullmatch(made.name):
        yield f"the name {made.name!r} is not lower_snake_case"
    if not isinstance(made.version, int) or made.version < 1:
        yield f"version must be a whole number from 1, got {made.version!r}"
    if made.grain not in ("trace", "pair"):
        yield f"grain must be 'trace' or 'pair', got {made.grain!r}"
    sides = _PAIR_SIDES if made.grain == "pair" else ("",)
    readable = [side + column for side in sides for column in (*TRACE_SCHEMA.names, *PROBLEM_COLUMNS)]
    unknown = [r for r in made.reads if r not in readable]
    if unknown or not made.reads:
        yield f"reads must name columns of a {made.grain}, got {unknown or 'none'}; there are: {', '.join(readable)}"
    if (made.corpus is None) == bool(made.corpus_reads) or set(made.corpus_reads) - set(TRACE_SCHEMA.names):
        yield "corpus and corpus_reads (columns of a trace) go together"
    if made.needs is not None and made.needs not in made.reads:
        yield f"needs names {made.needs!r}, which is not among what it reads"
    if not made.description:
        yield "the function has no docstring"
    yield from _untranslated("title", made.title)
    if not made.columns:
        yield "declares no columns"
    names = [c.name for c in made.columns]
    for twice in sorted({n for n in names if names.count(n) > 1}):
        yield f"column {twice!r} is declared twice"
    for column in made.columns:
        yield from _column_faults(column)


def _column_faults(column: Column) -> Iterator[str]:
    where = f"column {column.name!r}"
    if not _NAME.fullmatch(column.name):
        yield f"{where}: the name is not lower_snake_case"
    if column.name in RESERVED:
        yield f"{where}: the name is taken by a column of traces or verdicts"
    show: object = column.show
    if not isinstance(show, Show):
        yield f"{where}: show must be a Show, got {column.show!r}"
    if column.better not in ("higher", "lower", None):
        yield f"{where}: better must be 'higher', 'lower' or None, got {column.better!r}"
    if (column.show is Show.SPANS) != (column.dtype == SPAN_TYPE):
        yield f"{where}: SPANS columns, and only they, have the type {SPAN_TYPE}"
    elif column.show is Show.SHARE and not pa.types.is_boolean(column.dtype):
        yield f"{where}: SHARE columns are bool, got {column.dtype}"
    yield from _untranslated(f"{where}: label", column.label)
    yield from _untranslated(f"{where}: definition", column.definition)


def _untranslated(what: str, text: Said) -> Iterator[str]:
    lacking = [lang for lang in LANGUAGES if not text.get(lang, "").strip()]
    if lacking:
        yield f"{what} lacks {', '.join(lacking)}"
