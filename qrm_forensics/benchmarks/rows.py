"""Rows of a data set, whatever holds them: JSON Lines, a JSON array, CSV, Parquet, and Arrow as ``datasets`` saves it.

Every way in which such a file can be broken is one InputError that names the file and the remedy.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qrm_forensics.benchmarks.json_records import at, read_records, refuse_pointer, stream_records
from qrm_forensics.errors import InputError

#: What a file of rows may end in.
SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".arrow")
#: A cell of a CSV file is a whole problem with its solution; the module's own limit is 128 kB.
_CSV_CELL = 1 << 24


def read_rows(files: Sequence[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) of all files in their order; ``where`` is how messages name the row.

    JSON Lines are read line by line, so that a file of a gigabyte does not have to fit into memory.
    """
    for file in files:
        if file.suffix in (".jsonl", ".json"):
            yield from _json_rows(file)
            continue
        rows = _csv_rows(file) if file.suffix == ".csv" else _arrow_rows(file)
        if not rows:
            raise InputError(f"{file}: holds no rows; make or download it again")
        for index, row in enumerate(rows):
            yield at(file, index), row


def sha256_of(files: Sequence[Path]) -> str:
    """SHA-256 (hex) over the bytes of the files, one behind the other."""
    digest = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as handle:
                while block := handle.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror}); check the path") from error
    return digest.hexdigest()


def _json_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    rows = stream_records(file)
    if rows is None:
        rows = iter(read_records(file).records)
    for index, row in enumerate(rows):
        yield at(file, index), row


def _csv_rows(file: Path) -> list[dict[str, Any]]:
    try:
        data = file.read_bytes()
        refuse_pointer(file, data)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: is not UTF-8 (byte {error.start}); download it again, or convert it") from None
    before = csv.field_size_limit(_CSV_CELL)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows: list[dict[str, Any]] = list(reader)
    except csv.Error as error:
        raise InputError(f"{file}: line {reader.line_num} is not valid CSV ({error}); download it again") from None
    finally:
        csv.field_size_limit(before)
    for index, row in enumerate(rows):
        if None in row or None in row.values():
            raise InputError(
                f"{at(file, index)}: has more or fewer cells than the header; the file may be cut off, so download it again"
            )
    return rows


def _arrow_rows(file: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with file.open("rb") as handle:
            refuse_pointer(file, handle.read(64))
        if file.suffix == ".parquet":
            table = pq.read_table(file)
        else:
            # ``save_to_disk`` writes the stream format under the name of the file format.
            with pa.memory_map(str(file)) as source:
                try:
                    table = pa.ipc.open_stream(source).read_all()
                except pa.ArrowInvalid:
                    source.seek(0)
                    table = pa.ipc.open_file(source).read_all()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}); check the path") from error
    except pa.ArrowInvalid as error:
        first = str(error).partition("\n")[0]
        raise InputError(f"{file}: cannot be read as {file.suffix[1:]} ({first}); download it again") from error
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
