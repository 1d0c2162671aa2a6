"""Finding and reading the files of a format, with bounds: what is larger than any real file of results is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qrm_forensics.benchmarks.json_records import refuse_pointer
from qrm_forensics.errors import InputError

#: Bytes of one text file or of one part of an archive: 500 responses of 32,768 tokens are 60 MB.
MAX_BYTES = 2 << 30
#: As much of a file is looked at to recognize its format.
HEAD = 1 << 20
_PARQUET = b"PAR1"


@dataclass(frozen=True, slots=True)
class Source:
    """One file; ``name`` is its POSIX path below what was given, which tables call it by."""

    path: Path
    name: str


def find(paths: Path | Sequence[Path], wanted: Callable[[Path], bool], what: str) -> list[Source]:
    """The wanted files in or below the given paths, each once.  Raises InputError where a path has none.

    ``what`` says in messages which files are looked for.
    """
    found: dict[Path, Source] = {}
    for path in [paths] if isinstance(paths, Path) else paths:
        here = path.absolute()
        if path.is_file():
            found.setdefault(here.resolve(), Source(here, here.name))
            continue
        if not path.is_dir():
            raise InputError(f"{path}: no such file or folder; check the path")
        own = [p for p in below(path) if wanted(p)]
        if not own:
            raise InputError(f"{path}: no {what} in it; check the path, or give the file itself")
        for file in own:
            try:
                name = file.relative_to(here).as_posix()
                name.encode("utf-8")
            except UnicodeEncodeError:
                raise InputError(f"{str(file)!r}: its name is not UTF-8; rename it") from None
            found.setdefault(file.resolve(), Source(file, name))
    names = [source.name for source in found.values()]
    return [s if names.count(s.name) == 1 else Source(s.path, f"{s.path.parent.name}/{s.name}") for s in found.values()]


def below(path: Path) -> list[Path]:
    """All files of a folder and the folders in it, without hidden ones, in the order of their names; a file is itself."""
    here = path.absolute()
    if path.is_file():
        return [here]
    return sorted(
        p for p in here.rglob("*") if p.is_file() and not any(x.startswith(".") for x in p.relative_to(here).parts)
    )


def head_of(path: Path, size: int = HEAD) -> bytes:
    """The first bytes of a file, none where it cannot be read."""
    try:
        with path.open("rb") as handle:
            return handle.read(size)
    except OSError:
        return b""


def broken_parquet(path: Path) -> str | None:
    """What is wrong with a file that is called or begins as a Parquet file; None where it can be read, or is none."""
    if path.suffix != ".parquet" and head_of(path, len(_PARQUET)) != _PARQUET:
        return None
    try:
        pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        return parquet_fault(path, error)
    return None


def parquet_fault(path: Path, error: Exception) -> str:
    """In words, what ``error`` says about a file that was read as Parquet."""
    whole = head_of(path, len(_PARQUET)) == _PARQUET
    return f"is {'a Parquet file that is cut off or damaged' if whole else 'not a Parquet file'} ({one_line(error)})"


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def bytes_of(path: Path) -> bytes:
    """The whole file.  Raises InputError for one that cannot be read, is a Git LFS pointer, or is too large."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: has more than {MAX_BYTES >> 20:,} MiB; split it")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    refuse_pointer(path, data)
    return data


def json_object(data: bytes, where: str) -> dict[str, Any]:
    """One JSON object.  Raises InputError that begins with ``where``."""
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: is not UTF-8 (byte {error.start}); download or copy it again") from None
    except RecursionError:
        raise InputError(f"{where}: is nested too deeply; make it again") from None
    except ValueError as error:
        raise InputError(
            f"{where}: is not valid JSON ({error}); it may be cut off, so download or copy it again"
        ) from None
    if not isinstance(value, dict):
        raise InputError(f"{where}: is not a JSON object; make it again")
    return value


def at_path(value: Any, *keys: str) -> Any:
    """The value under nested keys, null where one is missing or what is there is no object."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
