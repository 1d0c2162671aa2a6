"""What each figure of a comparison means."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "baseline": "Mean over problems of the baseline's share; with several samples of a problem, of their mean.",
        "candidate": "Mean over the same problems of the candidate's share.",
        "difference": "Candidate minus baseline over the same problems.",
        "p_exact": "Two-sided exact p-value of the paired difference: McNemar's test, or with several samples or groups "
        "the permutation test that exchanges the sides of each problem (group).",
        "p_mid": "The exact p-value less half the probability of what was seen on either side (mid-p).",
        "p_value": "The p-value that the rules decide by, before adjustment.",
        "p_adjusted": "The p-value adjusted for its family: Holm among gates and among outcomes, Benjamini and Hochberg "
        "among slices.",
        "both": "Problems that did not move and of which at least half of the samples are right.",
        "lost": "Problems that the candidate has right less often than the baseline.",
        "gained": "Problems that the candidate has right more often than the baseline.",
        "neither": "Problems that did not move and of which fewer than half of the samples are right.",
        "not_judged": "Shared problems that have no verdict on one side; they are left out, not counted as wrong.",
        "status_correct": "Responses to shared problems that are correct.",
        "status_wrong": "Responses to shared problems that are wrong.",
        "status_missing": "Responses to shared problems without an answer; they count as not right.",
        "status_unscored": "Responses to shared problems without a verdict; they leave the mean of their problem.",
        "detectable": "Smallest true difference that is found with the power of the rules at their level: "
        "(z(1 - alpha/2) + z(power)) sqrt(psi / n), psi being the mean squared difference per problem.",
        "design_effect": "Variance of the mean difference with the groups over that without them, at least 1.",
        "needed": "Problems of this kind that would make the margin detectable.",
        "equivalent": "Whether the 1 - 2 alpha interval of the difference lies inside the margin on both sides.",
        "equivalence_p": "Larger p-value of the two one-sided tests against the margin.",
        "recovery": "Candidate's accuracy over the baseline's on the same problems.",
        "flips": "Mean chance that one response of each side to a problem is judged differently.",
        "flips_lost": "Mean chance that the baseline's response is right and the candidate's is not.",
        "flips_gained": "Mean chance that the candidate's response is right and the baseline's is not.",
        "noise_flips": "Flips between two runs, or two samples, of the baseline on the same problems.",
        "excess_flips": "Flips of the candidate less those of the baseline against itself.",
        "excess_p": "Two-sided exact p-value that the excess is zero, paired by problem.",
        "second_baseline": "Accuracy of the second run of the baseline minus that of the first.",
        "pass_at_k": "Mean chance that at least one of k samples is right, without bias from the number of samples.",
        "pass_at_k_difference": "Candidate minus baseline of pass@k, paired by problem.",
        "moves": "Problems by whether the baseline, and then the candidate, solves all, some or none of its samples.",
        "variance_items": "Part of the variance of the mean accuracy that comes from which problems were asked.",
        "variance_sampling": "Part of the variance of the mean accuracy that comes from which samples were drawn.",
        "passes": "Passes through the benchmark (samples, or seeds) that the spread is over.",
        "passes_deviation": "Standard deviation of the accuracy of single passes.",
        "passes_lowest": "Lowest accuracy of a single pass.",
        "passes_highest": "Highest accuracy of a single pass.",
        "length_median": "Median length of the responses.",
        "length_ratio": "Geometric mean over problems of candidate's length over baseline's; of a response that was cut "
        "off the length is a lower limit.",
        "length_ratio_uncut": "The same over problems where no response of either side was cut off.",
        "length_ratio_both_right": "The same over problems that both sides solve every time.",
        "length_cut": "Problems where a response of either side was cut off.",
        "length_empty": "Problems left out because a side has no length above zero.",
        "distance": "Total variation distance between the outcome shares of both sides: half the summed absolute change.",
        "distance_by_chance": "Mean of that distance where the sides of each problem are exchanged at random.",
        "distance_p": "Share of such exchanges that give at least the distance seen.",
        "robust": "Whether both scoring policies see the change with the same sign and both or neither tell it apart.",
        "scorer_gap": "Accuracy under the second policy less that under the first.",
        "scorer_disagreements": "Responses that one policy calls right and the other does not.",
    }
)
