"""Baseline files: one side of a comparison in one small Parquet file, to be kept beside the code that it guards.

It holds a row per response (the columns of ``ITEM_SCHEMA`` and every figure), what the responses were made with,
and hashes of the right answers, the prompts and the rows; no question, no answer, no response.
It is written by ``bless`` and by nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qrm_forensics.compare.items import Facts, Side, content_hash, items_frame
from qrm_forensics.errors import InputError
from qrm_forensics.store import write_bytes

BASELINE_VERSION = 1
_KEY = b"qrm_forensics.baseline"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_baseline(side: Side, path: Path, *, now: Callable[[], str] = _now) -> Side:
    """Write ``side`` as a baseline file, whole or not at all; returns it as ``read_baseline`` will.

    Raises InputError for a path that is a folder or cannot be written.
    """
    if path.is_dir():
        raise InputError(
            f"{path}: is a folder; give the name of the file to write, such as {path / 'baseline.parquet'}"
        )
    blessed = replace(side.facts, kind="baseline", blessed=now())
    table = pa.Table.from_pandas(side.items, preserve_index=False).replace_schema_metadata(None)
    # The name of the file is not kept: it is what it is wherever it lies.
    told = {k: v for k, v in asdict(blessed).items() if k != "source"}
    metadata = json.dumps({"version": BASELINE_VERSION, "facts": told}, ensure_ascii=False, sort_keys=True)
    sink = pa.BufferOutputStream()
    pq.write_table(
        _narrow(table).replace_schema_metadata({_KEY: metadata.encode()}),
        sink,
        compression="zstd",
        compression_level=19,
    )
    try:
        write_bytes(path, sink.getvalue().to_pybytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error
    return Side(replace(blessed, source=str(path)), side.items)


def _narrow(table: pa.Table) -> pa.Table:
    """Without the columns that are null in every row; those of ``ITEM_SCHEMA`` are there again when it is read."""
    return table.select([name for name in table.column_names if table[name].null_count < table.num_rows])


def read_baseline(path: Path) -> Side:
    """Read a baseline file.  Raises InputError for another file, another version, and for one that was changed."""
    try:
        table = pq.ParquetFile(path).read()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; make it with 'qrm-forensics bless RUN --out {path}'") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}); bless the baseline again") from error
    metadata = (table.schema.metadata or {}).get(_KEY)
    if metadata is None:
        raise InputError(f"{path}: is not a baseline file; make one with 'qrm-forensics bless RUN --out {path}'")
    try:
        told: dict[str, Any] = json.loads(metadata)
        version = told["version"]
        if version != BASELINE_VERSION:
            raise InputError(
                f"{path}: baseline version {version}, this program reads {BASELINE_VERSION}; bless the baseline again"
            )
        known = {f.name for f in fields(Facts)}
        facts = Facts(**{k: v for k, v in told["facts"].items() if k in known} | {"source": str(path)})
        items = items_frame(table.replace_schema_metadata(None))
        unchanged = content_hash(items) == facts.content_hash
    except (ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise InputError(f"{path}: its metadata is damaged ({error!r}); bless the baseline again") from error
    if not unchanged:
        raise InputError(
            f"{path}: was changed after it was blessed (its rows have another hash); bless the baseline again"
        )
    return Side(facts, items)
