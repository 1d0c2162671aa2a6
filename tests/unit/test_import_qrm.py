"""Reading the paper repository's layout: what is understood, and every way in which a file can be broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qrm_forensics.benchmarks.json_records import LFS_MARK
from qrm_forensics.errors import InputError, StoreError
from qrm_forensics.importers import IMPORTED_TABLE, detect_format, import_run, notices
from qrm_forensics.importers.folders import parse_folder
from qrm_forensics.importers.qrm import read
from qrm_forensics.records import Finish, Kind

MODEL = "DeepSeek-R1-Distill-Qwen-1.5B"
W4, W3 = f"{MODEL}-gptq-w4g128-tp1-seed42", f"{MODEL}-gptq-w3g128-tp1-seed42"


def record(n: int, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "full_prompt": f"<｜begin▁of▁sentence｜><｜User｜>What is {n} + {n}?\n\n"
        "Please reason step by step, and put your final answer within \\boxed{}.<｜Assistant｜><think>\n",
        "generated_text": f"Hmm, {n}.\u2028</think> \\boxed{{{2 * n}}}",
        "gold": [str(2 * n)],
        "metrics": {"extractive_match": 1.0},
    }
    row.update(changes)
    return row


def put(root: Path, folder: str, rows: Any, benchmark: str = "MINI") -> Path:
    path = root / folder / f"{benchmark}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    return path


def put_dataset(root: Path, size: int, benchmark: str = "MINI", **extra: Any) -> Path:
    path = root / benchmark / "test.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"problem": f"What is {n} + {n}?", "answer": str(2 * n), "unique_id": f"q-{n}", **extra} for n in range(size)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return root


# ------------------------------------------------------------------ what is understood
def test_traces_keep_text_prompt_and_origin(tmp_path: Path) -> None:
    put(tmp_path, W4, [record(0), record(1)])
    imported = read(tmp_path)
    (cell,) = imported.cells
    second = cell.traces[1]
    assert (second.variant, second.benchmark, second.problem_id) == ("gptq-w4g128", "MINI", "idx-1")
    assert (second.sample, second.seed, second.finish) == (0, 42, Finish.UNKNOWN)
    assert second.text == record(1)["generated_text"] and second.prompt == record(1)["full_prompt"]
    assert (second.source_file, second.source_index) == (f"{W4}/MINI.jsonl", 1)
    assert second.completion_tokens is None and second.token_ids is None
    assert cell.metrics[1] == {"extractive_match": 1.0}
    problem = imported.problems[1]
    assert (problem.question, problem.gold, problem.kind) == ("What is 1 + 1?", "2", Kind.MATH)
    assert imported.size_known == {"MINI": False} and imported.baseline is None


def test_file_folder_and_tree_give_the_same(tmp_path: Path) -> None:
    path = put(tmp_path, W4, [record(0)])
    tree, folder, file = read(tmp_path), read(path.parent), read(path)
    assert tree == folder == file
    assert read([path, tmp_path]) == tree  # a file that is given twice is read once


def test_deeper_trees_keep_their_path(tmp_path: Path) -> None:
    put(tmp_path / "outputs" / "inference", W4, [record(0)])
    assert read(tmp_path).cells[0].traces[0].source_file == f"outputs/inference/{W4}/MINI.jsonl"


def test_dataset_gives_ids_gold_and_the_whole_benchmark(tmp_path: Path) -> None:
    put(tmp_path / "in", W4, [record(2, idx="2", gold=["so \\boxed{4}"]), record(0, idx=0)])
    imported = read(tmp_path / "in", put_dataset(tmp_path / "sets", 5, subject="Sums", level=3))
    assert [t.problem_id for t in imported.cells[0].traces] == ["q-2", "q-0"]
    assert [p.id for p in imported.problems] == [f"q-{n}" for n in range(5)]
    assert imported.problems[2].gold == "4" and imported.problems[2].level == "3"
    assert imported.problems[4].prompt == record(4)["full_prompt"]  # nobody was asked it, but the frame is known
    assert imported.size_known == {"MINI": True} and imported.notices == []


def test_one_question_inside_another_is_not_mixed_up(tmp_path: Path) -> None:
    sets = tmp_path / "p.jsonl"
    sets.write_text('{"question": "Find x", "answer": "1"}\n{"question": "Find x\\n  and y", "answer": "2"}\n')
    put(tmp_path / "in", W4, [record(0, full_prompt="Q: Find x and y A:", gold="2")])
    assert read(tmp_path / "in", sets).cells[0].traces[0].problem_id == "idx-1"


def test_same_question_twice_is_told_apart_by_position(tmp_path: Path) -> None:
    sets = tmp_path / "p.jsonl"
    sets.write_text('{"question": "What is 1 + 1?", "answer": "2"}\n' * 2)
    put(tmp_path / "in", W4, [record(1), record(1)])
    assert [t.problem_id for t in read(tmp_path / "in", sets).cells[0].traces] == ["idx-0", "idx-1"]


def test_variants_are_named_and_the_unquantized_one_is_the_baseline(tmp_path: Path) -> None:
    for folder in (
        W4,
        f"{MODEL}-seed42",
        f"{MODEL}-seed43",
        f"{MODEL}-gptq-w3g128-tp1-seed42",
        f"{MODEL}-gptq-w3g128-tp4-seed42",
        f"{MODEL}-quantized.gptq-gptqmodel-w4g128-seed42",
    ):
        put(tmp_path, folder, [record(0)])
    imported = read(tmp_path)
    names = [v.id for v in imported.variants]
    assert names == ["bf16", "gptq-w4g128", "gptq-w4g128-gptqmodel", "gptq-w3g128-tp1", "gptq-w3g128-tp4"]
    assert imported.baseline == "bf16"
    assert [t.seed for t in imported.cells[0].traces] == [42, 43]


def test_several_models_are_told_apart(tmp_path: Path) -> None:
    for model in ("QwQ-32B", "Qwen3-8B"):
        put(tmp_path, f"{model}-tp1-seed42", [record(0)])
    imported = read(tmp_path)
    assert [v.id for v in imported.variants] == ["QwQ-32B--bf16", "Qwen3-8B--bf16"]
    assert imported.baseline is None and "none of them is taken as the baseline" in imported.notices[0]


def test_another_prompt_for_the_same_problem_is_kept_and_told(tmp_path: Path) -> None:
    put(tmp_path, W4, [record(0)])
    other = record(0)["full_prompt"].replace("<think>\n", "")
    put(tmp_path, W3, [record(0, full_prompt=other)])
    imported = read(tmp_path)
    assert [c.traces[0].prompt for c in imported.cells] == [record(0)["full_prompt"], other]
    assert "another prompt text" in imported.notices[0]


def test_gold_that_contradicts_the_dataset_is_told(tmp_path: Path) -> None:
    put(tmp_path / "in", W4, [record(1, gold=["7"])])
    (notice,) = read(tmp_path / "in", put_dataset(tmp_path / "sets", 2)).notices
    assert "record 0" in notice and "dataset's answer" in notice


def test_other_metrics_are_kept_too(tmp_path: Path) -> None:
    put(tmp_path / "in", W4, [record(0, metrics={"codegen_pass@1:1": 0.5})])
    store = import_run([tmp_path / "in"], tmp_path / "run")
    row = store.measures()[IMPORTED_TABLE].to_pylist()[0]
    assert row["imported_codegen_pass@1:1"] == 0.5 and row["imported_extractive_match"] is None
    assert store.problem_table().column("kind").to_pylist() == ["code"]


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        ("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n", "Why?"),
        ("<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>", "Why?"),
        ("Why?\nAnswer:", "Why?\nAnswer:"),
    ],
)
def test_question_is_read_from_other_templates(tmp_path: Path, prompt: str, question: str) -> None:
    put(tmp_path, W4, [record(0, full_prompt=prompt)])
    assert read(tmp_path).problems[0].question == question


# ----------------------------------------------------------------------- broken input
def text_of(n: int = 3) -> str:
    return json.dumps([record(i) for i in range(n)], indent=1, ensure_ascii=False)


def lines_of(n: int = 3) -> str:
    return "".join(json.dumps(record(i), ensure_ascii=False) + "\n" for i in range(n))


def second(**changes: Any) -> str:
    return json.dumps([record(0), record(1, **changes)])


def without(key: str) -> str:
    row = record(1)
    del row[key]
    return json.dumps([record(0), row])


BROKEN = {
    "array cut inside a text": (lambda: text_of()[:-90], ["record 2", "cut off", "again"]),
    "array cut between records": (lambda: text_of()[: text_of().rindex("{\n  ") - 20].rstrip(" \n"), ["cut off"]),
    "array cut after a comma": (lambda: "[" + json.dumps(record(0)) + ",\n", ["record 1", "cut off"]),
    "array cut after a record": (lambda: "[" + json.dumps(record(0)), ["record 1", "cut off"]),
    "cut right at the start": (lambda: "[", ["record 0", "cut off"]),
    "lines cut": (lambda: lines_of()[:-40], ["record 2", "cut off"]),
    "pointer": (lambda: LFS_MARK.decode() + "\noid sha256:00\nsize 4\n", ["Git LFS pointer", "git lfs pull"]),
    "empty": (lambda: " \n", ["is empty"]),
    "no records": (lambda: "[ ]", ["no records"]),
    "not JSON": (lambda: "idx,text\n", ["neither a JSON array nor JSON Lines"]),
    "broken inside": (lambda: text_of().replace('"gold":', '"gold"', 2), ["record 0", "not valid JSON"]),
    "array, then lines": (lambda: text_of() + "\n" + lines_of(), ["record 3", "follows the end"]),
    "lines inside an array": (lambda: "[" + lines_of() + "]", ["record 1", "comma"]),
    "two on a line": (lambda: lines_of().replace("}\n", "} ", 1), ["record 0", "more than one"]),
    "array inside lines": (lambda: lines_of(1) + "[1]\n", ["record 1", "an array"]),
    "a number for a record": (lambda: "[3]", ["record 0", "a number"]),
    "key twice": (lambda: text_of().replace('"gold"', '"metrics"', 1), ["record 0", "'metrics' is there twice"]),
    "deeply nested": (lambda: "[" * 100_000, ["record 0"]),
    "huge integer": (lambda: second(metrics={"m": 1}).replace('"m": 1', '"m": ' + "9" * 5000), ["record 1"]),
    "no text": (lambda: without("generated_text"), ["record 1", "'generated_text' is missing"]),
    "no prompt": (lambda: without("full_prompt"), ["record 1", "'full_prompt' is missing"]),
    "no gold": (lambda: without("gold"), ["record 1", "'gold' is missing"]),
    "no metrics": (lambda: without("metrics"), ["record 1", "'metrics' is missing"]),
    "text of wrong type": (lambda: second(generated_text=["a"]), ["record 1", "'generated_text' is list"]),
    "null text": (lambda: second(generated_text=None), ["record 1", "'generated_text' is NoneType"]),
    "gold of wrong type": (lambda: second(gold=[{}]), ["record 1", "'gold'"]),
    "empty gold": (lambda: second(gold=[]), ["record 1", "'gold' is an empty list"]),
    "metrics of wrong type": (lambda: second(metrics=1.0), ["record 1", "'metrics' is float"]),
    "metric of wrong type": (lambda: second(metrics={"extractive_match": "1"}), ["record 1", "extractive_match"]),
    "metric NaN": (lambda: second(metrics={"extractive_match": float("nan")}), ["record 1", "nan"]),
    "idx of wrong type": (lambda: second(idx=[1]), ["record 1", "'idx'"]),
    "negative idx": (lambda: second(idx=-1), ["record 1", "'idx'"]),
    "idx that is no number": (lambda: second(idx="one"), ["record 1", "'idx'"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_file_is_one_clear_line_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    make, said = BROKEN[name]
    path = put(tmp_path / "in", W4, [])
    path.write_text(make(), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        import_run([tmp_path / "in"], tmp_path / "run")
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    assert all(part in message for part in said), message
    assert not (tmp_path / "run").exists()


def test_not_utf8_names_line_and_byte(tmp_path: Path) -> None:
    path = put(tmp_path, W4, [])
    path.write_bytes(lines_of(2).encode() + b'{"full_prompt": "\xff"}')
    with pytest.raises(InputError, match=r"line 3 is not UTF-8 \(byte \d+"):
        read(tmp_path)


def test_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    put(tmp_path, W4, []).write_bytes(b"\xef\xbb\xbf" + text_of().encode())
    assert len(read(tmp_path).cells[0].traces) == 3


def test_problem_answered_twice(tmp_path: Path) -> None:
    put(tmp_path, W4, [record(0, idx=4), record(0, idx=4)])
    with pytest.raises(InputError, match=r"record 1 .*answers problem idx-4 again, as record 0"):
        read(tmp_path)


def test_prompt_without_a_problem_of_the_dataset(tmp_path: Path) -> None:
    path = put(tmp_path / "in", W4, [record(0), record(9)])
    with pytest.raises(InputError, match=r"record 1 .*holds no problem of") as caught:
        read(tmp_path / "in", put_dataset(tmp_path / "sets", 3))
    assert str(path) in str(caught.value)


def test_idx_that_contradicts_the_text(tmp_path: Path) -> None:
    put(tmp_path / "in", W4, [record(1, idx=2)])
    with pytest.raises(InputError, match=r"record 0 .*says idx 2 but asks problem 1 \(q-1\)"):
        read(tmp_path / "in", put_dataset(tmp_path / "sets", 3))


def test_same_number_with_another_question_needs_the_dataset(tmp_path: Path) -> None:
    put(tmp_path / "in", W4, [record(0), record(1)])
    put(tmp_path / "in", W3, [record(1)])
    with pytest.raises(InputError, match="--problems"):
        read(tmp_path / "in")
    joined = read(tmp_path / "in", put_dataset(tmp_path / "sets", 2))
    assert [[t.problem_id for t in c.traces] for c in joined.cells] == [["q-0", "q-1"], ["q-1"]]


def test_options_that_were_shuffled_differently_are_not_one_problem(tmp_path: Path) -> None:
    ask = "What is it? multiple choice A) 1 B) 2"
    put(tmp_path / "in", W4, [record(0, full_prompt=ask, gold=["A"])])
    put(tmp_path / "in", W3, [record(0, full_prompt=ask, gold=["B"])])
    with pytest.raises(InputError, match="shuffled options"):
        read(tmp_path / "in")


PLACES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing there": (lambda root: None, "no such file or folder"),
    "empty folder": (lambda root: root.mkdir(), "empty folder"),
    "no response files": (lambda root: put(root, W4, [], "x").rename(root / W4 / "x.txt"), r"no \.jsonl file"),
    "one variant folder is empty": (
        lambda root: (put(root, W4, [record(0)]), (root / W3).mkdir()),
        "empty variant folder",
    ),
    "same variant twice": (
        lambda root: (put(root / "a", W4, [record(0)]), put(root / "b", W4, [record(0)])),
        "same model, recipe, tp, seed and benchmark",
    ),
    "folder without seed": (lambda root: put(root, "results", [record(0)]), r"folder 'results': .*rename it"),
    "unknown format": (lambda root: put(root, "results", [{"a": 1}]), "not in a known format"),
}


@pytest.mark.parametrize("name", PLACES)
def test_folder_errors(tmp_path: Path, name: str) -> None:
    make, said = PLACES[name]
    make(tmp_path / "in")
    with pytest.raises(InputError, match=said) as caught:
        import_run([tmp_path / "in"], tmp_path / "run")
    assert str(tmp_path / "in") in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name",
    [
        "results",
        "-seed42",
        "bf16-seed42",
        f"{MODEL}-awq-w9g128-tp1-seed42",
        f"{MODEL}-awq-w4-tp1-seed42",
        f"{MODEL}-w4g128-tp1-seed42",
        "QwQ-32B-AWQ-seed42",
        "Qwen3-8B-FP8-tp1-seed42",
        "Qwen3-8B-4bit-seed42",
        f"{MODEL}-quantized.fp8-vllm-w8-seed42",
        f"{MODEL}-tp0-seed42",
        f"{MODEL}-seedA",
    ],
)
def test_folder_that_cannot_be_read_is_refused_not_taken_for_the_baseline(name: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_folder(name)
    assert repr(name) in str(caught.value) and "rename it to" in str(caught.value)


def test_hidden_files_are_not_read(tmp_path: Path) -> None:
    put(tmp_path, W4, [record(0)])
    put(tmp_path, W4, "resource fork", "._MINI")
    assert len(read(tmp_path).cells) == 1


# -------------------------------------------------------------------------- run folder
def test_import_again_does_nothing_and_other_files_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "in", W4, [record(0), record(1)])
    store = import_run([tmp_path / "in"], tmp_path / "run", name="mini")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file() and p.name != ".lock"}
    import_run([tmp_path / "in"], tmp_path / "run", name="mini")
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file() and p.name != ".lock"}
    assert before == after and store.sealed("gptq-w4g128", "MINI")
    put(tmp_path / "in", W4, [record(0)])
    with pytest.raises(StoreError, match="--fresh"):
        import_run([tmp_path / "in"], tmp_path / "run", name="mini")
    assert import_run([tmp_path / "in"], tmp_path / "run", name="mini", fresh=True).traces(["seed"]).num_rows == 1


@pytest.mark.parametrize("step", ["write_problems", "append_traces", "seal", "write_measure", "add_run_info"])
def test_interrupted_import_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    from qrm_forensics.store import Store

    put(tmp_path / "in", W4, [record(0), record(1)])
    put(tmp_path / "in", W3, [record(0)])
    whole = import_run([tmp_path / "in"], tmp_path / "whole", name="mini")

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Store, step, die)
        with pytest.raises(KeyboardInterrupt):
            import_run([tmp_path / "in"], tmp_path / "run", name="mini")
    store = import_run([tmp_path / "in"], tmp_path / "run", name="mini")
    assert store.traces().equals(whole.traces())
    assert store.measures()[IMPORTED_TABLE].equals(whole.measures()[IMPORTED_TABLE])
    assert all(store.sealed(*cell) for cell in store.cells())


def test_notices_are_kept_with_the_run(tmp_path: Path) -> None:
    put(tmp_path / "in", W4, [record(0)])
    put(tmp_path / "in", W4, [record(0)], "OTHER")
    store = import_run([tmp_path / "in"], tmp_path / "run", problems=put_dataset(tmp_path / "sets", 1))
    told = notices(store)
    assert told[0] == f"OTHER: no problem file in {tmp_path / 'sets'}; its problems are read from the prompts"
    assert [t.partition(":")[0] for t in told[1:]] == [
        f"the files do not hold the {what}"
        for what in ("reason why it ended", "number of tokens", "token ids", "log-probabilities")
    ]


def test_format_is_recognized_or_named(tmp_path: Path) -> None:
    put(tmp_path, W4, [record(0)])
    assert detect_format([tmp_path]) == "qrm"
    with pytest.raises(InputError, match=r"known formats: auto, .*qrm"):
        import_run([tmp_path], tmp_path / "run", format="excel")


@pytest.mark.parametrize(("metrics", "said"), [({"x": 10**400}, "too large"), ({"\ud800": 1}, "not text")])
def test_figures_and_names_that_no_table_can_hold(tmp_path: Path, metrics: dict[str, Any], said: str) -> None:
    path = put(tmp_path, W4, [record(0)])
    path.write_text(json.dumps([record(0), record(1, metrics=metrics)]), encoding="utf-8")
    with pytest.raises(InputError, match=rf"MINI\.jsonl: record 1 .*{said}"):
        read(tmp_path)


def test_a_file_name_that_is_not_text(tmp_path: Path) -> None:
    path = put(tmp_path, W4, [record(0)])
    try:
        path.rename(path.with_name("B\udcff.jsonl"))
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system takes only UTF-8 names")
    with pytest.raises(InputError, match="not UTF-8; rename it"):
        read(tmp_path)


def test_a_run_folder_that_was_moved_is_continued(tmp_path: Path) -> None:
    put(tmp_path / "in", W4, [record(0)])
    before = import_run([tmp_path / "in"], tmp_path / "run")
    before.root.rename(tmp_path / "moved")
    after = import_run([tmp_path / "in"], tmp_path / "moved")
    assert after.trace_count() == 1 and after.study["request"]["name"] == "run"
