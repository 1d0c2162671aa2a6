"""lighteval's task definitions as benchmarks: their questions, their wording, their right answers.

Asked and judged by this suite: the sampling is the study's, not the task's (``gsm8k`` stops after 256 tokens there), and
the metrics are not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qrm_forensics.benchmarks.items import Item
from qrm_forensics.benchmarks.load import Loaded
from qrm_forensics.benchmarks.locate import find_files
from qrm_forensics.benchmarks.presets import PROBLEM
from qrm_forensics.benchmarks.rows import read_rows, sha256_of
from qrm_forensics.errors import EnvironmentMissing, ForensicsError, InputError
from qrm_forensics.lighteval_bridge import PYTHON, installed, interpreter
from qrm_forensics.lighteval_bridge.registry import TaskName, find_task
from qrm_forensics.records import Kind
from qrm_forensics.study import BenchmarkSpec

#: Importing lighteval takes a minute on a slow machine, loading a data set from the hub several.
_SECONDS = 900.0
_LETTER = re.compile(r"\s*\(?[A-J]\)?\.?\s*")


def load(spec: BenchmarkSpec) -> Loaded:
    """The problems of the task that a study's benchmark names, read by lighteval here or in its own environment.

    Raises InputError and EnvironmentMissing as ``read`` does.
    """
    if PYTHON not in os.environ and installed() is not None:
        return read(spec)
    wanted = f"the benchmark {spec.name} (lighteval: {spec.lighteval})"
    command = [interpreter(wanted), "-m", "qrm_forensics.lighteval_bridge.tasks"]
    try:
        done = subprocess.run(
            command, input=spec.model_dump_json(), capture_output=True, text=True, encoding="utf-8", timeout=_SECONDS
        )
        told = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise EnvironmentMissing(
            f"{wanted}: lighteval's environment did not answer in {_SECONDS:g} s; is its data set reachable?"
        ) from None
    except (OSError, ValueError) as error:
        last = (done.stderr.strip().splitlines() or [""])[-1] if isinstance(error, ValueError) else str(error)
        raise EnvironmentMissing(
            f"{wanted}: {command[0]} does not answer ({last}); install this project there: pip install --no-deps -e ."
        ) from None
    if "error" in told:
        raise (InputError if told["input"] else EnvironmentMissing)(told["error"])
    items = [Item(**item) for item in told.pop("items")]
    files = [Path(file) for file in told.pop("files")]
    return Loaded(items=items, kind=Kind(told.pop("kind")), files=files, **told)


def read(spec: BenchmarkSpec) -> Loaded:
    """The problems of the task, in the data set's order, by the lighteval of this environment.

    ``path``: a file or folder with the data set's rows; without it lighteval's own data set is loaded (from the hub, or
    its cache).  The wording around the problem becomes the prompt.  Raises InputError and EnvironmentMissing.
    """
    assert spec.lighteval is not None
    said = {k for k in ("subset", "prompt", "kind", "revision") if getattr(spec, k) is not None} | (
        {"hub"} if spec.hub else set()
    )
    if said or spec.columns():
        raise InputError(
            f"benchmarks: {spec.name} is asked as its lighteval task says; leave out {', '.join(sorted(said | set(spec.columns())))}"
        )
    config = find_task(TaskName.parse(spec.lighteval))
    if not any(getattr(metric.category, "name", "") == "GENERATIVE" for metric in config.metrics):
        raise InputError(
            f"benchmarks: {spec.name}: the task {config.name} compares log-likelihoods; nothing is generated there"
        )
    if spec.path is not None:
        files = find_files(Path(spec.path).expanduser(), (spec.name, config.name), (), config.evaluation_splits[0])
        rows = [(where, row) for where, row in read_rows(files)]
        digest = sha256_of(files)
    else:
        files = []
        rows = _rows_of_hub(config)
        digest = hashlib.sha256(json.dumps([row for _, row in rows], sort_keys=True, default=str).encode()).hexdigest()
    items, kind = _items(config, rows)
    prompt, questions = _wording([item.question for item in items])
    return Loaded(
        name=spec.name,
        items=[
            Item(item.id, question, item.gold, item.subject, item.level)
            for item, question in zip(items, questions, strict=True)
        ],
        kind=kind,
        prompt=prompt,
        size=None,
        files=files,
        sha256=digest,
    )


def _rows_of_hub(config: Any) -> list[tuple[str, dict[str, Any]]]:
    import datasets

    try:
        found = datasets.load_dataset(config.hf_repo, config.hf_subset, revision=config.hf_revision)
        rows = [row for split in config.evaluation_splits for row in found[split]]
    except Exception as error:  # network, a missing folder, a gated data set: whatever it is, the remedy is the same
        first = str(error).strip().partition("\n")[0]
        raise InputError(
            f"benchmarks: the data set {config.hf_repo} of {config.name} cannot be loaded ({type(error).__name__}: {first}); give its "
            "rows as a path"
        ) from error
    if config.hf_filter is not None:
        rows = [row for row in rows if config.hf_filter(row)]
    return [(f"{config.hf_repo}: row {i}", dict(row)) for i, row in enumerate(rows)]


def _items(config: Any, rows: Sequence[tuple[str, dict[str, Any]]]) -> tuple[list[Item], Kind]:
    items: list[Item] = []
    kinds: set[Kind] = set()
    seen: set[str] = set()
    for index, (where, row) in enumerate(rows):
        own = next((str(row[k]) for k in ("unique_id", "id") if isinstance(row.get(k), str | int)), f"idx-{index}")
        name = own if own not in seen else f"idx-{index}"
        seen.add(name)
        try:
            with _shuffled_by(f"{config.name}/{name}"):
                doc = config.prompt_function(row | {"__few_shots": False, "__index": index}, config.name)
        except Exception as error:  # the task's own code on rows that are not its own
            raise InputError(
                f"{where}: {config.name} makes no question of it ({type(error).__name__}: {error}); give the task's own data set"
            ) from error
        if doc is None or doc == []:
            continue  # so does lighteval: the task leaves the row out
        gold, kind = _gold(doc, where)
        kinds.add(kind)
        subject, level = (str(row[k]) if isinstance(row.get(k), str | int) else None for k in ("subject", "level"))
        items.append(Item(name, doc.query, gold, subject, level))
    if not items:
        raise InputError(
            f"benchmarks: the task {config.name} makes no question of these rows; give the task's own data set"
        )
    if len(kinds) > 1:
        raise InputError(f"benchmarks: the task {config.name} asks for letters in some questions and not in others")
    return items, kinds.pop()


def _gold(doc: Any, where: str) -> tuple[str, Kind]:
    index = doc.gold_index[0] if isinstance(doc.gold_index, list) else doc.gold_index
    if not doc.choices or not isinstance(index, int) or index >= len(doc.choices):
        raise InputError(
            f"{where}: the task gives no right answer in text; code is judged as the benchmark LiveCodeBench"
        )
    gold = str(doc.choices[index])
    if len(doc.choices) > 1:
        if not all(_LETTER.fullmatch(str(choice)) for choice in doc.choices):
            raise InputError(f"{where}: the task compares the likelihood of its choices; use its generative form")
        return gold.strip().strip("().").upper(), Kind.CHOICE
    if "####" in gold:  # GSM8K's worked solutions
        gold = gold.rpartition("####")[2]
    return gold.strip(), Kind.MATH


@contextmanager
def _shuffled_by(seed: str) -> Iterator[None]:
    """Tasks shuffle options with the global generator, so that a question's options depend on all before it; not here."""
    before = random.getstate()
    random.seed(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big"))
    try:
        yield
    finally:
        random.setstate(before)


def _wording(queries: Sequence[str]) -> tuple[str, list[str]]:
    """(prompt with ``{problem}``, problems): whole lines that begin or end every query are the task's wording."""
    if len(queries) < 2 or any(PROBLEM in query for query in queries):
        return "plain", list(queries)
    before = _common(queries)
    before = before[: before.rfind("\n") + 1]
    rests = [query[len(before) :] for query in queries]
    after = _common([rest[::-1] for rest in rests])[::-1]
    after = after[after.find("\n") :] if "\n" in after else ""
    problems = [rest[: len(rest) - len(after)] for rest in rests]
    if not all(problem.strip() for problem in problems):
        return "plain", list(queries)
    return before + PROBLEM + after if before or after else "plain", problems


def _common(texts: Sequence[str]) -> str:
    """The longest beginning that all texts share: that of the first and the last in order."""
    first, last = min(texts), max(texts)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]


def main() -> None:
    """In lighteval's environment: a benchmark of a study as JSON on standard input, its problems on standard output."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a task prints must not mix with the reply
    os.environ.pop(PYTHON, None)
    try:
        loaded = read(BenchmarkSpec.model_validate_json(sys.stdin.read()))
        told = asdict(loaded) | {"files": [str(file) for file in loaded.files]}
    except ForensicsError as error:
        told = {"error": str(error), "input": isinstance(error, InputError)}
    json.dump(told, replies)
    replies.flush()


if __name__ == "__main__":
    main()
