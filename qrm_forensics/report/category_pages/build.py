"""All pages of a benchmark: their tables, their sentences, and the chosen cases with the words that they are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from qrm_forensics.benchmarks.code_tests import shown_gold
from qrm_forensics.report.category_pages.members import OUTCOME, Frames, Members, of_outcome, of_problems
from qrm_forensics.report.category_pages.model import CategoryPage, Pick, Picks, Side
from qrm_forensics.report.category_pages.numbers import outcomes, process, results
from qrm_forensics.report.category_pages.outcome import compare_outcomes, outcome_table
from qrm_forensics.report.category_pages.picks import Choice, choose
from qrm_forensics.report.claims import Ledger, count, where
from qrm_forensics.report.data import SAMPLE_KEY, BenchmarkData, RunData
from qrm_forensics.report.model import Category
from qrm_forensics.report.nouns import Claim, Sentence
from qrm_forensics.report.sections.model import Quote
from qrm_forensics.report.spread import number, text, whole
from qrm_forensics.report.visible import clip
from qrm_forensics.store import read_row_group
from qrm_forensics.symptoms import OUTCOME_NAMES

#: Characters of a question, of an answer, and of a response at the place that a rule speaks of.
QUESTION, ANSWER, QUOTED = 280, 80, 320
#: Characters before that place.
_BEFORE = 90

Key = tuple[str, int]  # variant, row


def build_pages(
    run: RunData,
    data: BenchmarkData,
    categories: Sequence[Category],
    groups: Mapping[tuple[str, str], tuple[frozenset[str], str]],
    references: Mapping[str, str],
    ledger: Ledger,
) -> tuple[CategoryPage, ...]:
    """A page for every category and for every outcome that some response had.

    ``groups``: (dimension, name) of a category -> its problems, and the query that picks their rows.
    """
    drafts: list[tuple[Members, tuple[Sentence, ...], list[Any], tuple[Choice, ...]]] = []
    frames = Frames(data)
    for category in categories:
        members = of_problems(frames, category.dimension, category.name, *groups[category.dimension, category.name])
        rows = {row.variant: row for row in category.rows}
        made = [
            results(run, data, members, rows, references, ledger),
            outcomes(run, data, members, ledger),
            process(run, data, members, ledger),
        ]
        drafts.append((members, category.sentences, made, choose(run, data, members, references)))
    if OUTCOME in run.tables:
        found = set(data.frame[OUTCOME].dropna())
        names = tuple(o for o in OUTCOME_NAMES if o in found)
        tests = compare_outcomes(run, data, names, references)
        for name in names:
            members = of_outcome(run, frames, name)
            table, said = outcome_table(run, data, members, tests, ledger)
            drafts.append(
                (members, said, [table, process(run, data, members, ledger)], choose(run, data, members, references))
            )
    shown = _responses(frames, [choices for *_, choices in drafts])
    quotes = _quotes(run, data, shown, [choices for *_, choices in drafts])
    return tuple(
        CategoryPage(
            benchmark=data.name,
            dimension=members.dimension,
            name=members.name,
            size=_size(run, data, members, ledger),
            sentences=said,
            tables=tuple(table for table in made if table is not None and table.rows),
            picks=tuple(_picks(run, data, members, choice, shown, quotes, ledger) for choice in choices),
        )
        for members, said, made, choices in drafts
    )


def _size(run: RunData, data: BenchmarkData, members: Members, ledger: Ledger) -> Sentence:
    """How many problems and responses the page is about."""
    problems = {p for frame in members.frames.values() for p in frame["problem_id"]}
    responses = sum(len(frame) for frame in members.frames.values())
    table = f"traces{members.joined}"
    at = f"{where(benchmark=data.name)} and {members.query}"
    name = f"{data.name}/{members.dimension}={members.name}"
    slots: dict[str, Claim | str] = {
        "problems": ledger.add(
            count(f"category/problems/{name}", len(problems), "definition.page_problems", table=table, filter=at)
        ),
        "responses": ledger.add(
            count(f"category/responses/{name}", responses, "definition.page_responses", table=table, filter=at)
        ),
    }
    return Sentence("page.size", slots)


def _picks(
    run: RunData,
    data: BenchmarkData,
    members: Members,
    choice: Choice,
    shown: Mapping[Key, Mapping[Any, Any]],
    quotes: Mapping[tuple[Key, str], Quote],
    ledger: Ledger,
) -> Picks:
    tables = ["verdicts", *(run.tables[c] for c in ("loop", "false_equations", "n_words") if c in run.tables)]
    number_of = count(
        f"category/fits/{data.name}/{members.dimension}={members.name}/{choice.rule}",
        choice.fits,
        "definition.page_fits",
        table="+".join(dict.fromkeys([*tables, *filter(None, members.joined.split("+"))])),
        filter=f"{where(benchmark=data.name, policy=run.policy)} and {members.query}",
    )
    slots: dict[str, Claim | str] = {"shown": str(len(choice.chosen)), "count": ledger.add(number_of)}
    return Picks(
        rule=choice.rule,
        why=Sentence(f"pick.{choice.rule}", slots),
        cases=tuple(
            _pick(run, data, shown, row, variant, reference, quotes.get(((variant, row), choice.rule)))
            for row, variant, reference in choice.chosen
        ),
    )


def _pick(
    run: RunData,
    data: BenchmarkData,
    shown: Mapping[Key, Mapping[Any, Any]],
    row: int,
    variant: str,
    reference: str | None,
    quote: Quote | None,
) -> Pick:
    problem_id, sample, seed = data.keys[row]
    problem = run.problems[data.name, problem_id]
    beside = dict.fromkeys(v for v in (reference, variant) if v is not None and (v, row) in shown)
    return Pick(
        problem_id=problem_id,
        sample=sample,
        seed=seed,
        question=clip(problem.question, QUESTION),
        gold=clip(shown_gold(problem), ANSWER),
        sides=tuple(_side(run, v, shown[v, row]) for v in beside),
        quote=quote,
    )


def _responses(frames: Frames, pages: Sequence[tuple[Choice, ...]]) -> dict[Key, Mapping[Any, Any]]:
    """(variant, row) -> the columns of each response that some page shows."""
    wanted: dict[str, set[int]] = {}
    for row, variant, reference in (chosen for page in pages for choice in page for chosen in choice.chosen):
        wanted.setdefault(variant, set()).add(row)
        if reference is not None:
            wanted.setdefault(reference, set()).add(row)
    return {
        (variant, int(values["row"])): values
        for variant, rows in wanted.items()
        for values in frames.of[variant][frames.of[variant]["row"].isin(rows)].to_dict("records")
    }


def _side(run: RunData, variant: str, values: Mapping[Any, Any]) -> Side:
    answer = text(values, f"answer:{run.policy}")
    return Side(
        variant=variant,
        status=text(values, f"status:{run.policy}") or "unscored",
        outcome=text(values, OUTCOME),
        answer=None if answer is None else clip(answer, ANSWER),
        words=whole(values, "n_words"),
        onset=number(values, "loop_onset_fraction") if values.get("loop") == 1 else None,
    )


#: Rule -> the measured place that it speaks of; without one the end of the response is quoted.
_PLACES = {
    "lost_loop": "loop_onset_char",
    "alone_loop": "loop_onset_char",
    "ended_loop": "loop_onset_char",
    "longest": "loop_onset_char",
    "lost_false_equation": "false_equation_first_char",
}


def _quotes(
    run: RunData,
    data: BenchmarkData,
    shown: Mapping[Key, Mapping[Any, Any]],
    pages: Sequence[tuple[Choice, ...]],
) -> dict[tuple[Key, str], Quote]:
    """((variant, row), rule) -> the words; one group of stored responses is in memory at a time."""
    wanted: dict[str, dict[tuple[Any, ...], set[str]]] = {}
    for choices in pages:
        for choice in choices:
            for row, variant, _ in choice.chosen:
                wanted.setdefault(variant, {}).setdefault(data.keys[row], set()).add(choice.rule)
    rows = {key: row for row, key in enumerate(data.keys)}
    found = {}
    for variant, keys in wanted.items():
        for group in run.store.row_groups(variant, data.name):
            table = read_row_group(group, SAMPLE_KEY)
            there = list(zip(*(table[c].to_pylist() for c in SAMPLE_KEY), strict=True))
            here = [i for i, key in enumerate(there) if key in keys]
            if not here:
                continue
            texts = read_row_group(group, ["text"])["text"].take(pa.array(here)).to_pylist()
            for i, said in zip(here, texts, strict=True):
                row = rows[there[i]]
                values = shown[variant, row]
                for rule in sorted(keys[there[i]]):
                    if said:
                        found[(variant, row), rule] = _quote(said, _PLACES.get(rule), values, variant, there[i][0])
    return found


def _quote(said: str, column: str | None, values: Mapping[Any, Any], variant: str, problem_id: str) -> Quote:
    """The words around a measured place, or the last ones."""
    at = whole(values, column) if column else None
    start = max(0, len(said) - QUOTED if at is None else min(at - _BEFORE, len(said) - QUOTED))
    return Quote(said[start : start + QUOTED], variant, problem_id, start)
