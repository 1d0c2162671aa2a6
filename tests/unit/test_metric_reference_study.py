"""Our columns against the published figures of the reference study, trace by trace."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from qrm_forensics.measure import run_metrics
from qrm_forensics.records import TRACE_SCHEMA, Finish, Trace, to_table

SHARED = Path(__file__).parents[2].parent / "shared"
#: Column of the reference study -> ours.
SAME = {
    "word_count": "n_words",
    "char_count": "n_chars",
    "wait_count": "ref_wait",
    "hmm_count": "ref_hmm",
    "but_count": "ref_but",
    "repeated_char_count": "ref_repeated_chars",
    "token_diversity": "ttr",
    "token_diversity_last_2k": "ttr_last_2k",
}

pytestmark = pytest.mark.skipif(not (SHARED / "reference").is_dir(), reason=f"no reference study in {SHARED}")


def _only(pattern: str) -> Path:
    (found,) = SHARED.glob(pattern)
    return found


@pytest.mark.parametrize("recipe", ["gptq-w4", "gptq-w3"])
def test_the_reference_figures_are_reproduced(recipe: str) -> None:
    stored: list[dict[str, Any]] = json.loads(
        _only(f"traces/outputs/inference/*{recipe}*/MATH-500.jsonl").read_text(encoding="utf-8")
    )
    with _only(f"reference/MATH-500/*{recipe}*.csv").open(encoding="utf-8", newline="") as handle:
        published = {int(row["idx"]): row for row in csv.DictReader(handle)}
    traces = [Trace(recipe, "MATH-500", str(s["idx"]), 0, 42, "", s["generated_text"], Finish.UNKNOWN) for s in stored]
    tables = run_metrics(to_table(traces, TRACE_SCHEMA), ["length", "diversity", "reference", "markers"])
    measured = {name: table[name].to_pylist() for table in tables.values() for name in table.column_names}
    assert len(stored) == 50
    for theirs, ours in SAME.items():
        assert measured[ours] == [float(published[s["idx"]][theirs]) for s in stored], theirs
    assert measured["wait_count"] == measured["ref_wait"]
