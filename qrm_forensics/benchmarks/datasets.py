"""Problem files: ``<DIR>/<BENCHMARK>/test.jsonl``, one object per problem, in benchmark order; or a named benchmark's own.

Fields: ``problem`` or ``question``; ``answer``; optional ``subject`` and ``level``;
optional ``unique_id`` or ``id``, without which a problem is called ``idx-N`` by its
position.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from qrm_forensics.benchmarks.fields import ProblemIds, optional_field, short_answer, text_field
from qrm_forensics.benchmarks.json_records import at, read_records
from qrm_forensics.benchmarks.locate import find_files
from qrm_forensics.benchmarks.registry import BENCHMARKS
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
