"""LiveCodeBench's files and the gold of code problems: pickles are read, never run."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from qrm_forensics.benchmarks import code_tests
from qrm_forensics.benchmarks.code_tests import CodeTests, about, from_gold, gold_of, shown_gold
from qrm_forensics.benchmarks.livecodebench import DEFAULT, SUBSETS, decode_private, files_of, read, size_of
from qrm_forensics.errors import InputError
from qrm_forensics.records import Kind, Problem


def packed(value: Any, protocol: int = 4) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value, protocol=protocol))).decode("ascii")


def row(**changes: Any) -> dict[str, Any]:
    hidden = json.dumps([{"input": "3 4\n", "output": "7\n", "testtype": "stdin"}])
    return {
        "question_title": "Sum",
        "question_content": "Add two numbers.",
        "question_id": "abc_1",
        "platform": "atcoder",
        "contest_date": "2024-10-05T00:00:00",
        "difficulty": "easy",
        "starter_code": "",
        "public_test_cases": json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]),
        "private_test_cases": packed(hidden),
        "metadata": "{}",
    } | changes


def rows(*given: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(f"test.jsonl: record {i} (counted from 0)", one) for i, one in enumerate(given)]


def test_public_tests_come_first_then_the_hidden_ones() -> None:
    functional = row(
        question_id="lc_2",
        starter_code="class Solution:\n    def add(self, a, b):\n        ",
        metadata=json.dumps({"func_name": "add"}),
        private_test_cases=json.dumps([{"input": "5\n6", "output": "11", "testtype": "functional"}]),
    )
    first, second = read(rows(row(), functional))
    assert (first.id, first.starter_code, first.subject, first.level) == ("abc_1", "", "atcoder", "easy")
    assert from_gold(first.gold) == CodeTests(["1 2\n", "3 4\n"], ["3\n", "7\n"], None)
    assert from_gold(second.gold) == CodeTests(["1 2\n", "5\n6"], ["3\n", "11"], "add")
    assert second.starter_code is not None and second.starter_code.startswith("class Solution")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_string_is_read_whatever_the_protocol(protocol: int) -> None:
    text = json.dumps([{"input": "é\n" * 300, "output": "ü"}], ensure_ascii=False)
    assert decode_private(packed(text, protocol)) == [("é\n" * 300, "ü")]


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path, protocol: int) -> None:
    with pytest.raises(InputError, match=r"could run code\. Do not use this file"):
        decode_private(packed(_Evil(tmp_path / "made"), protocol))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"private_test_cases": packed(["[]"])}, "only one string"),
        ({"private_test_cases": "?"}, "neither JSON nor base64"),
        ({"private_test_cases": base64.b64encode(b"no zlib").decode()}, "cannot be decompressed"),
        ({"private_test_cases": packed("[")}, "not valid JSON"),
        ({"public_test_cases": "[]", "private_test_cases": "[]"}, "0 inputs"),
        ({"public_test_cases": json.dumps([{"input": 1, "output": "2"}])}, "no text 'input'"),
        ({"question_id": None}, "question_id"),
    ],
)
def test_a_broken_row_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read(rows(row(), row(question_id="x") | changes))
    assert "record 1 (counted from 0)" in str(error.value)


def test_data_that_grows_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_tests, "MAX_BYTES", 10_000)
    with pytest.raises(InputError, match="larger than"):
        decode_private(packed(" " * 1_000_000))


def test_subsets_are_files_with_known_numbers_of_problems() -> None:
    assert files_of(DEFAULT) == ("test4.jsonl", "test5.jsonl") and size_of(DEFAULT) == 268
    assert files_of("v1") == ("test.jsonl",) and size_of("release_v5") == 880 and size_of("release_latest") == 1055
    assert len(SUBSETS) == 6 + 1 + 6 + 15


# --------------------------------------------------------------------------- gold


def test_small_tests_stand_in_the_gold() -> None:
    tests = CodeTests(["1\n"], ["2\n"], None)
    assert json.loads(gold_of(tests)) == {"inputs": ["1\n"], "outputs": ["2\n"], "fn_name": None}
    assert from_gold(gold_of(tests)) == tests


def test_large_tests_stand_beside_it_under_their_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(code_tests.FOLDER, str(tmp_path / "kept"))
    tests = CodeTests(["7 " * 100_000, "1"], ["x", "y"], "solve")
    gold = gold_of(tests)
    assert len(gold) < 200 and gold == gold_of(tests)
    assert from_gold(gold) == tests
    assert (about(gold).count, about(gold).fn_name) == (2, "solve")
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_bytes(zlib.compress(b'{"inputs":["a"],"outputs":["b"],"fn_name":null}'))
    with pytest.raises(InputError, match="damaged"):
        from_gold(gold)
    kept.unlink()
    with pytest.raises(InputError, match="not on this machine"):
        from_gold(gold)


def test_pages_show_how_many_tests_there_are_not_the_tests() -> None:
    def problem(gold: str, kind: Kind) -> Problem:
        return Problem("b", "1", "q", "p", gold, kind, None, None)

    gold = gold_of(CodeTests(["secret"] * 3, ["7"] * 3, None))
    assert shown_gold(problem(gold, Kind.CODE)) == "3 × stdin → stdout"
    assert shown_gold(problem(gold_of(CodeTests(["1"], ["1"], "f")), Kind.CODE)) == "1 × f"
    assert shown_gold(problem("nonsense", Kind.CODE)) == "?"
    assert shown_gold(problem("42", Kind.MATH)) == "42"


@pytest.mark.parametrize(
    "gold", ["", "[]", "{}", '{"inputs": ["a"], "outputs": []}', '{"inputs": [1], "outputs": [2]}']
)
def test_a_gold_that_is_not_one_is_refused(gold: str) -> None:
    with pytest.raises(InputError, match="code tests"):
        from_gold(gold)
