"""The published per-response table of MATH-500 must give the published paired counts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from qrm_forensics.compare import overlap, paired, wilson

FOLDER = Path(__file__).parents[2].parent / "shared" / "reference" / "MATH-500"
BASE = "DeepSeek-R1-Distill-Qwen-1.5B"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is not there")


@pytest.fixture(scope="module")
def right() -> pd.DataFrame:
    """Problem by variant, whether the stored verdict is right."""
    columns = {
        path.stem.removeprefix(BASE).removeprefix("-").removesuffix("-tp1") or "bf16": pd.read_csv(path)
        .set_index("idx")["is_correct"]
        .astype(bool)
        for path in sorted(FOLDER.glob("*.csv"))
    }
    return pd.DataFrame(columns)


@pytest.mark.parametrize(
    ("variant", "lost", "gained", "points", "p_value"),
    [
        ("kvquant_star-kv4", 34, 30, -0.8, 0.71),
        ("awq-w4g128", 31, 23, -1.6, 0.34),
        ("gptq-w4g128", 32, 22, -2.0, 0.22),
        ("gptq-w3g128", 88, 20, -13.6, 2e-11),
        ("awq-w3g128", 171, 9, -32.4, 6e-40),
    ],
)
def test_paired_counts(
    right: pd.DataFrame, variant: str, lost: int, gained: int, points: float, p_value: float
) -> None:
    result = paired(right["bf16"], right[variant])
    assert (result.n, result.lost, result.gained) == (500, lost, gained)
    assert 100 * result.difference == pytest.approx(points)
    assert result.p_value == pytest.approx(p_value, rel=0.3)  # published with one or two digits
    assert result.interval is not None
    assert (result.interval.high < 0) == (p_value < 0.05)


def test_eight_cells_sum_to_all_problems(right: pd.DataFrame) -> None:
    cells = overlap(right[["bf16", "awq-w4g128", "awq-w3g128"]])
    named = {"".join("1" if r else "0" for r in cell): count for cell, count in cells.items()}
    assert named == {"111": 247, "110": 147, "000": 49, "100": 24, "001": 3, "010": 17, "101": 7, "011": 6}
    assert sum(named.values()) == 500


def test_baseline_interval(right: pd.DataFrame) -> None:
    low, high = wilson(int(right["bf16"].sum()), len(right))
    assert (100 * low, 100 * high) == pytest.approx((81.6, 87.9), abs=0.05)
