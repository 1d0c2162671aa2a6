"""Numbers that kernels write, as Arrow columns: one row of floats per response, NaN where there is no figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qrm_forensics.metrics.protocol import SPAN_TYPE, Column
from qrm_forensics.metrics.scan import Scan, scans

Row = npt.NDArray[np.float64]


def figures(batch: pa.Table, columns: Sequence[Column], measure: Callable[[Scan, Row], None]) -> dict[str, pa.Array]:
    """Measure every response: ``measure`` writes its figures, in the order of ``columns``, into a row of NaN.

    Columns are whole numbers, real numbers or yes/no (not 0).  Rows without text are null.
    """
    found = scans(batch)
    values = np.full((len(found), len(columns)), np.nan)
    for row, scan in zip(values, found, strict=True):
        if scan is not None:
            measure(scan, row)
    return as_columns(values, columns)


def as_columns(values: npt.NDArray[np.float64], columns: Sequence[Column]) -> dict[str, pa.Array]:
    """Arrow columns of (responses, columns) floats; NaN becomes null."""
    null = np.isnan(values.T)
    reals = np.where(null, 0.0, values.T)
    wholes = reals.astype(np.int64)
    any_null: npt.NDArray[np.bool_] = np.logical_or.reduce(null, axis=1)
    out = {}
    for i, column in enumerate(columns):
        figure = reals[i] if pa.types.is_floating(column.dtype) else wholes[i]
        if pa.types.is_boolean(column.dtype):
            figure = figure != 0
        out[column.name] = pa.array(figure, mask=null[i] if any_null[i] else None)
    return out


def curves(values: npt.NDArray[np.float64]) -> pa.ListArray:
    """list<double> of (responses, points) floats; null where a row begins with NaN."""
    known = ~np.isnan(values[:, 0]) if values.shape[1] else np.zeros(len(values), np.bool_)
    return _lists(known, np.where(known, values.shape[1], 0), pa.array(values[known].ravel()))


def spans(
    known: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
) -> pa.ListArray:
    """SPANS: from ``starts`` to ``ends`` (spans,) of the responses ``rows`` (spans,), ascending; null where not ``known``."""
    counts = np.bincount(rows, minlength=len(known))
    of_span = pa.StructArray.from_arrays([pa.array(starts), pa.array(ends)], fields=list(SPAN_TYPE.value_type))
    return _lists(known, counts, of_span)


def _lists(known: npt.NDArray[np.bool_], counts: npt.NDArray[np.int64], flat: pa.Array) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    # An offset that is null marks a null list.
    null = np.append(~known, False)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32(), mask=null), flat)
