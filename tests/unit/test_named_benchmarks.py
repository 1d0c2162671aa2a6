"""Named benchmarks: found in every layout, read alike, asked in the paper's words."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qrm_forensics.benchmarks import gpqa, livecodebench, presets, registry
from qrm_forensics.benchmarks.datasets import find_datasets, load_dataset
from qrm_forensics.benchmarks.load import load
from qrm_forensics.benchmarks.prompts import question_of
from qrm_forensics.errors import EnvironmentMissing, ForensicsError, InputError
from qrm_forensics.records import Kind
from qrm_forensics.study import BenchmarkSpec

SHARED = Path(__file__).resolve().parents[3] / "shared"
needs_shared = pytest.mark.skipif(not (SHARED / "datasets").is_dir(), reason="the shared data sets are not here")


def spec(name: str, path: Path | None = None, **more: Any) -> BenchmarkSpec:
    return BenchmarkSpec.model_validate({"name": name, "path": None if path is None else str(path), **more})


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


# --------------------------------------------------------------------------- the real files


@needs_shared
def test_the_real_files_are_whole() -> None:
    for name, size in (("MATH-500", 500), ("AIME-90", 90)):
        loaded = load(spec(name, SHARED / "datasets"))
        assert (len(loaded.items), loaded.size, loaded.kind) == (size, size, Kind.MATH)
        assert len({item.id for item in loaded.items}) == size
    assert load(spec("MATH-500", SHARED / "datasets")).items[0].level == "2"


@needs_shared
@pytest.mark.parametrize("name", ["MATH-500", "AIME-90"])
def test_questions_are_asked_byte_for_byte_as_in_the_papers_response_files(name: str) -> None:
    asked = load(spec(name, SHARED / "datasets")).messages
    seen = 0
    for file in sorted((SHARED / "traces/outputs/inference").glob(f"*/{name}.jsonl")):
        for position, record in enumerate(json.loads(file.read_text(encoding="utf-8"))):
            _, _, turn = record["full_prompt"].partition("<｜User｜>")
            assert turn.removesuffix("<｜Assistant｜><think>\n") == asked[record.get("idx", position)]
            seen += 1
    assert seen >= 90


# --------------------------------------------------------------------------- layouts


def save_to_disk(folder: Path, split: str, rows: list[dict[str, Any]]) -> None:
    """What ``datasets.DatasetDict.save_to_disk`` leaves: a stream of Arrow batches under the name of a file."""
    place = folder / split
    place.mkdir(parents=True)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": [split]}), encoding="utf-8")
    name = "data-00000-of-00001.arrow"
    (place / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}), encoding="utf-8")
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(place / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


AIME = [{"id": i, "problem": f"What is {i}+{i}?", "answer": f"{2 * i:03}"} for i in range(30)]


@pytest.mark.parametrize("layout", ["house", "flat", "jsonl", "parquet", "saved", "own folder", "file"])
def test_every_layout_gives_the_same_problems(tmp_path: Path, layout: str) -> None:
    path = tmp_path
    if layout in ("house", "file"):
        path = lines(tmp_path / "AIME-2025" / "test.jsonl", AIME)
    elif layout == "flat":
        lines(tmp_path / "AIME-2025.jsonl", AIME)
    elif layout == "jsonl":
        lines(tmp_path / "aime_2025" / "train.jsonl", AIME)
    elif layout == "saved":
        save_to_disk(tmp_path / "aime_2025", "train", AIME)
    else:
        (tmp_path / "aime_2025" / "data").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(AIME), tmp_path / "aime_2025" / "data" / "train-00000-of-00001.parquet")
        path = tmp_path / "aime_2025" if layout == "own folder" else tmp_path
    loaded = load(spec("AIME-2025", tmp_path if layout == "house" else path))
    assert [(i.id, i.question, i.gold) for i in loaded.items] == [
        (str(r["id"]), r["problem"], r["answer"]) for r in AIME
    ]
    assert loaded.size == 30 and len(loaded.sha256) == 64


def test_columns_that_differ_between_data_sets(tmp_path: Path) -> None:
    rows = [{"ID": f"2024-I-{i}", "Problem": f"p{i}", "Answer": i} for i in range(30)]
    (tmp_path / "AIME_2024").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "AIME_2024" / "aime_2024_problems.parquet")
    first = load(spec("AIME-2024", tmp_path)).items[0]
    assert (first.id, first.question, first.gold) == ("2024-I-0", "p0", "0")
    worked = [{"question": "How many?", "answer": "2*36 = <<2*36=72>>72\n#### 1,072"}]
    (tmp_path / "gsm8k" / "main").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(worked), tmp_path / "gsm8k" / "main" / "test-00000-of-00001.parquet")
    assert load(spec("GSM8K", tmp_path)).items[0].gold == "1,072"


def test_aime_120_is_both_parts_and_every_problem_counts_alike(tmp_path: Path) -> None:
    parts = dict(registry.BENCHMARKS["AIME-120"].parts)
    sizes = {name: registry.BENCHMARKS[name].size for name in parts}
    assert {name: size / 120 for name, size in sizes.items()} == parts  # so the mean is the weighted mean
    lines(tmp_path / "AIME90" / "test.jsonl", [{"problem": f"old {i}", "answer": "1"} for i in range(90)])
    lines(tmp_path / "aime_2025" / "test.jsonl", AIME)
    loaded = load(spec("AIME-120", tmp_path))
    assert len(loaded.items) == loaded.size == 120
    assert Counter(item.subject for item in loaded.items) == sizes
    assert loaded.items[90].id == "AIME-2025/0"
    lines(tmp_path / "aime_2025" / "test.jsonl", AIME[:20])
    with pytest.raises(InputError, match="20 of the 30 of AIME-2025"):
        load(spec("AIME-120", tmp_path))


def test_sizes_are_those_that_are_known() -> None:
    sizes = {name: b.size for name, b in registry.BENCHMARKS.items()}
    assert sizes == {
        "MATH-500": 500,
        "AIME-90": 90,
        "AIME-2024": 30,
        "AIME-2025": 30,
        "AIME-120": 120,
        "GSM8K": 1319,
        "GPQA-Diamond": 198,
        "LiveCodeBench": 268,
    }
    assert livecodebench.size_of("release_v5") == 880 and livecodebench.files_of("v4_v5") == (
        "test4.jsonl",
        "test5.jsonl",
    )


# --------------------------------------------------------------------------- GPQA


def gpqa_row(n: int) -> dict[str, str]:
    wrong = {f"Incorrect Answer {k}": f"wrong {n}.{k}\n" for k in (1, 2, 3)}
    return {"Question": f"Question {n}?", "Correct Answer": f"right {n}", "High-level domain": "Physics", **wrong}


def write_gpqa(folder: Path, rows: list[dict[str, str]]) -> Path:
    (folder / "gpqa").mkdir(parents=True, exist_ok=True)
    with (folder / "gpqa" / "gpqa_diamond.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_gpqa_is_asked_in_lightevals_words(tmp_path: Path) -> None:
    loaded = load(spec("GPQA-Diamond", write_gpqa(tmp_path, [gpqa_row(0)])))
    letters = dict(zip("ABCD", loaded.items[0].question.split("\n\n", 1)[1].split("\n"), strict=False))
    assert loaded.kind is Kind.CHOICE and loaded.items[0].subject == "Physics"
    options = ["wrong 0.1\n", "wrong 0.2\n", "wrong 0.3\n"]
    options.insert("ABCD".index(loaded.items[0].gold), "right 0")
    a, b, c, d = options
    assert letters and loaded.messages[0] == (
        "Answer the following multiple choice question. The last line of your response should be of the following "
        "format: 'Answer: $LETTER' (without quotes) where LETTER is one of ABCD. Think step by step before answering."
        f"\n\nQuestion 0?\n\nA) {a}\nB) {b}\nC) {c}\nD) {d}"
    )


def test_a_gpqa_row_without_its_right_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"record 0 .*no 'Correct Answer'"):
        load(spec("GPQA-Diamond", write_gpqa(tmp_path, [gpqa_row(0) | {"Correct Answer": " "}])))


def test_option_order_is_the_questions_own(tmp_path: Path) -> None:
    rows = [gpqa_row(n) for n in range(40)]
    whole = {i.question: i.gold for i in load(spec("GPQA-Diamond", write_gpqa(tmp_path, rows))).items}
    random.seed(5)  # what lighteval's order would hang on
    some = load(spec("GPQA-Diamond", write_gpqa(tmp_path / "b", rows[::-3]))).items
    assert all(whole[item.question] == item.gold for item in some)
    # The order is part of what runs are compared by, so it must never change.
    assert [gpqa.place_of(f"Question {n}?", 4) for n in range(12)] == [1, 3, 1, 2, 0, 2, 2, 0, 0, 3, 3, 3]
    assert gpqa.place_of("a  b\n", 4) == gpqa.place_of("a b", 4)
    counts = Counter(gpqa.place_of(f"Question {n}?", 4) for n in range(4000))
    assert all(abs(count - 1000) < 4 * 27.4 for count in counts.values())  # four standard deviations


# --------------------------------------------------------------------------- LiveCodeBench


def code_row(n: int, starter: str = "") -> dict[str, Any]:
    case = json.dumps([{"input": "1\n", "output": "2\n", "testtype": "stdin"}])
    return {
        "question_content": f"Task {n}",
        "question_id": f"q{n}",
        "starter_code": starter,
        "public_test_cases": case,
        "private_test_cases": case,
        "metadata": "{}",
    }


def test_livecodebench_asks_the_papers_files_in_lightevals_words(tmp_path: Path) -> None:
    folder = tmp_path / "code_generation_lite"
    lines(folder / "test4.jsonl", [code_row(0)])
    with pytest.raises(InputError, match=r"no test5\.jsonl"):
        load(spec("LiveCodeBench", tmp_path))
    lines(folder / "test5.jsonl", [code_row(1, "class Solution: pass")])
    lines(folder / "test.jsonl", [code_row(2)])
    loaded = load(spec("LiveCodeBench", tmp_path))
    assert [i.id for i in loaded.items] == ["q0", "q1"] and loaded.size == 268
    head = (
        "You will be given a question (problem specification) and will generate a correct Python program that matches "
        "the specification and passes all tests.\n\nQuestion: "
    )
    assert loaded.messages[0] == (
        f"{head}Task 0\n\nRead the inputs from stdin solve the problem and write the answer to stdout (do not directly "
        "test on the sample inputs). Enclose your code within delimiters as follows. Ensure that when the python "
        "program runs, it reads the inputs, runs the algorithm and writes output to STDOUT.\n"
        "```python\n# YOUR CODE HERE\n```\n\n"
    )
    assert loaded.messages[1] == (
        f"{head}Task 1\n\nYou will use the following starter code to write the solution to the problem and enclose your "
        "code within delimiters.\n```python\nclass Solution: pass\n```\n\n"
    )
    assert [i.id for i in load(spec("LiveCodeBench", tmp_path, subset="v1")).items] == ["q2"]
    with pytest.raises(InputError, match="did you mean 'v4_v5'"):
        load(spec("LiveCodeBench", tmp_path, subset="v4-v5"))


# --------------------------------------------------------------------------- the hub


def test_the_hub_is_asked_for_the_files_of_the_benchmark_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    asked: dict[str, Any] = {}

    def snapshot_download(**options: Any) -> str:
        asked.update(options)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(AIME), tmp_path / "data" / "train-00000-of-00001.parquet")
    assert len(load(spec("AIME-2025", hub=True, revision="abc")).items) == 30
    assert asked["repo_id"] == "yentinglin/aime_2025" and asked["repo_type"] == "dataset" and asked["revision"] == "abc"
    assert "data/train-*.parquet" in asked["allow_patterns"]
    lines(tmp_path / "test4.jsonl", [code_row(0)])
    lines(tmp_path / "test5.jsonl", [code_row(1)])
    assert len(load(spec("LiveCodeBench", hub=True)).items) == 2
    assert asked["allow_patterns"] == ["test4.jsonl", "test5.jsonl"]  # 1.8 of 4.5 GB


@pytest.mark.parametrize(("kind", "said"), [("GatedRepoError", "accept its terms"), ("ConnectionError", "as path")])
def test_what_the_hub_refuses_is_said_with_a_remedy(monkeypatch: pytest.MonkeyPatch, kind: str, said: str) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    from huggingface_hub import errors

    def snapshot_download(**_options: Any) -> str:
        if kind == "ConnectionError":
            raise ConnectionError("no route\nsecond line")
        raise errors.GatedRepoError.__new__(errors.GatedRepoError)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(ForensicsError, match=said) as raised:
        load(spec("GPQA-Diamond", hub=True))
    assert isinstance(raised.value, EnvironmentMissing) == (kind == "ConnectionError")


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"name": "MATH500"}, "did you mean 'MATH-500'"),
        ({"name": "gsm8k"}, "did you mean 'GSM8K'"),
        ({"name": "quite another"}, "known: MATH-500"),
        ({"name": "MATH-500"}, "hub: true"),
        ({"name": "GPQA-Diamond"}, "terms"),
        ({"name": "MATH-500", "path": "/nowhere/at/all"}, "no such file"),
        ({"name": "MATH-500", "path": ".", "subset": "v1"}, "no subsets"),
        ({"name": "MATH-500", "path": ".", "hub": True}, "leave one of them out"),
        ({"name": "mine", "hub": True}, "for the named ones"),
        ({"name": "mine", "path": ".", "prompt": "mth"}, "did you mean 'math'"),
        ({"name": "mine", "path": ".", "prompt": "Solve it."}, r"no \{problem\}"),
    ],
)
def test_entries_that_cannot_be_meant(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load(BenchmarkSpec.model_validate(entry))


def test_more_rows_than_the_benchmark_has_are_another_benchmark(tmp_path: Path) -> None:
    rows = [{"problem": f"p{i}", "answer": "1"} for i in range(31)]
    with pytest.raises(InputError, match="30 problems, but 31"):
        load(spec("AIME-2025", lines(tmp_path / "x.jsonl", rows)))


@pytest.mark.parametrize(
    ("content", "suffix", "said"),
    [
        (b'{"problem": "p", "answer": 1}\n{"problem": "p', ".jsonl", "cut off"),
        (b'{"problem": "p", "answer": 1} 2\n', ".jsonl", "more than one value"),
        (b'{"problem": "\xff"}\n', ".jsonl", "line 1 is not UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1\n", ".parquet", "git lfs pull"),
        (b"PAR1 nonsense", ".parquet", "as parquet"),
        (b"nonsense", ".arrow", "as arrow"),
        (b"problem,answer\na,b,c\n", ".csv", "more or fewer cells"),
        (b"problem,answer\n", ".csv", "no rows"),
        (b"hello", ".txt", "ends in"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, content: bytes, suffix: str, said: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as raised:
        load(spec("mine", path))
    assert str(path) in str(raised.value)


def test_a_saved_data_set_without_its_file_is_not_taken_for_another(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "aime_2025", "train", AIME)
    (tmp_path / "aime_2025" / "train" / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(InputError, match=r"data-00000-of-00001\.arrow is missing"):
        load(spec("AIME-2025", tmp_path))


# --------------------------------------------------------------------------- one's own


def test_ones_own_file_by_one_stanza(tmp_path: Path) -> None:
    path = lines(tmp_path / "mine.jsonl", [{"q": r"2+2 in \boxed{}?", "a": 4, "nr": "x1"}])
    fields = {"problem": "q", "answer": "a", "id": "nr"}
    loaded = load(spec("mine", path, fields=fields, prompt="Work out: {problem}\nPut it in \\boxed{}."))
    assert [(i.id, i.question, i.gold) for i in loaded.items] == [("x1", r"2+2 in \boxed{}?", "4")]
    assert loaded.messages == ["Work out: 2+2 in \\boxed{}?\nPut it in \\boxed{}."] and loaded.size is None
    with pytest.raises(InputError, match=r"has no 'b' \(fields: answer\); it has 'q', 'a', 'nr'"):
        load(spec("mine", path, fields={"problem": "q", "answer": "b"}))


@pytest.mark.parametrize(
    ("row", "gold"),
    [
        ({"problem": "Q", "answer": "two", "choices": ["one", "two"]}, "B"),
        ({"problem": "Q", "answer": "(b)", "choices": ["one", "two"]}, "B"),
        ({"problem": "Q", "answer": "A", "choices": ["C", "A"]}, "B"),  # the text of an option comes before its letter
        ({"problem": "Q\nA) x\nB) y", "answer": "B"}, "B"),
    ],
)
def test_choices_of_ones_own(tmp_path: Path, row: dict[str, Any], gold: str) -> None:
    loaded = load(spec("mine", lines(tmp_path / "m.jsonl", [row]), kind="choice"))
    assert loaded.items[0].gold == gold and loaded.messages[0].startswith("Answer the following multiple choice")
    assert "B) " in loaded.items[0].question


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        ("choice", {"problem": "Q", "answer": "E", "choices": ["one", "two"]}, "neither one of its options"),
        ("choice", {"problem": "Q", "answer": "A", "choices": ["one", "one"]}, "different texts"),
        ("choice", {"problem": "Q", "answer": "seven"}, "no letter"),
        ("code", {"problem": "Q", "answer": {"inputs": ["1"], "outputs": []}}, "1 inputs and 0 outputs"),
        ("code", {"problem": "Q", "answer": "no json"}, "not JSON"),
        ("math", {"problem": "Q"}, "no 'answer'"),
    ],
)
def test_rows_of_ones_own_that_lack_something(tmp_path: Path, kind: str, row: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        load(spec("mine", lines(tmp_path / "m.jsonl", [row]), kind=kind))
    assert "record 0" in str(raised.value)


def test_code_of_ones_own(tmp_path: Path) -> None:
    tests = {"inputs": ["1\n"], "outputs": ["2\n"], "fn_name": None}
    path = lines(
        tmp_path / "m.jsonl", [{"problem": "Q", "answer": tests}, {"problem": "R", "answer": json.dumps(tests)}]
    )
    golds = [json.loads(i.gold) for i in load(spec("mine", path, kind="code")).items]
    assert golds == [tests, tests]


def test_the_question_of_a_prompt_is_what_was_put_into_it(tmp_path: Path) -> None:
    question = load(spec("GPQA-Diamond", write_gpqa(tmp_path, [gpqa_row(0)]))).items[0].question
    assert question_of(f"<｜User｜>{presets.message('choice', question)}<｜Assistant｜><think>\n") == question.strip()
    code = presets.message("code", "Task", "")
    assert question_of(f"<｜User｜>{code}<｜Assistant｜>") == "Task"
    assert question_of(presets.message("code", "Task\n\nmore", "def f(): pass")) == "Task\n\nmore"


def test_imports_find_the_problems_of_named_benchmarks_in_the_papers_layout(tmp_path: Path) -> None:
    (tmp_path / "aime_2025" / "data").mkdir(parents=True)
    file = tmp_path / "aime_2025" / "data" / "train-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(AIME), file)
    lines(tmp_path / "MATH-500" / "test.jsonl", [{"problem": "p", "answer": "1"}])
    write_gpqa(tmp_path, [gpqa_row(0)])
    names = ["AIME-2025", "MATH-500", "GPQA-Diamond", "GSM8K"]
    found = find_datasets(tmp_path, names)
    assert list(found) == names[:3] and found["AIME-2025"] == file
    problems = load_dataset(file).problems
    assert [(p.id, p.question, p.answer) for p in problems] == [(str(r["id"]), r["problem"], r["answer"]) for r in AIME]
    (only,) = load_dataset(found["GPQA-Diamond"]).problems
    assert (only.question, only.answer, only.subject) == ("Question 0?", "right 0", "Physics")
