"""Symptoms: what happened in each response, in flags and in one word.

Pure functions over the wide table of a run (one row per response, columns of traces,
verdicts and metrics, as the export has them)::

    thresholds = calibrate(table, baseline)
    judged = judge(table, thresholds)
    shares = outcome_shares(judged)

Flags do not exclude each other; outcomes do, and always add up to the number of responses.
"""

from __future__ import annotations

from qrm_forensics.symptoms.describe import catalogue, describe
from qrm_forensics.symptoms.flags import REFERENCE_CATEGORIES, REFERENCE_NOTE, SYMPTOMS
from qrm_forensics.symptoms.judge import (
    OUTCOME_NAMES,
    RULES_VERSION,
    judge,
    outcome_shares,
    reason_text,
    thresholds_of,
)
from qrm_forensics.symptoms.outcomes import OUTCOMES, UNASSIGNED
from qrm_forensics.symptoms.rule import Rule
from qrm_forensics.symptoms.thresholds import MIN_CORRECT, SPECS, Spec, Threshold, Thresholds, calibrate

__all__ = [
    "MIN_CORRECT",
    "OUTCOMES",
    "OUTCOME_NAMES",
    "REFERENCE_CATEGORIES",
    "REFERENCE_NOTE",
    "RULES_VERSION",
    "SPECS",
    "SYMPTOMS",
    "UNASSIGNED",
    "Rule",
    "Spec",
    "Threshold",
    "Thresholds",
    "calibrate",
    "catalogue",
    "describe",
    "judge",
    "outcome_shares",
    "reason_text",
    "thresholds_of",
]
