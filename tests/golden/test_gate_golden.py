"""The comment of a gate on a pull request, word for word; its names are hostile on purpose.

After a change that is meant, write the files again and read the difference:

    UPDATE_GOLDEN=1 pytest tests/golden && git diff tests/golden
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from comparison_helpers import make_side

from qrm_forensics.compare.comparison import Comparison, compare
from qrm_forensics.compare.rules import GATE
from qrm_forensics.report.gate import GateTexts, ReportLinks, to_markdown

HERE = Path(__file__).parent
RULES = replace(GATE, planned={"MATH|60 @octocat": 60}, planned_samples=1, planned_seeds=(43,), resamples=2000)


def comparison() -> Comparison:
    """60 problems of which 24 are lost and 2 gained; loops and missing answers rise; the engine differs."""
    n = 60
    ids = [f"idx-{i}" for i in range(n - 2)] + ["`x`](http://evil) #12", "</details><img src=x>"]
    base_right = [1] * 54 + [0] * 4 + [1, 1]
    new_right = [0] * 22 + [1] * 32 + [1, 1, 0, 0] + [0, 0]
    loops = [i < 12 for i in range(n)]
    outcomes = [
        "looped_to_limit" if loop else "correct" if right else "wrong_no_visible_slip"
        for loop, right in zip(loops, new_right, strict=True)
    ]
    shared = {"benchmark": "MATH|60 @octocat", "ids": ids}
    subjects = ["Algebra", "Number Theory", "<b>Geo|metry</b>"]
    about = {"subject": [subjects[i % 3] for i in range(n)], "level": [str(1 + i % 2) for i in range(n)]}
    base = make_side(
        base_right,
        "bf16",
        **shared,
        **about,
        seed=42,
        n_tokens=[100 + i for i in range(n)],
        finish="stop",
        truncated=False,
        loop=False,
        missing_answer=False,
        outcome=["correct" if right else "wrong_no_visible_slip" for right in base_right],
        facts={"kind": "baseline", "source": "base.parquet", "blessed": "2026-01-02T00:00:00+00:00"},
    )
    new = make_side(
        new_right,
        "awq-w3g128 -->\x1b[31m",
        **shared,
        **about,
        seed=43,
        n_tokens=[100 + i + 900 * loop for i, loop in enumerate(loops)],
        finish=["length" if loop else "stop" for loop in loops],
        truncated=loops,
        loop=loops,
        missing_answer=loops,
        outcome=outcomes,
        facts={"source": "runs/new", "engine": "vllm 0.11", "created": "2026-08-01T00:00:00+00:00"},
    )
    return compare(base, new, policy=RULES)


def links() -> ReportLinks:
    return ReportLinks("https://ci.example/report.html", frozenset({"en:case/MATH_60__octocat/idx-3/0/43"}))


@pytest.mark.parametrize("language", ["en", "ko", "zh"])
def test_markdown_of_a_gate(language: str) -> None:
    made = to_markdown(comparison(), GateTexts.of(language), links())
    golden = HERE / f"gate.{language}.md"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(made, encoding="utf-8")
    assert made == golden.read_text("utf-8")
