"""Problem files: ``<DIR>/<BENCHMARK>/test.jsonl``, one object per problem, in benchmark order.

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
        raise InputError(
            f"{problems}: no such file or folder; give a problem file or a folder of <BENCHMARK>/test.jsonl"
        )
    if not found:
        raise InputError(
            f"{problems}: no problems of {', '.join(sorted(benchmarks))}; expected {problems}/<BENCHMARK>/test.jsonl"
        )
    return found


def load_dataset(path: Path) -> Dataset:
    """Read a problem file; raises InputError that names file, record and remedy."""
    file = read_records(path)
    ids = ProblemIds()
    problems = []
    for index, record in enumerate(file.records):
        where = at(path, index)
        question = text_field(record, ("problem", "question"), where)
        answer = short_answer(text_field(record, ("answer",), where))
        own_id = optional_field(record, ("unique_id", "id"), where)
        subject, level = (optional_field(record, (name,), where) for name in ("subject", "level"))
        problems.append(DatasetProblem(ids.take(own_id, where), question, answer, subject, level))
    return Dataset(path, problems, file.sha256)


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
        raise InputError(f"{where}: no {' or '.join(repr(n) for n in names)}; a problem has a question and an answer")
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
