"""A small report context made by hand: three variants, one selected subset, a loop, hostile text."""

from __future__ import annotations

from dataclasses import replace

from qrm_forensics.records import Coverage, Variant
from qrm_forensics.report.keys import REACHED
from qrm_forensics.report.model import (
    BenchmarkReport,
    Case,
    Category,
    CategoryRow,
    Cell,
    Claim,
    Distribution,
    Event,
    Excerpt,
    LoopKinds,
    LoopRow,
    Mark,
    MarkerRow,
    Onset,
    OutcomeRow,
    Overlap,
    OverlapRow,
    Pair,
    Provenance,
    ReachedRow,
    ReportContext,
    Sentence,
    SymptomRow,
    ThresholdRow,
    Unit,
)
from qrm_forensics.symptoms import OUTCOME_NAMES, REFERENCE_CATEGORIES, SYMPTOMS, Rule

HOSTILE = "</script><script>alert(1)</script> <img src=x onerror=alert(2)> \u202eRTL\u202c \x07 \u05e9\u05dc\u05d5\u05dd `x` | **y** {{ 7*7 }}"
BENCHMARK = "MATH-20"
BASE, W4, W3 = "bf16", "awq-w4g128", "awq-w3g128"
LOOP = "Wait, no."


class _Book:
    def __init__(self) -> None:
        self.claims: dict[str, Claim] = {}

    def add(self, id: str, value: float | int | None, unit: Unit, definition: str, **more: object) -> Claim:
        claim = Claim(id, value, unit, definition, table="verdicts", filter=f"id == {id!r}", **more)  # type: ignore[arg-type]
        return self.claims.setdefault(id, claim)

    def count(self, id: str, value: int, definition: str = "definition.n") -> Claim:
        return self.add(id, value, Unit.COUNT, definition)

    def share(self, id: str, k: int, n: int, definition: str, low: float, high: float) -> Claim:
        return self.add(
            *(id, k / n, Unit.SHARE, definition),
            numerator=k,
            denominator=n,
            ci_low=low,
            ci_high=high,
            ci_method="wilson",
        )


def sample_context(*, selected: bool = True) -> ReportContext:
    """The context; ``selected`` adds a variant whose problems were picked by somebody."""
    book = _Book()
    right = {BASE: 18, W4: 17, W3: 8}
    cells = [_cell(book, v, k, 20) for v, k in right.items()]
    if selected:
        cells.append(_selected(book))
    pairs = tuple(_pair(book, v, lost, gained, p) for v, lost, gained, p in ((W4, 2, 1, 1.0), (W3, 11, 1, 0.0063)))
    rows = {
        (True, True, True): 7,
        (True, True, False): 9,
        (True, False, False): 2,
        (False, True, True): 1,
        (False, False, False): 1,
    }
    overlap = Overlap(
        *(BENCHMARK, "strict", (BASE, W4, W3), Coverage.FULL),
        rows=tuple(
            OverlapRow(bits, book.count(f"overlap/{BENCHMARK}/{bits}", rows.get(bits, 0), "definition.overlap"))
            for bits in [(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)]
        ),
        total=book.count(f"overlap/{BENCHMARK}/total", 20, "definition.overlap_total"),
    )
    drop = pairs[1]
    family = book.count("family", 2, "definition.family")
    told = {k: getattr(drop, k) for k in ("variant", "reference", "benchmark", "n", "difference")} | {"p": drop.p_value}
    headline = Sentence(
        "headline.drop",
        told | {"variants_dropped": book.count("dropped", 1, "definition.variants_dropped"), "comparisons": family},
        "bad",
    )
    finding = Sentence(
        "finding.drop", told | {"policy": "strict", "lost": drop.lost, "gained": drop.gained, "family": family}, "bad"
    )
    quiet = pairs[0]
    slots = {
        k: getattr(quiet, k) for k in ("variant", "reference", "benchmark", "policy", "n", "difference", "detectable")
    }
    no_difference = Sentence("finding.no_difference", slots | {"p": quiet.p_value})
    benchmark = BenchmarkReport(
        name=BENCHMARK,
        size=20,
        cells=tuple(cells),
        reference=BASE,
        reference_is_baseline=True,
        pairs=pairs,
        overlaps=(overlap,),
        categories=(
            _category(book, "subject", "Number Theory"),
            _category(book, "level", "3"),
            replace(_category(book, "topic", "number_theory"), sentences=()),
            replace(_category(book, "topic", "other"), sentences=()),
        ),
        distributions=(
            Distribution(
                *("n_words", BENCHMARK, Unit.WORDS, (0.0, 100.0, 200.0, 300.0)),
                counts={BASE: (5, 15, 0), W4: (4, 15, 1), W3: (2, 8, 10)},
                n={BASE: 20, W4: 20, W3: 20},
            ),
        ),
        markers=(
            MarkerRow(
                *(W3, "wait"),
                *(
                    book.add(f"marker/{k}", v, Unit.PER_1000_WORDS, "definition.marker")
                    for k, v in (("all", 31.5), ("right", 4.25), ("wrong", 48.0))
                ),
            ),
        ),
        loops=(LoopRow(W3, "idx-7", 0.25, 100, 3, 40.0, HOSTILE, 400),),
        loops_total=5,
        cases=(_case(book),),
        notes=(
            Sentence(
                "note.errors",
                {
                    "variant": W3,
                    "benchmark": BENCHMARK,
                    "errors": book.count("errors", 1, "definition.errors"),
                    "n": cells[2].n,
                },
                "warning",
            ),
        ),
        outcomes=tuple(_outcomes(book, v, k) for v, k in right.items()),
        loop_kinds=(_loop_kinds(book, W4, 0), _loop_kinds(book, W3, 6)),
        onsets=(_onset(book),),
        reached=(_reached(book),),
        early_warning=_early_warning(book),
        symptoms=tuple(_symptoms(book, v, k) for v, k in right.items()),
        unassigned=(_unassigned(book),),
    )
    thresholds = _thresholds(book)
    return ReportContext(
        title="sample",
        variants=tuple(Variant(v, "Tiny-R1", v, 1) for v in [c.variant for c in cells]),
        baseline=BASE,
        headline=headline,
        findings=(finding, no_difference),
        benchmarks=(benchmark,),
        notes=(),
        provenance=Provenance(
            "0.1.0",
            "1",
            "abc123",
            "run",
            ({"host": "<b>lab</b>"},),
            ({"recipe": W3},),
            {"temperature": "0.6"},
            (("length", "1"),),
        ),
        claims=tuple(book.claims.values()),
        thresholds=thresholds,
    )


def _outcomes(book: _Book, variant: str, right: int) -> OutcomeRow:
    wrong = 20 - right
    found = {"correct": right, "looped_to_limit": wrong // 2, "wrong_no_visible_slip": wrong - wrong // 2}
    at = f"outcome/{BENCHMARK}/{variant}"
    counts = {
        name: book.add(
            f"{at}/{name}",
            found.get(name, 0),
            Unit.COUNT,
            "definition.outcome",
            numerator=found.get(name, 0),
            denominator=20,
        )
        for name in OUTCOME_NAMES
    }
    return OutcomeRow(variant, counts, book.count(f"{at}/total", 20, "definition.outcome_total"))


def _symptoms(book: _Book, variant: str, right: int) -> SymptomRow:
    def shares(rules: tuple[Rule, ...], k: int) -> dict[str, Claim]:
        at = f"{rules[0].family}/{BENCHMARK}/{variant}"
        definition = f"definition.{rules[0].family}"
        return {r.name: book.share(f"{at}/{r.name}", k, 20, f"{definition}.{r.name}", 0.01, 0.7) for r in rules}

    return SymptomRow(variant, shares(SYMPTOMS, (20 - right) // 2), shares(REFERENCE_CATEGORIES, 20 - right))


def _unassigned(book: _Book) -> Sentence:
    number = book.count(f"unassigned/{BENCHMARK}/{W3}/correct/strict_status", 1, "definition.unassigned")
    return Sentence(
        "unassigned.reason",
        {"variant": W3, "count": number, "outcome": "gibberish_collapse", "columns": "gibberish_count"},
        "warning",
    )


def _thresholds(book: _Book) -> tuple[ThresholdRow, ...]:
    def number(name: str, value: float, unit: Unit = Unit.PLAIN) -> Claim:
        key = "threshold_".join(["definition.", name.partition("/")[2]]) if "/" in name else "definition.threshold"
        return book.add(f"threshold/{name}", value, unit, key)

    told: dict[str, Claim | str] = {
        "quantile": number("low_diversity/quantile", 0.01, Unit.SHARE),
        "n": number("low_diversity/n", 195, Unit.COUNT),
        "variant": BASE,
    }
    return (
        ThresholdRow("low_diversity", number("low_diversity", 0.21), Sentence("threshold.calibrated", told), None),
        ThresholdRow(
            *("loop_share", number("loop_share", 0.7), Sentence("threshold.fixed", {})), "threshold.loop_share.source"
        ),
    )


def _loop_kinds(book: _Book, variant: str, loops: int) -> LoopKinds:
    def counted(what: str, value: int, of: int) -> Claim:
        name = f"loop_kind/{BENCHMARK}/{variant}/{what}"
        definition = f"definition.loop_{what.split('/')[0]}"
        return book.add(name, value, Unit.COUNT, definition, numerator=value, denominator=of)

    kinds = {
        "wait-loop": counted("class/wait-loop", loops - 1, loops),
        "single token/character": counted("class/x", 1, loops),
    }
    return LoopKinds(
        variant,
        loops=counted("responses", loops, 20),
        terminal=counted("terminal", max(loops - 1, 0), loops),
        recovered=counted("recovered", min(loops, 1), loops),
        enumerations=counted("enumeration", 2, 20),
        kinds=kinds if loops else {},
    )


def _onset(book: _Book) -> Onset:
    at = f"onset/{BENCHMARK}/{W3}"
    incidence = book.share(f"{at}/incidence", 6, 20, "definition.onset_incidence", 0.13, 0.5)
    median = book.add(f"{at}/median", None, Unit.TOKENS, "definition.onset_median", note="claim.median_not_reached")
    typical = book.add(f"{at}/typical", 120.0, Unit.TOKENS, "definition.onset_typical", denominator=6)
    return Onset(
        W3, 6, 13, 1, incidence, median, typical, ((80, 0.1), (120, 0.2), (400, 0.3)), ((200, 0.5), (400, 0.65))
    )


def _reached(book: _Book) -> ReachedRow:
    def shares(group: str, k: int, n: int) -> dict[str, Claim]:
        at = f"{group}/{BENCHMARK}/{W3}"
        return {w: book.share(f"{at}/{w}", k, n, f"definition.{group}_{w}", 0.02, 0.6) for w in REACHED}

    return ReachedRow(W3, shares("wrong", 4, 12), shares("right", 1, 8))


def _early_warning(book: _Book) -> tuple[Sentence, ...]:
    at = f"early_warning/{BENCHMARK}"

    def number(what: str, value: float, unit: Unit, **more: object) -> Claim:
        return book.add(f"{at}/{what}", value, unit, f"definition.early_{what.split('/')[-1]}", **more)

    slots: dict[str, Claim | str] = {
        "benchmark": BENCHMARK,
        "n": number("n", 60, Unit.COUNT),
        "failed": number("failed", 15, Unit.COUNT),
        "auc": number("auc", 0.91, Unit.PLAIN, ci_low=0.85, ci_high=0.96),
        "plain": number("length/auc", 0.84, Unit.PLAIN, ci_low=0.8, ci_high=0.9),
    }
    operated: dict[str, Claim | str] = {
        "allowed": number("at/allowed", 0.05, Unit.SHARE),
        "caught": number("at/recall", 0.8, Unit.SHARE, numerator=12, denominator=15),
        "alarms": number("at/false_alarms", 2 / 45, Unit.SHARE, numerator=2, denominator=45),
        "lead": number("at/lead", 210.0, Unit.TOKENS, denominator=12),
        "saved": number("at/saved", 0.4, Unit.SHARE),
        "plain_caught": number("at/length/recall", 0.6, Unit.SHARE, numerator=9, denominator=15),
        "plain_saved": number("at/length/saved", 0.2, Unit.SHARE),
    }
    short: dict[str, Claim | str] = {
        "benchmark": BENCHMARK,
        "found": book.count(f"{at}/loop/failed", 6, "definition.early_failed"),
        "needed": book.count(f"{at}/needed", 15, "definition.early_needed"),
    }
    return (
        Sentence("early.unclosed.beats", slots),
        Sentence("early.unclosed.at", operated),
        Sentence("early.loop.shortage.failed", short),
    )


def _cell(book: _Book, variant: str, right: int, n: int) -> Cell:
    at = f"{BENCHMARK}/{variant}"
    zero = book.count(f"unscored/{at}", 0, "definition.unscored")
    strict = book.share(f"accuracy/{at}/strict", right, n, "definition.accuracy", right / n - 0.1, right / n + 0.05)
    lenient = book.share(
        f"accuracy/{at}/lenient", right + 1, n, "definition.accuracy", right / n - 0.05, right / n + 0.1
    )
    gap = book.add(f"gap/{at}", 1 / n, Unit.POINTS, "definition.scorer_gap", numerator=1, denominator=n)
    return Cell(
        *(variant, BENCHMARK, Coverage.FULL, 20, book.count(f"n/{at}", n)),
        accuracy={"strict": strict, "lenient": lenient},
        correct={
            p: book.count(f"correct/{at}/{p}", right + i, "definition.correct")
            for i, p in enumerate(("strict", "lenient"))
        },
        missing={p: book.count(f"missing/{at}/{p}", 1, "definition.missing") for p in ("strict", "lenient")},
        unscored={"strict": zero, "lenient": zero},
        scorer_gap=gap,
        rates={"loop": book.share(f"loop/{at}", (n - right) // 2, n, "definition.rate", 0.01, 0.4)},
        centres={"n_words": book.add(f"median/{at}", 1234.5, Unit.WORDS, "definition.column.n_words", numerator=None)},
        means={"n_words": book.add(f"mean/{at}", 1300.25, Unit.WORDS, "definition.column.n_words")},
    )


def _selected(book: _Book) -> Cell:
    at = f"{BENCHMARK}/gptq-w3g128"
    none = book.count(f"zero/{at}", 0, "definition.unscored")
    hits = book.count(f"correct/{at}", 2, "definition.correct")
    rate = book.add(
        f"loop/{at}", None, Unit.SHARE, "definition.rate", numerator=3, denominator=5, note="claim.selected"
    )
    both = ("strict", "lenient")
    return Cell(
        *("gptq-w3g128", BENCHMARK, Coverage.SELECTED, 20, book.count(f"n/{at}", 5)),
        accuracy=dict.fromkeys(both),
        correct=dict.fromkeys(both, hits),
        missing=dict.fromkeys(both, none),
        unscored=dict.fromkeys(both, none),
        scorer_gap=None,
        rates={"loop": rate},
        centres={},
        means={},
    )


def _pair(book: _Book, variant: str, lost: int, gained: int, p: float) -> Pair:
    at = f"paired/{BENCHMARK}/{variant}"
    difference = (gained - lost) / 20

    def count(name: str, value: int) -> Claim:
        return book.count(f"{at}/{name}", value, f"definition.{name}" if name != "n" else "definition.paired_n")

    return Pair(
        *(BASE, variant, BENCHMARK, "strict", Coverage.FULL),
        *(
            count("n", 20),
            count("both", 18 - lost),
            count("lost", lost),
            count("gained", gained),
            count("neither", 2 - gained),
        ),
        flips=book.share(f"{at}/flips", lost + gained, 20, "definition.flips", 0.1, 0.9),
        reference_accuracy=book.share(f"{at}/reference", 18, 20, "definition.paired_accuracy", 0.7, 0.97),
        variant_accuracy=book.share(f"{at}/variant", 18 - lost + gained, 20, "definition.paired_accuracy", 0.2, 0.9),
        difference=book.add(
            *(f"{at}/difference", difference, Unit.POINTS, "definition.difference"),
            ci_low=difference - 0.2,
            ci_high=difference + 0.2,
            ci_method="tango-score",
        ),
        p_value=book.add(f"{at}/p", p, Unit.P_VALUE, "definition.mcnemar_p"),
        detectable=book.add(f"{at}/detectable", 0.2, Unit.POINTS, "definition.detectable"),
        length_ratio=book.add(f"{at}/length", 1.5, Unit.RATIO, "definition.length_ratio", ci_low=1.2, ci_high=1.9),
        lost_problems=("idx-7",),
        gained_problems=(),
    )


def _category(book: _Book, dimension: str, name: str) -> Category:
    rows = []
    for variant, right in ((BASE, 6), (W3, 1)):
        at = f"{dimension}/{name}/{variant}"
        accuracy = book.share(f"accuracy/{at}", right, 7, "definition.accuracy", 0.1, 0.9)
        correct = book.count(f"correct/{at}", right, "definition.correct")
        difference = None
        if variant == W3:
            difference = book.add(
                f"difference/{at}", -5 / 7, Unit.POINTS, "definition.difference", ci_low=-0.9, ci_high=-0.3
            )
        rows.append(
            CategoryRow(
                *(variant, book.count(f"n/{at}", 7, "definition.category_n")),
                accuracy={"strict": accuracy, "lenient": accuracy},
                correct={"strict": correct, "lenient": correct},
                lost=book.count(f"lost/{at}", 5, "definition.lost") if difference else None,
                gained=book.count(f"gained/{at}", 0, "definition.gained") if difference else None,
                difference=difference,
                rates={},
                centres={},
            )
        )
    comparisons = book.count(f"comparisons/{dimension}", 1, "definition.comparisons")
    detectable = book.add(f"detectable/{dimension}", 0.6, Unit.POINTS, "definition.detectable")
    smallest = book.add(f"holm_p/{dimension}", 0.0625, Unit.P_VALUE, "definition.holm_p")
    slots = {"comparisons": comparisons, "detectable": detectable, "smallest_p": smallest}
    slots["family"] = book.count(f"family/{dimension}", 2, "definition.family")
    sentence = Sentence("category.no_difference", {"category": name, "reference": BASE, **slots})
    return Category(BENCHMARK, dimension, name, Coverage.FULL, tuple(rows), (sentence,))


def _case(book: _Book) -> Case:
    reason = Sentence(
        "case.loop",
        {
            "variant": W3,
            "reference": BASE,
            "count": book.count("case/count", 4, "definition.case_count"),
            "of": book.count("case/of", 20, "definition.case_of"),
        },
    )
    looped = "Let me try. " + f"{LOOP} " * 40
    shared = {"status": {"strict": "correct", "lenient": "correct"}, "answer": {"strict": "4", "lenient": "4"}}
    missing = {"status": {"strict": "missing", "lenient": "wrong"}, "answer": {"strict": None, "lenient": HOSTILE}}
    return Case(
        *(f"{BENCHMARK}/idx-7", BENCHMARK, "idx-7", 0, 42, reason),
        question=f"What is 2 + 2? {HOSTILE}",
        gold="4",
        subject="Number Theory",
        level="3",
        excerpts=(
            Excerpt(
                BASE,
                **shared,
                finish="stop",
                n_words=9,
                n_chars=len(HOSTILE),
                n_tokens=12,
                parts=((0, HOSTILE),),
                loop_unit=None,
                loop_repeats=None,
                loop_period=None,
                source="a.jsonl#7",
            ),
            Excerpt(
                W3,
                **missing,
                finish="length",
                n_words=122,
                n_chars=5000,
                n_tokens=400,
                parts=((0, looped), (1000, "아직 모르겠다.")),
                loop_unit=f" {LOOP}",
                loop_repeats=40.0,
                loop_period=3,
                source=None,
                loop_class="wait-loop",
                outcome="looped_to_limit",
                marks=(Mark("correct", 0, 6), Mark("loop", 12, 12 + 40 * (len(LOOP) + 1))),
                events=(Event("first_correct", 0, 0.0), Event("loop_onset", 22, 0.0044)),
            ),
        ),
    )
