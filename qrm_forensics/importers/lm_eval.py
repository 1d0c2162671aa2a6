"""lm-evaluation-harness: ``samples_<task>_<date>.jsonl`` (written with ``--log_samples``) and ``results_<date>.json`` beside it.

A line holds the prompt, the target, every response to it (``resps``, several with ``repeats``) and the metrics of one filter,
so a task with two filters has two lines per problem.  The results say the model, its seeds and the size of the task.  Neither
says why a response ended or how many tokens it has.  Tasks that compare log-likelihoods have no responses and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from qrm_forensics.benchmarks.json_records import at, read_records
from qrm_forensics.benchmarks.rows import sha256_of
from qrm_forensics.errors import InputError
from qrm_forensics.importers import files
from qrm_forensics.importers.files import Source, at_path
from qrm_forensics.importers.foreign import Answer, assemble, checkpoint_of, figures_of, text_of, whole
from qrm_forensics.importers.imported import Imported
from qrm_forensics.importers.provides import Provides, Said
from qrm_forensics.records import Finish

TITLE: Final = "lm-evaluation-harness: `samples_<task>_<date>.jsonl` with `results_<date>.json` beside it"
PROVIDES: Final = Provides(
    text=Said.YES,
    finish=Said.NO,
    token_counts=Said.NO,
    token_ids=Said.NO,
    logprobs=Said.NO,
    prompt=Said.YES,
    gold=Said.YES,
    seeds=Said.SOMETIMES,
    samples=Said.SOMETIMES,
)

_SAMPLES = re.compile(r"samples_(?P<task>.+?)_(?P<date>\d{4}-\d{2}-\d{2}T[\d.:-]+)\.jsonl", re.DOTALL)
_QUESTIONS = ("problem", "question", "Problem", "Question")


@dataclass(slots=True)
class _Results:
    """What the results file says; nothing where there is none."""

    model: str | None = None
    seed: int | None = None
    sizes: dict[str, int] = field(default_factory=dict)


def detect(path: Path) -> bool:
    """Whether there are files of samples, by the keys of their first line."""
    found = [p for p in files.below(path) if p.suffix == ".jsonl"]
    return bool(found) and all(_has_keys(files.head_of(p)) for p in found)


def _has_keys(head: bytes) -> bool:
    return head.lstrip().startswith(b'{"doc_id"') and b'"arguments"' in head


def read(paths: Path | Sequence[Path], problems: Path | None = None) -> Imported:
    """Read files of samples, or folders of them; ``problems`` is a problem file or a folder of them.  Raises InputError."""
    sources = files.find(paths, lambda p: p.suffix == ".jsonl" and _has_keys(files.head_of(p)), "samples_*.jsonl")
    answers: list[Answer] = []
    hashes: dict[str, str] = {}
    sizes: dict[str, int] = {}
    notices: list[str] = []
    for source in sources:
        results, results_file = _results(source)
        if results_file is not None:
            hashes[results_file.name] = sha256_of([results_file.path])
        sizes |= results.sizes
        content = read_records(source.path)
        hashes[source.name] = content.sha256
        lines = [_line(source, index, record) for index, record in enumerate(content.records)]
        if not any(line.texts for line in lines):
            notices.append(f"{source.name}: compares log-likelihoods and holds no responses, so it is left out")
            continue
        answers += _answers(source, lines, results)
    if not answers:
        raise InputError(
            f"{', '.join(s.name for s in sources)}: only log-likelihoods, no responses; import tasks with the output type "
            "generate_until"
        )
    return assemble(answers, hashes, problems=problems, sizes=sizes, notices=notices)


@dataclass(frozen=True, slots=True)
class _Line:
    """One problem under one filter; ``texts`` are none where the task compares log-likelihoods."""

    where: str
    index: int
    problem_id: str
    filter: str
    prompt: str
    question: str | None
    target: str
    texts: list[str]
    figures: dict[str, float | None]
    subject: str | None
    level: str | None


def _line(source: Source, index: int, record: dict[str, Any]) -> _Line:
    where = at(source.path, index)
    number = whole(record.get("doc_id"))
    if number is None:
        raise InputError(
            f"{where}: 'doc_id' is {record.get('doc_id')!r:.60}, not a number; run lm_eval again with --log_samples"
        )
    doc = record.get("doc")
    prompts = [at_path(record.get("arguments"), "gen_args_0", "arg_0"), at_path(doc, "prompt"), ""]
    chosen = next(p for p in prompts if isinstance(p, str))
    named = record.get("metrics")
    filter_name = str(record.get("filter", "none"))
    metrics = {k: v for k, v in record.items() if k in named} if isinstance(named, list) else {}
    return _Line(
        where=where,
        index=index,
        problem_id=str(number),
        filter=filter_name,
        prompt=chosen,
        question=next((doc[k] for k in _QUESTIONS if isinstance(doc, dict) and isinstance(doc.get(k), str)), None),
        target=_target(record.get("target"), where),
        texts=_texts(record.get("resps"), where),
        figures={k if filter_name == "none" else f"{k},{filter_name}": v for k, v in figures_of(metrics).items()},
        subject=text_of(at_path(doc, "subject")),
        level=text_of(at_path(doc, "level")),
    )


def _target(value: Any, where: str) -> str:
    """The right answer; of a list of accepted ones the first."""
    first = value[0] if isinstance(value, list) and value else value
    return text_of(first) or ""


def _texts(responses: Any, where: str) -> list[str]:
    """All responses to one request; none where these are log-likelihoods, which stand as pairs."""
    if not isinstance(responses, list) or not responses:
        raise InputError(f"{where}: 'resps' is not a list of responses; run lm_eval again with --log_samples")
    first = responses[0]
    if isinstance(first, str):
        first = responses
    if not isinstance(first, list):
        raise InputError(
            f"{where}: 'resps' holds {type(first).__name__}, expected texts; run lm_eval again with --log_samples"
        )
    return [one for one in first if isinstance(one, str)] if all(isinstance(one, str) for one in first) else []


def _answers(source: Source, lines: Sequence[_Line], results: _Results) -> Iterator[Answer]:
    """Lines of several filters about one problem are one answer with the figures of all of them."""
    named = _SAMPLES.fullmatch(source.path.name)
    task = named["task"] if named else source.path.stem.removeprefix("samples_")
    folder = source.path.absolute().parent.name
    checkpoint, seed = checkpoint_of(results.model or folder, source.path, f"{source.path}")
    merged: dict[str, _Line] = {}
    filters: dict[str, set[str]] = {}
    for line in lines:
        known = merged.get(line.problem_id)
        if known is None:
            merged[line.problem_id], filters[line.problem_id] = line, {line.filter}
            continue
        if line.filter in filters[line.problem_id] or line.texts != known.texts:
            raise InputError(
                f"{line.where}: answers doc_id {line.problem_id} again, as record {known.index} does; "
                "runs were appended to one file, so keep the lines of one of them"
            )
        filters[line.problem_id].add(line.filter)
        merged[line.problem_id] = replace(known, figures={**known.figures, **line.figures})
    for line in merged.values():
        for sample, text in enumerate(line.texts):
            yield Answer(
                checkpoint=checkpoint,
                benchmark=task,
                where=line.where,
                source_file=source.name,
                source_index=line.index,
                problem_id=line.problem_id,
                prompt=line.prompt,
                gold=line.target,
                text=text,
                finish=Finish.UNKNOWN,
                seed=seed if seed is not None else results.seed or 0,
                sample=sample,
                question=line.question,
                subject=line.subject,
                level=line.level,
                # The tool judges all responses to a problem together, after its filter.
                figures=line.figures if sample == 0 else {},
            )


def _results(source: Source) -> tuple[_Results, Source | None]:
    """The results of the same date beside a file of samples, else the only ones there."""
    named = _SAMPLES.fullmatch(source.path.name)
    folder = source.path.parent
    places = [folder / f"results_{named['date']}.json"] if named else []
    others = sorted(folder.glob("results_*.json"))
    places += others if len(others) == 1 else []
    place = next((p for p in places if p.is_file()), None)
    if place is None:
        return _Results(), None
    told = files.json_object(files.bytes_of(place), str(place))
    sizes = told.get("n-samples")
    model = (
        told.get("model_name")
        or at_path(told, "config", "model_args", "pretrained")
        or at_path(told, "config", "model")
    )
    found = _Results(
        model=model if isinstance(model, str) else None,
        seed=whole(at_path(told, "config", "gen_kwargs", "seed")) or whole(at_path(told, "config", "random_seed")),
        sizes={
            task: size
            for task, counts in (sizes.items() if isinstance(sizes, dict) else ())
            if (size := whole(at_path(counts, "original"))) is not None
        },
    )
    return found, Source(place, str(Path(source.name).with_name(place.name)))
