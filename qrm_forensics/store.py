"""Run folders: the only module that knows file names.

::

    runs/<study>/
      study.json                     the request, the variants, what happened (RunInfo)
      problems.parquet
      checkpoints/<variant>/         quantized checkpoints, with recipe.json
      calibration/<model>.jsonl      the model's own reasoning, for calibration
      traces/<variant>/<benchmark>/  journal.jsonl while it is written, part-*.parquet, then SEALED;
                                     forced.jsonl: what was written for the model (thinking budgets)
      verdicts/<policy>/<variant>/<benchmark>.parquet     derived, deletable
      measures/<metric>.v<k>/<variant>/<benchmark>.parquet derived, deletable
      analyses/<name>.json           derived from the whole run, deletable

A part is written under a temporary name, fsynced and renamed, so a file that has
its final name is whole.  ``SEALED`` is written last and names the planned keys.
Verdicts and measures carry a stamp (hash of what they were made from) in their
Parquet metadata; a reader asks for the stamp that it would make itself.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq

from qrm_forensics.errors import StoreError
from qrm_forensics.records import (
    PROBLEM_SCHEMA,
    SCHEMA_VERSION,
    TRACE_SCHEMA,
    VERDICT_SCHEMA,
    Key,
    Problem,
    Trace,
    Variant,
    Verdict,
    from_row,
    to_table,
)

_VERSION_KEY = b"qrm_forensics.schema_version"
_STAMP_KEY = b"qrm_forensics.stamp"
_TRACES_KEY = b"qrm_forensics.traces"
_OWN_KEYS = {_VERSION_KEY, _STAMP_KEY, _TRACES_KEY, b"ARROW:schema", b"pandas"}
_JOURNAL = "journal.jsonl"
_FORCED = "forced.jsonl"

#: Bytes of traces that are read at a time.
GROUP_BYTES = 8 << 20


def _safe(name: str) -> str:
    """A variant, benchmark or metric name as one path component."""
    quoted = quote(name, safe="+-_. ")
    return "%2E" + quoted[1:] if quoted.startswith(".") else quoted


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file, or nothing: temporary name, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            _flush(handle)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk should not stay full of halves
        raise


def _flush(handle: IO[bytes]) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_parquet(table: pa.Table, path: Path, stamp: str | None = None, *, group_bytes: int | None = None) -> None:
    """Write a table whole or not at all, with the schema version (and a stamp) in its metadata.

    ``group_bytes`` bounds the row groups, which are what is read at a time.
    """
    metadata = {**(table.schema.metadata or {}), _VERSION_KEY: str(SCHEMA_VERSION).encode()}
    if stamp is not None:
        metadata[_STAMP_KEY] = stamp.encode()
    sink = pa.BufferOutputStream()
    rows = max(1, table.num_rows * group_bytes // max(table.nbytes, 1)) if group_bytes else None
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd", row_group_size=rows)
    write_bytes(path, sink.getvalue().to_pybytes())


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table of this suite; raises StoreError that names the file and the remedy."""
    try:
        table = pq.ParquetFile(path).read(columns=list(columns) if columns is not None else None)
    except FileNotFoundError as error:
        raise StoreError(f"{path}: is not there; run or import again, which makes it and keeps what is done") from error
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: not a readable Parquet file ({error}); delete it and run again") from error
    version = (table.schema.metadata or {}).get(_VERSION_KEY)
    if version != str(SCHEMA_VERSION).encode():
        found = version.decode() if version else "none"
        raise StoreError(
            f"{path}: schema version {found}, this program reads {SCHEMA_VERSION}; "
            "import or run again with this version of qrm-forensics"
        )
    return table


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A piece of a cell's traces that is read at once."""

    path: Path
    index: int
    rows: int
    #: Uncompressed.
    bytes: int


@dataclass(frozen=True, slots=True)
class ForcedFile:
    """What was written for the model in the responses of a cell: ``rows`` by key, whether or not the response is stored.

    ``at``: key -> number of its line (from 1).  ``damaged``: number of a line and what is wrong with it, in the order of the
    file.  ``lines``: how many there are, 0 where the file is not there.
    """

    path: Path
    rows: dict[Key, dict[str, Any]]
    at: dict[Key, int]
    damaged: tuple[tuple[int, str], ...]
    lines: int


def _forced_key(row: Any) -> Key:
    """The key of a row.  Raises TypeError, ValueError or KeyError for what is no such row."""
    for start, end in row["spans"]:
        if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end):
            raise ValueError(f"spans: {row['spans']!r}")
    key = (row["problem_id"], row["sample"], row["seed"])
    if not (isinstance(key[0], str) and isinstance(key[1], int) and isinstance(key[2], int)):
        raise ValueError(f"key: {key!r}")
    return key


def read_row_group(group: RowGroup, columns: Sequence[str]) -> pa.Table:
    """Some columns of the traces of a row group, with the types of traces.  Raises StoreError."""
    try:
        with pq.ParquetFile(group.path) as file:
            table = file.read_row_group(group.index, columns=list(columns), use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{group.path}: not a readable Parquet file ({error}); delete it and run again") from error
    return table.select(list(columns)).cast(pa.schema([TRACE_SCHEMA.field(c) for c in columns]))


class Store:
    """One run folder.  ``Store(path)`` opens it; ``Store.create`` makes it."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        if not self.study_file.is_file():
            raise StoreError(
                f"{self.root}: not a run folder (no study.json); make one with 'qrm-forensics run' or 'import'"
            )

    # ---------------------------------------------------------------- the study
    @classmethod
    def create(
        cls,
        root: Path,
        *,
        request: dict[str, Any],
        variants: Sequence[Variant],
        baseline: str | None,
        fresh: bool = False,
    ) -> Store:
        """Make or continue a run folder.

        A ``name`` in the request is what the run is called, not what it is, so it may differ.
        Raises StoreError if the folder already holds a different request, and with ``fresh``
        if another process is writing there.
        """
        root = Path(root)
        request_hash = hash_of({key: value for key, value in request.items() if key != "name"})
        study_file = root / "study.json"
        cleared = fresh and study_file.exists()
        if cleared:
            with _locked(root):
                _remove_run(root)
        if study_file.exists():
            known = Store(root)
            if known.study["request_hash"] != request_hash:
                raise StoreError(
                    f"{root}: holds the results of a different request "
                    f"({known.study['request_hash'][:8]}, now {request_hash[:8]}); "
                    "choose another --out, or add --fresh to delete what is there"
                )
            return known
        if root.exists() and not root.is_dir():
            raise StoreError(f"{root}: is a file, not a run folder; choose another --out")
        if not cleared and root.exists() and any(root.iterdir()):
            raise StoreError(f"{root}: exists, is not empty and is not a run folder; choose another --out")
        write_text(
            study_file,
            _json(
                {
                    "schema_version": SCHEMA_VERSION,
                    "request_hash": request_hash,
                    "request": request,
                    "variants": [asdict(v) for v in variants],
                    "baseline": baseline,
                    "runs": [],
                }
            ),
        )
        return cls(root)

    @property
    def study_file(self) -> Path:
        return self.root / "study.json"

    @property
    def study(self) -> dict[str, Any]:
        """The content of study.json (request, request_hash, variants, baseline, runs)."""
        try:
            study: dict[str, Any] = json.loads(self.study_file.read_text("utf-8"))
        except ValueError as error:
            raise StoreError(f"{self.study_file}: not valid JSON ({error})") from error
        if not isinstance(study, dict) or "schema_version" not in study:
            raise StoreError(f"{self.study_file}: was not written by qrm-forensics; give the folder of a run")
        if study["schema_version"] != SCHEMA_VERSION:
            raise StoreError(
                f"{self.study_file}: schema version {study['schema_version']}, this program reads {SCHEMA_VERSION}"
            )
        if lost := {"request", "request_hash", "variants", "baseline", "runs"} - study.keys():
            raise StoreError(f"{self.study_file}: {', '.join(sorted(lost))} is missing; make the run again")
        return study

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that the study asks for its report in; none where it does not say."""
        return tuple(self.study.get("languages", ()))

    def set_languages(self, languages: Sequence[str]) -> None:
        """Write into study.json what :attr:`languages` reads."""
        study = self.study
        if study.get("languages") != list(languages):
            write_text(self.study_file, _json(study | {"languages": list(languages)}))

    @property
    def variants(self) -> list[Variant]:
        """The variants in the order of the study, the baseline first where there is one."""
        return [Variant(**v) for v in self.study["variants"]]

    @property
    def baseline(self) -> str | None:
        baseline: str | None = self.study["baseline"]
        return baseline

    def add_run_info(self, info: dict[str, Any]) -> None:
        """Append what happened in one run (versions, times, counts) to study.json."""
        study = self.study
        study["runs"].append(info)
        write_text(self.study_file, _json(study))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the run folder's lock, so that two processes never write the same run."""
        with _locked(self.root):
            yield

    def checkpoint_dir(self, variant: str) -> Path:
        return self.root / "checkpoints" / _safe(variant)

    def calibration_file(self, model: str) -> Path:
        return self.root / "calibration" / f"{_safe(model)}.jsonl"

    # -------------------------------------------------------------- problems
    def write_problems(self, problems: Iterable[Problem]) -> None:
        write_parquet(to_table(problems, PROBLEM_SCHEMA), self.root / "problems.parquet")

    def problem_table(self) -> pa.Table:
        return read_parquet(self.root / "problems.parquet")

    def problems(self) -> dict[tuple[str, str], Problem]:
        """(benchmark, id) -> problem, in the order of the benchmark."""
        return {(r["benchmark"], r["id"]): from_row(Problem, r) for r in self.problem_table().to_pylist()}

    # ---------------------------------------------------------------- traces
    def _cell(self, variant: str, benchmark: str) -> Path:
        return self.root / "traces" / _safe(variant) / _safe(benchmark)

    def cells(self) -> list[tuple[str, str]]:
        """(variant, benchmark) of every cell with at least one trace, in study order."""
        found = []
        for folder in sorted((self.root / "traces").glob("*/*")):
            if next(folder.glob("part-*.parquet"), None) is not None:
                found.append((unquote(folder.parent.name), unquote(folder.name)))
        order = {v.id: i for i, v in enumerate(self.variants)}
        return sorted(found, key=lambda cell: (order.get(cell[0], len(order)), cell[1]))

    def append_traces(self, variant: str, benchmark: str, traces: Sequence[Trace]) -> None:
        """Write one more part; afterwards the traces survive anything."""
        if not traces:
            return
        if self.sealed(variant, benchmark):
            raise StoreError(f"{self._cell(variant, benchmark)}: is sealed; delete the folder to generate it again")
        folder = self._cell(variant, benchmark)
        numbers = [int(p.stem.removeprefix("part-")) for p in folder.glob("part-*.parquet")]
        part = folder / f"part-{max(numbers, default=-1) + 1:05d}.parquet"
        write_parquet(to_table(traces, TRACE_SCHEMA), part, group_bytes=GROUP_BYTES)

    @contextmanager
    def cell_writer(self, variant: str, benchmark: str) -> Iterator[Callable[[Trace], None]]:
        """Take traces one by one as they finish; each is on disk before the call returns.

        Finished traces go to a journal (one JSON line each, which survives a kill of
        the process) and become a Parquet part when the writer closes.  What a killed
        process left in its journal is recovered first; only a torn last line is dropped.
        """
        self.recover(variant, benchmark)
        journal = self._cell(variant, benchmark) / _JOURNAL
        journal.parent.mkdir(parents=True, exist_ok=True)
        with journal.open("w", encoding="utf-8") as handle:

            def add(trace: Trace) -> None:
                handle.write(json.dumps(asdict(trace), ensure_ascii=True) + "\n")
                handle.flush()

            try:
                yield add
            finally:
                handle.close()
                self.recover(variant, benchmark)

    def recover(self, variant: str, benchmark: str) -> None:
        """Turn what a journal holds into a part.  Safe to repeat: a key that is in a part already is not added."""
        journal = self._cell(variant, benchmark) / _JOURNAL
        if not journal.is_file():
            return
        known, traces = set(self.trace_keys(variant, benchmark)), []
        with journal.open("rb") as handle:
            for number, line in enumerate(handle, 1):
                if not line.endswith(b"\n"):
                    break  # the process was killed while it wrote this line
                try:
                    trace = from_row(Trace, json.loads(line))
                except (ValueError, KeyError, TypeError) as error:
                    raise StoreError(
                        f"{journal}: line {number} is damaged ({error}); delete that line and run again"
                    ) from error
                if trace.key not in known:
                    known.add(trace.key)
                    traces.append(trace)
        self.append_traces(variant, benchmark, traces)
        journal.unlink()

    @contextmanager
    def forced_writer(self, variant: str, benchmark: str) -> Iterator[Callable[[dict[str, Any]], None]]:
        """Take what was written for the model, a JSON object with the trace key per response; on disk when the call returns."""
        path = self._cell(variant, benchmark) / _FORCED
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = path.read_bytes() if path.is_file() else b""
        if not kept.endswith(b"\n") and kept:  # the process was killed while it wrote the last line
            write_bytes(path, kept[: kept.rfind(b"\n") + 1])
        with path.open("a", encoding="utf-8") as handle:

            def add(row: dict[str, Any]) -> None:
                handle.write(json.dumps(row, ensure_ascii=True) + "\n")
                handle.flush()

            yield add

    def forced(self, variant: str, benchmark: str) -> ForcedFile:
        """What was written for the model, one row per response under a budget; none where nothing was to be forced.

        A response that a killed process had not stored is made again, so the last row of a key counts, and a line without an end
        is no damage: its response was not stored either.
        """
        path = self._cell(variant, benchmark) / _FORCED
        rows: dict[Key, dict[str, Any]] = {}
        at: dict[Key, int] = {}
        damaged: list[tuple[int, str]] = []
        lines = 0
        if path.is_file():
            with path.open("rb") as handle:
                for number, line in enumerate(handle, 1):
                    if not line.endswith(b"\n"):
                        break
                    lines = number
                    try:
                        row = json.loads(line)
                        key = _forced_key(row)
                        rows[key], at[key] = row, number
                    except KeyError as error:
                        damaged.append((number, f"no {error}"))
                    except (ValueError, TypeError, RecursionError) as error:
                        damaged.append((number, f"{error}"))
        return ForcedFile(path, rows, at, tuple(damaged), lines)

    def trace_keys(self, variant: str, benchmark: str) -> list[Key]:
        """Keys of the traces that are there, as often as they are there."""
        keys: list[Key] = []
        for part in sorted(self._cell(variant, benchmark).glob("part-*.parquet")):
            table = read_parquet(part, ["problem_id", "sample", "seed"])
            keys += list(zip(*(table.column(c).to_pylist() for c in ("problem_id", "sample", "seed")), strict=True))
        return keys

    def seal(self, variant: str, benchmark: str, planned: Sequence[Key]) -> None:
        """Check the cell against the plan and mark it complete.

        Raises StoreError if a planned key is missing, unplanned or there twice.
        """
        keys = self.trace_keys(variant, benchmark)
        if len(set(keys)) != len(keys) or set(keys) != set(planned):
            raise StoreError(
                f"{self._cell(variant, benchmark)}: {len(keys)} traces ({len(set(keys))} different) "
                f"for {len(planned)} planned; delete the folder and run again"
            )
        folder = self._cell(variant, benchmark)
        content = [list(key) for key in planned]
        write_text(folder / "SEALED", _json({"traces": len(content), "keys_hash": hash_of(content)}))

    def sealed(self, variant: str, benchmark: str) -> bool:
        return (self._cell(variant, benchmark) / "SEALED").is_file()

    def traces(
        self, columns: Sequence[str] | None = None, *, variant: str | None = None, benchmark: str | None = None
    ) -> pa.Table:
        """The trace table (or some of its columns), one cell after the other, in order of problem, sample, seed."""
        wanted = list(columns) if columns is not None else TRACE_SCHEMA.names
        position = {key: i for i, key in enumerate(self.problems())}
        needed = list(dict.fromkeys([*wanted, "benchmark", "problem_id", "sample", "seed"]))
        parts = [TRACE_SCHEMA.empty_table().select(needed)]
        for v, b in self.cells():
            if (variant is None or v == variant) and (benchmark is None or b == benchmark):
                cell = pa.concat_tables(
                    read_parquet(part, needed).cast(pa.schema([TRACE_SCHEMA.field(c) for c in needed]))
                    for part in sorted(self._cell(v, b).glob("part-*.parquet"))
                )
                keys = zip(*(cell.column(c).to_pylist() for c in ("problem_id", "sample", "seed")), strict=True)
                order = sorted(
                    range(cell.num_rows),
                    key=dict(enumerate((position.get((b, p), len(position)), p, s, e) for p, s, e in keys)).__getitem__,
                )
                parts.append(cell.take(order))
        return pa.concat_tables(parts).select(wanted)

    def trace_count(self) -> int:
        return sum(self._sizes().values())

    def row_groups(self, variant: str, benchmark: str) -> list[RowGroup]:
        """The pieces in which the traces of a cell are stored; each fits into memory many times over."""
        groups = []
        for part in sorted(self._cell(variant, benchmark).glob("part-*.parquet")):
            metadata = pq.read_metadata(part)
            for i in range(metadata.num_row_groups):
                group = metadata.row_group(i)
                groups.append(RowGroup(part, i, group.num_rows, group.total_byte_size))
        return groups

    def trace_records(self, variant: str, benchmark: str) -> list[Trace]:
        return [from_row(Trace, row) for row in self.traces(variant=variant, benchmark=benchmark).to_pylist()]

    def stream_records(self, variant: str, benchmark: str) -> Iterator[Trace]:
        """The traces of a cell without what is per token (those fields are null), a row group in memory at a time."""
        heavy = ("token_ids", "logprobs", "entropies")
        columns = [name for name in TRACE_SCHEMA.names if name not in heavy]
        for group in self.row_groups(variant, benchmark):
            for row in read_row_group(group, columns).to_pylist():
                yield from_row(Trace, row | dict.fromkeys(heavy))

    def cell_stamp(self, variant: str, benchmark: str) -> str:
        """Hash of a cell's trace files: what a derived table of this cell was made from."""
        digest = hashlib.sha256()
        for part in sorted(self._cell(variant, benchmark).glob("part-*.parquet")):
            with part.open("rb") as handle:
                digest.update(part.name.encode() + hashlib.file_digest(handle, "sha256").digest())
        return digest.hexdigest()

    # --------------------------------------------------------- derived tables
    def _derived(self, kind: str, name: str, variant: str, benchmark: str) -> Path:
        return self.root / kind / _safe(name) / _safe(variant) / f"{_safe(benchmark)}.parquet"

    def derived_stamp(self, kind: str, name: str, variant: str, benchmark: str) -> str | None:
        """The stamp of a derived table, or None where there is no readable one (it is then made again)."""
        path = self._derived(kind, name, variant, benchmark)
        if not path.is_file():
            return None
        try:
            metadata = pq.read_metadata(path).metadata or {}
        except (OSError, pa.ArrowException):
            return None
        return metadata[_STAMP_KEY].decode() if _STAMP_KEY in metadata else None

    def write_verdicts(
        self, policy: str, variant: str, benchmark: str, verdicts: Iterable[Verdict], stamp: str
    ) -> None:
        path = self._derived("verdicts", policy, variant, benchmark)
        self._write_derived(to_table(verdicts, VERDICT_SCHEMA), path, (variant, benchmark), stamp)

    def write_measure(self, name: str, variant: str, benchmark: str, table: pa.Table, stamp: str) -> None:
        """``name`` is ``<metric>.v<version>``; the table has the trace key and the metric's columns."""
        path = self._derived("measures", name, variant, benchmark)
        self._write_derived(table, path, (variant, benchmark), stamp)

    def _write_derived(self, table: pa.Table, path: Path, cell: tuple[str, str], stamp: str) -> None:
        made_from = str(self._size(*cell)).encode()
        write_parquet(
            table.replace_schema_metadata({**(table.schema.metadata or {}), _TRACES_KEY: made_from}), path, stamp
        )

    def verdicts(self, variant: str | None = None) -> pa.Table:
        """All verdicts of the cells that exist, every policy; none of a cell that has grown since it was scored."""
        sizes = self._sizes()
        parts = [VERDICT_SCHEMA.empty_table()]
        for path in sorted((self.root / "verdicts").glob(f"*/{_pattern(variant)}/*.parquet")):
            table = _current(path, sizes)
            if table is not None:
                parts.append(table.cast(VERDICT_SCHEMA))
        return pa.concat_tables(parts)

    def write_analysis(self, name: str, result: Any, stamp: str) -> None:
        """Keep what was computed over a whole run (a JSON value), with the hash of what it was made from."""
        write_text(self.root / "analyses" / f"{_safe(name)}.json", _json({"stamp": stamp, "result": result}))

    def analysis(self, name: str, *, derived: bool = True) -> tuple[str, Any] | None:
        """(stamp, result) of an analysis, None where there is none.

        A damaged one that is ``derived`` counts as none, as it is then made again.  One that was measured or decided is not: raises
        StoreError.
        """
        path = self.root / "analyses" / f"{_safe(name)}.json"
        try:
            kept = json.loads(path.read_text("utf-8"))
            return str(kept["stamp"]), kept["result"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            if derived:
                return None
            raise StoreError(f"{path}: is damaged; delete it, and run the study again to have it made") from error

    def measure_metadata(self, name: str) -> dict[str, str]:
        """What was written beside a measure's columns (the same for all its cells), such as thresholds."""
        for path in sorted((self.root / "measures" / _safe(name)).glob("*/*.parquet")):
            found = read_parquet(path, []).schema.metadata or {}
            return {k.decode(): v.decode() for k, v in found.items() if k not in _OWN_KEYS}
        return {}

    def _sizes(self) -> dict[tuple[str, str], int]:
        """(variant, benchmark) -> number of traces."""
        return {cell: self._size(*cell) for cell in self.cells()}

    def _size(self, variant: str, benchmark: str) -> int:
        return sum(pq.read_metadata(part).num_rows for part in self._cell(variant, benchmark).glob("part-*.parquet"))

    def measures(self, variant: str | None = None) -> dict[str, pa.Table]:
        """``<metric>.v<version>`` -> its table over all cells but those that have grown since they were measured."""
        sizes = self._sizes()
        found: dict[str, pa.Table] = {}
        for folder in sorted(p for p in (self.root / "measures").glob("*") if p.is_dir()):
            tables = [_current(path, sizes) for path in sorted(folder.glob(f"{_pattern(variant)}/*.parquet"))]
            parts = [table.replace_schema_metadata(None) for table in tables if table is not None]
            if parts:
                found[unquote(folder.name)] = pa.concat_tables(parts, promote_options="permissive")
        return found


def _pattern(variant: str | None) -> str:
    """What finds the folder of a variant, or of every variant, as a glob."""
    return "*" if variant is None else glob.escape(_safe(variant))


def _current(path: Path, sizes: Mapping[tuple[str, str], int]) -> pa.Table | None:
    """A derived table, or None where its cell is gone or holds another number of traces.

    Traces are only ever added, so a table of part of them is one that a run was stopped
    before making again; half of a cell's verdicts would pass for all of them.
    """
    cell = (unquote(path.parent.name), unquote(path.stem))
    if cell not in sizes:
        return None
    table = read_parquet(path)
    made_from = (table.schema.metadata or {}).get(_TRACES_KEY)
    return table if made_from in (None, str(sizes[cell]).encode()) else None


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    with (root / ".lock").open("w") as handle:
        try:
            import fcntl
        except ImportError:  # Windows has no flock; one writer is then the user's promise
            yield
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(f"{root}: another process is writing this run; wait for it to end") from error
        yield


def _remove_run(root: Path) -> None:
    """Delete what a run wrote, and nothing else that somebody may keep in the folder.

    The seals go first and study.json last: whatever is left when this is cut short is an
    unfinished run, never one that calls itself complete.
    """
    try:
        for seal in (root / "traces").glob("*/*/SEALED"):
            seal.unlink()
        for name in ("traces", "verdicts", "measures", "analyses", "causes", "checkpoints", "calibration", "report"):
            if (root / name).exists():
                shutil.rmtree(root / name)
        for name in ("problems.parquet", "study.json"):
            (root / name).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"{error.filename or root}: cannot be deleted ({error.strerror or error}); delete it yourself, "
            "or choose another --out"
        ) from error


def hash_of(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def newest_run(runs: Path) -> Store:
    """The run under ``runs`` whose study.json was written last."""
    studies = sorted(runs.glob("*/study.json"), key=lambda p: p.stat().st_mtime)
    if not studies:
        raise StoreError(f"{runs}: no runs here; make one with 'qrm-forensics run' or 'qrm-forensics import'")
    return Store(studies[-1].parent)
