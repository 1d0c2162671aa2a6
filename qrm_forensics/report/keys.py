"""Every catalogue key that a report's context can contain, with its slots.

A catalogue (one per language) has a text for each of these, and nothing else is
ever asked of it.  Slots called ``variant``, ``reference``, ``other``, ``variants``,
``benchmark``, ``policy``, ``other_policy``, ``column``, ``columns``, ``outcome``, ``category`` and ``marker``
are plain names; every other slot is a claim.

A claim whose ``value`` is None but whose ``numerator`` and ``denominator`` are there
is to be shown as a count ("12 of 50"): it comes from problems that somebody
selected, where a share would estimate nothing.
"""

from __future__ import annotations

import re

import pyarrow as pa

from qrm_forensics.metrics.registry import all_metrics
from qrm_forensics.symptoms import REFERENCE_CATEGORIES, SYMPTOMS

#: Key -> slots.  What the executive summary says first; exactly one is chosen.
HEADLINES: dict[str, tuple[str, ...]] = {
    # a variant lost accuracy under every policy (Holm-adjusted); the worst such variant
    "headline.drop": ("variant", "reference", "benchmark", "n", "difference", "p", "variants_dropped", "comparisons"),
    # a variant lost accuracy under one policy only, so the conclusion depends on the scorer (the finding: or gained)
    "headline.drop_one_policy": ("variant", "reference", "benchmark", "policy", "n", "difference", "p"),
    # no accuracy was lost, but loops, missing answers or truncation rose
    "headline.loops": ("variant", "reference", "benchmark", "n", "reference_count", "variant_count", "p"),
    "headline.missing": ("variant", "reference", "benchmark", "n", "reference_count", "variant_count", "p"),
    "headline.truncated": ("variant", "reference", "benchmark", "n", "reference_count", "variant_count", "p"),
    # no accuracy was lost anywhere, and a variant gained under some policy
    "headline.gain": ("variant", "reference", "benchmark", "policy", "n", "difference", "p", "comparisons"),
    # nothing told apart; ``detectable`` is the largest drop that could have been missed
    "headline.no_difference": ("comparisons", "detectable"),
    # nothing can be compared: responses were measured, but no two variants share unselected problems
    "headline.no_comparison": ("variants_count", "benchmarks_count", "responses"),
}

#: Findings appear only where their evidence passes; the conditions are in :mod:`qrm_forensics.report.findings`.
FINDINGS: dict[str, tuple[str, ...]] = {
    "finding.drop": ("variant", "reference", "benchmark", "policy", "n", "lost", "gained", "difference", "p", "family"),
    "finding.drop_one_policy": (
        *("variant", "reference", "benchmark", "policy", "other_policy", "n"),
        *("difference", "p", "other_difference", "other_p", "family"),
    ),
    "finding.gain": ("variant", "reference", "benchmark", "policy", "n", "lost", "gained", "difference", "p", "family"),
    "finding.no_difference": ("variant", "reference", "benchmark", "policy", "n", "difference", "p", "detectable"),
    "finding.flips": ("variant", "reference", "benchmark", "policy", "n", "lost", "gained", "flips", "difference"),
    "finding.loops_rise": (
        *("variant", "reference", "benchmark", "n", "reference_count", "variant_count"),
        *("only_variant", "only_reference", "p", "family"),
    ),
    "finding.missing_rise": (
        *("variant", "reference", "benchmark", "policy", "n", "reference_count", "variant_count"),
        *("only_variant", "only_reference", "p", "family"),
    ),
    "finding.truncated_rise": (
        *("variant", "reference", "benchmark", "n", "reference_count", "variant_count"),
        *("only_variant", "only_reference", "p", "family"),
    ),
    # looping responses of a variant, and how many of them were not right
    "finding.loops_wrong": ("variant", "benchmark", "policy", "loops", "loops_not_right", "rest", "rest_not_right"),
    "finding.loops_wrong_all": ("variant", "benchmark", "policy", "loops", "loops_not_right"),  # every response loops
    # lenient minus strict on the same responses
    "finding.scorer_gap": ("variant", "benchmark", "gap", "lenient_only", "strict_only", "n"),
    "finding.longer": ("variant", "reference", "benchmark", "n", "ratio"),
    "finding.shorter": ("variant", "reference", "benchmark", "n", "ratio"),
    # the worst quantized variant, told apart from every other one on the problems they share
    "finding.worst": ("variant", "other", "benchmark", "policy", "n", "difference", "p"),
    "finding.not_told_apart": ("variants", "benchmark", "policy", "comparisons", "smallest_p"),
    # problems picked by somebody: counts, never a share
    "finding.selected_counts": ("variant", "benchmark", "policy", "n", "correct", "missing", "loops"),
}

#: Sentences inside a category section; ``category`` is a subject or level.
CATEGORY_SENTENCES: dict[str, tuple[str, ...]] = {
    "category.drop": ("variant", "reference", "category", "n", "lost", "gained", "difference", "p", "family"),
    "category.no_difference": ("category", "reference", "comparisons", "smallest_p", "family", "detectable"),
    "category.selected": ("variant", "category", "n", "correct"),
    "category.no_reference": ("category",),
}

#: Conditions of the data that a reader has to know before reading a number.
NOTES: dict[str, tuple[str, ...]] = {
    "note.selected": ("variant", "benchmark", "n", "size"),
    "note.selected_unknown_size": ("variant", "benchmark", "n"),
    "note.prefix": ("variant", "benchmark", "n", "size"),
    "note.unknown_size": ("variant", "benchmark", "n"),
    "note.no_baseline": ("benchmark", "reference"),
    "note.no_reference": ("benchmark",),
    "note.no_shared": ("variant", "reference", "benchmark"),
    "note.unscored": ("variant", "benchmark", "policy", "unscored", "n"),
    "note.errors": ("variant", "benchmark", "errors", "n"),
    "note.finish_unknown": ("variant", "benchmark", "unknown", "n"),
    "note.finish_unknown_all": ("variant", "benchmark", "n"),
    "note.no_verdicts": ("variant", "benchmark"),
    "note.no_measures": ("variant", "benchmark"),
    "note.imported": ("benchmark",),
    "note.incomplete": ("variant", "benchmark", "n"),
    "note.samples": ("benchmark", "samples"),
    "note.pseudo_tokens": ("variants", "benchmark"),
    "note.overlap_left_out": ("variants", "benchmark"),
    "note.adjusted": ("policy", "family"),
}

#: Why a case was chosen; ``count`` of ``of`` shared (or answered) problems are like it.
CASE_REASONS: dict[str, tuple[str, ...]] = {
    "case.loop_to_limit": ("variant", "reference", "count", "of"),  # reference right; variant loops and was cut off
    "case.loop": ("variant", "reference", "count", "of"),  # reference right; variant not right, ends in a loop
    "case.missing_box": ("variant", "reference", "count", "of"),  # reference right; variant gives no answer, no loop
    "case.closed_wrong": ("variant", "reference", "count", "of"),  # reference right; variant ends by itself, wrong
    "case.variant_right": ("variant", "reference", "count", "of"),  # reference not right, variant right
    "case.scorer_disagrees": ("variant", "count", "of"),  # the policies disagree on the variant's response
    # where there is no reference for the problem
    "case.alone_loop": ("variant", "count", "of"),
    "case.alone_missing_box": ("variant", "count", "of"),
    "case.alone_closed_wrong": ("variant", "count", "of"),
    "case.alone_right": ("variant", "count", "of"),
}

#: What the early warning is worth, per target.
_JUDGED = ("benchmark", "n", "failed", "auc", "plain")
_OPERATED = ("allowed", "caught", "alarms", "lead", "saved", "plain_saved", "plain_caught")
EARLY_SENTENCES: dict[str, tuple[str, ...]] = {
    f"early.{target}.{key}": slots
    for target in ("unclosed", "loop")
    for key, slots in (
        ("beats", _JUDGED),
        ("not", _JUDGED),
        ("unknown", _JUDGED),
        ("at", _OPERATED),
        ("nothing", ("allowed", "failed", "alarms", "plain_caught")),  # no response that failed raises an alarm
        ("unset", ("allowed",)),  # too few other responses to set a threshold for such a share
        *((f"shortage.{what}", ("benchmark", "found", "needed")) for what in ("failed", "others", "failed_problems")),
    )
}
EARLY_SENTENCES["early.selected"] = (
    "selected",
    "benchmark",
)  # a part of the responses answers problems that somebody selected

#: Why responses have no outcome, and where a threshold of the rules comes from.
RULE_SENTENCES: dict[str, tuple[str, ...]] = {
    "unassigned.reason": ("variant", "count", "outcome", "columns"),
    "threshold.calibrated": ("quantile", "n", "variant"),
    "threshold.published": ("n", "variant"),  # too few correct responses of the baseline
    "threshold.published_alone": (),  # no baseline
    "threshold.fixed": (),
}

#: Conditions of the data, ``HealthItem.said``.
HEALTH_SENTENCES: dict[str, tuple[str, ...]] = {
    "health.comparison.none": (),
    "health.value": ("what",),  # the same on all sides, and this it is
    "health.unknown": ("variants",),
    "health.unknown_all": ("variants",),
    "health.not_measured": (),
    **{f"health.{name}.ok": () for name in ("problems", "gold", "prompts", "sampling", "max_new_tokens", "engine")},
    **{
        f"health.{name}.differs": ("variants",)
        for name in ("problems", "gold", "prompts", "sampling", "max_new_tokens", "engine")
    },
    **{f"health.{name}.none": ("count",) for name in ("truncated", "unscored", "tokens", "finish", "errors")},
    **{f"health.{name}.some": ("count",) for name in ("truncated", "unscored", "tokens", "finish", "errors")},
}

#: Pages about one subject, level, topic or outcome; ``shown`` is a plain number.
PAGE_SENTENCES: dict[str, tuple[str, ...]] = {
    "page.size": ("problems", "responses"),
    **dict.fromkeys(
        ("page.outcome.more", "page.outcome.fewer"),
        ("variant", "reference", "category", "n", "only_variant", "only_reference", "difference", "p", "family"),
    ),
    "page.outcome.no_difference": ("category", "comparisons"),
    **dict.fromkeys(
        (
            *("pick.lost_loop", "pick.lost_false_equation", "pick.lost_missing", "pick.lost_other", "pick.gained"),
            *("pick.longest", "pick.alone_loop", "pick.alone_wrong"),
            *("pick.ended_lost", "pick.ended_gained", "pick.ended_loop", "pick.ended_shortest", "pick.ended_longest"),
        ),
        ("shown", "count"),
    ),
}

#: Every sentence there is: key -> slots.
SENTENCES: dict[str, tuple[str, ...]] = (
    HEADLINES
    | FINDINGS
    | CATEGORY_SENTENCES
    | NOTES
    | CASE_REASONS
    | EARLY_SENTENCES
    | RULE_SENTENCES
    | HEALTH_SENTENCES
    | PAGE_SENTENCES
)

#: ``Claim.note``: why a claim has no value, or what limits it.  No slots.
CLAIM_NOTES: tuple[str, ...] = (
    "claim.selected",  # the problems were selected by somebody: counts only
    "claim.prefix",  # the first n problems of the benchmark, not all
    "claim.no_measure",  # the metric was not measured here
    "claim.median_not_reached",  # fewer than half of the responses have had the event
    "claim.no_data",  # no response with a value
    "claim.no_scored",  # every response is unscored
    "claim.no_shared",  # no problem that both answered
    "claim.no_interval",  # too few values for an interval
    "claim.description",  # describes a set that was selected; not an estimate, so no interval
    "claim.one_sided",  # known only where it is true: how many are, of all
    "claim.no_ratio",  # one of the two does not exist, or the lower one is 0
    "claim.nobody_left",  # no response is observed for that long
    "claim.looping_only",  # describes the responses that loop; says nothing about those that do not
)

#: ``Claim.ci_method``.
CI_METHODS: tuple[str, ...] = (
    "wilson",
    "mover",
    "wilson-problems",
    "tango-score",
    "bootstrap-problems",
    "aalen-johansen",
    "brookmeyer-crowley",
    "student-t",
    "kaplan-meier",
    "bootstrap-windows",
)

#: Measured columns whose shares (true per response) are shown, in the order of display.
RATE_COLUMNS: tuple[str, ...] = ("closed", "boxed", "truncated", "loop", "loop_terminal")

#: Measured columns whose median and mean are shown, in the order of display, with the value of their unit.
CENTRE_COLUMNS: dict[str, str] = {
    "n_words": "words",
    "n_tokens": "tokens",
    "n_chars": "chars",
    "n_steps": "count",
    "ttr": "plain",
    "ttr_last_2k": "plain",
    "mattr_500": "plain",
    "worst_window_ttr": "plain",
    "copy_rate": "plain",
    "loop_onset_fraction": "share",
    "loop_period": "tokens",
    "loop_repeats": "plain",
    "loop_coverage": "share",
    "collapse_at": "share",
    "sentence_repeat_rate": "share",
    "self_reference_outside_repeats": "per-1000-words",
    "understand_share": "share",
    "process_share": "share",
    "check_share": "share",
    "final_share": "share",
    "answer_changes": "plain",
    "underthinking": "share",
    "equations": "plain",
    "false_equations": "plain",
    "gibberish_count": "words",
}


def loop_class_key(name: str) -> str:
    """The catalogue key of a loop class: ``single token/character`` -> ``loop_class.single_token_character``."""
    return "loop_class." + re.sub(r"[^a-z]+", "_", name)


#: Measured columns of spans that a response is marked with: column -> ``Mark.kind``.
MARKS: dict[str, str] = {
    "loop_spans": "loop",
    "false_equation_spans": "false_equation",
    "correct_spans": "correct",
    "gibberish_spans": "gibberish",
}

#: Measured character offsets that are points of a response's axis: column -> ``Event.kind``.
EVENTS: dict[str, str] = {
    "first_correct_char": "first_correct",
    "final_answer_first_char": "final_answer",
    "false_equation_first_char": "false_equation",
    "loop_onset_char": "loop_onset",
    "gibberish_first_char": "gibberish",
}

#: ``Distribution.column``, in the order of display.
DISTRIBUTION_COLUMNS: tuple[str, ...] = ("n_words", "n_tokens", "loop_onset_fraction", "mattr_500")

#: What is looked for in responses that are right and that are not.
REACHED: tuple[str, ...] = ("had_correct", "false_equation", "gibberish", "low_diversity")

#: Figures of the early warning.
EARLY: tuple[str, ...] = (
    *("failed", "others", "failed_problems", "needed", "n", "auc"),
    *("allowed", "recall", "false_alarms", "lead", "saved", "failed_scored", "selected"),
)

#: Yes/no columns of the metrics: their shares carry the metric's own definition.
YES_NO_COLUMNS: frozenset[str] = frozenset(
    c.name for m in all_metrics() for c in m.columns if pa.types.is_boolean(c.dtype)
)

#: ``Claim.definition``.  Medians and means of a column share its ``definition.column.…``; the claim's id says which.
DEFINITIONS: tuple[str, ...] = (
    "definition.n",  # responses of a variant on a benchmark (traces)
    "definition.problems",  # problems that a variant answered
    "definition.benchmark_size",
    "definition.accuracy",  # right / judged; missing counts as wrong, unscored is left out; Wilson
    "definition.accuracy_samples",  # several samples: mean over problems of the share right; bootstrap over problems
    "definition.correct",
    "definition.missing",
    "definition.unscored",
    "definition.errors",
    "definition.finish_unknown",
    "definition.samples",
    "definition.scorer_gap",  # (right under lenient - right under strict) / responses judged under both
    "definition.lenient_only",
    "definition.strict_only",
    "definition.rate",  # share of responses for which a measured column without its own definition is true
    *(
        f"definition.column.{column}"
        for column in dict.fromkeys((*RATE_COLUMNS, *CENTRE_COLUMNS, *sorted(YES_NO_COLUMNS)))
    ),
    "definition.paired_n",  # problems that both answered and that were judged for both
    "definition.both",
    "definition.lost",  # reference right, variant not (several samples: right less often)
    "definition.gained",
    "definition.neither",
    "definition.flips",  # (lost + gained) / n
    "definition.paired_accuracy",  # accuracy on the shared problems only
    "definition.difference",  # (gained - lost) / n; Tango score interval, or bootstrap over problems
    "definition.mcnemar_p",  # McNemar exact, two-sided, unadjusted
    "definition.holm_p",  # the same, Holm-adjusted over the family
    "definition.family",  # how many comparisons were adjusted together
    "definition.comparisons",
    "definition.detectable",  # smallest true difference found in 80 % of such samples at the 5 % level
    "definition.length_ratio",  # exp(mean ln(words of variant / words of reference))
    "definition.overlap",
    "definition.overlap_total",
    "definition.paired_rate_count",  # shared problems where the column is true for a variant
    "definition.paired_rate_only",  # ... for one of the two only
    "definition.category_n",
    "definition.page_problems",
    "definition.page_responses",
    "definition.page_fits",  # responses of a page that a rule for choosing cases fits
    "definition.outcome_share",
    "definition.outcome_difference",
    "definition.outcome_only",
    "definition.marker",  # 1,000 * occurrences / words, over all words of the responses
    "definition.marker_right",
    "definition.marker_wrong",
    "definition.loops",
    "definition.loops_not_right",
    "definition.rest",  # responses without a terminal loop
    "definition.rest_not_right",
    "definition.outcome",  # responses with this outcome, of all that were judged (symptoms)
    "definition.outcome_total",
    "definition.unassigned",
    *(f"definition.{rule.family}.{rule.name}" for rule in (*SYMPTOMS, *REFERENCE_CATEGORIES)),
    *("definition.threshold", "definition.threshold_n", "definition.threshold_quantile"),
    *(f"definition.loop_{what}" for what in ("responses", "class", "terminal", "recovered", "enumeration")),
    *(f"definition.onset_{what}" for what in ("incidence", "median", "typical")),
    *(f"definition.{group}_{what}" for group in ("wrong", "right") for what in REACHED),
    *(f"definition.early_{what}" for what in EARLY),
    "definition.case_count",
    "definition.case_of",
    "definition.variants_dropped",
    "definition.variants_count",
    "definition.benchmarks_count",
    "definition.responses",
    *("definition.health_truncated", "definition.health_tokens"),
)
