"""Three real responses that were printed and counted by hand (and with wc and grep): the metrics say the same."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from qrm_forensics.importers import qrm
from qrm_forensics.measure import run_metrics
from qrm_forensics.records import TRACE_SCHEMA, to_table

FILE = (
    Path(__file__).parents[2].parent
    / "shared/traces/outputs/inference/DeepSeek-R1-Distill-Qwen-1.5B-gptq-w4g128-tp1-seed42/AIME-90.jsonl"
)
NAMES = (
    "n_words",
    "n_chars",
    "n_steps",
    "wait_count",
    "but_count",
    "hmm_count",
    "so_count",
    "perhaps_count",
    "n_boxed",
    "closed",
    "loop",
)
COUNTED = {
    10: (928, 4244, 52, 5, 3, 1, 25, 0, 2, True, False),
    26: (1209, 5395, 91, 8, 7, 4, 41, 0, 2, True, False),
    52: (1080, 5587, 95, 6, 7, 5, 31, 1, 2, True, False),
}


@pytest.mark.skipif(not FILE.is_file(), reason="the sample response files are not beside the checkout (../shared)")
def test_measures_agree_with_what_was_counted_by_hand() -> None:
    imported = qrm.read([FILE])
    traces = [t for cell in imported.cells for t in cell.traces if t.source_index in COUNTED]
    tables = run_metrics(to_table(traces, TRACE_SCHEMA), ["length", "markers", "structure", "loops"])
    columns: dict[str, pa.ChunkedArray] = {n: t.column(n) for t in tables.values() for n in t.column_names}
    for row, trace in enumerate(traces):
        assert trace.source_index is not None
        assert tuple(columns[n][row].as_py() for n in NAMES) == COUNTED[trace.source_index]
