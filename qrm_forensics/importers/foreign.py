"""From what a tool's files say about single responses to a run: one way for every format.

A format's module turns its files into ``Answer`` records; ``assemble`` names the variants, finds the problems, numbers
the samples and checks the whole.  Nothing is invented: what a file does not say is null, or unknown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qrm_forensics.benchmarks.datasets import Dataset, find_datasets, load_dataset
from qrm_forensics.benchmarks.join import Asked, ProblemBook, kind_of
from qrm_forensics.errors import InputError
from qrm_forensics.importers.folders import Checkpoint, is_variant_folder, name_variants, parse_folder
from qrm_forensics.importers.imported import Imported, ImportedCell
from qrm_forensics.records import Finish, Kind, Trace, Variant

#: Characters of one response; the longest of the paper's have 200 thousand.
MAX_TEXT = 1 << 24
MAX_TOKENS = 1 << 22

_NUMBERED = re.compile(r"(?:idx-)?(\d{1,9})")
_SEED_ENDING = re.compile(r"-seed\d{1,18}$")


@dataclass(frozen=True, slots=True)
class Answer:
    """One response as a tool's file states it.

    ``model`` is the name that the file or its folder gives, ``checkpoint`` what that name means.  ``problem_id`` is the tool's
    own (a number counts from 0 and is the problem's place in the benchmark); without one the place in the file counts.  ``sample``
    is null where the file does not number them: they are then numbered in the order in which they stand.  ``figures`` are the
    tool's own scores.  ``where`` is how messages name the record.
    """

    checkpoint: Checkpoint
    benchmark: str
    where: str
    source_file: str
    source_index: int
    problem_id: str | None
    prompt: str
    gold: str
    text: str | None
    finish: Finish
    seed: int = 0
    sample: int | None = 0
    question: str | None = None
    kind: Kind | None = None
    subject: str | None = None
    level: str | None = None
    token_ids: list[int] | None = None
    logprobs: list[float] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float | None = None
    error: str | None = None
    figures: dict[str, float | None] = field(default_factory=dict)


def checkpoint_of(model: str, file: Path, where: str) -> tuple[Checkpoint, int | None]:
    """What a model's name means, and the seed where a name says it.

    A folder around the file that is called ``<model>-<recipe>-tp<n>-seed<seed>`` comes first, as a name on a hub cannot be
    changed.  Else the last part of the recorded name or path is read.  Raises InputError.
    """
    for folder in file.absolute().parents:
        if is_variant_folder(folder.name):
            named = parse_folder(folder.name)
            return named.checkpoint, named.seed
    name = re.split(r"[/\\]|__", model.strip().rstrip("/\\"))[-1]
    if not name or not _is_text(name):
        raise InputError(f"{where}: the model has no name; put the file into a folder {_FOLDER}")
    seeded = _SEED_ENDING.search(name) is not None
    try:
        named = parse_folder(name if seeded else f"{name}-seed0")
    except InputError as error:
        why = str(error).partition(": ")[2].partition(";")[0]
        raise InputError(
            f"{where}: model {model!r:.120}: {why}; put the file into a folder {_FOLDER}, which is read first"
        ) from None
    return named.checkpoint, named.seed if seeded else None


_FOLDER = "<model>-<recipe>-tp<n>-seed<seed>, such as QwQ-32B-awq-w4g128-tp1-seed42"
_TWICE = f"give only one of them, or put runs with different seeds into folders {_FOLDER}"


def assemble(
    answers: Iterable[Answer],
    files: Mapping[str, str],
    *,
    problems: Path | None = None,
    sizes: Mapping[str, int] | None = None,
    notices: Sequence[str] = (),
    twice: str | None = None,
) -> Imported:
    """Answers as a run.

    ``files``: ``source_file`` -> SHA-256.  ``problems``: problem file or folder of them.  ``sizes``: benchmark -> number of
    its problems where the tool tells it; without a problem file a benchmark is known as a whole where all of them were answered.
    ``twice``: what to do about a sample that is there twice.  Raises InputError.
    """
    read = [_checked(answer) for answer in answers]
    benchmarks = sorted({a.benchmark for a in read})
    told = list(notices)
    datasets: dict[str, Dataset] = {}
    if problems is not None:
        datasets = {b: load_dataset(p) for b, p in find_datasets(problems, benchmarks).items()}
        for benchmark in sorted(set(benchmarks) - set(datasets)):
            told.append(f"{benchmark}: no problem file in {problems}; its problems are those that were answered")
    books = {b: ProblemBook(b, datasets.get(b)) for b in benchmarks}
    named = {a.benchmark for a in read if a.problem_id is not None and not _NUMBERED.fullmatch(a.problem_id)}
    variants = name_variants({a.checkpoint for a in read})
    rank = {checkpoint: i for i, checkpoint in enumerate(variants)}

    cells: dict[tuple[str, str], ImportedCell] = {}
    taken: dict[tuple[str, str, str, int, int], Answer] = {}
    numbered: dict[tuple[str, str, str, int], int] = {}
    for answer in sorted(read, key=lambda a: (rank[a.checkpoint], a.benchmark)):
        variant = variants[answer.checkpoint].id
        problem_id = books[answer.benchmark].place(
            _asked(answer, answer.benchmark in datasets, answer.benchmark in named)
        )
        place = (variant, answer.benchmark, problem_id, answer.seed)
        sample = numbered.get(place, 0) if answer.sample is None else answer.sample
        numbered[place] = sample + 1
        key = (variant, answer.benchmark, problem_id, sample, answer.seed)
        if key in taken:
            raise InputError(
                f"{answer.where}: answers problem {problem_id} again for {variant}, sample {sample} and seed {answer.seed}, as "
                f"{taken[key].where} does; {twice or _TWICE}"
            )
        taken[key] = answer
        cell = cells.setdefault((variant, answer.benchmark), ImportedCell(variant, answer.benchmark, [], []))
        cell.traces.append(_trace(answer, variant, problem_id, sample))
        cell.metrics.append(answer.figures)

    for book in books.values():
        told += book.notices
    made = {b: book.problems() for b, book in books.items()}
    whole = {b: b in datasets or (sizes or {}).get(b) == len(made[b]) for b in benchmarks}
    return Imported(
        variants=list(variants.values()),
        baseline=_baseline(variants, told),
        problems=[problem for benchmark in benchmarks for problem in made[benchmark]],
        cells=list(cells.values()),
        size_known=whole,
        files=dict(sorted(files.items())),
        datasets={b: d.sha256 for b, d in sorted(datasets.items())},
        notices=told,
    )


def _baseline(variants: Mapping[Checkpoint, Variant], notices: list[str]) -> str | None:
    unquantized = [v.id for c, v in variants.items() if not c.recipe.quantized]
    if len(unquantized) > 1:
        notices.append(
            f"several unquantized variants ({', '.join(unquantized)}), so none of them is taken as the baseline"
        )
    return unquantized[0] if len(unquantized) == 1 else None


def _asked(answer: Answer, joined: bool, named: bool) -> Asked:
    number = _NUMBERED.fullmatch(answer.problem_id) if answer.problem_id is not None and not named else None
    index = int(number[1]) if number else None
    return Asked(
        prompt=answer.prompt,
        gold=answer.gold,
        kind=answer.kind or kind_of(answer.prompt, answer.gold, list(answer.figures)),
        # A tool counts the rows of its own copy of a benchmark, so that its number does not contradict another order of the file.
        index=None if joined else index,
        position=answer.source_index if index is None else index,
        where=answer.where,
        own_id=answer.problem_id if joined or index is None else None,
        question=answer.question,
        subject=answer.subject,
        level=answer.level,
    )


def _trace(answer: Answer, variant: str, problem_id: str, sample: int) -> Trace:
    counted = answer.completion_tokens
    if counted is None and answer.token_ids is not None:
        counted = len(answer.token_ids)
    return Trace(
        variant=variant,
        benchmark=answer.benchmark,
        problem_id=problem_id,
        sample=sample,
        seed=answer.seed,
        prompt=answer.prompt,
        text=answer.text,
        finish=answer.finish,
        token_ids=answer.token_ids,
        logprobs=answer.logprobs,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=counted,
        seconds=answer.seconds,
        error=answer.error,
        source_file=answer.source_file,
        source_index=answer.source_index,
    )


def _checked(answer: Answer) -> Answer:
    if answer.text is not None and len(answer.text) > MAX_TEXT:
        raise InputError(
            f"{answer.where}: its response has {len(answer.text):,} characters, more than {MAX_TEXT:,}; remove it"
        )
    if not answer.benchmark.strip():
        raise InputError(f"{answer.where}: the benchmark has no name; name the file <BENCHMARK>.jsonl")
    if answer.token_ids is not None and (
        len(answer.token_ids) > MAX_TOKENS or not all(0 <= token < 2**31 for token in answer.token_ids)
    ):
        raise InputError(f"{answer.where}: its token ids are no ids; make the file again, or remove them")
    return answer


# ------------------------------------------------------------------ values of foreign records
def text_of(value: Any) -> str | None:
    """A text that can be written, or null; a number is written out.  Half a surrogate pair becomes U+FFFD in the store."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def whole(value: Any) -> int | None:
    """A whole number from 0 up that fits into the store, or null."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"\d{1,18}", value) else None
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        return None
    return int(value) if 0 <= value < 2**63 else None


def figures_of(values: Any) -> dict[str, float | None]:
    """The numbers (truth values as 1 and 0) of an object of scores; what is no finite number is left out."""
    found: dict[str, float | None] = {}
    for name, value in values.items() if isinstance(values, dict) else ():
        if not isinstance(name, str) or not _is_text(name) or not isinstance(value, bool | int | float):
            continue
        try:
            figure = float(value)
        except OverflowError:
            continue
        if math.isfinite(figure):
            found[name] = figure
    return found


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
