"""The published responses of real variants, where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qrm_forensics.benchmarks.coverage import run_coverage
from qrm_forensics.export import export_table
from qrm_forensics.importers import IMPORTED_TABLE, import_run, notices
from qrm_forensics.importers.qrm import read
from qrm_forensics.records import Coverage
from qrm_forensics.store import Store

SHARED = Path(__file__).parents[2].parent / "shared"
TRACES, DATASETS = SHARED / "traces" / "outputs" / "inference", SHARED / "datasets"
pytestmark = pytest.mark.skipif(
    not (TRACES.is_dir() and DATASETS.is_dir()), reason=f"no real traces beside the checkout ({TRACES})"
)

CELLS = {
    ("gptq-w4g128", "AIME-90"): (90, Coverage.FULL),
    ("gptq-w4g128", "MATH-500"): (50, Coverage.SELECTED),
    ("gptq-w3g128", "MATH-500"): (50, Coverage.SELECTED),
    ("kvquant_star-kv3", "MATH-500"): (100, Coverage.PREFIX),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return import_run([TRACES], tmp_path_factory.mktemp("real") / "run", problems=DATASETS)


def test_cells_sizes_and_coverage(store: Store) -> None:
    assert {cell: len(store.trace_keys(*cell)) for cell in store.cells()} == {c: n for c, (n, _) in CELLS.items()}
    assert run_coverage(store) == {cell: found for cell, (_, found) in CELLS.items()}
    assert store.baseline is None
    # nothing to say but what this layout never holds
    assert [told.partition(":")[0].removeprefix("the files do not hold the ") for told in notices(store)] == [
        "reason why it ended",
        "number of tokens",
        "token ids",
        "log-probabilities",
    ]
    assert {v.model for v in store.variants} == {"DeepSeek-R1-Distill-Qwen-1.5B"}
    assert [v.id for v in store.variants] == [v.recipe for v in store.variants]


def test_the_whole_benchmarks_are_in_the_problem_table(store: Store) -> None:
    problems = store.problems()
    assert sum(b == "MATH-500" for b, _ in problems) == 500 and sum(b == "AIME-90" for b, _ in problems) == 90
    assert problems["MATH-500", "idx-1"].gold == "x \\in [-2,7]" and problems["MATH-500", "idx-1"].level == "4"
    prompts = {k: p.prompt.replace(p.question, "", 1) for k, p in problems.items()}
    assert len(set(prompts.values())) == 1  # the unanswered ones have the frame of the answered


def test_every_trace_is_the_record_that_it_names(store: Store) -> None:
    table, problems = store.traces(), store.problems()
    stored = {
        (r["variant"], r["benchmark"], r["problem_id"], r["seed"]): r["imported_extractive_match"]
        for r in store.measures()[IMPORTED_TABLE].to_pylist()
    }
    files = {p.relative_to(TRACES).as_posix(): json.loads(p.read_text("utf-8")) for p in TRACES.glob("*/*.jsonl")}
    assert table.num_rows == sum(map(len, files.values())) == 290
    for row in table.to_pylist():
        record = files[row["source_file"]][row["source_index"]]
        problem = problems[row["benchmark"], row["problem_id"]]
        assert (row["text"], row["prompt"]) == (record["generated_text"], record["full_prompt"])
        assert problem.question in record["full_prompt"] and problem.prompt == record["full_prompt"]
        assert "".join(problem.gold.split()) in "".join(record["gold"][0].split())
        match = stored[row["variant"], row["benchmark"], row["problem_id"], row["seed"]]
        assert match == record["metrics"]["extractive_match"]
        number = record.get("idx", row["source_index"])
        assert row["problem_id"] == (f"idx-{number}" if row["benchmark"] == "MATH-500" else f"{number}")


def test_questions_read_from_the_prompts_are_those_of_the_dataset(store: Store) -> None:
    alone = read(TRACES)
    assert len(alone.problems) == 221 and alone.notices == []  # 90, and the 131 of MATH-500 that somebody answered
    joined = {p.prompt: p for p in store.problems().values()}
    for problem in alone.problems:
        assert problem.question == joined[problem.prompt].question.strip()
        assert problem.id.removeprefix("idx-") == joined[problem.prompt].id.removeprefix("idx-")


def test_export_has_one_row_per_trace(store: Store) -> None:
    table = export_table(store)
    assert table.num_rows == 290
    assert table.column("imported_extractive_match").null_count == 0
    keys = set(zip(table.column("source_file").to_pylist(), table.column("source_index").to_pylist(), strict=True))
    assert len(keys) == 290
