"""Sections on failures and causes: what they say, that their numbers are their rows', and what a recipe rules out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import AWQ3, AWQ4, BF16, GPTQ3, KV4, MATH, Scripted, problem_set, small_run, write_run
from hypothesis import given
from hypothesis import strategies as st

from qrm_forensics.derive import derive
from qrm_forensics.importers import import_run
from qrm_forensics.report.context import build_context
from qrm_forensics.report.data import load
from qrm_forensics.report.evidence import evidence
from qrm_forensics.report.i18n import Texts, languages
from qrm_forensics.report.model import Claim, ReportContext, Sentence
from qrm_forensics.report.render import render
from qrm_forensics.report.section_charts import draw
from qrm_forensics.report.sections.groups import Terms, differences, nice_width, ratios
from qrm_forensics.report.sections.model import Problem, Quote, Section, Table
from qrm_forensics.report.sections.modules import touched
from qrm_forensics.store import Store

OURS = (
    *("origin", "lengths", "answers", "severity", "patterns", "onset", "markers", "deterioration", "trajectory"),
    *("repetition", "tokens", "hypotheses"),
)
REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "MATH-500"
Run = tuple[Store, ReportContext]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Measured by the real metrics: long failures that loop, a cache-only recipe, problems that somebody selected."""
    cells = {
        (BF16, MATH): {i: Scripted("wrong" if i in (3, 7) else "right", 15 + i) for i in range(40)},
        (AWQ4, MATH): {i: Scripted("right", 12) for i in range(40)},
        (AWQ3, MATH): {
            i: Scripted(
                "loop" if i % 3 == 0 else "wrong" if i % 7 == 1 else "missing" if i == 5 else "right",
                50 + i % 4 if i % 3 == 0 else 40,
            )
            for i in range(40)
        },
        (KV4, MATH): {i: Scripted("loop" if i % 5 == 0 else "right", 40) for i in range(40)},
        (GPTQ3, MATH): {i: Scripted("loop" if i % 2 else "wrong", 180) for i in (4, 8, 14, 20, 25, 27)},
    }
    root = tmp_path_factory.mktemp("failures") / "run"
    store = write_run(root, {MATH: problem_set(MATH, 40)}, cells, measures=False)
    derive(store, steps=("measure",), workers=1)
    measured = store.measures()
    store.measures = lambda variant=None: measured  # type: ignore[method-assign]  # read once for many claims
    return store, build_context(store, responses=False)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """With few of the measured columns."""
    store = small_run(tmp_path_factory.mktemp("small") / "run")
    return store, build_context(store, responses=False)


def ours(context: ReportContext) -> list[Section]:
    return [s for s in context.sections if s.name in OURS]


def section(context: ReportContext, name: str) -> Section:
    return next(s for s in context.sections if s.name == name and s.benchmark == MATH)


def table(context: ReportContext, name: str, number: int = 0) -> list[dict[str, object]]:
    found = section(context, name).tables[number]
    return [dict(zip([c.name for c in found.columns], row, strict=True)) for row in found.rows]


def value(cell: object) -> float:
    assert isinstance(cell, Claim)
    assert cell.value is not None, cell.id
    return float(cell.value)


def sentences(found: Section) -> Iterator[Sentence]:
    yield from (found.title, *found.answer, *found.notes, *((found.empty,) if found.empty else ()))
    for one in found.tables:
        yield from (*(c.title for c in one.columns), *((one.caption,) if one.caption else ()))
        yield from (cell for row in one.rows for cell in row if isinstance(cell, Sentence))
    for chart in found.charts:
        yield from (s for s in (chart.title, chart.x_title, chart.y_title, chart.note) if s is not None)
        yield from (series.name for series in chart.series if isinstance(series.name, Sentence))


# ------------------------------------------------------------------------------------------- every section, all words
def test_a_measured_run_has_every_section(run: Run) -> None:
    assert [s.name for s in ours(run[1])] == list(OURS)
    assert not any(s.empty for s in ours(run[1]))


@pytest.mark.parametrize("language", languages())
def test_every_word_is_there_and_every_chart_is_drawn(run: Run, language: str) -> None:
    texts = Texts.of(language)
    for found in ours(run[1]):
        for sentence in sentences(found):
            assert "{" not in texts.sentence(sentence).replace("\\boxed{}", ""), sentence.key
        for chart in found.charts:
            assert draw(chart, texts)["data"], chart.name
        assert all(
            texts.definition(key).startswith("**") or len(texts.definition(key)) > 10 for key in found.definitions()
        )


# ---------------------------------------------------------------------------------------------- numbers and their rows


def again(store: Store, claim: Claim, rows: pd.DataFrame) -> float | None:
    """A claim's value from its rows, written apart from the code that made it; None for kinds not covered."""
    parts = claim.id.split("/")
    kind, last = parts[0], parts[-1]
    if kind == "hypothesis" or (kind == "markers" and last in ("more", "less", "compared")):
        return len(rows)
    if kind == "origin" and last != "not_right":
        known = rows[rows["status"] != "unscored"].assign(right=lambda r: r["status"] == "correct")
        wide = known.pivot(index="problem_id", columns="variant", values="right")
        mine, base = wide[parts[2]], wide[BF16]
        found = {
            "lost": (mine == False) & (base == True),  # noqa: E712  (with missing values)
            "hard": (mine == False) & (base == False),  # noqa: E712
            "unpaired": (mine == False) & base.isna(),  # noqa: E712
            "gained": (mine == True) & (base == False),  # noqa: E712
        }
        return float(found[last].sum())
    if (
        claim.unit == "count"
        and kind in (*OURS, "onset")
        and last not in ("mean", "median", "max")
        and kind != "tokens"
    ):
        return float(rows[last].item()) if parts[1] == "response" else len(rows)
    if kind == "trajectory" and parts[-2].isdigit():
        at = round(int(parts[-2]) / 100 * 49)
        percent = {"q1": 25, "median": 50, "q3": 75}[last]
        return float(np.percentile([course[at] for course in rows["trajectory"]], percent))
    if last in ("mean", "median", "max"):
        return float(rows[parts[-2]].agg(last))
    if kind == "lengths" and last == "ratio":
        means = rows.groupby(rows["status"] == "correct")["n_words"].mean()
        return float(means[False] / means[True])
    if kind == "markers" and last == "ratio":
        sums = rows.groupby(rows["status"] == "correct")[[parts[3], "n_words"]].sum()
        rates = sums[parts[3]] / sums["n_words"]
        return float(rates[False] / rates[True])
    if kind == "deterioration" and last == "ratio":
        column = parts[-2]
        return float(rows[column].sum() / rows[column.replace("last", "first")].sum())
    if kind == "observation" and parts[-1] == "repeated_sentence":
        return float((rows["sentence_repeats_max"] >= 5).mean())
    if kind == "observation" and parts[-1] == "self_reference":
        return float(rows["self_reference_outside_repeats"].mean())
    if kind == "tokens":
        ((variant, benchmark, problem, sample),) = rows[["variant", "benchmark", "problem_id", "sample"]].to_numpy()
        texts = store.traces(["problem_id", "sample", "text"], variant=variant, benchmark=benchmark).to_pandas()
        text = texts[(texts["problem_id"] == problem) & (texts["sample"] == sample)]["text"].item()
        words = Counter(text.split())
        if "rank" in parts:
            return float(sorted(words.values(), reverse=True)[int(last) - 1])
        return (
            float({"words": len(text.split()), "distinct": len(words)}[last]) if last in ("words", "distinct") else None
        )
    return None


def test_claims_are_made_again_from_their_rows(run: Run) -> None:
    store, context = run
    registered = {claim.id: claim for claim in context.claims}
    done: Counter[str] = Counter()
    for found in ours(context):
        for claim in {c.id: c for c in found.claims()}.values():
            assert registered[claim.id] == claim
            if claim.value is None:
                assert claim.note, claim.id
                continue
            kind = f"{found.name}/{claim.definition}"
            if done[kind] >= 2:
                continue
            made = again(store, claim, evidence(store, claim, context.claims))
            if made is not None:
                assert claim.value == pytest.approx(made, abs=1e-9), claim.id
                done[kind] += 1
    assert {kind.split("/")[0] for kind in done} == set(OURS)
    assert len(done) > 45


# ------------------------------------------------------------------------------------------------------ sums and shares
def test_parts_add_up(run: Run) -> None:
    _, context = run
    for row in table(context, "origin"):
        assert sum(value(row[k]) for k in ("lost", "hard", "unpaired")) == value(row["not_right"])
    for name, number, total in (("lengths", 1, "total"), ("severity", 0, "not_right"), ("onset", 0, "loops")):
        for row in table(context, name, number):
            assert sum(value(v) for k, v in row.items() if k not in ("variant", total)) == value(row[total]), name
    not_right = {row["variant"]: value(row["not_right"]) for row in table(context, "severity")}
    for number in (0, 1):
        counted: Counter[object] = Counter()
        for row in table(context, "patterns", number):
            counted[row["variant"]] += int(value(row["not_right"]))
        assert counted == not_right


def test_charts_repeat_the_tables(run: Run) -> None:
    _, context = run
    chart = section(context, "lengths").charts[0]
    rows = {row["variant"]: row for row in table(context, "lengths", 1)}
    for series in chart.series:
        counted = [value(v) for k, v in rows[str(series.name)].items() if k.startswith("from_")]
        assert list(series.y) == counted


def test_selected_problems_give_counts_and_no_interval(run: Run) -> None:
    _, context = run
    mine = [c for s in ours(context) for c in s.claims() if f"/{GPTQ3}/" in f"{c.id}/"]
    assert len(mine) > 60
    for claim in mine:
        assert claim.ci_low is None, claim.id
        if claim.unit == "count" and claim.id.split("/")[0] != "tokens":
            assert claim.denominator is None, claim.id
    said = " ".join(Texts.of("en").sentence(s) for s in section(context, "onset").notes)
    assert GPTQ3 in said, "that it is left out of the curves"


# -------------------------------------------------------------------------------------------------- what is said when
def keys_of(context: ReportContext, name: str) -> list[str]:
    return [s.key for s in section(context, name).answer]


def test_answers_follow_the_data(run: Run) -> None:
    _, context = run
    assert keys_of(context, "lengths") == ["lengths.more"]
    assert keys_of(context, "origin")[0] == "origin.answer"
    said = {s.slots["variant"]: s.key for s in section(context, "origin").answer[1:]}
    assert (said[AWQ3], said[AWQ4]) == ("origin.excess", "origin.chance")
    assert keys_of(context, "answers") == ["answers.answer"]
    assert keys_of(context, "severity") == ["severity.answer"]
    assert "patterns.outside" in keys_of(context, "patterns")
    assert "deterioration.not_right_more" in keys_of(context, "deterioration"), "loops on 'Wait'"


def test_types_name_an_example_and_the_record(run: Run) -> None:
    _, context = run
    row = next(r for r in table(context, "patterns") if r["variant"] == AWQ3 and value(r["not_right"]) and r["problem"])
    assert isinstance(row["problem"], Problem)
    assert isinstance(row["example"], Quote)
    assert "Wait" in row["example"].text
    assert row["problem"].problem_id == "idx-39", "the loop is longer the higher the number"


def test_the_problem_shown_is_the_one_by_the_rule(run: Run) -> None:
    store, context = run
    data = load(store).benchmarks[MATH]
    lost = [
        (float(data.aligned(BF16, "mattr_100")[i] - data.aligned(v, "mattr_100")[i]), data.keys[i][0])
        for v in (AWQ3, KV4, GPTQ3)
        for i in range(len(data.keys))
        if data.right(BF16, "strict")[i] == 1 and data.right(v, "strict")[i] == 0
    ]
    first = section(context, "tokens").answer[0]
    assert first.slots["problem"] == max((x for x in lost if np.isfinite(x[0])), key=lambda x: x[0])[1]


def test_nothing_above_the_lowest_band_is_said(small: Run, tmp_path: Path) -> None:
    cells = {(v, MATH): {i: Scripted("wrong" if i < 4 else "right") for i in range(12)} for v in (BF16, AWQ4)}
    quiet = build_context(write_run(tmp_path / "run", {MATH: problem_set(MATH, 12)}, cells), responses=False)
    (answer,) = section(quiet, "severity").answer
    assert answer.key == "severity.answer_low"
    assert value(answer.slots["not_right"]) == 4
    assert keys_of(small[1], "severity") == ["severity.answer"]


def test_where_every_response_loops_there_are_no_others(tmp_path: Path) -> None:
    cells = {
        (BF16, MATH): {i: Scripted("right") for i in range(8)},
        (AWQ3, MATH): {i: Scripted("loop") for i in range(8)},
    }
    context = build_context(write_run(tmp_path / "run", {MATH: problem_set(MATH, 8)}, cells), responses=False)
    told = [s for s in context.findings if s.key.startswith("finding.loops_wrong")]
    assert [s.key for s in told] == ["finding.loops_wrong_all"]
    assert value(told[0].slots["loops"]) == value(told[0].slots["loops_not_right"]) == 8


def test_what_has_no_reference_is_said_once_per_dimension(tmp_path: Path) -> None:
    cells = {(AWQ4, MATH): {i: Scripted("wrong" if i % 4 else "right") for i in range(12)}}
    context = build_context(write_run(tmp_path / "run", {MATH: problem_set(MATH, 12)}, cells, baseline=None))
    render(context, ["en"], tmp_path / "report", formats=("md",))
    text = (tmp_path / "report" / "report.en.md").read_text("utf-8")
    told = [line for line in text.splitlines() if line.startswith("Nothing can be compared in ")]
    assert any("level 1, level 2, level 3" in line for line in told)
    assert len(told) == len({c.dimension for c in context.benchmarks[0].categories if c.sentences})


# -------------------------------------------------------------------------------------------------------- hypotheses
def test_a_module_that_the_recipe_never_touched_is_ruled_out(run: Run) -> None:
    _, context = run
    cells = {row["variant"]: row for row in table(context, "hypotheses")}

    def ruled_out(variant: str) -> set[str]:
        guarded = {k for k, v in cells[variant].items() if isinstance(v, Sentence) and "guard" in v.key}
        return guarded - {"variant"}

    assert ruled_out(KV4) == {"attention", "mlp", "lm_head", "activations"}
    assert ruled_out(AWQ3) == {"lm_head", "kv_cache", "activations"}
    assert BF16 not in cells, "nothing of it is quantized"
    read = {
        (r["variant"], r["observation"].key.removeprefix("observation.")): r["reading"].key
        for r in table(context, "hypotheses", 1)
    }  # type: ignore[attr-defined]
    assert read[AWQ3, "repeated_sentence"] == "hypotheses.reading_fits"
    assert read[GPTQ3, "repeated_sentence"] == "hypotheses.reading_unknown", "selected problems are not read"
    assert section(context, "hypotheses").answer[0].key == "hypotheses.answer"


@pytest.mark.parametrize(
    ("manifest", "source", "lm_head"),
    [
        ({"modules": {"model.layers.0.self_attn.q_proj": {}, "lm_head": {}}}, "manifest", 3),
        ({"modules": {"model.layers.0.mlp.up_proj": {}}}, "manifest", None),
        ({"modules": {}}, "name", None),
        ("{broken", "name", None),
    ],
)
def test_the_manifest_of_a_checkpoint_comes_before_its_name(
    tmp_path: Path, manifest: object, source: str, lm_head: int | None
) -> None:
    cells = {(v, MATH): {i: Scripted("right") for i in range(3)} for v in (BF16, AWQ3)}
    store = write_run(tmp_path / "run", {MATH: problem_set(MATH, 3)}, cells)
    folder = store.checkpoint_dir(AWQ3)
    folder.mkdir(parents=True)
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    (folder / "recipe.json").write_text(text, encoding="utf-8")
    found = touched(load(store), AWQ3)
    assert (found.source, found.bits["lm_head"]) == (source, lm_head)
    assert (found.bits["attention"] == 3) == (source == "name" or "self_attn" in text)


# ------------------------------------------------------------------------------------------------------- ratios and bins
def _terms(values: list[float]) -> Terms:
    column = np.array(values, dtype=np.float64)[:, None]
    return Terms(np.arange(len(values)), column, np.ones_like(column))


def test_ratios_and_differences_of_means() -> None:
    over, under = _terms([4.0, 6.0, float("nan"), 5.0] * 8), _terms([2.0, 3.0, 2.5, 2.5] * 8)
    ((value_, interval),) = ratios(over, under)
    assert value_ == pytest.approx(2.0)
    assert interval is not None
    assert interval.low < 2.0 < interval.high
    assert differences(over, under)[0][0] == pytest.approx(2.5)


def test_no_ratio_to_nothing_but_a_difference() -> None:
    ((none, no_interval),) = ratios(_terms([1.0, 2.0] * 9), _terms([0.0, 0.0] * 9))
    assert (none, no_interval) == (None, None)
    ((difference, interval),) = differences(_terms([1.0, 2.0] * 9), _terms([0.0, 0.0] * 9))
    assert difference == pytest.approx(1.5)
    assert interval is not None
    assert interval.low > 0


@given(st.floats(0, 1e9), st.integers(1, 40))
def test_bins_cover_and_are_few(longest: float, bins: int) -> None:
    width = nice_width(longest, bins)
    assert width * bins > longest
    assert str(width).rstrip("0") in ("1", "2", "5")
    assert width == 1 or longest >= bins * width / 2.5


def test_bins_are_the_same_for_every_benchmark(small: Run) -> None:
    tables = [t for s in small[1].sections if s.name == "lengths" for t in s.tables if t.name == "failure_length_bins"]
    assert len(tables) == 2
    assert isinstance(tables[0], Table)
    assert [c.name for c in tables[0].columns] == [c.name for c in tables[1].columns]


@pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"{REFERENCE} is not there")
def test_the_losses_of_the_reference_report(tmp_path: Path) -> None:
    context = build_context(import_run([REFERENCE], tmp_path / "run", format="scores"), responses=False)
    found = next(s for s in context.sections if s.name == "origin")
    rows = {row[0]: [value(c) for c in row[2:5]] for row in found.tables[0].rows}
    assert rows["awq-w3g128"] == [237, 171, 66], "sec. 2.1 of its report on MATH-500"
    assert rows["awq-w4g128"] == [83, 31, 52], "sec. 5.1"
