from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
from factories import AIME, AWQ3, AWQ4, BF16, GPTQ3, HOSTILE, KV4, MATH, Scripted, problem_set, small_run, write_run

from qrm_forensics.errors import InsufficientDataError
from qrm_forensics.records import Coverage
from qrm_forensics.report import keys
from qrm_forensics.report.claims import Ledger
from qrm_forensics.report.context import build_context
from qrm_forensics.report.i18n import Texts, languages, slots_of
from qrm_forensics.report.model import BenchmarkReport, Cell, Claim, Pair, ReportContext, Sentence, Unit
from qrm_forensics.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return small_run(tmp_path_factory.mktemp("small") / "run")


@pytest.fixture(scope="module")
def context(store: Store) -> ReportContext:
    return build_context(store)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> ReportContext:
    return build_context(small_run(tmp_path_factory.mktemp("sampled") / "run", samples=3))


@pytest.fixture(scope="module")
def unmeasured(tmp_path_factory: pytest.TempPathFactory) -> ReportContext:
    return build_context(small_run(tmp_path_factory.mktemp("unmeasured") / "run", measures=False))


@pytest.fixture(scope="module")
def without_baseline(tmp_path_factory: pytest.TempPathFactory) -> ReportContext:
    return build_context(small_run(tmp_path_factory.mktemp("without") / "run", leave_out=[BF16]))


@pytest.fixture(params=["context", "sampled", "unmeasured", "without_baseline"])
def any_context(request: pytest.FixtureRequest) -> ReportContext:
    found: ReportContext = request.getfixturevalue(request.param)
    return found


def walk(value: object) -> Iterator[object]:
    yield value
    if is_dataclass(value):
        for field in fields(value):
            yield from walk(getattr(value, field.name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from walk(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from walk(item)


def math(context: ReportContext) -> BenchmarkReport:
    return context.benchmarks[0]


def cell(context: ReportContext, variant: str) -> Cell:
    return next(c for c in math(context).cells if c.variant == variant)


def pair(context: ReportContext, variant: str, policy: str = "strict") -> Pair:
    return next(p for p in math(context).pairs if (p.variant, p.policy) == (variant, policy))


def found(context: ReportContext, key: str, **slots: str) -> list[Sentence]:
    return [
        s
        for s in walk(context)
        if isinstance(s, Sentence) and s.key == key and all(s.slots[k] == v for k, v in slots.items())
    ]


# ------------------------------------------------------------------ the contract with catalogues and renderers
def test_sentences_have_exactly_their_slots(any_context: ReportContext) -> None:
    sentences = [s for s in walk(any_context) if isinstance(s, Sentence)]
    assert len(sentences) > 20
    for sentence in sentences:
        if sentence.key in keys.SENTENCES:
            assert set(sentence.slots) == set(keys.SENTENCES[sentence.key]), sentence.key
        for language in languages():
            message = Texts.of(language).raw(sentence.key)
            assert slots_of(message) <= set(sentence.slots), (language, sentence.key)
        assert sentence.severity in ("good", "info", "warning", "bad")


def test_claims_use_known_keys_and_are_all_in_the_ledger(any_context: ReportContext) -> None:
    registered = {c.id: c for c in any_context.claims}
    assert len(registered) == len(any_context.claims)
    for claim in (c for c in walk(any_context) if isinstance(c, Claim)):
        assert registered[claim.id] == claim
        assert claim.definition in keys.DEFINITIONS or len(Texts.of("en").definition(claim.definition)) > 10
        assert claim.note is None or claim.note in keys.CLAIM_NOTES
        assert claim.ci_method is None or claim.ci_method in keys.CI_METHODS
        assert (claim.value is not None) or claim.note, f"{claim.id} has no value and does not say why"


def test_a_shown_interval_contains_its_value(any_context: ReportContext) -> None:
    for claim in any_context.claims:
        if claim.ci_low is not None and claim.ci_high is not None and claim.ci_method != "bootstrap-problems":
            assert claim.value is not None
            assert claim.ci_low - 1e-9 <= claim.value <= claim.ci_high + 1e-9, claim.id


def test_a_contradiction_between_claims_is_an_error() -> None:
    ledger = Ledger()
    claim = Claim("n/x", 3, Unit.COUNT, "definition.n")
    assert ledger.add(claim) is ledger.add(Claim("n/x", 3, Unit.COUNT, "definition.n"))
    with pytest.raises(ValueError, match="made twice: 3 and 4"):
        ledger.add(Claim("n/x", 4, Unit.COUNT, "definition.n"))


# -------------------------------------------------------------------------------- accuracy and its denominators
def test_missing_is_wrong_and_unscored_is_left_out(context: ReportContext) -> None:
    base = cell(context, BF16)
    accuracy = base.accuracy["strict"]
    assert accuracy is not None
    assert (base.n.value, accuracy.numerator, accuracy.denominator) == (40, 34, 39)
    assert (base.missing["strict"].value, base.unscored["strict"].value) == (1, 1)
    assert accuracy.ci_method == "wilson"


def test_both_policies_and_their_gap(context: ReportContext) -> None:
    awq3 = cell(context, AWQ3)
    assert [claim.numerator for claim in awq3.accuracy.values() if claim] == [12, 18]
    assert awq3.scorer_gap is not None
    assert awq3.scorer_gap.value == pytest.approx(6 / 39)
    assert [s.slots["variant"] for s in found(context, "finding.scorer_gap")] == [AWQ3]


def test_accuracy_of_a_beginning_says_so(context: ReportContext) -> None:
    accuracy = cell(context, KV4).accuracy["strict"]
    assert accuracy is not None
    assert (accuracy.denominator, accuracy.note) == (10, "claim.prefix")
    assert found(context, "note.prefix", variant=KV4)


# --------------------------------------------------------------------------------------- the same problems only
def test_a_pair_is_compared_on_shared_problems_only(context: ReportContext) -> None:
    kv4 = pair(context, KV4)
    assert kv4.coverage is Coverage.PREFIX
    assert kv4.reference_accuracy is not None
    # the reference has 34 of 39 on everything, 9 of 10 on what both answered
    assert (kv4.reference_accuracy.numerator, kv4.reference_accuracy.denominator) == (9, 10)
    assert (kv4.lost_problems, kv4.gained_problems) == (("idx-2", "idx-4"), ("idx-5",))


def test_the_four_counts_sum_to_n(any_context: ReportContext) -> None:
    pairs = [p for b in any_context.benchmarks for p in b.pairs]
    assert pairs
    for p in pairs:
        assert sum(int(c.value or 0) for c in (p.both, p.lost, p.gained, p.neither)) == p.n.value


def test_overlap_tables_are_full_and_sum_to_n(any_context: ReportContext) -> None:
    overlaps = [o for b in any_context.benchmarks for o in b.overlaps]
    assert overlaps
    for o in overlaps:
        assert len(o.rows) == 2 ** len(o.variants)
        assert sum(int(r.count.value or 0) for r in o.rows) == o.total.value
    selected = [o for o in overlaps if o.coverage is Coverage.SELECTED]
    assert all(GPTQ3 in o.variants for o in selected)
    assert not any(GPTQ3 in o.variants for o in overlaps if o.coverage is not Coverage.SELECTED)


def test_a_small_set_does_not_shrink_the_table_of_a_large_one(context: ReportContext) -> None:
    totals = {o.variants: o.total.value for o in math(context).overlaps if o.policy == "strict"}
    assert totals == {(BF16, AWQ4, AWQ3): 38, (BF16, AWQ4, AWQ3, KV4): 10, (BF16, GPTQ3): 6}


# ------------------------------------------------------------------------------- problems picked by somebody
def test_selected_problems_give_counts_and_nothing_else(any_context: ReportContext) -> None:
    claims = [c for c in any_context.claims if GPTQ3 in c.id]
    assert len(claims) > 30
    for claim in claims:
        if claim.unit in (Unit.SHARE, Unit.POINTS, Unit.P_VALUE) and "loop_" not in claim.id:
            assert claim.value is None, claim.id
        assert claim.ci_low is None, claim.id
    assert set(cell(any_context, GPTQ3).accuracy.values()) == {None}
    assert cell(any_context, GPTQ3).correct["strict"].denominator == cell(any_context, GPTQ3).n.value


def test_selected_pairs_say_what_was_lost_without_a_test(context: ReportContext) -> None:
    gptq = pair(context, GPTQ3)
    assert (gptq.n.value, gptq.lost.value, gptq.gained.value) == (6, 6, 0)
    for claim in (gptq.difference, gptq.p_value, gptq.detectable, gptq.flips):
        assert (claim.value, claim.note) == (None, "claim.selected")
    assert (gptq.reference_accuracy, gptq.variant_accuracy) == (None, None)
    sentences = [s for s in context.findings if s.slots.get("variant") == GPTQ3]
    assert [s.key for s in sentences] == ["finding.selected_counts"]


def test_only_selected_sets_give_no_conclusion(tmp_path: Path) -> None:
    cells = {(v, MATH): {i: Scripted(o) for i in (3, 7, 11, 20)} for v, o in ((AWQ4, "right"), (GPTQ3, "loop"))}
    context = build_context(write_run(tmp_path / "run", {MATH: problem_set(MATH, 30)}, cells, baseline=None))
    assert context.headline.key == "headline.no_comparison"
    assert {s.key for s in context.findings} == {"finding.selected_counts"}
    assert math(context).pairs[0].lost.value == 4


# ------------------------------------------------------------------------------------------- findings, headline
def test_the_headline_is_the_worst_drop_told_apart(context: ReportContext) -> None:
    assert context.headline.key == "headline.drop"
    assert (context.headline.slots["variant"], context.headline.slots["benchmark"]) == (AWQ3, MATH)
    drop = found(context, "finding.drop")
    assert [s.slots["variant"] for s in drop] == [AWQ3]
    p, family, raw = drop[0].slots["p"], drop[0].slots["family"], pair(context, AWQ3).p_value
    assert isinstance(p, Claim)
    assert isinstance(family, Claim)
    assert family.value == 5  # 3 testable variants on one benchmark, 2 on the other
    assert raw.value is not None
    assert p.value == pytest.approx(5 * raw.value)


def test_no_difference_is_said_with_what_could_have_been_missed(context: ReportContext) -> None:
    (sentence,) = found(context, "finding.no_difference", variant=AWQ4, benchmark=MATH)
    detectable = sentence.slots["detectable"]
    assert isinstance(detectable, Claim)
    assert detectable.value == pytest.approx(2.8016 * (5 / 39 / 39) ** 0.5, abs=1e-3)
    assert found(context, "finding.flips", variant=AWQ4)


def test_loops_rise_only_where_they_do(context: ReportContext) -> None:
    (rise,) = found(context, "finding.loops_rise", benchmark=MATH)
    counts = [rise.slots[k] for k in ("reference_count", "variant_count", "only_variant", "only_reference")]
    assert [c.value for c in counts if isinstance(c, Claim)] == [0, 12, 12, 0]


def test_a_drop_under_one_policy_only_is_said_with_reserve(tmp_path: Path) -> None:
    cells = {
        (BF16, MATH): {i: Scripted("right") for i in range(30)},
        (AWQ3, MATH): {i: Scripted("unboxed" if i < 12 else "right") for i in range(30)},
    }
    context = build_context(write_run(tmp_path / "run", {MATH: problem_set(MATH, 30)}, cells))
    assert context.headline.key == "headline.drop_one_policy"
    (sentence,) = found(context, "finding.drop_one_policy")
    assert (sentence.slots["policy"], sentence.slots["other_policy"]) == ("strict", "lenient")
    assert not found(context, "finding.drop")


def test_identical_variants_are_no_evidence(tmp_path: Path) -> None:
    cells = {(v, MATH): {i: Scripted("right") for i in range(12)} for v in (BF16, AWQ4)}
    context = build_context(write_run(tmp_path / "run", {MATH: problem_set(MATH, 12)}, cells))
    assert context.headline.key == "headline.no_difference"
    assert pair(context, AWQ4).p_value.value == 1.0
    assert pair(context, AWQ4).detectable.value == pytest.approx(2.8016 / 12, abs=1e-3)


def test_gains_and_better_than_reference(tmp_path: Path) -> None:
    cells = {(v, MATH): {i: Scripted(o) for i in range(12)} for v, o in ((BF16, "wrong"), (AWQ4, "right"))}
    context = build_context(write_run(tmp_path / "run", {MATH: problem_set(MATH, 12)}, cells))
    assert [s.key for s in context.findings if s.severity == "good"] == ["finding.gain"]
    assert context.headline.key == "headline.gain"
    no_difference = [s for c in math(context).categories for s in c.sentences if s.key == "category.no_difference"]
    for sentence in no_difference:
        smallest = sentence.slots["smallest_p"]
        assert isinstance(smallest, Claim) and smallest.value is not None and smallest.value > 0.05


def test_a_gain_under_one_policy_only_is_said_with_reserve(tmp_path: Path) -> None:
    cells = {
        (BF16, MATH): {i: Scripted("unboxed" if i < 12 else "right") for i in range(30)},
        (AWQ4, MATH): {i: Scripted("right") for i in range(30)},
    }
    context = build_context(write_run(tmp_path / "run", {MATH: problem_set(MATH, 30)}, cells))
    assert not found(context, "finding.gain")
    (sentence,) = found(context, "finding.drop_one_policy")
    assert (sentence.slots["policy"], sentence.slots["other_policy"]) == ("strict", "lenient")
    assert context.headline.key == "headline.gain" and context.headline.slots["policy"] == "strict"


# ------------------------------------------------------------------------------------------ what is not there
def test_without_an_unquantized_variant_the_most_bits_are_the_reference(without_baseline: ReportContext) -> None:
    report = math(without_baseline)
    assert (report.reference, report.reference_is_baseline) == (AWQ4, False)
    assert found(without_baseline, "note.no_baseline", reference=AWQ4)


def test_unmeasured_columns_have_no_value_and_a_note(unmeasured: ReportContext) -> None:
    base = cell(unmeasured, BF16)
    for claim in (base.rates["loop"], base.centres["n_words"], pair(unmeasured, AWQ3).length_ratio):
        assert (claim.value, claim.note) == (None, "claim.no_measure")
    assert math(unmeasured).distributions == ()
    assert math(unmeasured).markers == ()
    assert found(unmeasured, "note.no_measures", variant=BF16)
    assert unmeasured.headline.key == "headline.drop"


def test_failed_and_unjudged_responses_are_reported(context: ReportContext) -> None:
    (errors,) = found(context, "note.errors")
    assert errors.slots["variant"] == AWQ3
    assert {s.slots["variant"] for s in found(context, "note.unscored")} == {BF16, AWQ4, AWQ3}


def test_a_single_variant_is_reported_without_a_comparison(tmp_path: Path) -> None:
    cells = {(KV4, AIME): {i: Scripted("loop" if i else "right") for i in range(12)}}
    context = build_context(write_run(tmp_path / "run", {AIME: problem_set(AIME, 12)}, cells, baseline=None))
    assert context.headline.key == "headline.no_comparison"
    assert context.benchmarks[0].reference is None
    assert found(context, "note.no_reference")
    assert {c.reason.key for c in context.benchmarks[0].cases} == {"case.alone_loop", "case.alone_right"}


def test_an_empty_run_is_an_error(tmp_path: Path) -> None:
    empty = write_run(tmp_path / "run", {MATH: problem_set(MATH, 3)}, {})
    with pytest.raises(InsufficientDataError, match="no responses"):
        build_context(empty)


# ------------------------------------------------------------------------------------------- several samples
def test_samples_do_not_shrink_the_interval(context: ReportContext, sampled: ReportContext) -> None:
    once, thrice = (cell(c, AWQ3).accuracy["strict"] for c in (context, sampled))
    assert once is not None
    assert thrice is not None
    assert (thrice.value, thrice.denominator, thrice.ci_method) == (once.value, 39, "bootstrap-problems")
    widths = [float(c.ci_high or 0) - float(c.ci_low or 0) for c in (once, thrice)]
    assert widths[1] == pytest.approx(widths[0], rel=0.15)
    assert pair(sampled, AWQ3).p_value == pair(context, AWQ3).p_value
    rate = cell(sampled, AWQ3).rates["loop"]
    assert (rate.numerator, rate.denominator, rate.ci_method) == (36, 117, "bootstrap-problems")


# --------------------------------------------------------------------------------------------------- categories
def test_categories_partition_the_benchmark(context: ReportContext) -> None:
    for dimension, names in (("subject", ["Algebra", "Geometry", "Number Theory"]), ("level", ["1", "2", "3"])):
        parts = [c for c in math(context).categories if c.dimension == dimension]
        assert [c.name for c in parts] == names
        for policy in ("strict", "lenient"):
            counts = [int(r.correct[policy].value or 0) for c in parts for r in c.rows if r.variant == AWQ3]
            assert sum(counts) == cell(context, AWQ3).correct[policy].value
        lost = [int(r.lost.value or 0) for c in parts for r in c.rows if r.variant == AWQ3 and r.lost]
        assert sum(lost) == pair(context, AWQ3).lost.value


# ------------------------------------------------------------------------------------------------------- spread
def test_distributions_share_their_bins(context: ReportContext) -> None:
    assert [d.column for d in math(context).distributions] == list(keys.DISTRIBUTION_COLUMNS)
    for d in math(context).distributions:
        for variant, counts in d.counts.items():
            assert len(counts) == len(d.edges) - 1
            assert sum(counts) == d.n[variant]


def test_markers_in_right_and_wrong_responses(context: ReportContext) -> None:
    row = next(m for m in math(context).markers if (m.variant, m.marker) == (AWQ3, "wait"))
    assert (row.right.numerator, row.wrong.numerator) == (0, row.overall.numerator)
    assert row.overall.value == pytest.approx(1000 * (row.overall.numerator or 0) / (row.overall.denominator or 1))


def test_the_worst_loops_come_first(context: ReportContext) -> None:
    report = math(context)
    repeats = [row.repeats or 0 for row in report.loops]
    assert report.loops_total == 15
    assert repeats == sorted(repeats, reverse=True)
    assert (report.loops[0].variant, report.loops[0].problem_id) == (AWQ3, "idx-38")


# -------------------------------------------------------------------------------------------------------- cases
def test_cases_are_few_different_and_always_the_same(store: Store, context: ReportContext) -> None:
    cases = math(context).cases
    assert len(cases) == 8
    assert len({c.problem_id for c in cases}) == 8
    assert cases == math(build_context(store)).cases
    assert len(math(build_context(store, max_cases=2)).cases) == 2
    reasons = [c.reason.key for c in cases]
    assert reasons[:4] == ["case.loop_to_limit", "case.closed_wrong", "case.missing_box", "case.variant_right"]


def test_a_case_counts_what_is_like_it(context: ReportContext) -> None:
    reason = math(context).cases[0].reason
    assert (reason.slots["variant"], reason.slots["reference"]) == (AWQ3, BF16)
    count, of = reason.slots["count"], reason.slots["of"]
    assert isinstance(count, Claim)
    assert isinstance(of, Claim)
    assert (count.value, of.value) == (11, 38)  # one of the twelve loops is on a problem that the reference missed


def test_excerpts_are_the_responses_own_words(store: Store, context: ReportContext) -> None:
    texts = {(t["variant"], t["problem_id"]): t["text"] for t in store.traces(benchmark=MATH).to_pylist()}
    excerpts = [(c, e) for c in math(context).cases for e in c.excerpts]
    assert len(excerpts) >= 20
    for case, excerpt in excerpts:
        for offset, part in excerpt.parts:
            assert texts[excerpt.variant, case.problem_id][offset:].startswith(part)
    loop = math(context).cases[0].excerpts[1]
    assert loop.finish == "length"
    assert len(loop.parts) == 3
    assert loop.loop_unit is not None
    assert loop.parts[1][1].count(loop.loop_unit.strip()) > 2


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    cells = {(v, MATH): {1: Scripted(o)} for v, o in ((BF16, "right"), (AWQ3, "wrong"))}
    problems = [replace(p, subject="{k} %s </script>") for p in problem_set(MATH, 3)]
    context = build_context(write_run(tmp_path / "run", {MATH: problems}, cells))
    assert [c.name for c in math(context).categories if c.dimension == "subject"] == ["{k} %s </script>"]
    (case,) = math(context).cases
    assert HOSTILE in case.question
    assert any(HOSTILE in part for e in case.excerpts for _, part in e.parts)


def test_provenance_names_what_the_numbers_depend_on(store: Store, context: ReportContext) -> None:
    assert context.provenance.request_hash == store.study["request_hash"]
    assert ("repetition", "1") in context.provenance.metrics
    assert [r["id"] for r in context.provenance.recipes] == [v.id for v in store.variants]
