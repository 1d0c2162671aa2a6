"""A code benchmark from LiveCodeBench's files to the report: three problems, scripted responses."""

from __future__ import annotations

import base64
import json
import pickle
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from qrm_forensics import pipeline
from qrm_forensics.benchmarks import code_tests
from qrm_forensics.cli.report import report
from qrm_forensics.generate import get_generator
from qrm_forensics.recipes import Recipe
from qrm_forensics.records import Request
from qrm_forensics.sandbox.levels import VARIABLE
from qrm_forensics.store import Store
from qrm_forensics.study import BenchmarkSpec, Study

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="programs are only run on Linux")

#: Hidden tests hold words that must not reach the report.
HIDDEN = "7391046528"

PROGRAMS = {
    "sum": "a, b = map(int, input().split())\nprint(a + b)",
    "longest": "class Solution:\n    def longest(self, words):\n        return max(words, key=len)",
    "count": "print(len(input()))",
}
WRONG = {
    "sum": "a, b = map(int, input().split())\nprint(a - b)",
    "longest": "class Solution:\n    def longest(self, words):\n        return words[0]",
    "count": "import socket\nprint(socket.socket())",
}


def row(name: str, public: tuple[str, str], hidden: list[tuple[str, str]], fn_name: str | None) -> dict[str, Any]:
    def tests(cases: list[tuple[str, str]]) -> str:
        kind = "functional" if fn_name else "stdin"
        return json.dumps([{"input": i, "output": o, "testtype": kind} for i, o in cases])

    return {
        "question_id": name,
        "question_title": name,
        "question_content": f"Do {name}.",
        "platform": "atcoder",
        "contest_date": "2025-01-01T00:00:00",
        "difficulty": "easy",
        "starter_code": f"class Solution:\n    def {fn_name}(self, words):" if fn_name else "",
        "public_test_cases": tests([public]),
        "private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(tests(hidden)))).decode("ascii"),
        "metadata": json.dumps({"func_name": fn_name} if fn_name else {}),
    }


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(code_tests.FOLDER, str(tmp_path / "kept"))
    folder = tmp_path / "code_generation_lite"
    folder.mkdir()
    rows = [
        row("sum", ("1 2\n", "3\n"), [(f"{HIDDEN} 1\n", "7391046529\n"), ("0 -5\n", "-5.0\n")], None),
        row("longest", ('["a", "bb"]', '"bb"'), [(f'["{HIDDEN}", "x"]', f'"{HIDDEN}"')], "longest"),
        row("count", ("abc\n", "3"), [("x" * 200_000 + "\n", "200000")], None),  # kept outside the run
    ]
    (folder / "test6.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return folder


def answer(request: Request) -> str:
    name = request.problem.id
    program = WRONG[name] if request.variant != "bf16" and name != "sum" else PROGRAMS[name]
    if request.variant != "bf16" and name == "count":
        return f"I am still thinking.\n```python\n{program}\n```\n"
    return f"Let me think.\n</think>\nHere it is:\n```python\n{program}\n```\n"


def run(dataset: Path, out: Path) -> Store:
    study = Study(
        name="code",
        models=("builtin",),
        recipes=(Recipe.parse("bf16"), Recipe.parse("rtn-w3g128")),
        benchmarks=(BenchmarkSpec(name="LiveCodeBench", path=str(dataset), subset="v6"),),
    )
    return pipeline.run(pipeline.make_plan(study), out, generator=get_generator("scripted", function=answer))


def statuses(store: Store) -> dict[tuple[str, str, str], str]:
    rows = store.verdicts().to_pylist()
    return {(r["variant"], r["problem_id"], r["policy"]): r["status"] for r in rows}


def test_from_the_files_to_the_report(dataset: Path, tmp_path: Path) -> None:
    store = run(dataset, tmp_path / "run")
    found = statuses(store)
    assert {v for (variant, _, _), v in found.items() if variant == "bf16"} == {"correct"}
    low = "rtn-w3g128"
    assert [found[low, name, "strict"] for name in PROGRAMS] == ["correct", "wrong", "missing"]
    assert [found[low, name, "lenient"] for name in PROGRAMS] == ["correct", "wrong", "wrong"]
    notes = {(r["variant"], r["problem_id"], r["policy"]): r["note"] for r in store.verdicts().to_pylist()}
    assert notes[low, "longest", "strict"].startswith("test 1 of 2: wrong answer: returned '\"a\"'")
    assert notes[low, "count", "lenient"].startswith("test 1 of 2: forbidden")
    assert notes["bf16", "count", "strict"].startswith("passed 2 of 2 tests; ")
    assert "Python" in store.study["runs"][-1]["host"]["code sandbox"]

    done = CliRunner().invoke(report, [str(tmp_path / "run"), "--format", "html,md,json", "--lang", "en"])
    assert done.exit_code == 0, done.output
    pages = {
        p.name: p.read_text("utf-8")
        for p in (tmp_path / "run" / "report").rglob("*")
        if p.suffix in (".html", ".md", ".json")
    }
    assert any("100.0" in page and "33.3" in page for name, page in pages.items() if name.endswith(".md"))
    for name, page in pages.items():
        assert HIDDEN not in page and "x" * 1000 not in page, name
    assert any("3 × stdin → stdout" in page or "3 \\u00d7 stdin" in page for page in pages.values())


def test_what_was_not_run_is_judged_when_it_can_be(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "off")
    store = run(dataset, tmp_path / "run")
    assert statuses(store)["bf16", "sum", "strict"] == "unscored"
    assert statuses(store)["rtn-w3g128", "count", "strict"] == "missing"
    monkeypatch.delenv(VARIABLE)
    store = run(dataset, tmp_path / "run")
    assert statuses(store)["bf16", "sum", "strict"] == "correct"
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("verdicts/**/*.parquet")}
    monkeypatch.setenv(VARIABLE, "off")
    assert statuses(run(dataset, tmp_path / "run"))["bf16", "sum", "strict"] == "correct"  # nothing is judged again
    assert before == {p: p.stat().st_mtime_ns for p in before}
