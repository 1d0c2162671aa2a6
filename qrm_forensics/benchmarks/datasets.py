"""Problem files: ``<DIR>/<BENCHMARK>/test.jsonl``, one object per problem, in benchmark order; or a named benchmark's own.

Fields: ``problem`` or ``question``; ``answer``; optional ``subject`` and ``level``;
optional ``unique_id`` or ``id``, without which a problem is called ``idx-N`` by its
position.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrm_forensics.benchmarks.json_records import at, read_records
from qrm_forensics.benchmarks.rows import read_rows, sha256_of
from qrm_forensics.errors import InputError


@dataclass(frozen=True, slots=True)
class DatasetProblem:
    """One problem as its dataset states it."""

    id: str
    question: str
    answer: str
    subject: str | None
    level: str | None


@dataclass(frozen=True, slots=True)
class Dataset:
    """All problems of a benchmark in its order, and the SHA-256 of the file."""

    path: Path
    problems: list[DatasetProblem]
    sha256: str


def find_datasets(problems: Path, benchmarks: Collection[str]) -> dict[str, Path]:
    """Benchmark -> problem file, for those of ``benchmarks`` that have one.

    ``problems`` is a folder (``<BENCHMARK>/test.jsonl`` or ``<BENCHMARK>.jsonl`` inside,
    or itself the folder of one benchmark) or one file, named by itself or its folder.
    Where there is only one benchmark, one file is its file whatever it is called.
    Raises InputError if there is none for any of them.
    """
    if problems.is_file():
        names = (problems.stem, problems.parent.name)
        matching = [b for b in benchmarks if b in names]
        if not matching and len(benchmarks) == 1:
            matching = list(benchmarks)
        found = dict.fromkeys(matching, problems)
    elif problems.is_dir():
        found = {}
        for benchmark in benchmarks:
            places = [problems / benchmark / "test.jsonl", problems / f"{benchmark}.jsonl"]
            if problems.resolve().name == benchmark:
                places.append(problems / "test.jsonl")
            for place in places:
                if place.is_file():
                    found[benchmark] = place
                    break
            else:
                if (file := _named(problems, benchmark)) is not None:
                    found[benchmark] = file
    else:
        raise InputError(
            f"{problems}: no such file or folder; give a problem file or a folder of <BENCHMARK>/test.jsonl"
        )
    if not found:
        raise InputError(
            f"{problems}: no problems of {', '.join(sorted(benchmarks))}; expected {problems}/<BENCHMARK>/test.jsonl"
        )
    return found


def _named(folder: Path, benchmark: str) -> Path | None:
    """The one file of a named benchmark in a folder of data sets, whatever its layout; None where there is none."""
    from qrm_forensics.benchmarks.locate import find_files
    from qrm_forensics.benchmarks.registry import BENCHMARKS

    known = BENCHMARKS.get(benchmark)
    bases = [folder / name for name in known.folders if (folder / name).is_dir()] if known is not None else []
    if known is None or not bases:
        return None
    files = find_files(bases[0], known.folders, known.files, known.split)
    return files[0] if len(files) == 1 else None


#: Columns that data sets of the named benchmarks have; the first that is there counts.
_PROBLEM = ("problem", "question", "Problem", "Question")
_ANSWER = ("answer", "Answer", "Correct Answer")
_ID = ("unique_id", "id", "ID", "Record ID")


def load_dataset(path: Path) -> Dataset:
    """Read a problem file: JSON, or CSV, Parquet and Arrow.  Raises InputError that names file, record and remedy."""
    if path.suffix in (".csv", ".parquet", ".arrow"):
        rows, sha256 = list(read_rows([path])), sha256_of([path])
    else:
        file = read_records(path)
        rows, sha256 = [(at(path, index), record) for index, record in enumerate(file.records)], file.sha256
    ids = ProblemIds()
    problems = []
    for where, record in rows:
        question = text_field(record, _PROBLEM, where)
        answer = short_answer(text_field(record, _ANSWER, where))
        own_id = optional_field(record, _ID, where)
        subject = optional_field(record, ("subject", "High-level domain"), where)
        level = optional_field(record, ("level",), where)
        problems.append(DatasetProblem(ids.take(own_id, where), question, answer, subject, level))
    return Dataset(path, problems, sha256)


def short_answer(answer: str) -> str:
    """The answer behind a worked solution, as GSM8K writes it (``… #### 72``); any other answer as it is."""
    return answer.rpartition("####")[2].strip() if "####" in answer else answer


class ProblemIds:
    """Gives each row of a benchmark its id, and refuses one that is there twice."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def take(self, own_id: str | None, where: str) -> str:
        """The row's own id, or ``idx-N`` by its position.  Raises InputError for one that was taken before."""
        problem_id = own_id if own_id is not None else f"idx-{len(self._seen)}"
        if problem_id in self._seen:
            raise InputError(
                f"{where}: id {problem_id!r} is already that of {self._seen[problem_id]}; give each problem its own id"
            )
        self._seen[problem_id] = "record " + where.rpartition(": record ")[2].removesuffix(" (counted from 0)")
        return problem_id


def text_field(record: dict[str, Any], names: tuple[str, ...], where: str) -> str:
    """The first of the fields ``names`` that is there, as text.  Raises InputError where there is none, or an empty one."""
    value = optional_field(record, names, where)
    if value is None or not value.strip():
        shown = [name for name in names if name.islower()] or names
        raise InputError(f"{where}: no {' or '.join(map(repr, shown))}; a problem has a question and an answer")
    return value


def optional_field(record: dict[str, Any], names: tuple[str, ...], where: str) -> str | None:
    """The first of the fields ``names`` that is not null, as text; None where there is none.  Raises InputError for no text or number."""
    for name in names:
        value = record.get(name)
        if value is None:
            continue
        if isinstance(value, str):
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                raise InputError(
                    f"{where}: {name!r} holds half a surrogate pair, which is not text; repair the escape"
                ) from None
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        raise InputError(f"{where}: {name!r} is {type(value).__name__}; expected text or a number")
    return None
