"""Inspect: ``.eval`` logs (ZIP archives of JSON, Zstandard-compressed) and JSON logs; ``epochs`` are samples.

A sample holds its messages, the output with the reason why it ended, tokens counted, log-probabilities where they were asked
for, scores and errors.  The prompt is what was said in messages: the chat template around it is the server's and is not in the
log.  A provider that takes the reasoning apart has lost the exact text; it is put back as ``<think>…</think>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from qrm_forensics.benchmarks.rows import sha256_of
from qrm_forensics.errors import InputError
from qrm_forensics.importers import chat, files
from qrm_forensics.importers.archive import Archive
from qrm_forensics.importers.files import Source, at_path
from qrm_forensics.importers.foreign import Answer, assemble, checkpoint_of, figures_of, text_of, whole
from qrm_forensics.importers.imported import Imported
from qrm_forensics.importers.provides import Provides, Said
from qrm_forensics.records import Finish, Kind

TITLE: Final = "Inspect: `.eval` logs and JSON logs"
PROVIDES: Final = Provides(
    text=Said.YES,
    finish=Said.YES,
    token_counts=Said.SOMETIMES,
    token_ids=Said.NO,
    logprobs=Said.SOMETIMES,
    prompt=Said.SOMETIMES,
    gold=Said.YES,
    seeds=Said.SOMETIMES,
    samples=Said.YES,
)

_FINISH = {
    "stop": Finish.STOP,
    "max_tokens": Finish.LENGTH,
    "model_length": Finish.LENGTH,
}
#: Inspect's letters for correct, partial, incorrect, no answer (``value_to_float``).
_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_TWICE = (
    "give only one of the logs (that of 'inspect eval-retry' repeats the samples that it took over), or evaluate once more "
    "with another --seed"
)
_SAMPLE = re.compile(r"samples/.+\.json", re.DOTALL)
#: An attachment that stands for a longer text.
_ATTACHED = "attachment://"


def detect(path: Path) -> bool:
    """Whether there are ``.eval`` archives, or JSON logs by their first keys."""
    found = [p for p in files.below(path) if p.suffix in (".eval", ".json")]
    return bool(found) and all(_is_log(p) for p in found)


def _is_log(path: Path) -> bool:
    head = files.head_of(path, 1 << 12)
    if path.suffix == ".eval":
        return head.startswith(b"PK")
    return re.match(rb'\s*\{\s*"version"\s*:\s*\d+\s*,\s*"status"', head) is not None and b'"eval"' in head


def read(paths: Path | Sequence[Path], problems: Path | None = None) -> Imported:
    """Read logs, or folders of them; ``problems`` is a problem file or a folder of them.  Raises InputError."""
    # What is called .eval and is no archive is broken, and not to be passed over.
    sources = files.find(paths, lambda p: p.suffix == ".eval" or (p.suffix == ".json" and _is_log(p)), "log of Inspect")
    answers: list[Answer] = []
    hashes: dict[str, str] = {}
    sizes: dict[str, int] = {}
    notices: list[str] = []
    for source in sources:
        hashes[source.name] = sha256_of([source.path])
        log = _open(source)
        own = list(_answers(source, log))
        if not own:
            raise InputError(
                f"{source.path}: has no samples (status {log.status!r}); run inspect eval with log_samples"
            )
        if log.status != "success":
            notices.append(
                f"{source.name}: the evaluation ended with status {log.status!r}, so responses may be missing"
            )
        if any(answer.apart for answer in own):
            notices.append(
                f"{source.name}: the reasoning was stored apart from the text of {sum(a.apart for a in own)} responses; it is put "
                "before it as <think>…</think>, so white space around it may differ from what the model wrote"
            )
        if log.size is not None:
            sizes[own[0].answer.benchmark] = log.size
        answers += [one.answer for one in own]
    return assemble(answers, hashes, problems=problems, sizes=sizes, notices=notices, twice=_TWICE)


@dataclass(frozen=True, slots=True)
class _Log:
    """``samples``: (how messages name it, sample).  ``numbered``: Inspect numbered the problems itself, from 1."""

    spec: dict[str, Any]
    status: str
    seed: int | None
    size: int | None
    numbered: bool
    samples: Iterator[tuple[str, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class _One:
    answer: Answer
    apart: bool


def _open(source: Source) -> _Log:
    if source.path.suffix == ".eval":
        with Archive(source.path) as archive:
            start = next((n for n in ("header.json", "_journal/start.json") if n in archive.names), None)
            if start is None:
                raise InputError(f"{source.path}: has no header.json, so it is no log of Inspect, or a broken one")
            head = files.json_object(archive.part(start), f"{source.path}: part {start!r}")
        return _log(source, head, _parts(source))
    head = files.json_object(files.bytes_of(source.path), str(source.path))
    listed = head.get("samples")
    rows = [s for s in listed if isinstance(s, dict)] if isinstance(listed, list) else []
    return _log(source, head, ((f"{source.path}: sample {i} (counted from 0)", row) for i, row in enumerate(rows)))


def _parts(source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    with Archive(source.path) as archive:
        for name in archive.names:
            if _SAMPLE.fullmatch(name):
                where = f"{source.path}: part {name!r}"
                yield where, files.json_object(archive.part(name), where)


def _log(source: Source, head: dict[str, Any], samples: Iterator[tuple[str, dict[str, Any]]]) -> _Log:
    spec = head.get("eval")
    if not isinstance(spec, dict) or not isinstance(spec.get("task"), str) or not isinstance(spec.get("model"), str):
        raise InputError(
            f"{source.path}: does not say task and model ('eval'), so it is no log of Inspect, or a broken one"
        )
    size = whole(at_path(spec, "dataset", "samples"))
    ids = at_path(spec, "dataset", "sample_ids")
    seeds = (at_path(head, "plan", "config", "seed"), at_path(spec, "model_generate_config", "seed"))
    return _Log(
        spec=spec,
        status=str(head.get("status", "started")),
        seed=next((seed for value in seeds if (seed := whole(value)) is not None), None),
        size=size,
        numbered=isinstance(ids, list) and sorted(i for i in ids if isinstance(i, int)) == list(range(1, len(ids) + 1)),
        samples=samples,
    )


def _answers(source: Source, log: _Log) -> Iterator[_One]:
    checkpoint, seed = checkpoint_of(log.spec["model"], source.path, str(source.path))
    task = log.spec["task"].rpartition("/")[2]
    for index, (where, sample) in enumerate(log.samples):
        name, epoch = sample.get("id"), whole(sample.get("epoch", 1))
        if isinstance(name, bool) or not isinstance(name, int | str) or not epoch:
            raise InputError(f"{where}: has no id and epoch; make the log again")
        attached = sample.get("attachments")
        attached = attached if isinstance(attached, dict) else {}
        said = chat.output(at_path(sample, "output"), partial(_whole_text, attached))
        # A sample can also fail after its response, in a scorer; the response is there then.
        failed = text_of(at_path(sample, "error", "message"))
        # A limit of messages, time or tokens over the whole sample ends it without a word in the output.
        limited = sample.get("limit") is not None
        finish = Finish.LENGTH if limited else _FINISH.get(said.stop_reason or "", Finish.UNKNOWN)
        if said.text is None:
            failed, finish = failed or "the model gave no output", Finish.ERROR
        messages = sample.get("messages") or sample.get("input")
        prompt, question = chat.prompt(messages, partial(_whole_text, attached))
        asked = sample.get("input")
        own_question = _whole_text(attached, asked) if isinstance(asked, str) else question
        gold, kind = _gold(sample)
        answer = Answer(
            checkpoint=checkpoint,
            benchmark=task,
            where=where,
            source_file=source.name,
            source_index=index,
            problem_id=str(name - 1) if log.numbered and isinstance(name, int) else str(name),
            prompt=prompt or own_question or "",
            gold=gold,
            text=said.text,
            finish=finish,
            seed=seed if seed is not None else log.seed or 0,
            sample=epoch - 1,
            question=own_question or None,
            kind=kind,
            subject=text_of(at_path(sample, "metadata", "subject")),
            level=text_of(at_path(sample, "metadata", "level")),
            logprobs=said.logprobs,
            prompt_tokens=said.prompt_tokens,
            completion_tokens=said.completion_tokens,
            seconds=said.seconds,
            error=failed,
            figures=_scores(sample.get("scores")),
        )
        yield _One(answer, said.apart)


def _whole_text(attached: dict[str, Any], text: str) -> str:
    """A text, or the longer one that a reference to an attachment stands for."""
    if not text.startswith(_ATTACHED):
        return text
    found = attached.get(text.removeprefix(_ATTACHED))
    return found if isinstance(found, str) else text


def _gold(sample: dict[str, Any]) -> tuple[str, Kind | None]:
    target = sample.get("target")
    first = target[0] if isinstance(target, list) and target else target
    gold = text_of(first) or ""
    choices = sample.get("choices")
    letter = isinstance(choices, list) and len(choices) > 1 and re.fullmatch(r"[A-Z]", gold) is not None
    return gold, Kind.CHOICE if letter else None


def _scores(scores: Any) -> dict[str, float | None]:
    """Scorer -> value; a letter as Inspect's own ``value_to_float`` reads it."""
    found: dict[str, Any] = {}
    for name, score in scores.items() if isinstance(scores, dict) else ():
        value = at_path(score, "value")
        if isinstance(value, dict):
            found |= {f"{name}/{inner}": _GRADES.get(v, v) if isinstance(v, str) else v for inner, v in value.items()}
        else:
            found[name] = _GRADES.get(value, value) if isinstance(value, str) else value
    return figures_of(found)
