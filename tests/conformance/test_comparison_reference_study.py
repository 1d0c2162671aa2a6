"""Comparing the published per-problem tables of MATH-500 must give what was recomputed from them, and no more."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from comparison_helpers import FACTS

from qrm_forensics.compare import overlap
from qrm_forensics.compare.alignment import align
from qrm_forensics.compare.comparison import Comparison, compare
from qrm_forensics.compare.items import Side
from qrm_forensics.compare.rules import DEFAULT
from qrm_forensics.compare.tiers import rank_sides

FOLDER = Path(__file__).parents[2].parent / "shared" / "reference" / "MATH-500"
BASE = "DeepSeek-R1-Distill-Qwen-1.5B"
FOUR_BIT = ("kvquant_star-kv4", "awq-w4g128", "gptq-w4g128")
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is not there")


def read(path: Path) -> Side:
    name = path.stem.removeprefix(BASE).removeprefix("-").removesuffix("-tp1") or "bf16"
    table = pd.read_csv(path)
    items = pd.DataFrame(
        {
            "benchmark": table["dataset"],
            "problem_id": table["idx"].astype(str),
            "sample": 0,
            "seed": 42,
            "status_imported": table["is_correct"].map({True: "correct", False: "wrong"}),
            "subject": table["subject"],
            "level": table["level"].astype(str),
            "n_words": table["word_count"],
        }
    )
    facts = {f: getattr(FACTS, f) for f in FACTS.__dataclass_fields__} | {"name": name, "variant": name}
    return Side(type(FACTS)(**facts), items)


@pytest.fixture(scope="module")
def sides() -> dict[str, Side]:
    found = [read(path) for path in sorted(FOLDER.glob("*.csv"))]
    return {side.facts.name: side for side in found}


@pytest.fixture(scope="module")
def compared(sides: dict[str, Side]) -> dict[str, Comparison]:
    return {name: compare(sides["bf16"], side) for name, side in sides.items()}


@pytest.mark.parametrize(
    ("variant", "lost", "gained", "p_value", "flips"),
    [
        ("kvquant_star-kv4", 34, 30, 0.708, 12.8),
        ("awq-w4g128", 31, 23, 0.341, 10.8),
        ("gptq-w4g128", 32, 22, 0.220, 10.8),
        ("gptq-w3g128", 88, 20, 2.3e-11, 21.6),
        ("awq-w3g128", 171, 9, 6.1e-40, 36.0),
    ],
)
def test_the_published_pairs(
    compared: dict[str, Comparison], variant: str, lost: int, gained: int, p_value: float, flips: float
) -> None:
    row = compared[variant].table().iloc[0]
    assert (row["n"], row["lost"], row["gained"]) == (500, lost, gained)
    assert row["p_exact"] == pytest.approx(p_value, rel=0.02)
    assert row["flips"] == pytest.approx(flips)
    assert row["p_mid"] < row["p_exact"]
    assert len(compared[variant].flips()) == lost + gained


def test_the_detectable_difference_is_about_four_points(compared: dict[str, Comparison]) -> None:
    for variant in ("awq-w4g128", "gptq-w4g128"):
        (result,) = compared[variant].results or ()
        assert result.flips.rate == pytest.approx(0.108)
        assert 100 * result.detectable == pytest.approx(4.2, abs=0.1)


@pytest.mark.parametrize("variant", FOUR_BIT)
def test_four_bits_are_not_told_apart_and_it_is_said(compared: dict[str, Comparison], variant: str) -> None:
    found = compared[variant]
    assert (found.verdict, found.exit_code) == ("insufficient_data", 4)
    first = found.decision.reason
    assert first.key == "insufficient" and int(first.slots["needed"]) > 2000
    assert "answers changed their verdict" in found.decision.reasons[1].text
    # with a margin of five points chosen beforehand, the same data do for an answer
    assert compare_with_margin(found, 5.0) == "equivalent"


def compare_with_margin(found: Comparison, points: float) -> bool | str:
    (result,) = found.results or ()
    return "equivalent" if result.change.equivalence(DEFAULT, points / 100).equivalent else "open"


@pytest.mark.parametrize("variant", ["gptq-w3g128", "awq-w3g128"])
def test_three_bits_are_a_regression(compared: dict[str, Comparison], variant: str) -> None:
    found = compared[variant]
    assert (found.verdict, found.exit_code) == ("regression", 1)
    assert found.decision.reason.key == "worse_accuracy"
    recovery = found.table().iloc[0]
    assert recovery["recovery_low"] < recovery["recovery"] < recovery["recovery_high"] < 100


def test_the_order_is_told_only_where_it_can_be(sides: dict[str, Side]) -> None:
    found = rank_sides(list(sides.values()), "MATH-500", "imported")
    assert found.tiers == (("bf16", *FOUR_BIT), ("gptq-w3g128",), ("awq-w3g128",))
    assert found.family == 15 and found.n == 500
    assert str(found) == "bf16 ~ kvquant_star-kv4 ~ awq-w4g128 ~ gptq-w4g128 > gptq-w3g128 > awq-w3g128"


def test_eight_cells_of_the_aligned_sides_sum_to_all_problems(sides: dict[str, Side]) -> None:
    columns = {}
    for name in ("bf16", "awq-w4g128", "awq-w3g128"):
        aligned = align(sides["bf16"], sides[name], "MATH-500")
        columns[name] = aligned.candidate.by_problem(aligned.candidate.right("imported"))[0]
    cells = overlap(pd.DataFrame(columns) > 0.5)
    named = {"".join("1" if r else "0" for r in cell): count for cell, count in cells.items()}
    assert named == {"111": 247, "110": 147, "000": 49, "100": 24, "001": 3, "010": 17, "101": 7, "011": 6}
    assert sum(named.values()) == 500


def test_slices_sum_to_all_problems_and_the_study_compares_with_itself(compared: dict[str, Comparison]) -> None:
    rows = compared["gptq-w3g128"].table("slices")
    assert rows.groupby("column")["n"].sum().to_dict() == {"length_band": 500, "level": 500, "subject": 500}
    assert set(rows["family"]) == {16}
    assert compared["bf16"].verdict == "equivalent"
    assert compared["bf16"].flips().empty
