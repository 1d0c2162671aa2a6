"""Pages about one subject, level, topic or outcome: numbers made again from their rows, cases chosen by their rules."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from factories import small_run

from qrm_forensics.report.category_pages.members import OUTCOME, Frames, of_outcome, of_problems
from qrm_forensics.report.category_pages.model import CategoryPage
from qrm_forensics.report.category_pages.picks import OUTCOME_RULES, PER_PAGE, PER_RULE, RULES, choose
from qrm_forensics.report.context import build_context
from qrm_forensics.report.data import RunData, load
from qrm_forensics.report.evidence import evidence
from qrm_forensics.report.i18n import Texts, languages
from qrm_forensics.report.model import Claim, ReportContext
from qrm_forensics.report.sections.model import Table
from qrm_forensics.store import Store
from qrm_forensics.symptoms import OUTCOME_NAMES


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, ReportContext]:
    store = small_run(tmp_path_factory.mktemp("pages") / "run")
    return store, build_context(store, responses=False)


@pytest.fixture(scope="module")
def data(run: tuple[Store, ReportContext]) -> RunData:
    return load(run[0])


def pages(context: ReportContext) -> list[CategoryPage]:
    return [page for benchmark in context.benchmarks for page in benchmark.pages]


def test_every_category_and_every_outcome_has_a_page(run: tuple[Store, ReportContext], data: RunData) -> None:
    for benchmark in run[1].benchmarks:
        made = [(p.dimension, p.name) for p in benchmark.pages]
        found = set(data.benchmarks[benchmark.name].frame[OUTCOME].dropna())
        wanted = [(c.dimension, c.name) for c in benchmark.categories]
        assert made == wanted + [(OUTCOME, name) for name in OUTCOME_NAMES if name in found]
        assert wanted and found


def test_outcomes_of_a_page_add_up_and_pages_of_outcomes_hold_every_response(run: tuple[Store, ReportContext]) -> None:
    seen = 0
    for page in pages(run[1]):
        for table in page.tables:
            for row in table.rows if table.name == "category_outcomes" else ():
                *counts, total = [cell for cell in row if isinstance(cell, Claim)]
                assert sum(int(c.value or 0) for c in counts) == total.value
                seen += 1
    assert seen > 10
    for benchmark in run[1].benchmarks:
        told = [p.size.slots["responses"] for p in benchmark.pages if p.dimension == OUTCOME]
        assert sum(int(c.value or 0) for c in told if isinstance(c, Claim)) == sum(
            int(c.n.value or 0) for c in benchmark.cells
        )


def again(claim: Claim, rows: pd.DataFrame) -> float | None:
    """The claim's value from its rows, written apart from the code that made it; None for kinds not covered here."""
    what, place = claim.id.split("/")[1], claim.id.split("/")
    if what == "outcome" or what == "responses":
        return len(rows)
    if what == "problems":
        return float(rows["problem_id"].nunique())
    if what == "share":
        return float((rows[OUTCOME] == place[3].partition("=")[2]).mean())
    if what == "marker":
        column = {"wait": "wait_count"}.get(place[-1], place[-1])
        there = rows.dropna(subset=[column, "n_words"])
        return float(1000 * there[column].sum() / there["n_words"].sum())
    if what in ("only_variant", "only_reference", "difference") and "outcome=" in claim.id:
        had = rows.assign(had=rows[OUTCOME] == place[3].partition("=")[2]).pivot(
            index="problem_id", columns="variant", values="had"
        )
        had = had.dropna().astype(bool)
        (reference,) = set(had.columns) - {place[4]}
        only = {"only_variant": had[place[4]] & ~had[reference], "only_reference": had[reference] & ~had[place[4]]}
        if what == "difference":
            return float(only["only_variant"].mean() - only["only_reference"].mean())
        return float(only[what].sum())
    if what == "length_ratio":
        words = rows.pivot(index="problem_id", columns="variant", values="n_words").dropna()
        (reference,) = set(words.columns) - {place[4]}
        return float(np.exp(np.log(words[place[4]] / words[reference]).mean()))
    return None


def test_numbers_of_pages_are_made_again_from_their_rows(run: tuple[Store, ReportContext]) -> None:
    store, context = run
    made: Counter[str] = Counter()
    for claim in context.claims:
        kind = claim.id.split("/")[1]
        own = claim.id.startswith("category/") and claim.value is not None
        if not own or made[kind] >= 4:
            continue
        value = again(claim, evidence(store, claim, context.claims))
        if value is not None:
            made[kind] += 1
            assert value == pytest.approx(float(claim.value)), claim.id  # type: ignore[arg-type]
    assert set(made) >= {
        *("outcome", "responses", "problems", "share", "marker", "only_variant", "only_reference", "difference"),
        "length_ratio",
    }


def test_cases_follow_the_rules_and_each_problem_comes_once(run: tuple[Store, ReportContext]) -> None:
    for page in pages(run[1]):
        rules = [p.rule for p in page.picks]
        assert rules == [r for r in (*RULES, *OUTCOME_RULES) if r in rules]
        assert all((r in OUTCOME_RULES) == (page.dimension == OUTCOME) for r in rules)
        cases = [case for picks in page.picks for case in picks.cases]
        assert len({c.problem_id for c in cases}) == len(cases) <= PER_PAGE
        for picks in page.picks:
            assert 1 <= len(picks.cases) <= PER_RULE
            assert picks.why.slots["shown"] == str(len(picks.cases))
            count = picks.why.slots["count"]
            assert isinstance(count, Claim) and int(count.value or 0) >= len(picks.cases)
            for case in picks.cases:
                if picks.rule.startswith("lost"):
                    assert [s.status == "correct" for s in case.sides] == [True, False]
                if picks.rule == "gained":
                    assert [s.status == "correct" for s in case.sides] == [False, True]
                if picks.rule.endswith("_loop"):
                    assert case.sides[-1].onset is not None


def test_the_order_of_a_rule_is_that_of_its_measure(data: RunData) -> None:
    found = 0
    for benchmark in data.benchmarks.values():
        frames = Frames(benchmark)
        everything = frozenset(benchmark.problem_ids)
        members = of_problems(frames, "subject", "all", everything, "True")
        references = dict.fromkeys(benchmark.variants, benchmark.variants[0])
        chosen = {c.rule: c for c in choose(data, benchmark, members, references, limit=1000)}
        for rule, column, sign in (("lost_loop", "loop_onset_fraction", 1), ("gained", "n_words", 1)):
            for variant in benchmark.variants if rule in chosen else ():
                rows = [row for row, v, _ in chosen[rule].chosen if v == variant]
                values = [sign * float(benchmark.aligned(variant, column)[row]) for row in rows]
                assert values == sorted(values)
                found += len(values)
        for outcome in OUTCOME_NAMES:
            of = of_outcome(data, frames, outcome)
            for variant, frame in of.frames.items():
                assert set(frame[OUTCOME]) == {outcome}
                assert of.rows(benchmark, variant).sum() == len(frame)
    assert found > 0


def test_pages_of_selected_problems_neither_share_nor_test(run: tuple[Store, ReportContext]) -> None:
    seen = 0
    for benchmark in run[1].benchmarks:
        selected = {c.variant for c in benchmark.cells if c.coverage == "selected"}
        for page in benchmark.pages:
            for table in page.tables:
                for row in table.rows:
                    if row[0] in selected:
                        seen += 1
                        for name, cell in zip((c.name for c in table.columns), row, strict=True):
                            if isinstance(cell, Claim) and cell.unit in ("share", "points", "p-value"):
                                described = name.startswith("median_")
                                assert cell.ci_low is None and (described or cell.value is None), cell.id
    assert seen > 3


def test_tables_of_pages_have_a_title_for_every_column_in_every_language(run: tuple[Store, ReportContext]) -> None:
    tables = {t.name: t for page in pages(run[1]) for t in page.tables}
    assert set(tables) == {"category_results", "category_outcomes", "category_process", "category_endings"}
    for language in languages():
        texts = Texts.of(language)
        for table in tables.values():
            assert all(texts.sentence(column.title) for column in table.columns)
            assert isinstance(table, Table)
