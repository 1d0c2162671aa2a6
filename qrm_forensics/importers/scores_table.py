"""Reading tables of scores: CSV with ``model,dataset,idx,is_correct`` and any numeric columns, for who has no responses.

One row per response.  Further columns with a meaning: ``sample`` and ``seed`` (whole numbers, 0 without
them), ``subject``, ``level``, ``answer`` or ``predicted_answer``, ``finish`` (``stop``, ``length``, …).
Every other column is kept where all of its cells are numbers, yes/no or empty; of the others a notice is given.
``is_correct`` is yes/no (``True``, ``1``, ``correct``, …), ``missing`` where there was no answer, or
empty or ``unscored`` where the response was not judged.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qrm_forensics.benchmarks.json_records import refuse_pointer
from qrm_forensics.errors import InputError
from qrm_forensics.records import Finish, Status

REQUIRED = ("model", "dataset", "idx", "is_correct")
_ANSWERS = ("answer", "predicted_answer")
_KNOWN = (*REQUIRED, "sample", "seed", "subject", "level", *_ANSWERS, "finish")

#: More than any figure needs; a cell that is longer is somebody's response text.
MAX_CELL = 1 << 17

_YES, _NO = ("true", "t", "yes", "1", "1.0", "correct"), ("false", "f", "no", "0", "0.0", "wrong", "incorrect")
_STATUS = (
    dict.fromkeys(_YES, Status.CORRECT)
    | dict.fromkeys(_NO, Status.WRONG)
    | dict.fromkeys(("missing",), Status.MISSING)
    | dict.fromkeys(("", "unscored", "nan", "none", "null", "na"), Status.UNSCORED)
)
_EMPTY = ("", "nan", "none", "null", "na", "n/a")
#: Index of a problem, as written by hand, by us, and by pandas where a column has gaps.
NUMBERED = re.compile(r"(?:idx-)?(\d{1,9})(?:\.0)?")


@dataclass(frozen=True, slots=True)
class Score:
    """One row: what is said about one response.  ``row`` is its line number in a spreadsheet, ``answer`` model text."""

    model: str
    dataset: str
    problem_id: str
    sample: int
    seed: int
    status: Status
    answer: str | None
    finish: Finish
    subject: str | None
    level: str | None
    figures: dict[str, float | None]
    file: str
    row: int

    @property
    def where(self) -> str:
        return f"{self.file}: row {self.row}"


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Every row of one or more files, checked: no response is there twice.  ``files``: name -> SHA-256."""

    scores: list[Score]
    files: dict[str, str]
    notices: list[str]

    @property
    def models(self) -> list[str]:
        return list(dict.fromkeys(score.model for score in self.scores))


def detect(path: Path) -> bool:
    """Whether a file, or a folder's files, are CSV with the columns of a table of scores."""
    try:
        files = _files(path)
    except InputError:
        return False
    return bool(files) and all(_has_columns(file) for file in files)


def _has_columns(file: Path) -> bool:
    with file.open("rb") as handle:
        head = handle.readline(1 << 16).decode("utf-8-sig", "replace")
    return set(REQUIRED) <= {name.strip() for name in next(csv.reader([head]), [])}


def read_table(paths: Path | Sequence[Path]) -> ScoreTable:
    """Read CSV files, or folders of them.  Raises InputError that names the file, the row and the remedy."""
    files: dict[Path, Path] = {}
    for path in [paths] if isinstance(paths, Path) else paths:
        found = _files(path)
        if not found:
            raise InputError(f"{path}: no .csv file in it; give a table with the columns {', '.join(REQUIRED)}")
        files |= {file.resolve(): file for file in found}
    scores: list[Score] = []
    hashes: dict[str, str] = {}
    notices: list[str] = []
    names = _short_names(list(files.values()))
    for file, name in names.items():
        data = _bytes(file)
        hashes[name] = hashlib.sha256(data).hexdigest()
        read, text_columns = _read_file(file, name, data)
        scores += read
        if text_columns:
            notices.append(f"{name}: text columns are not kept: {', '.join(text_columns)}")
    seen: dict[tuple[str, str, str, int, int], Score] = {}
    for score in scores:
        key = (score.model, score.dataset, score.problem_id, score.sample, score.seed)
        if key in seen:
            raise InputError(
                f"{score.where}: {score.model!r} answers problem {score.problem_id!r} of {score.dataset!r} again, as "
                f"{seen[key].where} does; number several responses in a column 'sample', or remove one"
            )
        seen[key] = score
    return ScoreTable(scores, dict(sorted(hashes.items())), notices)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder; check the path")
    return sorted(p for p in path.glob("*.csv") if p.is_file() and not p.name.startswith("."))


def _short_names(files: Sequence[Path]) -> dict[Path, str]:
    """File -> how tables call it: its name, with its folder where two files share one."""
    names = [file.name for file in files]
    return {f: f.name if names.count(f.name) == 1 else f"{f.resolve().parent.name}/{f.name}" for f in files}


def _bytes(file: Path) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check the path") from error
    refuse_pointer(file, data)
    return data


def _read_file(file: Path, name: str, data: bytes) -> tuple[list[Score], list[str]]:
    """The rows of one file, and the names of the columns that are text."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}: line {line} is not UTF-8; save the table as CSV in UTF-8") from None
    rows = _rows(file, text)
    header = [cell.strip() for cell in next(rows, (1, []))[1]]
    _check_header(file, header)
    body = [(number, dict(zip(header, cells, strict=True))) for number, cells in _even(file, header, rows)]
    if not body:
        raise InputError(f"{file}: has a header and no rows; make the table again")
    others = [column for column in header if column not in _KNOWN]
    figures: dict[str, list[float | None]] = {}
    text_columns = []
    for column in others:
        values = _figures(file, column, body)
        if values is None:
            text_columns.append(column)
        else:
            figures[column] = values
    scores = []
    for i, (number, cells) in enumerate(body):
        own = {column: values[i] for column, values in figures.items()}
        scores.append(_score(f"{file}: row {number}", name, number, cells, own))
    return scores, text_columns


def _rows(file: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """(row number counted from 1 with the header, cells) of every row that is not blank."""
    before = csv.field_size_limit(MAX_CELL)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        number = 0
        while True:
            number += 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise InputError(f"{file}: row {number} is not valid CSV ({error}); repair it") from None
            if cells is None:
                return
            if any(cell.strip() for cell in cells):
                yield number, cells
    finally:
        csv.field_size_limit(before)


def _check_header(file: Path, header: Sequence[str]) -> None:
    lacking = [name for name in REQUIRED if name not in header]
    if lacking:
        near = {name: difflib.get_close_matches(name, header, 1) for name in lacking}
        said = [name + (f" (is {found[0]!r} meant?)" if found else "") for name, found in near.items()]
        raise InputError(
            f"{file}: column {', '.join(said)} is missing; a table of scores has {', '.join(REQUIRED)}, "
            "with a comma between columns"
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(f"{file}: column {twice[0]!r} is there twice; rename one")
    if "" in header:
        raise InputError(f"{file}: column {header.index('') + 1} has no name; give it one, or remove it")
    if sum(name in header for name in _ANSWERS) > 1:
        raise InputError(f"{file}: has the columns {' and '.join(_ANSWERS)}; keep the one that was judged")


def _even(file: Path, header: Sequence[str], rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    for number, cells in rows:
        if len(cells) != len(header):
            raise InputError(
                f"{file}: row {number} has {len(cells)} cells, the header {len(header)}; put text with commas in quotes"
            )
        yield number, [cell.strip() for cell in cells]


def _figures(file: Path, column: str, body: Sequence[tuple[int, Mapping[str, str]]]) -> list[float | None] | None:
    """A column as numbers (yes/no as 1 and 0); None if a cell is neither that nor empty."""
    values: list[float | None] = []
    for number, cells in body:
        cell = cells[column].lower()
        if cell in _EMPTY:
            values.append(None)
        elif cell in ("true", "yes"):
            values.append(1.0)
        elif cell in ("false", "no"):
            values.append(0.0)
        else:
            try:
                value = float(cell) if "_" not in cell else None  # Python reads 1_000 as a number
            except ValueError:
                value = None
            if value is None:
                return None
            if not math.isfinite(value):
                raise InputError(
                    f"{file}: row {number}, column {column!r}: {cells[column]} is no figure; leave it empty"
                )
            values.append(value)
    return values


def _score(where: str, file: str, number: int, cells: Mapping[str, str], figures: dict[str, float | None]) -> Score:
    for name in ("model", "dataset", "idx"):
        if not cells[name]:
            raise InputError(f"{where}: {name!r} is empty; every response needs it")
    status = _STATUS.get(cells["is_correct"].lower())
    if status is None:
        raise InputError(
            f"{where}: is_correct is {cells['is_correct']!r:.40}; write True or False, 'missing' without an answer, "
            "nothing where it was not judged"
        )
    finish = cells.get("finish", "").lower() or str(Finish.UNKNOWN)
    if finish not in [str(f) for f in Finish]:
        raise InputError(f"{where}: finish is {finish!r:.40}; known: {', '.join(Finish)}")
    numbered = NUMBERED.fullmatch(cells["idx"])
    return Score(
        model=cells["model"],
        dataset=cells["dataset"],
        problem_id=f"idx-{int(numbered[1])}" if numbered else cells["idx"],
        sample=_whole(where, "sample", cells),
        seed=_whole(where, "seed", cells),
        status=status,
        answer=next((cells[name] for name in _ANSWERS if cells.get(name)), None),
        finish=Finish(finish),
        subject=cells.get("subject") or None,
        level=cells.get("level") or None,
        figures=figures,
        file=file,
        row=number,
    )


def _whole(where: str, name: str, cells: Mapping[str, str]) -> int:
    cell = cells.get(name, "") or "0"
    if not re.fullmatch(r"\d{1,18}", cell):
        raise InputError(f"{where}: {name} is {cell!r:.40}; write a whole number from 0 up")
    return int(cell)
