"""A run in a notebook: its tables, finding problems, comparing, claims and their rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from factories import AIME, AWQ3, AWQ4, BF16, GPTQ3, KV4, MATH, small_run

from qrm_forensics.errors import InputError, StoreError
from qrm_forensics.notebook import Run, open_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(small_run(tmp_path_factory.mktemp("notebook") / "run"))


def test_the_package_loads_nothing_heavy_until_a_run_is_opened() -> None:
    program = (
        "import sys, qrm_forensics\n"
        "assert not {'pandas', 'numba', 'pyarrow', 'torch'} & set(sys.modules)\n"
        "from qrm_forensics import open_run\n"
        "assert not {'torch', 'transformers', 'plotly', 'IPython'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_newest_run_is_opened_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="no runs here"):
        open_run()
    store = small_run(tmp_path / "runs" / "only", measures=False)
    assert open_run().path.resolve() == store.root.resolve()


def test_tables_have_what_is_stored(run: Run) -> None:
    assert run.tables()[:4] == ["responses", "traces", "verdicts", "problems"]
    responses = run.table()
    assert len(responses) == run.store.trace_count() == len(run.table("traces"))
    assert len(run.table("verdicts")) == 2 * len(responses)
    assert {"strict_status", "loop", "n_words", "subject"} <= set(responses)
    assert "text" not in run.table("traces")
    assert run.table("traces", text=True)["text"].notna().sum() == len(responses) - 1  # one generation failed
    measured = run.table("measures/length")
    assert measured["n_words"].dtype == pd.Int64Dtype()
    assert measured.equals(run.table("measures/length.v1"))
    assert run.table("problems")["id"].iloc[0] == "idx-0"


def test_an_unknown_table_names_the_nearest(run: Run) -> None:
    with pytest.raises(InputError, match="did you mean 'measures/length'"):
        run.table("measure/lenght")


def test_lost_problems_are_those_that_the_baseline_has_right(run: Run) -> None:
    lost = run.problems(variant=AWQ3, benchmark=MATH, lost=True)
    # the script: loops, wrong, unboxed and missing of AWQ3, less what the baseline has not right (5 17 29 33 38 39)
    failed = {0, 1, 2, 3, 8, 9, 10, 14, 20, 26, 32, 7, 11, 21, 4, 12, 13, 22, 23, 31, 6, 15, 28}
    assert {int(c.rpartition("-")[2]) for c in lost["case"]} == failed
    assert set(lost["baseline_status"]) == {"correct"}
    gained = run.problems(variant=AWQ3, benchmark=MATH, gained=True)
    assert {c.rpartition("-")[2] for c in gained["case"]} == {"29"}
    assert len(run.problems(variant=AWQ3, benchmark=MATH)) == 40
    assert len(run.problems(variant=AWQ3, benchmark=MATH, lost=False)) == 40 - len(lost)


def test_the_policy_decides_what_is_lost(run: Run) -> None:
    lenient = run.problems(variant=AWQ3, benchmark=MATH, lost=True, policy="lenient")
    assert not {"idx-4", "idx-12"} & {c.partition("/")[2] for c in lenient["case"]}


def test_filters_join(run: Run) -> None:
    found = run.problems(variant=AWQ3, loop=True, subject="Algebra", level=1)
    assert {c.partition("/")[2] for c in found["case"]} == {"idx-0", "idx-3", "idx-9"}
    assert len(run.problems(variant=AWQ3, benchmark=MATH, loop=True)) == 12
    assert set(run.problems(benchmark=AIME)["variant"]) == {BF16, AWQ4, AWQ3}
    assert set(run.problems(status="unscored")["status"]) == {"unscored"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"variant": "awq-w3g12"}, "did you mean 'awq-w3g128'"),
        ({"benchmark": "MATH"}, "did you mean 'MATH-40'"),
        ({"outcome": "looped"}, "looped_to_limit"),
        ({"policy": "strickt"}, "did you mean 'strict'"),
    ],
)
def test_a_name_that_is_not_there_is_told(run: Run, asked: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run.problems(**asked)  # type: ignore[arg-type]


def test_without_a_baseline_nothing_is_lost(tmp_path: Path) -> None:
    alone = Run(small_run(tmp_path / "run", baseline=None))
    with pytest.raises(InputError, match="no baseline"):
        alone.problems(lost=True)
    with pytest.raises(InputError, match="no baseline"):
        alone.compare()
    assert len(alone.problems(variant=AWQ3, status="correct")) > 0


def test_comparing_gives_the_flips_of_the_problems(run: Run) -> None:
    found = run.compare(BF16, AWQ3, benchmark=MATH, policy="strict")
    assert found.results is not None
    (result,) = found.results
    assert (result.benchmark, result.scorer) == (MATH, "strict")
    lost = run.problems(variant=AWQ3, benchmark=MATH, lost=True)
    assert (result.lost, result.gained) == (len(lost), 1)
    assert set(found.flips()["problem_id"][found.flips()["direction"] == "lost"]) == {
        c.partition("/")[2] for c in lost["case"]
    }
    html = found._repr_html_()
    assert "<table>" in html and f"lost ({len(lost)})" in html and "gained (1): idx-29" in html
    assert {r.benchmark for r in run.compare(candidate=AWQ3).results or ()} == {MATH, AIME}


def test_comparing_needs_names_that_are_there(run: Run) -> None:
    with pytest.raises(InputError, match="name the candidate"):
        run.compare()
    with pytest.raises(InputError, match="no benchmark"):
        run.compare(BF16, AWQ3, benchmark="GPQA")


def test_a_claim_leads_to_its_rows(run: Run) -> None:
    claim = run.claim(f"accuracy/{MATH}/{AWQ3}/strict")
    rows = run.evidence(claim.id)
    judged = rows[rows["status"] != "unscored"]
    assert len(judged) == claim.denominator
    assert (judged["status"] == "correct").sum() == claim.numerator
    with pytest.raises(InputError, match=f"the nearest are .*accuracy/{MATH}/{AWQ3}/strict"):
        run.claim(f"accuracy/{MATH}/{AWQ3}/strikt")


def test_the_display_counts_and_names_calls_that_work(run: Run) -> None:
    summary = run.summary().set_index(["variant", "benchmark"])
    assert summary.loc[(AWQ3, MATH), "responses"] == 40
    assert summary.loc[(AWQ3, MATH), "loops"] == 12
    assert summary.loc[(BF16, MATH), "right (strict)"] == 34
    html, text = run._repr_html_(), repr(run)
    for shown in (BF16, AWQ4, AWQ3, GPTQ3, KV4):
        assert shown in html and shown in text
    from qrm_forensics.notebook.html import next_calls

    for call in next_calls(run):
        assert eval(call, {"run": run}) is not None  # noqa: S307  the calls are ours, of names that this test made


def test_every_language_has_the_words(run: Run) -> None:
    assert "정답(엄격)" in Run(run.store, language="ko")._repr_html_()
    with pytest.raises(InputError, match="choose from"):
        Run(run.store, language="xx")
