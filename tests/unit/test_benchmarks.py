"""Problem files and coverage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qrm_forensics.benchmarks.coverage import coverage, run_coverage
from qrm_forensics.benchmarks.datasets import find_datasets, load_dataset
from qrm_forensics.errors import InputError
from qrm_forensics.records import Coverage, Kind, Problem, Variant
from qrm_forensics.store import Store

TEN = [f"p{i}" for i in range(10)]


@pytest.mark.parametrize(
    ("ids", "benchmark", "expected"),
    [
        (TEN, TEN, Coverage.FULL),
        (TEN[::-1] + TEN, TEN, Coverage.FULL),
        (TEN[:1], TEN, Coverage.PREFIX),
        ({"p2", "p0", "p1"}, TEN, Coverage.PREFIX),
        (["p0", "p1", "p3"], TEN, Coverage.SELECTED),
        (TEN[1:], TEN, Coverage.SELECTED),
        (["idx-0", "idx-1"], None, Coverage.UNKNOWN),
        (["idx-0", "idx-2"], None, Coverage.SELECTED),
        (["idx-1"], None, Coverage.SELECTED),
        (["a", "b"], None, Coverage.UNKNOWN),
    ],
)
def test_coverage(ids: list[str], benchmark: list[str] | None, expected: Coverage) -> None:
    assert coverage(ids, benchmark) is expected


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([f"idx-{i}" for i in range(30)], Coverage.FULL),
        ([f"p/{i}" for i in range(30)], Coverage.FULL),
        ([f"idx-{i}" for i in range(12)], Coverage.PREFIX),
        ([f"idx-{i}" for i in range(31)], Coverage.UNKNOWN),  # so it is not the benchmark of that name
        ([f"p/{i}" for i in range(12)], Coverage.UNKNOWN),
        (["idx-3", "idx-29"], Coverage.SELECTED),
    ],
)
def test_coverage_by_the_known_size(ids: list[str], expected: Coverage) -> None:
    assert coverage(ids, None, 30) is expected


def test_coverage_refuses_what_is_not_of_the_benchmark() -> None:
    with pytest.raises(ValueError, match="'q'"):
        coverage(["q"], TEN)
    with pytest.raises(ValueError, match="no problems"):
        coverage([], TEN)


@pytest.mark.parametrize("size_known", [True, False])
def test_coverage_of_a_run_depends_on_whether_the_size_is_known(tmp_path: Path, size_known: bool) -> None:
    from qrm_forensics.records import Finish, Trace

    problems = [Problem("B", f"idx-{i}", "q", "q", "1", Kind.MATH, None, None) for i in range(2)]
    request: dict[str, Any] = {"kind": "import", "size_known": {"B": size_known}}
    store = Store.create(tmp_path / "r", request=request, variants=[Variant("v", "m", "bf16", 1)], baseline="v")
    store.write_problems(problems)
    store.append_traces("v", "B", [Trace("v", "B", p.id, 0, 0, "q", "t", Finish.STOP) for p in problems])
    assert run_coverage(store) == {("v", "B"): Coverage.FULL if size_known else Coverage.UNKNOWN}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def test_problem_file_fields(tmp_path: Path) -> None:
    path = write(
        tmp_path / "B" / "test.jsonl",
        {"question": "q0", "answer": 7},
        {"problem": "q1", "answer": "Half of 8.\n#### 4", "unique_id": "u/1", "level": 2, "subject": "S"},
        {"problem": "q2", "answer": "x", "id": 0},
    )
    assert [(p.id, p.answer, p.subject, p.level) for p in load_dataset(path).problems] == [
        ("idx-0", "7", None, None),
        ("u/1", "4", "S", "2"),
        ("0", "x", None, None),
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"answer": "1"}, "no 'problem' or 'question'"),
        ({"problem": " ", "answer": "1"}, "no 'problem' or 'question'"),
        ({"problem": "q"}, "no 'answer'"),
        ({"problem": "q", "answer": ["1"]}, "'answer' is list"),
        ({"problem": "q", "answer": True}, "'answer' is bool"),
        ({"problem": "q", "answer": "1", "unique_id": "a"}, "id 'a' is already that of record 0"),
        ({"problem": "\ud800", "answer": "1"}, "surrogate"),
    ],
)
def test_problem_file_errors_name_file_and_record(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    path = write(tmp_path / "p.jsonl", {"problem": "q", "answer": "1", "unique_id": "a"}, row)
    with pytest.raises(InputError, match=said) as caught:
        load_dataset(path)
    assert f"{path}: record 1 " in str(caught.value)


def test_problem_files_are_found(tmp_path: Path) -> None:
    row = {"problem": "q", "answer": "1"}
    a, b = write(tmp_path / "A" / "test.jsonl", row), write(tmp_path / "B.jsonl", row)
    assert find_datasets(tmp_path, ["A", "B", "C"]) == {"A": a, "B": b}
    assert find_datasets(tmp_path / "A", ["A", "B"]) == {"A": a}
    assert find_datasets(a, ["A", "B"]) == {"A": a}
    assert find_datasets(b, ["A", "B"]) == {"B": b}
    assert find_datasets(b, ["other"]) == {"other": b}  # one benchmark, one file
    for wrong in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match=str(wrong)):
            find_datasets(wrong, ["D", "E"])
    with pytest.raises(InputError, match="no problems of D, E"):
        find_datasets(a, ["D", "E"])
