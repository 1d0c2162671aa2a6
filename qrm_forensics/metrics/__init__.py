"""Metrics: what is measured on every response.  One file per metric; see ``protocol``."""

from __future__ import annotations

from qrm_forensics.metrics.protocol import SPAN_TYPE, Column, Metric, Show, metric, rows, said
from qrm_forensics.metrics.registry import BUILTIN_METRICS, all_metrics, catalogue, get_metric

__all__ = [
    "BUILTIN_METRICS",
    "SPAN_TYPE",
    "Column",
    "Metric",
    "Show",
    "all_metrics",
    "catalogue",
    "get_metric",
    "metric",
    "rows",
    "said",
]
