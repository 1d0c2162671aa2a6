"""Import: responses that somebody already has, as a run folder of this suite.

A format is a module with ``detect(path) -> bool``, ``read(paths, problems) -> Imported`` and ``PROVIDES``, which says what its
files hold; the table below names it, and it is imported only when asked for.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import pyarrow as pa

from qrm_forensics import __version__
from qrm_forensics.benchmarks.json_records import refuse_pointer
from qrm_forensics.errors import InputError
from qrm_forensics.importers.files import below, broken_parquet
from qrm_forensics.importers.imported import Imported, ImportedCell
from qrm_forensics.importers.provides import Provides, missing
from qrm_forensics.records import KEY_FIELDS, TRACE_KEY, RunInfo
from qrm_forensics.store import Store

#: Format name -> module.  The order is the order of detection.
FORMATS = {
    "lighteval": "qrm_forensics.importers.lighteval",
    "lm-eval": "qrm_forensics.importers.lm_eval",
    "inspect": "qrm_forensics.importers.inspect_log",
    # Before the paper's layout, which is also recognized by the names of folders.
    "jsonl": "qrm_forensics.importers.jsonl",
    "qrm": "qrm_forensics.importers.qrm",
    "scores": "qrm_forensics.importers.scores",
}

#: Formats without responses: what they hold was judged elsewhere, and there is nothing to score or measure.
WITHOUT_RESPONSES = frozenset({"scores"})

#: Name of the table of figures that came with the foreign files.
IMPORTED_TABLE = "imported.v1"


class Format(Protocol):
    """What a format's module has.  ``TITLE``: whose files these are and how they are called."""

    TITLE: str
    PROVIDES: Provides

    def detect(self, path: Path) -> bool: ...

    def read(self, paths: Path | Sequence[Path], problems: Path | None = None) -> Imported: ...


def load_format(name: str) -> Format:
    """The module of a format; raises InputError for a name that is not in the table."""
    if name not in FORMATS:
        raise InputError(f"--format {name}: unknown; known formats: auto, {', '.join(FORMATS)}")
    return cast(Format, import_module(FORMATS[name]))


def detect_format(paths: Sequence[Path]) -> str:
    """The first format that recognizes every path; raises InputError if none does."""
    for path in paths:
        if path.is_dir() and not any(path.iterdir()):
            raise InputError(f"{path}: is an empty folder; give a file of responses or a folder of them")
        if path.is_file():
            with path.open("rb") as handle:
                head = handle.read(64)
            if not head:
                raise InputError(f"{path}: is empty; make or download it again")
            refuse_pointer(path, head)
    for name in FORMATS:
        if all(load_format(name).detect(path) for path in paths):
            return name
    for file in (file for path in paths for file in below(path)):
        if (why := broken_parquet(file)) is not None:
            raise InputError(f"{file}: {why}; make, download or copy it again")
    beside = (
        "give the files of responses by themselves if others lie beside them, or "
        if any(p.is_dir() for p in paths)
        else ""
    )
    raise InputError(
        f"{', '.join(map(str, paths))}: not in a known format ({', '.join(FORMATS)}); {beside}say which one with --format, "
        "for example a folder <model>-<recipe>-tp1-seed42 with <BENCHMARK>.jsonl inside for qrm, or a CSV file with the "
        "columns model, dataset, idx, is_correct for scores"
    )


def import_run(
    paths: Sequence[Path],
    out: Path,
    *,
    problems: Path | None = None,
    format: str = "auto",
    fresh: bool = False,
    name: str | None = None,
) -> Store:
    """Read foreign results and write them as the run folder ``out``.

    Everything is read and checked first, so bad input leaves nothing behind.  The request
    holds the hashes of all files: the same import again does nothing, an interrupted one
    is continued, another one into the same folder is refused (StoreError) unless ``fresh``.
    The figures stored beside the responses become the derived table ``imported.v1`` with
    columns ``imported_<name>`` (float64, null where the file has none).  Notices of the
    import are kept in study.json; ``notices`` reads them.

    Raises InputError that names the file, the record (counted from 0) and the remedy.
    """
    if not paths:
        raise InputError("nothing to import; give files or folders of responses")
    format_name = detect_format(paths) if format == "auto" else format
    started = datetime.now(UTC)
    imported = load_format(format_name).read(paths, problems)
    request = {
        "kind": "import",
        "name": name if name is not None else out.resolve().name,
        "format": format_name,
        "files": imported.files,
        "datasets": imported.datasets,
        "size_known": imported.size_known,
    }
    store = Store.create(out, request=request, variants=imported.variants, baseline=imported.baseline, fresh=fresh)
    with store.writing():
        pending = [cell for cell in imported.cells if not _complete(store, cell)]
        if not pending and store.study["runs"]:
            return store
        store.write_problems(imported.problems)
        for cell in pending:
            _write_cell(store, cell)
        store.add_run_info(
            {
                **asdict(_run_info(started, sum(len(cell.traces) for cell in pending))),
                "notices": [*imported.notices, *missing(imported)],
            }
        )
    return store


def has_responses(store: Store) -> bool:
    """Whether a run has responses that can be scored and measured; one made of a table of scores has none."""
    return store.study["request"].get("format") not in WITHOUT_RESPONSES


def notices(store: Store) -> list[str]:
    """What the imports of this run had to say, oldest first: sentences, each once."""
    told = [notice for run in store.study["runs"] for notice in run.get("notices", [])]
    return list(dict.fromkeys(told))


def _run_info(started: datetime, traces: int) -> RunInfo:
    ended = datetime.now(UTC)
    return RunInfo(
        command="import",
        started=started.isoformat(timespec="seconds"),
        ended=ended.isoformat(timespec="seconds"),
        seconds={"import": round((ended - started).total_seconds(), 3)},
        traces_made=traces,
        versions={"qrm-forensics": __version__, "python": platform.python_version()},
        host={"system": platform.platform(), "machine": platform.machine()},
        git_state=None,
    )


def _complete(store: Store, cell: ImportedCell) -> bool:
    if not store.sealed(cell.variant, cell.benchmark):
        return False
    where = (cell.variant, cell.benchmark)
    stamps = [store.derived_stamp("measures", IMPORTED_TABLE, *where)]
    stamps += [store.derived_stamp("verdicts", policy, *where) for policy in _policies(cell)]
    return set(stamps) == {store.cell_stamp(*where)}


def _policies(cell: ImportedCell) -> list[str]:
    return list(dict.fromkeys(verdict.policy for verdict in cell.verdicts))


def _write_cell(store: Store, cell: ImportedCell) -> None:
    where = (cell.variant, cell.benchmark)
    if not store.sealed(*where):
        there = set(store.trace_keys(*where))
        store.append_traces(*where, [trace for trace in cell.traces if trace.key not in there])
        store.seal(*where, [trace.key for trace in cell.traces])
    stamp = store.cell_stamp(*where)
    for policy in _policies(cell):
        store.write_verdicts(policy, *where, [v for v in cell.verdicts if v.policy == policy], stamp)
    store.write_measure(IMPORTED_TABLE, *where, metric_table(cell), stamp)


def metric_table(cell: ImportedCell) -> pa.Table:
    """The figures that came with a cell's traces: trace key, then ``imported_<name>`` (float64, nullable).

    ``imported_extractive_match`` is there wherever the verdicts did not come along; figures of other names follow it.
    """
    first = [] if cell.verdicts else ["extractive_match"]
    names = list(dict.fromkeys([*first, *sorted({name for row in cell.metrics for name in row})]))
    columns = {key: [getattr(trace, key) for trace in cell.traces] for key in TRACE_KEY}
    columns |= {f"imported_{name}": [row.get(name) for row in cell.metrics] for name in names}
    fields = [*KEY_FIELDS, *(pa.field(f"imported_{name}", pa.float64()) for name in names)]
    return pa.table(columns, schema=pa.schema(fields))
