"""A wide table as facts that can be yes, no or not known.

A null is not a no: ``and`` and ``or`` are Kleene's, so that a rule is decided by what is
known where that suffices ("no loop" settles "ends in a loop", whatever else is missing),
and is itself null where it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from qrm_forensics.errors import InputError
from qrm_forensics.records import Finish, Status

#: One yes, no or null per response.
Truth: TypeAlias = Any  # pa.BooleanArray; pyarrow has no types

_ENUMS: dict[str, type[StrEnum]] = {"strict_status": Status, "lenient_status": Status, "finish": Finish}


def as_table(table: pa.Table | pd.DataFrame) -> pa.Table:
    """The table as Arrow; NaN of a DataFrame becomes null."""
    return table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)


class Facts:
    """The columns of a table by name and kind; a column that the table lacks is all null.

    ``limits`` are thresholds by name.  Raises InputError for a column of another type, and for a
    status or finish that does not exist.
    """

    def __init__(self, table: pa.Table, limits: Mapping[str, float]) -> None:
        self._table = table
        self._limits = limits
        self._read: dict[tuple[str, pa.DataType], Any] = {}

    def yes(self, name: str) -> Truth:
        """A yes/no column."""
        return self._column(name, pa.bool_())

    def number(self, name: str) -> Any:
        """A number column as float64; NaN is null."""
        return self._column(name, pa.float64())

    def equals(self, name: str, *values: StrEnum) -> Truth:
        """Whether a text column holds one of the values; null where it is null."""
        column = self._column(name, pa.string())
        return any_of(*(pc.equal(column, str(v)) for v in values))

    def judged(self, name: str, status: Status) -> Truth:
        """Whether a verdict is ``status``; null where there is none, or it is ``unscored``."""
        column = self._column(name, pa.string())
        unscored = pc.equal(column, str(Status.UNSCORED))
        return pc.if_else(unscored, pa.scalar(None, pa.bool_()), pc.equal(column, str(status)))

    def above(self, name: str, limit: str) -> Truth:
        """Whether a number is greater than the threshold."""
        return pc.greater(self.number(name), self._limits[limit])

    def below(self, name: str, limit: str) -> Truth:
        """Whether a number is smaller than the threshold."""
        return pc.less(self.number(name), self._limits[limit])

    def limit(self, name: str) -> float:
        """The value of a threshold, for a comparison that is not with a column alone."""
        return self._limits[name]

    def unknown(self, name: str) -> Truth:
        """Whether a column says nothing: null, NaN, or the verdict ``unscored``; never null."""
        if name not in self._table.column_names:
            return pa.array([True] * self._table.num_rows, pa.bool_())
        column = self._table.column(name).combine_chunks()
        nothing = pc.is_null(column, nan_is_null=True)
        if _ENUMS.get(name) is Status:
            text = self._column(name, pa.string())
            nothing = pc.or_(nothing, pc.fill_null(pc.equal(text, str(Status.UNSCORED)), False))
        return nothing

    def _column(self, name: str, kind: pa.DataType) -> Any:
        if (name, kind) not in self._read:
            self._read[name, kind] = self._cast(name, kind)
        return self._read[name, kind]

    def _cast(self, name: str, kind: pa.DataType) -> Any:
        if name not in self._table.column_names:
            return pa.nulls(self._table.num_rows, kind)
        column = self._table.column(name).combine_chunks()
        try:
            if pa.types.is_floating(column.type):
                column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
            column = column.cast(kind)
        except pa.ArrowException as error:
            raise InputError(f"column {name!r} is {column.type}, not {kind}: {error}") from error
        if name in _ENUMS:
            known = [str(v) for v in _ENUMS[name]]
            strange = set(pc.unique(column).to_pylist()) - {*known, None}
            if strange:
                raise InputError(f"column {name!r} holds {sorted(strange)[0]!r}; it can be: {', '.join(known)}")
        return column


class Restricted(Facts):
    """Facts of which a rule may read only the columns and thresholds that it declares."""

    def __init__(self, facts: Facts, owner: str, reads: tuple[str, ...], limits: tuple[str, ...]) -> None:
        super().__init__(facts._table, {name: facts._limits[name] for name in limits})
        self._read = facts._read
        self._owner, self._allowed = owner, frozenset(reads)

    def _column(self, name: str, kind: pa.DataType) -> Any:
        if name not in self._allowed:
            raise KeyError(f"{self._owner} reads the column {name!r} without declaring it")
        return super()._column(name, kind)


def all_of(*facts: Truth) -> Truth:
    """Kleene's and: no where one is no, else null where one is null."""
    return _fold(pc.and_kleene, facts)


def any_of(*facts: Truth) -> Truth:
    """Kleene's or: yes where one is yes, else null where one is null."""
    return _fold(pc.or_kleene, facts)


def is_not(fact: Truth) -> Truth:
    """No for yes, yes for no, null for null."""
    return pc.invert(fact)


def known_yes(fact: Truth) -> Truth:
    """Yes where it is yes; no where it is no or null."""
    return pc.fill_null(fact, False)


def _fold(operation: Callable[[Any, Any], Any], facts: tuple[Truth, ...]) -> Truth:
    result = facts[0]
    for fact in facts[1:]:
        result = operation(result, fact)
    return result
