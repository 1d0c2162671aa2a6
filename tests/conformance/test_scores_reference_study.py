"""The published tables of MATH-500, read by ``import --format scores`` and compared on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qrm_forensics.cli import cli
from qrm_forensics.compare import overlap
from qrm_forensics.export import export_table
from qrm_forensics.store import Store

FOLDER = Path(__file__).parents[2].parent / "shared" / "reference" / "MATH-500"
FOUR_BIT = ("kvquant_star-kv4", "awq-w4g128", "gptq-w4g128")
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is not there")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reference") / "run"
    assert cli.main(["import", str(FOLDER), "--format", "scores", "--out", str(out)], standalone_mode=False) is None
    return out


def compared(run: Path, candidate: str, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    capsys.readouterr()
    code = cli.main(["compare", f"{run}::bf16", f"{run}::{candidate}", *more], standalone_mode=False)
    return int(code), capsys.readouterr().out


@pytest.mark.parametrize(
    ("variant", "lost", "gained", "p_value", "flips", "code"),
    [
        ("kvquant_star-kv4", 34, 30, 0.708, 12.8, 4),
        ("awq-w4g128", 31, 23, 0.341, 10.8, 4),
        ("gptq-w4g128", 32, 22, 0.220, 10.8, 4),
        ("gptq-w3g128", 88, 20, 2.3e-11, 21.6, 1),
        ("awq-w3g128", 171, 9, 6.1e-40, 36.0, 1),
    ],
)
def test_the_paired_counts_of_the_study(
    variant: str,
    lost: int,
    gained: int,
    p_value: float,
    flips: float,
    code: int,
    run: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found, out = compared(run, variant, capsys, "--json")
    figures = json.loads(out)["figures"]
    name = "accuracy/MATH-500/imported"
    assert (figures[f"{name}/lost"]["value"], figures[f"{name}/gained"]["value"]) == (lost, gained)
    assert figures[f"{name}/p_exact"]["value"] == pytest.approx(p_value, rel=0.03)
    assert 100 * figures[f"{name}/flips"]["value"] == pytest.approx(flips)
    assert figures[f"{name}/difference"]["n"] == 500
    assert found == code, "at the default margin of 2 points 500 problems cannot acquit a 4-bit variant"


@pytest.mark.parametrize("variant", FOUR_BIT)
def test_four_bits_are_not_told_apart_and_the_terminal_says_so(
    variant: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = compared(run, variant, capsys)
    told = " ".join(out.split())
    assert "Insufficient data" in told and "a change below 4." in told and "Regression" not in told
    assert "answers changed their verdict" in told


def test_the_eight_cells_sum_to_all_problems(run: Path) -> None:
    wide = export_table(Store(run)).select(["variant", "problem_id", "imported_status"]).to_pandas()
    right = wide.assign(right=wide["imported_status"] == "correct").pivot(
        index="problem_id", columns="variant", values="right"
    )
    cells = overlap(right[["bf16", "awq-w4g128", "awq-w3g128"]])
    named = {"".join("1" if r else "0" for r in cell): count for cell, count in cells.items()}
    assert named == {"111": 247, "110": 147, "000": 49, "100": 24, "001": 3, "010": 17, "101": 7, "011": 6}
    assert sum(named.values()) == 500
