"""Tables of scores as a run: responses without text, and verdicts that somebody else gave.

Nothing of this was scored here, so the verdicts belong to a policy of their own, ``imported``, and such a run has
neither ``strict`` nor ``lenient`` ones.  Its responses have no text (null) and end for an unknown reason
unless the table says, so nothing is measured either: its figures are those that came with the table, in the
table ``imported.v1`` like those of other formats.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from qrm_forensics.benchmarks.datasets import Dataset, find_datasets, load_dataset
from qrm_forensics.errors import InputError
from qrm_forensics.importers.folders import Checkpoint, name_variants, parse_folder
from qrm_forensics.importers.imported import Imported, ImportedCell
from qrm_forensics.importers.provides import Provides, Said
from qrm_forensics.importers.scores_table import NUMBERED, Score, ScoreTable, detect, read_table
from qrm_forensics.recipes import UNQUANTIZED
from qrm_forensics.records import Kind, Problem, Trace, Variant, Verdict

__all__ = ["POLICY", "detect", "read"]

TITLE: Final = "Tables of scores: CSV with `model,dataset,idx,is_correct` and any numeric columns"
PROVIDES: Final = Provides(
    text=Said.NO,
    finish=Said.SOMETIMES,
    token_counts=Said.NO,
    token_ids=Said.NO,
    logprobs=Said.NO,
    prompt=Said.NO,
    gold=Said.NO,
    seeds=Said.SOMETIMES,
    samples=Said.SOMETIMES,
)

#: The policy of verdicts that came with a table.
POLICY = "imported"

_ENDING = re.compile(r"-seed\d{1,18}$")


def read(paths: Path | Sequence[Path], problems: Path | None = None) -> Imported:
    """A table as a run: traces without text, verdicts of the policy ``imported``, figures beside them.

    The models become variants as the folders of the paper's repository do (``<model>-awq-w4g128-tp1``).
    ``problems`` adds question, right answer, subject and level.  Raises InputError.
    """
    table = read_table(paths)
    benchmarks = list(dict.fromkeys(score.dataset for score in table.scores))
    notices = [*table.notices]
    datasets: dict[str, Dataset] = {}
    if problems is not None:
        datasets = {b: load_dataset(p) for b, p in find_datasets(problems, benchmarks).items()}
        notices += [f"{b}: no problem file in {problems}" for b in benchmarks if b not in datasets]
    variants = _variants(table)
    ids = {model: variant.id for model, variant in variants.items()}
    cells: dict[tuple[str, str], ImportedCell] = {}
    order = {variant.id: i for i, variant in enumerate(variants.values())}
    for score in table.scores:
        where = (ids[score.model], score.dataset)
        cell = cells.setdefault(where, ImportedCell(*where, [], [], []))
        cell.traces.append(_trace(ids[score.model], score))
        cell.metrics.append(score.figures)
        cell.verdicts.append(_verdict(ids[score.model], score))
    unquantized = [v.id for v in variants.values() if v.recipe in UNQUANTIZED]
    if len(unquantized) > 1:
        notices.append(
            f"several unquantized models ({', '.join(unquantized)}), so none of them is taken as the baseline"
        )
    return Imported(
        variants=sorted(variants.values(), key=lambda v: order[v.id]),
        baseline=unquantized[0] if len(unquantized) == 1 else None,
        problems=[p for b in benchmarks for p in _problems(b, table.scores, datasets.get(b))],
        cells=[cells[key] for key in sorted(cells, key=lambda c: (order[c[0]], benchmarks.index(c[1])))],
        size_known={b: b in datasets for b in benchmarks},
        files=table.files,
        datasets={b: d.sha256 for b, d in sorted(datasets.items())},
        notices=notices,
    )


def _variants(table: ScoreTable) -> dict[str, Variant]:
    """Model name -> variant, unquantized ones first."""
    checkpoints: dict[str, Checkpoint] = {}
    for model in table.models:
        first = next(score for score in table.scores if score.model == model)
        try:
            checkpoints[model] = parse_folder(model if _ENDING.search(model) else f"{model}-seed0").checkpoint
        except InputError as error:
            raise InputError(f"{first.where}: model {model!r}: {_reason(error)}") from None
    names = name_variants(checkpoints.values())
    same: dict[str, list[str]] = {}
    for model, checkpoint in checkpoints.items():
        same.setdefault(names[checkpoint].id, []).append(model)
    for models in same.values():
        if len(models) > 1:
            raise InputError(
                f"{', '.join(table.files)}: the models {' and '.join(map(repr, models[:2]))} are one checkpoint by their "
                "names; call them alike and tell the responses apart by a column 'seed'"
            )
    made = {model: names[checkpoint] for model, checkpoint in checkpoints.items()}
    return dict(sorted(made.items(), key=lambda item: list(names.values()).index(item[1])))


def _reason(error: InputError) -> str:
    """What is wrong with a model's name, without the folder that it is not."""
    return str(error).partition(": ")[2].partition(";")[0] + (
        "; name it <model>-<recipe>, such as QwQ-32B-awq-w4g128, so that a report knows what was quantized "
        "(comparing needs no such name: give the table itself, as in FILE.csv::MODEL)"
    )


def _trace(variant: str, score: Score) -> Trace:
    return Trace(
        variant=variant,
        benchmark=score.dataset,
        problem_id=score.problem_id,
        sample=score.sample,
        seed=score.seed,
        prompt="",
        text=None,
        finish=score.finish,
        source_file=score.file,
        source_index=score.row - 2,  # the header is row 1, records count from 0
    )


def _verdict(variant: str, score: Score) -> Verdict:
    return Verdict(
        variant=variant,
        benchmark=score.dataset,
        problem_id=score.problem_id,
        sample=score.sample,
        seed=score.seed,
        policy=POLICY,
        status=score.status,
        answer=score.answer,
        rule=None,
        note="as imported, not scored here",
    )


def _problems(benchmark: str, scores: Sequence[Score], dataset: Dataset | None) -> list[Problem]:
    """The problems of one benchmark, in its order; without a dataset those that were answered, without their text."""
    own = [score for score in scores if score.dataset == benchmark]
    if dataset is not None:
        known = {p.id for p in dataset.problems}
        numbered = {f"idx-{i}": p.id for i, p in enumerate(dataset.problems)}
        for score in own:
            if score.problem_id not in known:
                hint = (
                    "its problems have ids of their own, so write those into 'idx'"
                    if score.problem_id in numbered
                    else "give the problem file that was used"
                )
                raise InputError(f"{score.where}: {dataset.path} has no problem {score.problem_id!r}; {hint}")
        return [
            Problem(benchmark, p.id, p.question, "", p.answer, Kind.MATH, p.subject, p.level) for p in dataset.problems
        ]
    about: dict[str, dict[str, tuple[str, Score]]] = {}
    for score in own:
        said = about.setdefault(score.problem_id, {})
        for what, value in (("subject", score.subject), ("level", score.level)):
            if value is not None and said.setdefault(what, (value, score))[0] != value:
                raise InputError(
                    f"{score.where}: problem {score.problem_id!r} has another {what} than in {said[what][1].where}; "
                    "a problem has one of each, so repair one of them"
                )
    made = []
    for problem_id in sorted(about, key=_place):
        facts = {what: value for what, (value, _) in about[problem_id].items()}
        made.append(Problem(benchmark, problem_id, "", "", "", Kind.MATH, facts.get("subject"), facts.get("level")))
    return made


def _place(problem_id: str) -> tuple[int, str]:
    """Numbered problems in order, others after them."""
    numbered = NUMBERED.fullmatch(problem_id)
    return (int(numbered[1]) if numbered else 1 << 30, problem_id)
