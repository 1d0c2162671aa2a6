"""Reasons in plain language: a key, its slots, and the English sentence that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

Slot = str | int | float

#: Key -> sentence.  Numbers are percentage points or per cent unless they are n, p or a family size.
SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        "not_comparable": "The two sides cannot be compared ({check}): {note}",
        "nothing_judged": "No problem has a verdict on both sides, so nothing can be said about accuracy.",
        "identical": "Both sides hold the very same responses to {n} problems. "
        "If they should be two checkpoints, one file was given twice.",
        "baseline_unscored": "On {benchmark}, {share:.1f} % of the baseline's responses have no verdict; at most {limit:g} % may.",
        "baseline_truncated": "On {benchmark}, {share:.1f} % of the baseline's responses were cut off at the token limit; "
        "at most {limit:g} % may.",
        "baseline_scorer_gap": "On {benchmark}, the baseline's accuracy differs by {points:.1f} points between the policies "
        "{first} and {second}; at most {limit:g} may.",
        "baseline_solves_too_little": "On {benchmark}, the baseline solves {accuracy:.1f} % of the problems, so that a fall "
        "beyond the margin of {margin:g} points is impossible.",
        "baseline_flips": "On {benchmark}, two runs of the baseline differ on {share:.1f} % of the problems; at most {limit:g} % may.",
        "baseline_runs_differ": "On {benchmark}, two runs of the baseline differ by {points:+.1f} points on {n} problems "
        "(p = {p:.2g}), so that a difference from either is not the candidate's alone.",
        "worse_accuracy": "On {benchmark} ({scorer}), accuracy fell by {change:.1f} points, from {baseline:.1f} to {candidate:.1f} % "
        "of {n} problems ({confidence:g} % interval {low:+.1f} to {high:+.1f}; p = {p:.2g}, adjusted in a family of {family}).",
        "worse_flips": "On {benchmark}, {candidate:.1f} % of answers flipped where {baseline:.1f} % do by noise alone: {change:.1f} points "
        "in excess over {n} problems ({confidence:g} % interval {low:+.1f} to {high:+.1f}; margin {margin:g}; adjusted p = {p:.2g}).",
        "worse_loop": "On {benchmark}, responses that loop rose by {change:.1f} points, from {baseline:.1f} to {candidate:.1f} % "
        "over {n} problems ({confidence:g} % interval {low:+.1f} to {high:+.1f}; margin {margin:g}; adjusted p = {p:.2g}).",
        "worse_truncated": "On {benchmark}, responses cut off at the token limit rose by {change:.1f} points, from {baseline:.1f} to "
        "{candidate:.1f} % over {n} problems ({confidence:g} % interval {low:+.1f} to {high:+.1f}; margin {margin:g}; adjusted p = {p:.2g}).",
        "worse_missing_answer": "On {benchmark}, responses without an answer rose by {change:.1f} points, from {baseline:.1f} to "
        "{candidate:.1f} % over {n} problems ({confidence:g} % interval {low:+.1f} to {high:+.1f}; margin {margin:g}; adjusted p = {p:.2g}).",
        "worse_length": "On {benchmark}, responses became {change:.1f} % longer ({unit}, paired, over {n} problems; {confidence:g} % interval "
        "{low:+.1f} to {high:+.1f} %; margin {margin:g} %; adjusted p = {p:.2g}).",
        "worse_outcomes": "On {benchmark}, the outcome {category} rose by {change:.1f} points, from {baseline:.1f} to {candidate:.1f} % "
        "over {n} problems ({confidence:g} % interval {low:+.1f} to {high:+.1f}; margin {margin:g}; adjusted p = {p:.2g}).",
        "insufficient": "On {benchmark} ({scorer}), {n} problems are too few: a change below {detectable:.1f} points would mostly go "
        "unseen (below {in_family:.1f} when adjusted in a family of {family}), the margin is {margin:g}, and the {confidence:g} % interval {low:+.1f} to {high:+.1f} holds both no change and a fall "
        "of the margin. About {needed} problems would do.",
        "candidate_unscored": "On {benchmark}, {share:.1f} % of the candidate's responses have no verdict; at most {limit:g} % may. "
        "They are left out, not counted as wrong.",
        "required_not_told": "The rules require the gate {gate} to hold on {benchmark}, and it cannot be told ({why}).",
        "equivalent": "On {benchmark} ({scorer}), accuracy changed by {difference:+.1f} points over {n} problems, within the margin of "
        "{margin:g} either way ({confidence:g} % interval {low:+.1f} to {high:+.1f}, two one-sided tests).",
        "improvement": "On {benchmark} ({scorer}), accuracy rose by {difference:.1f} points over {n} problems "
        "({confidence:g} % interval {low:+.1f} to {high:+.1f}; adjusted p = {p:.2g}).",
        "no_difference_seen": "On {benchmark} ({scorer}), no difference was seen over {n} problems ({difference:+.1f} points, {confidence:g} % interval "
        "{low:+.1f} to {high:+.1f}, p = {p:.2g}); a change below {detectable:.1f} points would mostly have been missed "
        "(below {in_family:.1f} when adjusted in a family of {family}).",
        "moved": "On {benchmark} ({scorer}), {rate:.1f} % of {n} answers changed their verdict: {lost:.1f} % from right to wrong, "
        "{gained:.1f} % from wrong to right. How much of that is noise is not known without a second run of the baseline.",
        "moved_beside_second_baseline": "On {benchmark} ({scorer}), {rate:.1f} % of {n} answers changed their verdict: {lost:.1f} % from "
        "right to wrong, {gained:.1f} % from wrong to right. Between two runs of the baseline {floor:.1f} % do; "
        "{excess:+.1f} points are in excess ({confidence:g} % interval {low:+.1f} to {high:+.1f}).",
        "moved_beside_baseline_samples": "On {benchmark} ({scorer}), {rate:.1f} % of {n} answers changed their verdict: {lost:.1f} % from "
        "right to wrong, {gained:.1f} % from wrong to right. Between two samples of the baseline {floor:.1f} % do; "
        "{excess:+.1f} points are in excess ({confidence:g} % interval {low:+.1f} to {high:+.1f}).",
        "scorers_disagree": "On {benchmark}, the scoring policies do not agree, so the conclusion depends on the scorer ({shown}).",
        "untold_too_few_problems": "Neither shown to hold nor to be worse, for too few problems: {gates}.",
        "untold_no_noise_floor": "Not judged without a second run of the baseline or several samples: {gates}.",
        "untold_not_measured": "Not judged, as a side was not measured: {gates}.",
        # Notes on what was checked before anything was computed.
        "check_identical": "Both sides hold the same responses. If they should be two checkpoints, one file was given twice.",
        "check_no_benchmark": "No problem is on both sides: benchmarks or problem ids do not match.",
        "check_benchmarks": "Not compared, as no problem is on both sides: {names}.",
        "check_no_policy": "No scoring policy judged both sides.",
        "check_policies": "Only the scoring policies that judged both sides are compared.",
        "check_problems": "Only the {shared} problems that both sides have are compared ({share:.0f} % of the larger set).",
        "check_too_few_shared": "{shared} problems are on both sides, {share:.0f} % of the larger set; the rules ask for {limit:g} %.",
        "check_gold": "The reference answers of {n} shared problem(s) differ: {names}.",
        "check_prompts": "The prompts of {n} shared problem(s) differ: {names}.",
        "check_gold_unknown": "Whether the reference answers of {n} shared problem(s) are the same is not known.",
        "check_prompts_unknown": "Whether the prompts of {n} shared problem(s) are the same is not known.",
        "check_coverage": "These are problems that somebody chose. Where they were chosen by how a checkpoint answered, "
        "a difference on them says nothing about the benchmark.",
        "check_samples": "Samples per problem differ; every problem counts once, with the mean of its samples.",
        "check_seeds": "Other seeds of sampling: part of what moved is the sampling.",
        "check_truncated_unknown": "Whether responses were cut off at the token limit is not known.",
        "check_truncated": "Many responses were cut off: much of what is compared is the token limit.",
        "check_no_plan": "No number of problems was fixed beforehand; adding samples until the result pleases voids it.",
        "check_as_planned": "Planned: {wanted}.",
        "check_planned": "Planned were {wanted} (problems × samples); another number is another experiment.",
        "check_unknown": "Not known on both sides, so it was not checked.",
        "check_sampling": "The responses were sampled with other settings.",
        "check_max_new_tokens": "The token limits differ.",
        "check_scorer": "The verdicts come from different scorers.",
        "check_engine": "Engines differ in their numerics; some flips are theirs.",
        "check_model": "These are not variants of one model.",
        "check_age_unknown": "When the responses were made is not known.",
        "check_age": "The baseline is {days:.0f} days older than the candidate; the rules allow {limit:g}.",
        "check_versions": "Made with other versions of these packages.",
        "check_second_identical": "The second baseline holds the same responses as the first, so it tells nothing of the noise; not used.",
        "check_second_differs": "The second baseline is not comparable with the first, so it was not used: {note}",
    }
)


@dataclass(frozen=True, slots=True)
class Reason:
    """``slots`` fill the sentence of ``key`` in any language; ``text`` is the English one."""

    key: str
    slots: Mapping[str, Slot]
    text: str

    def __str__(self) -> str:
        return self.text


def reason(key: str, **slots: Slot) -> Reason:
    """Raises KeyError for an unknown key or a missing slot."""
    return Reason(key, slots, SENTENCES[key].format(**slots))
