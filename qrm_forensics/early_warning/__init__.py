"""Early warning: from the beginning of a response alone, how likely it is to fail, and how early that shows.

``evaluate`` says how good the warning is on a set of responses, beside the trivial predictor
"length so far"; ``fit`` and ``curve`` draw it for one response.
"""

from qrm_forensics.early_warning.cases import MIN_FAILED, MIN_FAILED_PROBLEMS, MIN_OTHERS, TARGETS
from qrm_forensics.early_warning.evaluate import ALLOWED, evaluate
from qrm_forensics.early_warning.features import FEATURES
from qrm_forensics.early_warning.results import (
    DEFINITIONS,
    Difference,
    EarlyWarning,
    Landmark,
    Operation,
    Predictor,
    Quartiles,
    Share,
    Shortage,
)
from qrm_forensics.early_warning.scoring import WarningCurve, WarningModel, curve, fit

__all__ = [
    "ALLOWED",
    "DEFINITIONS",
    "FEATURES",
    "MIN_FAILED",
    "MIN_FAILED_PROBLEMS",
    "MIN_OTHERS",
    "TARGETS",
    "Difference",
    "EarlyWarning",
    "Landmark",
    "Operation",
    "Predictor",
    "Quartiles",
    "Share",
    "Shortage",
    "WarningCurve",
    "WarningModel",
    "curve",
    "evaluate",
    "fit",
]
