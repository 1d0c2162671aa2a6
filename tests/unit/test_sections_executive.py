"""Sections of the executive summary, the results and the appendix: what they say, and the rows that it rests on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import AIME, AWQ3, AWQ4, BF16, GPTQ3, KV4, MATH, Scripted, problem_set, small_run, write_run

from qrm_forensics.importers import import_run
from qrm_forensics.recipes import Recipe
from qrm_forensics.records import Status, Verdict
from qrm_forensics.report.checkpoints import bits_per_weight, tensor_table, token_table, variant_table
from qrm_forensics.report.context import build_context
from qrm_forensics.report.evidence import evidence
from qrm_forensics.report.i18n import Texts, catalogue, languages
from qrm_forensics.report.model import Claim, ReportContext, Sentence, Unit
from qrm_forensics.report.sections.budget import budgets
from qrm_forensics.report.sections.grid import allowed, drop_class, joined_interval, mean_of_means_interval
from qrm_forensics.report.sections.model import Problem, Section
from qrm_forensics.store import Store

OURS = (
    *("best", "grid", "methods", "conclusions", "performance", "levels", "level_length", "tradeoff", "budget"),
    *("calibration", "better", "stability", "totals", "records", "availability"),
)
REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "MATH-500"
Run = tuple[Store, ReportContext]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    store = small_run(tmp_path_factory.mktemp("executive") / "run")
    return store, build_context(store, responses=False)


@pytest.fixture(scope="module")
def clear(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """240 problems: one variant is as the baseline, two methods at 3 bits of which one fails often."""
    problems = problem_set(MATH, 240)
    wrong = {BF16: range(10), AWQ4: range(10), AWQ3: range(120), GPTQ3: range(30)}
    cells = {
        (v, MATH): {i: Scripted("wrong" if i in rows else "right", 2 + i % 3) for i in range(240)}
        for v, rows in wrong.items()
    }
    store = write_run(tmp_path_factory.mktemp("clear") / "run", {MATH: problems}, cells)
    return store, build_context(store, responses=False)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two samples of 12 problems; the baseline has the second sample of the first four wrong, and problem 11 never right."""
    cells = {(v, MATH): {i: Scripted("wrong" if i == 11 else "right") for i in range(12)} for v in (BF16, AWQ4)}
    root = tmp_path_factory.mktemp("sampled") / "run"
    store = write_run(root, {MATH: problem_set(MATH, 12)}, cells, samples=2)
    for policy in ("strict", "lenient"):
        rows = [
            Verdict(
                *(BF16, MATH, f"idx-{i}", sample, 42, policy),
                status=Status.WRONG if i == 11 or (sample == 1 and i < 4) else Status.CORRECT,
                answer=None,
                rule="boxed",
                note=None,
            )
            for i in range(12)
            for sample in range(2)
        ]
        store.write_verdicts(policy, BF16, MATH, rows, store.cell_stamp(BF16, MATH))
    return store, build_context(store, responses=False)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Run:
    if not REFERENCE.is_dir():
        pytest.skip(f"{REFERENCE} is not there")
    store = import_run([REFERENCE], tmp_path_factory.mktemp("reference") / "run", format="scores")
    return store, build_context(store, responses=False)


def section(context: ReportContext, name: str, benchmark: str | None = None) -> Section:
    (found,) = (s for s in context.sections if s.name == name and s.benchmark == benchmark)
    return found


def rows_of(found: Section, table: int = 0) -> list[dict[str, object]]:
    names = [column.name for column in found.tables[table].columns]
    return [dict(zip(names, row, strict=True)) for row in found.tables[table].rows]


def ours(context: ReportContext) -> list[Section]:
    return [s for s in context.sections if s.name in OURS]


def sentences(found: Section) -> Iterator[Sentence]:
    yield from (found.title, *found.answer, *found.notes, *((found.empty,) if found.empty else ()))
    for table in found.tables:
        yield from (*(c.title for c in table.columns), *((table.caption,) if table.caption else ()))
        yield from (value for row in table.rows for value in row if isinstance(value, Sentence))
    for chart in found.charts:
        yield from (s for s in (chart.title, chart.x_title, chart.y_title, chart.note) if s is not None)
        yield from (series.name for series in chart.series if isinstance(series.name, Sentence))


def test_the_small_run_has_every_section_that_its_data_allows(run: Run, sampled: Run) -> None:
    there = {(s.name, s.benchmark) for s in ours(run[1])}
    assert {(n, None) for n in ("best", "grid", "methods", "conclusions", "totals", "records", "availability")} <= there
    assert {(n, MATH) for n in ("performance", "levels", "level_length", "tradeoff", "budget", "better")} <= there
    assert ("levels", AIME) not in there, "its problems have no level"
    assert not any(name in ("stability", "calibration") for name, _ in there)
    assert section(sampled[1], "stability", MATH)


@pytest.mark.parametrize("language", languages())
@pytest.mark.parametrize("which", ["run", "clear", "sampled"])
def test_every_sentence_is_said_in_every_language(which: str, language: str, request: pytest.FixtureRequest) -> None:
    texts = Texts.of(language)
    context = request.getfixturevalue(which)[1]
    for found in ours(context):
        said = [texts.sentence(s) for s in sentences(found)]
        assert all(said), found.name
        assert all("{" not in text for text in said)
        assert all(len(texts.definition(key)) > 10 for key in found.definitions())


@pytest.mark.parametrize("which", ["run", "clear", "sampled"])
def test_every_claim_is_registered_and_its_rows_are_there(which: str, request: pytest.FixtureRequest) -> None:
    store, context = request.getfixturevalue(which)
    registered = {claim.id: claim for claim in context.claims}
    seen: set[tuple[str, str]] = set()
    for found in ours(context):
        spoken = [c for s in sentences(found) for c in s.slots.values() if isinstance(c, Claim)]
        for claim in (*found.claims(), *spoken):
            assert registered[claim.id] == claim
            if claim.value is None:
                assert claim.note, claim.id
            elif (kind := (claim.definition, claim.table)) not in seen:
                seen.add(kind)
                assert len(evidence(store, claim, context.claims)) or not claim.value, claim.id
    assert len(seen) > 15


def _right(rows: pd.DataFrame) -> pd.Series[bool]:
    return rows.loc[rows["status"] != "unscored", "status"] == "correct"


def again(claim: Claim, rows: pd.DataFrame) -> float | None:
    """A claim's value from its rows, written apart from the code that made it; None for kinds not covered."""
    kind, last = claim.definition.removeprefix("definition."), claim.id.split("/")[-1]
    if kind.startswith(("mean_", "median_")) and kind != "mean_seconds":
        column = {"words": "n_words", "tokens": "n_tokens", "wait": "wait_count", "diversity": "ttr"}.get(
            kind.partition("_")[2], "mattr_500"
        )
        return float(rows[column].agg(kind.partition("_")[0]))
    if kind == "budget":
        judged = rows[rows["status"] != "unscored"]
        return float(((judged["status"] == "correct") & (judged["n_tokens"] <= int(last))).mean())
    if kind.startswith("total_"):
        column = {"words": "n_words", "wait": "wait_count", "tokens": "completion_tokens"}.get(kind[6:], kind[6:])
        return float(rows[column].sum())
    if kind.startswith("record_"):
        column = {"words": "n_words", "wait": "wait_count", "repeats": "loop_repeats"}[kind.removeprefix("record_")]
        return float(rows[column].item())
    if kind == "total":
        return float(rows["value"].sum())
    if kind in ("grid_average", "grid_drop"):
        return float(rows["value"].mean())
    if kind in ("grid_number", "grid_compared", "within_estimate", "within_sure", "within_compared", "checkpoints"):
        return float(len(rows))
    if kind == "known_responses":
        return float(len(rows))
    if kind == "bits_per_weight":
        return float(rows["bits_per_weight"].item())
    if kind == "mean_seconds":
        return float(rows["seconds"].mean())
    if kind == "tokens_per_second":
        return float(rows["completion_tokens"].sum() / rows["seconds"].sum())
    if kind == "stability_pass":
        return float(_right(rows).mean())
    if kind.startswith("stability_"):
        shares = rows.assign(right=_right(rows)).groupby("problem_id")["right"].mean()
        values = {"always": shares == 1, "never": shares == 0, "sometimes": (shares > 0) & (shares < 1)}
        return float(values[last].sum()) if last in values else float(len(shares))
    if kind == "contest_accuracy":
        judged = rows[rows["status"] != "unscored"].assign(right=lambda r: r["status"] == "correct")
        wide = judged.pivot_table("right", "problem_id", "variant").dropna()
        return float(wide[claim.id.split("/")[-1]].mean()) if claim.id.startswith("contest/") else None
    if kind == "level_trend":
        judged = rows[rows["status"] != "unscored"].assign(right=lambda r: (r["status"] == "correct").astype(float))
        wide = judged.pivot_table("right", ["problem_id", "level"], "variant").dropna().reset_index()
        variant = claim.id.split("/")[2]
        (other,) = set(wide.columns) - {"problem_id", "level", variant}
        return float(np.polyfit(wide["level"].astype(float), wide[variant] - wide[other], 1)[0])
    return None


@pytest.mark.parametrize("which", ["run", "clear", "sampled"])
def test_claims_are_made_again_from_their_rows(which: str, request: pytest.FixtureRequest) -> None:
    store, context = request.getfixturevalue(which)
    done: dict[str, int] = {}
    tried: dict[str, int] = {}
    for found in ours(context):
        for claim in found.claims():
            if claim.value is None or done.get(claim.definition, 0) >= 2 or tried.get(claim.definition, 0) >= 3:
                continue
            tried[claim.definition] = tried.get(claim.definition, 0) + 1
            value = again(claim, evidence(store, claim, context.claims))
            if value is not None:
                assert claim.value == pytest.approx(value, abs=1e-9), claim.id
                done[claim.definition] = done.get(claim.definition, 0) + 1
    assert len(done) >= 15, done


def test_selected_problems_give_no_share(run: Run) -> None:
    context = run[1]
    for name in ("levels", "level_length", "budget", "tradeoff"):
        found = section(context, name, MATH)
        assert GPTQ3 not in [column.name for column in found.tables[0].columns]
        assert GPTQ3 not in [row[0] for row in found.tables[0].rows]
    for name in ("best", "grid", "methods"):
        assert all(GPTQ3 not in map(str, row) for table in section(context, name).tables for row in table.rows)
    row = next(r for r in rows_of(section(context, "performance", MATH)) if r["variant"] == GPTQ3)
    assert row["accuracy"] is None
    assert isinstance(row["mean_words"], Claim) and row["mean_words"].ci_low is None
    assert all(column.style != "share" for column in section(context, "better", MATH).tables[0].columns)


def test_only_variants_of_the_whole_benchmark_are_ranked(run: Run) -> None:
    found = section(run[1], "best")
    assert {row["variant"] for row in rows_of(found)} == {AWQ4, AWQ3}
    assert KV4 in str(found.notes[0].slots["variants"]), "it answered the first ten problems only"


def test_a_drop_has_the_class_of_its_estimate_and_those_of_its_interval() -> None:
    assert [drop_class(d) for d in (0.02, 0.0, -0.01, -0.0101, -0.0299, -0.03, -0.3)] == [
        *("lossless", "lossless", "lossless", "fair", "fair", "risky", "risky")
    ]
    claim = Claim("x", -0.02, Unit.POINTS, "definition.grid_drop")
    for low, high, kind in (
        *((-0.05, 0.01, "lossless_risky"), (-0.02, 0.0, "lossless_fair"), (-0.05, -0.02, "fair_risky")),
        *((-0.005, 0.02, "lossless"), (-0.2, -0.1, "risky"), (-0.02, -0.015, "fair")),
    ):
        assert allowed(replace(claim, ci_low=low, ci_high=high)) == kind


def test_the_drop_is_over_the_benchmarks_that_all_are_compared_on(run: Run, tmp_path: Path) -> None:
    one = next(r for r in rows_of(section(run[1], "grid")) if r["variant"] == AWQ3)["drop"]
    assert isinstance(one, Claim) and one.denominator == 1, "a variant has MATH only"
    assert "AIME" not in str(section(run[1], "grid").answer[0].slots["benchmarks"])
    context = build_context(small_run(tmp_path / "run", leave_out=[KV4, GPTQ3]), responses=False)
    row = next(r for r in rows_of(section(context, "grid")) if r["variant"] == AWQ3)
    drop, average = row["drop"], row["average"]
    pairs = [p for r in context.benchmarks for p in r.pairs if p.variant == AWQ3 and p.policy == "strict"]
    assert isinstance(drop, Claim) and isinstance(average, Claim) and len(pairs) == 2
    assert drop.value == pytest.approx(np.mean([float(p.difference.value or 0) for p in pairs]))
    assert drop.ci_low is not None and drop.ci_high is not None and drop.ci_low < float(drop.value or 0) < drop.ci_high


def test_the_interval_of_a_mean_of_means_covers_as_it_says() -> None:
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(200):
        values = [rng.choice([-1.0, 0.0, 1.0], n, p=[0.2, 0.7, 0.1]) for n in (40, 120)]
        interval = mean_of_means_interval(values)
        assert interval is not None
        hits += interval.low <= -0.1 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99
    assert mean_of_means_interval([np.ones(1), np.ones(5)]) is None


def test_intervals_of_benchmarks_are_joined_by_squares() -> None:
    def difference(value: float, low: float | None, high: float | None) -> Claim:
        return Claim("x", value, Unit.POINTS, "definition.difference", ci_low=low, ci_high=high)

    joined = joined_interval([difference(0.0, -0.3, 0.6), difference(-0.1, -0.5, 0.7)])
    assert joined == pytest.approx((-0.05 - 0.5 / 2, -0.05 + 1.0 / 2))
    assert joined_interval([difference(0.0, -0.3, 0.6), difference(0.0, 0.0, 0.0)]) is None
    assert joined_interval([difference(0.0, -0.3, 0.6), difference(0.0, None, None)]) is None


def advice(context: ReportContext) -> tuple[dict[str, Sentence], dict[str, Sentence]]:
    """Key of the recommendation -> its evidence, of those given and those not shown."""
    found: dict[str, dict[str, Sentence]] = {"recommendations": {}, "not_shown": {}}
    for table in section(context, "conclusions").tables:
        for text, reason in table.rows:
            assert isinstance(text, Sentence) and isinstance(reason, Sentence)
            found[table.name][f"{text.key}:{text.slots.get('bits', '')}"] = reason
    return found["recommendations"], found["not_shown"]


def test_recommendations_are_given_where_their_tests_pass(clear: Run) -> None:
    given, other = advice(clear[1])
    assert "advice.keep_weights:4" in given
    assert "advice.avoid_weights:3" in given and "advice.avoid_weights:4" not in {**given, **other}
    assert given["advice.memory:"].slots["variant"] == AWQ4
    assert given["advice.method:w3g128"].slots["variant"] == GPTQ3
    assert "advice.problems:" in other, "every comparison is decided"
    interval = given["advice.keep_weights:4"].slots["difference"]
    assert isinstance(interval, Claim) and interval.ci_low is not None and -0.02 < interval.ci_low < 0


def test_what_is_not_shown_is_said_with_its_interval(run: Run) -> None:
    given, other = advice(run[1])
    assert "advice.keep_weights:4" in other, "forty problems cannot show two points"
    slots = other["advice.keep_weights:4"].slots
    needed, n = slots["needed"], slots["n"]
    assert isinstance(needed, Claim) and isinstance(n, Claim)
    assert float(needed.value or 0) > float(n.value or 0)
    assert "advice.problems:" in given


def test_without_a_pair_nothing_is_recommended(tmp_path: Path) -> None:
    store = small_run(tmp_path / "run", leave_out=[BF16, AWQ4, KV4, GPTQ3])
    found = section(build_context(store, responses=False), "conclusions")
    assert found.empty is not None and not found.tables


def test_gains_stand_beside_losses(clear: Run) -> None:
    context = clear[1]
    found = section(context, "better", MATH)
    row = {str(r["variant"]): r for r in rows_of(found)}[AWQ3]
    gained, lost = row["gained"], row["lost"]
    assert isinstance(gained, Claim) and isinstance(lost, Claim)
    assert (gained.value, lost.value) == (0, 110)
    assert found.answer[0].key == "better.answer_zero"
    assert found.notes[0].key == "better.one_sample"
    for s in ours(context):
        for table in s.tables:
            for value in (v for r in table.rows for v in r if isinstance(v, Problem)):
                assert value.problem_id in {f"idx-{i}" for i in range(240)}


def test_several_samples_say_what_chance_alone_gains(sampled: Run) -> None:
    row = rows_of(section(sampled[1], "better", MATH))[0]
    chance = row["by_chance"]
    assert isinstance(chance, Claim)
    assert chance.value == pytest.approx(4 * 0.5 * 0.5 * 2), "four problems with p = 1/2 of two samples"
    values = {str(r["variant"]): r for r in rows_of(section(sampled[1], "stability", MATH))}[BF16]
    assert [getattr(values[k], "value", None) for k in ("always", "sometimes", "never", "problems")] == [7, 4, 1, 12]
    assert [getattr(values[k], "value", None) for k in ("lowest", "highest")] == [7 / 12, 11 / 12]


def test_budgets_are_powers_of_two_that_hold_every_length() -> None:
    assert budgets(np.array([3.0, 100, 1000])) == [8, 16, 32, 64, 128, 256, 512, 1024]
    assert budgets(np.array([1.0])) == [1]
    assert len(budgets(np.array([*[1.0] * 99, 1e9]))) == 10


def test_the_last_budget_is_the_accuracy_of_the_run(clear: Run) -> None:
    context = clear[1]
    last = rows_of(section(context, "budget", MATH))[-1]
    for cell in context.benchmarks[0].cells:
        found, accuracy = last[cell.variant], cell.accuracy["strict"]
        assert isinstance(found, Claim) and accuracy is not None
        assert found.value == accuracy.value


def test_totals_add_up(run: Run) -> None:
    table = section(run[1], "totals").tables[0]
    assert table.checked is True and table.total is not None
    names = [column.name for column in table.columns]
    for name in ("responses", "words", "tokens"):
        i = names.index(name)
        parts = [row[i].value for row in table.rows if isinstance(row[i], Claim)]  # type: ignore[union-attr]
        whole = table.total[i]
        assert isinstance(whole, Claim) and whole.value == sum(float(p or 0) for p in parts)


@pytest.mark.parametrize(
    ("recipe", "columns", "bits"),
    [
        *(("bf16", None, 16.0), ("fp32", None, 32.0), ("kvquant_star-kv4", None, 16.0)),
        *(("awq-w4g128", None, 4 + 20 / 128), ("awq-w3g128sym", None, 3 + 16 / 128)),
        *(("rtn-w4g-1", None, None), ("rtn-w4g-1", 64, 4 + 20 / 64), ("mxfp4-w4a4kv4", None, 4.25)),
    ],
)
def test_bits_per_weight(recipe: str, columns: int | None, bits: float | None) -> None:
    assert bits_per_weight(Recipe.parse(recipe), columns) == bits


def test_tables_of_the_run_beside_its_measures(run: Run) -> None:
    store = run[0]
    assert list(variant_table(store)["variant"]) == [v.id for v in store.variants]
    assert tensor_table(store).empty and tensor_table(store).columns[0] == "variant"
    assert token_table(store).empty, "scripted responses have no token ids"
    lacking = {
        str(row[0].key) for row in section(run[1], "availability").tables[1].rows if isinstance(row[0], Sentence)
    }
    assert {"availability.lacks_token_ids", "availability.lacks_logprobs", "availability.lacks_samples"} <= lacking
    assert "availability.lacks_baseline" not in lacking


def test_the_reference_study(reference: Run) -> None:
    context = reference[1]
    best = {str(r["place"].key): r for r in rows_of(section(context, "best")) if isinstance(r["place"], Sentence)}
    assert best["best.best"]["variant"] == "kvquant_star-kv4", "84.2 %, as its report says"
    assert section(context, "best").answer[0].key == "best.best_tied", "and not told apart from the other 4 bits"
    assert best["best.worst"]["variant"] == "awq-w3g128"
    assert section(context, "best").answer[1].key == "best.worst_apart"
    kinds = {str(r["variant"]): (r["class"], r["allowed"]) for r in rows_of(section(context, "grid"))}
    named = {
        v: tuple(s.key.removeprefix("grid.class_") for s in k if isinstance(s, Sentence)) for v, k in kinds.items()
    }
    assert named["kvquant_star-kv4"] == ("lossless", "lossless_risky")
    assert named["awq-w4g128"] == ("fair", "lossless_risky")
    assert named["gptq-w3g128"] == ("risky", "risky")
    given, other = advice(context)
    assert "advice.avoid_weights:3" in given and "advice.highest:" in given
    assert {"advice.keep_weights:4", "advice.keep_kv:4", "advice.memory_rule:"} <= set(other)
    words = {str(r["variant"]): r["mean_words"] for r in rows_of(section(context, "performance", "MATH-500"))}
    assert round(float(getattr(words["awq-w3g128"], "value", 0))) == 11327


def test_the_page_that_compares_the_reports_names_sections_that_exist() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reports-compared.md").read_text("utf-8")
    cells = [line.split("|")[2] for line in page.splitlines() if line.startswith("|")]
    named = {title for cell in cells for title in re.findall(r"\*\*([^*]+)\*\*", cell)}
    assert len(named) > 30
    assert sorted(named - set(catalogue("en").values())) == []
