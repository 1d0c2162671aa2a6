"""The layout of the paper's repository (Quantized-Reasoning-Models).

``outputs/inference/<model>-<recipe>-tp<n>-seed<seed>/<BENCHMARK>.jsonl``, where each file
is one JSON array despite its suffix (or true JSON Lines) of objects with ``full_prompt``,
``generated_text``, ``gold`` (a list), ``metrics`` (name -> number) and sometimes ``idx``
(index into the benchmark).  The files say neither why a response ended nor how many
tokens it has, so ``finish`` is unknown and the counts are null.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qrm_forensics.benchmarks.datasets import Dataset, find_datasets, load_dataset
from qrm_forensics.benchmarks.join import Asked, ProblemBook, kind_of
from qrm_forensics.benchmarks.json_records import at, read_records
from qrm_forensics.errors import InputError
from qrm_forensics.importers.folders import VariantFolder, is_variant_folder, name_variants, parse_folder
from qrm_forensics.importers.imported import Imported, ImportedCell
from qrm_forensics.importers.provides import Provides, Said
from qrm_forensics.records import Finish, Trace

TITLE: Final = (
    "The paper's repository (Quantized-Reasoning-Models): `<model>-<recipe>-tp<n>-seed<seed>/<BENCHMARK>.jsonl`"
)
PROVIDES: Final = Provides(
    text=Said.YES,
    finish=Said.NO,
    token_counts=Said.NO,
    token_ids=Said.NO,
    logprobs=Said.NO,
    prompt=Said.YES,
    gold=Said.YES,
    seeds=Said.YES,
    samples=Said.NO,
)

_SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True)
class ResponseFile:
    """One file of responses; ``source_file`` is its POSIX path below the import root."""

    path: Path
    source_file: str
    benchmark: str
    folder: VariantFolder


def detect(path: Path) -> bool:
    """Whether a file or folder looks like this layout: by folder names, else by the keys of the first record."""
    files = _below(path)
    here = _absolute(path)
    folders = [here, *(p for p in here.rglob("*") if p.is_dir())] if path.is_dir() else [here.parent]
    if any(is_variant_folder(folder.name) for folder in folders):
        return True
    if not files:
        return False
    with files[0].open("rb") as handle:
        head = handle.read(1 << 16)
    return b'"full_prompt"' in head


def read(paths: Path | Sequence[Path], problems: Path | None = None) -> Imported:
    """Read files, variant folders or trees of them; ``problems`` is a problem file or a folder of them.

    Raises InputError that names the file, the record (counted from 0) and the remedy.
    """
    files = find_files([paths] if isinstance(paths, Path) else paths)
    benchmarks = sorted({f.benchmark for f in files})
    notices: list[str] = []
    datasets: dict[str, Dataset] = {}
    if problems is not None:
        datasets = {b: load_dataset(p) for b, p in find_datasets(problems, benchmarks).items()}
        for benchmark in sorted(set(benchmarks) - set(datasets)):
            notices.append(f"{benchmark}: no problem file in {problems}; its problems are read from the prompts")
    books = {b: ProblemBook(b, datasets.get(b)) for b in benchmarks}
    names = name_variants({f.folder.checkpoint for f in files})
    rank = {checkpoint: i for i, checkpoint in enumerate(names)}

    cells: dict[tuple[str, str], ImportedCell] = {}
    hashes: dict[str, str] = {}
    for file in sorted(files, key=lambda f: (rank[f.folder.checkpoint], f.benchmark, f.folder.seed)):
        variant = names[file.folder.checkpoint].id
        cell = cells.setdefault((variant, file.benchmark), ImportedCell(variant, file.benchmark, [], []))
        hashes[file.source_file] = _read_file(file, books[file.benchmark], cell)

    for book in books.values():
        notices += book.notices
    unquantized = [v.id for c, v in names.items() if not c.recipe.quantized]
    if len(unquantized) > 1:
        notices.append(
            f"several unquantized variants ({', '.join(unquantized)}), so none of them is taken as the baseline"
        )
    return Imported(
        variants=list(names.values()),
        baseline=unquantized[0] if len(unquantized) == 1 else None,
        problems=[problem for book in books.values() for problem in book.problems()],
        cells=list(cells.values()),
        size_known={b: b in datasets for b in benchmarks},
        files=dict(sorted(hashes.items())),
        datasets={b: d.sha256 for b, d in sorted(datasets.items())},
        notices=notices,
    )


def find_files(paths: Sequence[Path]) -> list[ResponseFile]:
    """The response files below the given paths, each once.

    ``source_file`` counts from the given tree, or from the parent of the variant folder
    where that folder or a file in it was given.  Raises InputError for a path without
    files, an empty variant folder, a folder name that cannot be read, and for two files
    with the same model, recipe, tp, seed and benchmark.
    """
    found: dict[Path, ResponseFile] = {}
    for path in paths:
        files = _below(path)
        if not files:
            raise InputError(f"{path}: no {_SUFFIX} file in it; give outputs/inference or a variant folder below it")
        here = _absolute(path)
        if path.is_file():
            root = here.parent.parent
        else:
            root = here.parent if any(f.parent == here for f in files) else here
            for folder in sorted(p for p in here.rglob("*") if p.is_dir() and is_variant_folder(p.name)):
                if not any(folder in f.parents for f in files):
                    raise InputError(f"{folder}: an empty variant folder; put its {_SUFFIX} files there, or delete it")
        for file in files:
            if not _is_text(str(file)):
                raise InputError(f"{str(file)!r}: its name is not UTF-8; rename it")
            try:
                folder_of = parse_folder(file.parent.name)
            except InputError as error:
                raise InputError(f"{file}: {error}") from None
            source = file.relative_to(root).as_posix()
            found.setdefault(file.resolve(), ResponseFile(file, source, file.stem, folder_of))
    taken: dict[tuple[VariantFolder, str], Path] = {}
    for response_file in found.values():
        key = (response_file.folder, response_file.benchmark)
        if key in taken:
            raise InputError(
                f"{response_file.path}: {taken[key]} has the same model, recipe, tp, seed and benchmark; "
                "give only one of them"
            )
        taken[key] = response_file.path
    return list(found.values())


def _is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8 (a lone surrogate cannot)."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _absolute(path: Path) -> Path:
    # Not always resolve(): a link's own name may be the variant's name.
    return path.resolve() if path.name in ("", "..") else path.absolute()


def _below(path: Path) -> list[Path]:
    if path.is_file():
        return [_absolute(path)]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder; check the path")
    here = _absolute(path)
    hidden = [p for p in here.rglob(f"*{_SUFFIX}") if any(part.startswith(".") for part in p.relative_to(here).parts)]
    return sorted(p for p in set(here.rglob(f"*{_SUFFIX}")) - set(hidden) if p.is_file())


def _read_file(file: ResponseFile, book: ProblemBook, cell: ImportedCell) -> str:
    """Append the traces of one file to its cell; returns the file's SHA-256."""
    content = read_records(file.path)
    seen: dict[str, int] = {}
    for position, record in enumerate(content.records):
        where = at(file.path, position)
        prompt = _text(record, "full_prompt", where)
        text = _text(record, "generated_text", where)
        metrics = _metrics(record, where)
        gold = _gold(record, where)
        kind = kind_of(prompt, gold, list(metrics))
        problem_id = book.place(Asked(prompt, gold, kind, _index(record, where), position, where))
        if problem_id in seen:
            raise InputError(
                f"{where}: answers problem {problem_id} again, as record {seen[problem_id]} does; "
                "a file has one response per problem, so remove one of them"
            )
        seen[problem_id] = position
        cell.traces.append(
            Trace(
                variant=cell.variant,
                benchmark=file.benchmark,
                problem_id=problem_id,
                sample=0,
                seed=file.folder.seed,
                prompt=prompt,
                text=text,
                finish=Finish.UNKNOWN,
                source_file=file.source_file,
                source_index=position,
            )
        )
        cell.metrics.append(metrics)
    return content.sha256


# ------------------------------------------------------------------ fields of a record
def _field(record: dict[str, Any], key: str, where: str) -> Any:
    if key not in record:
        raise InputError(
            f"{where}: key {key!r} is missing (it has {', '.join(sorted(record)[:8]) or 'none'}); "
            "make the file again with the repository's inference.py"
        )
    return record[key]


def _wrong_type(where: str, key: str, value: Any, expected: str) -> InputError:
    return InputError(
        f"{where}: {key!r} is {type(value).__name__}, expected {expected}; repair it or make the file again"
    )


def _text(record: dict[str, Any], key: str, where: str) -> str:
    value = _field(record, key, where)
    if not isinstance(value, str):
        raise _wrong_type(where, key, value, "text")
    return value


def _gold(record: dict[str, Any], where: str) -> str:
    """The first gold answer; a bare text counts as a list of one."""
    value = _field(record, "gold", where)
    answers = value if isinstance(value, list) else [value]
    if not answers:
        raise InputError(f"{where}: 'gold' is an empty list; a problem needs its right answer")
    first = answers[0]
    if isinstance(first, bool) or not isinstance(first, str | int | float):
        raise _wrong_type(where, "gold", value, "a list of texts")
    return str(first)


def _index(record: dict[str, Any], where: str) -> int | None:
    value = record.get("idx")
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    if isinstance(value, str):
        digits = value.strip().removeprefix("idx-")
        if digits.isascii() and digits.isdecimal() and len(digits) <= 9:
            return int(digits)
    raise InputError(
        f"{where}: 'idx' is {value!r:.60}, expected an index into the benchmark, counted from 0; repair or remove it"
    )


def _metrics(record: dict[str, Any], where: str) -> dict[str, float | None]:
    value = _field(record, "metrics", where)
    if not isinstance(value, dict):
        raise _wrong_type(where, "metrics", value, "an object of numbers")
    metrics: dict[str, float | None] = {}
    for name, figure in value.items():
        if figure is not None and not isinstance(figure, int | float):
            raise _wrong_type(where, f"metrics.{name}", figure, "a number")
        if not _is_text(name):
            raise InputError(f"{where}: the name {name!r} in 'metrics' is not text; repair the escape")
        try:
            metrics[name] = None if figure is None else float(figure)
        except OverflowError:
            raise InputError(f"{where}: 'metrics.{name}' is too large a number; repair or remove it") from None
        if not math.isfinite(metrics[name] or 0.0):
            raise InputError(
                f"{where}: 'metrics.{name}' is {figure}, which is no figure; write null where there is none"
            )
    return metrics
