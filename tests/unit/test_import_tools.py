"""Files that lm-eval, lighteval and Inspect wrote themselves (tests/vectors/importers), and every way in which they can be broken."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qrm_forensics.errors import InputError
from qrm_forensics.importers import archive, detect_format, import_run, inspect_log, lighteval, lm_eval, notices
from qrm_forensics.records import Finish, Kind

VECTORS = Path(__file__).parents[1] / "vectors" / "importers"
FORMATS = {"lighteval": "lighteval", "lm_eval": "lm-eval", "inspect": "inspect"}


def copied(tmp_path: Path, tool: str) -> Path:
    target = tmp_path / tool
    shutil.copytree(VECTORS / tool, target)
    return target


def only(folder: Path, pattern: str) -> Path:
    return next(iter(sorted(folder.rglob(pattern))))


@pytest.mark.parametrize(("tool", "name"), FORMATS.items())
def test_the_format_is_recognized_by_content(tmp_path: Path, tool: str, name: str) -> None:
    """Also from one file, and inside a folder whose name is that of another layout."""
    assert detect_format([VECTORS / tool]) == name
    seeded = tmp_path / "Tiny-1B-awq-w4g128-tp1-seed44"
    shutil.copytree(VECTORS / tool, seeded, ignore=shutil.ignore_patterns("Tiny-1B", "tiny.json"))
    assert detect_format([seeded]) == name
    store = import_run([seeded], tmp_path / "run")
    assert [v.recipe for v in store.variants] == ["awq-w4g128"]
    assert {key[2] for _, benchmark in store.cells() for key in store.trace_keys("awq-w4g128", benchmark)} == {44}


@pytest.mark.parametrize("tool", FORMATS)
def test_no_machine_path_and_not_large(tool: str) -> None:
    for path in (VECTORS / tool).rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(root in data for root in (b"/home/", b"/root/", b"/tmp/", b"/work/", b"/Users/")), path
    assert (
        sum(p.stat().st_size for p in VECTORS.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")) < 100_000
    )


# ------------------------------------------------------------------ lighteval
def test_lighteval_gives_every_sample_once() -> None:
    read = lighteval.read(VECTORS / "lighteval")
    assert [v.id for v in read.variants] == ["bf16", "awq-w3g128"] and read.baseline == "bf16"
    cells = {(c.variant, c.benchmark): c for c in read.cells}
    assert {k: len(c.traces) for k, c in cells.items()} == {
        ("bf16", "tiny_math"): 3,
        ("awq-w3g128", "tiny_math_twice"): 6,
    }
    twice = cells["awq-w3g128", "tiny_math_twice"]
    traces = {(t.problem_id, t.sample): t for t in twice.traces}
    cut, wrong = traces["idx-2", 0], traces["idx-2", 1]
    assert cut.text is not None and cut.text.startswith("<think>\n7 · 7 is 49. Wait") and cut.seed == 42
    assert wrong.text is not None and wrong.text.endswith("</script>\u2028")
    # 38 tokens are the limit of the task; a shorter one may have ended at the end of the context as well
    assert (cut.finish, cut.completion_tokens) == (Finish.LENGTH, 38)
    assert (wrong.finish, wrong.completion_tokens, wrong.prompt_tokens) == (Finish.UNKNOWN, 9, 16)
    assert wrong.token_ids == [1007, 1001, 1001, 1001, 1008, 1002, 1002, 1010, 1009]
    figures = dict(zip([(t.problem_id, t.sample) for t in twice.traces], twice.metrics, strict=True))
    assert figures["idx-2", 0] == {"pass@k:k=1&n=2": 0.5} and figures["idx-2", 1] == {}


def test_lighteval_problems_have_question_prompt_and_answer() -> None:
    problems = {p.id: p for p in lighteval.read(VECTORS / "lighteval").problems if p.benchmark == "tiny_math"}
    half = problems["idx-1"]
    assert half.question == "What is one half of one third, as a fraction?" and half.kind is Kind.MATH
    assert half.prompt.endswith("within \\boxed{}.") and half.gold == "\\frac{1}{6}"


def test_lighteval_without_its_results_file(tmp_path: Path) -> None:
    folder = copied(tmp_path, "lighteval")
    shutil.rmtree(folder / "results")
    read = lighteval.read(folder)
    assert [v.model for v in read.variants] == ["Tiny-1B", "Tiny-1B"]  # from the folders
    assert {t.seed for c in read.cells for t in c.traces} == {0} and "no results file" in read.notices[0]


def test_two_runs_with_one_seed_are_refused_not_mixed(tmp_path: Path) -> None:
    folder = copied(tmp_path, "lighteval")
    for file in [*(folder / "details").rglob("*.parquet"), *(folder / "results").rglob("*.json")]:
        again = file.with_name(file.name.replace("2026-", "2025-"))
        shutil.copy(file, again)
    with pytest.raises(InputError, match=r"answers problem idx-\d again for .*, sample 0 and seed .*give only one"):
        lighteval.read(folder)


def _rows(change: Callable[[dict[str, Any]], None]) -> pa.Table:
    rows = pq.read_table(only(VECTORS / "lighteval" / "details", "details_tiny_math|0*")).to_pylist()
    for row in rows:
        change(row)
    return pa.Table.from_pylist(rows)


def _drop_gold(row: dict[str, Any]) -> None:
    row["doc"]["gold_index"] = None


def _choice(row: dict[str, Any]) -> None:
    row["doc"] |= {"choices": ["A", "B", "C", "D"], "gold_index": 2}


def _loglikelihood(row: dict[str, Any]) -> None:
    row["model_response"] |= {"text": [], "logprobs": [-1.0, -2.0]}


def test_lighteval_rows_that_are_broken_or_of_another_kind(tmp_path: Path) -> None:
    file = tmp_path / "details_gpqa:diamond|0_2026-01-02T03-04-05.678.parquet"
    pq.write_table(_rows(_choice), file)
    (problem, *_) = lighteval.read(file).problems
    assert (problem.benchmark, problem.kind, problem.gold) == ("gpqa:diamond", Kind.CHOICE, "C")
    pq.write_table(_rows(_drop_gold), file)
    with pytest.raises(InputError, match=r"record 0 .*no right answer \(choices, gold_index\); run lighteval again"):
        lighteval.read(file)
    pq.write_table(_rows(_loglikelihood), file)
    with pytest.raises(InputError, match="no responses, only log-likelihoods; import details of generative"):
        lighteval.read(file)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match="is a Parquet file that is cut off or damaged"):
        detect_format([file])
    with pytest.raises(InputError, match=r"is a Parquet file that is cut off or damaged .*download or copy it again"):
        lighteval.read(file)


def test_a_parquet_bomb_is_refused_before_it_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def long(row: dict[str, Any]) -> None:
        row["model_response"]["text"] = ["a" * 3_000_000]

    file = tmp_path / "details_x|0_2026-01-02T03-04-05.678.parquet"
    pq.write_table(_rows(long), file)
    assert file.stat().st_size < 500_000  # it is much smaller than what it unfolds to
    monkeypatch.setattr(lighteval, "_MAX_BATCH", 1 << 20)
    with pytest.raises(InputError, match="rows take more than 1 MiB"):
        lighteval.read(file)


# ------------------------------------------------------------------ lm-eval
def test_lm_eval_gives_every_repeat_and_the_figures_of_all_filters() -> None:
    read = lm_eval.read(VECTORS / "lm_eval")
    assert [(v.id, v.model) for v in read.variants] == [("gptq-w4g128", "Tiny-1B")] and read.baseline is None
    (cell,) = read.cells
    assert read.size_known == {"tiny_math": True}  # the results file says that it has 3 problems
    assert sorted((t.problem_id, t.sample, t.seed) for t in cell.traces) == [
        (f"idx-{i}", sample, 43) for i in range(3) for sample in range(2)
    ]
    first = cell.traces[0]
    assert first.finish is Finish.UNKNOWN and first.completion_tokens is None and first.source_index == 0
    assert (
        set(cell.metrics[0]) == {"exact_match,boxed", "exact_match,first"} and cell.metrics[0]["exact_match,boxed"] == 1
    )
    assert cell.metrics[1] == {}
    assert "tiny_choice" in read.notices[0] and "log-likelihoods" in read.notices[0]
    assert read.problems[0].question == "What is 12 + 30?" and read.problems[0].gold == "42"


def test_lm_eval_scores_as_it_should(tmp_path: Path) -> None:
    """The whole way: import, and what was missing is said."""
    store = import_run([VECTORS / "lm_eval"], tmp_path / "run")
    told = notices(store)
    assert any(t.startswith("the files do not hold the reason why it ended: ") for t in told)
    assert any(t.startswith("the files do not hold the log-probabilities: ") for t in told)
    assert not any("right answer" in t or "prompt" in t for t in told)


def _lines(tmp_path: Path, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    source = only(VECTORS / "lm_eval", "samples_tiny_math*")
    rows = [json.loads(line) for line in source.read_text("utf-8").split("\n") if line]
    change(rows)
    path = tmp_path / "tiny__QwQ-bf16" / source.name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    return path


def test_lm_eval_without_results_and_broken(tmp_path: Path) -> None:
    read = lm_eval.read(_lines(tmp_path, lambda rows: None))
    assert [(v.id, v.model) for v in read.variants] == [("bf16", "QwQ")] and read.size_known == {"tiny_math": False}
    with pytest.raises(InputError, match=r"record 6 .*answers doc_id 0 again, as record 0 does; runs were appended"):
        lm_eval.read(_lines(tmp_path, lambda rows: rows.append(rows[0])))
    with pytest.raises(InputError, match=r"record 1 .*'resps' is not a list of responses; run lm_eval again"):
        lm_eval.read(_lines(tmp_path, lambda rows: rows[1].update(resps=None)))
    with pytest.raises(InputError, match=r"record 0 .*'doc_id' is 'x', not a number"):
        lm_eval.read(_lines(tmp_path, lambda rows: rows[0].update(doc_id="x")))
    broken = _lines(tmp_path, lambda rows: None)
    broken.write_text(broken.read_text("utf-8")[:-40], "utf-8")
    with pytest.raises(InputError, match="cut off here"):
        lm_eval.read(broken)


def test_a_model_whose_name_says_quantized_but_not_how(tmp_path: Path) -> None:
    path = _lines(tmp_path, lambda rows: None)
    hub = path.parent.rename(tmp_path / "org__Llama-8B-AWQ-INT4")
    with pytest.raises(
        InputError, match=r"says that the model is quantized, .*put the file into a folder <model>-<recipe>"
    ):
        lm_eval.read(hub)
    named = tmp_path / "Llama-8B-awq-w4g128-tp1-seed7"
    named.mkdir()
    read = lm_eval.read(shutil.move(hub, named / "x") and named)
    assert read.variants[0].recipe == "awq-w4g128" and read.cells[0].traces[0].seed == 7


def test_problem_files_are_joined_by_text(tmp_path: Path) -> None:
    """Another order than the tool's is no contradiction."""
    questions = [("What is 7 squared?", "49"), ("What is 12 + 30?", "42"), ("Never asked?", "0")]
    questions.append(("What is one half of one third, as a fraction?", "\\frac{1}{6}"))
    sets = tmp_path / "sets" / "tiny_math" / "test.jsonl"
    sets.parent.mkdir(parents=True)
    sets.write_text("".join(json.dumps({"problem": q, "answer": a, "level": 2}) + "\n" for q, a in questions), "utf-8")
    read = lm_eval.read(VECTORS / "lm_eval", tmp_path / "sets")
    assert {t.problem_id for t in read.cells[0].traces} == {"idx-0", "idx-1", "idx-3"}
    assert len(read.problems) == 4 and read.problems[0].level == "2" and read.size_known == {"tiny_math": True}


# ------------------------------------------------------------------ Inspect
@pytest.mark.parametrize("name", ["tiny.eval", "tiny.json"])
def test_inspect_logs_of_both_kinds_say_the_same(name: str) -> None:
    read = inspect_log.read(VECTORS / "inspect" / name)
    (cell,) = read.cells
    assert [(v.id, v.model) for v in read.variants] == [("awq-w4g128", "Tiny-1B")] and read.size_known == {
        "tiny_math": True
    }
    traces = {(t.problem_id, t.sample): t for t in cell.traces}
    assert set(traces) == {(i, epoch) for i in ("sum", "half", "square") for epoch in (0, 1)}
    assert {t.seed for t in cell.traces} == {43}
    cut, half, failed = traces["square", 0], traces["half", 0], traces["sum", 1]
    assert (cut.finish, cut.completion_tokens, cut.prompt_tokens) == (Finish.LENGTH, 42, 16)
    assert traces["square", 1].text == "<think>\n7 + 7\n</think>\n\nIt is \\boxed{14} </script>\u2028"
    # a provider took the reasoning apart; it is put back, and that is said
    assert half.text == "<think>\n1/2 · 1/3 = 1/5? Wait, 2 · 3 = 6.\n</think>\n\n$\\boxed{\\dfrac{1}{6}}$"
    assert "stored apart from the text of 2 responses" in read.notices[0]
    assert (failed.finish, failed.text, failed.error) == (Finish.ERROR, None, "RuntimeError('the engine went away')")
    assert (cut.logprobs is not None and cut.logprobs == [-0.25] * 42) == (name == "tiny.eval")
    figures = dict(zip(traces, cell.metrics, strict=True))
    assert figures["square", 1] == {"match": 0.0} and figures["half", 0] == {"match": 1.0} and figures["sum", 1] == {}
    problem = {p.id: p for p in read.problems}["half"]
    assert problem.question == "What is one half of one third, as a fraction?" and problem.gold == "\\frac{1}{6}"
    assert problem.prompt.startswith(problem.question) and problem.prompt.endswith("within \\boxed{}.")


def test_an_inspect_run_is_imported_whole(tmp_path: Path) -> None:
    store = import_run([VECTORS / "inspect" / "tiny.eval"], tmp_path / "run")
    assert store.trace_count() == 6
    told = [t.partition(":")[0] for t in notices(store)[1:]]
    assert told == ["the files do not hold the token ids"]  # the failed response lacks nothing that it could have


def _log(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    log = json.loads((VECTORS / "inspect" / "tiny.json").read_text("utf-8"))
    change(log)
    path = tmp_path / "log.json"
    path.write_text(json.dumps(log), "utf-8")
    return path


def _attach(log: dict[str, Any]) -> None:
    for sample in log["samples"]:
        sample["attachments"] = {"abc": "A long question"}
        sample["input"] = sample["messages"][0]["content"] = "attachment://abc"


def _auto_numbered(log: dict[str, Any]) -> None:
    log["eval"]["dataset"]["sample_ids"] = [1, 2, 3]
    for sample in log["samples"]:
        sample["id"] = ["sum", "half", "square"].index(sample["id"]) + 1


def _unfinished(log: dict[str, Any]) -> None:
    log["status"] = "cancelled"
    del log["samples"][3:]


def test_inspect_attachments_numbers_and_unfinished_logs(tmp_path: Path) -> None:
    (first, *_) = inspect_log.read(_log(tmp_path, _attach)).problems
    assert (first.question, first.prompt) == ("A long question", "A long question")
    assert sorted(p.id for p in inspect_log.read(_log(tmp_path, _auto_numbered)).problems) == [
        "idx-0",
        "idx-1",
        "idx-2",
    ]
    read = inspect_log.read(_log(tmp_path, _unfinished))
    assert len(read.cells[0].traces) == 3 and "status 'cancelled'" in read.notices[0]
    with pytest.raises(InputError, match="has no samples"):
        inspect_log.read(_log(tmp_path, lambda log: log.update(samples=[])))
    with pytest.raises(InputError, match="does not say task and model"):
        inspect_log.read(_log(tmp_path, lambda log: log["eval"].pop("model")))
    with pytest.raises(InputError, match=r"sample 0 .*has no id and epoch"):
        inspect_log.read(_log(tmp_path, lambda log: log["samples"][0].pop("id")))


def _zip(
    path: Path, name: str, data: bytes, packed: bytes, *, size: int | None = None, checksum: int | None = None
) -> Path:
    """An archive with one Zstandard part, whose header says what it is told to."""
    head = struct.pack(
        "<HHHHHLLLHH",
        20,
        0,
        93,
        0,
        33,
        zlib.crc32(data) if checksum is None else checksum,
        len(packed),
        len(data) if size is None else size,
        len(name),
        0,
    )
    local = b"PK\x03\x04" + head + name.encode() + packed
    central = b"PK\x01\x02" + struct.pack("<H", 20) + head + struct.pack("<HHHLL", 0, 0, 0, 0, 0) + name.encode()
    end = b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 1, 1, len(central), len(local), 0)
    path.write_bytes(local + central + end)
    return path


def test_archives_with_several_frames_and_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long parts are written as several Zstandard frames; a bomb is refused by its header, or while it unfolds."""
    halves = [b'{"a": 1,', b' "b": 2}']
    frames = b"".join(pa.compress(half, "zstd", asbytes=True) for half in halves)
    with archive.Archive(_zip(tmp_path / "two.eval", "header.json", b"".join(halves), frames)) as opened:
        assert opened.part("header.json") == b"".join(halves)
    with pytest.raises(InputError, match="does not say task and model"):
        inspect_log.read(tmp_path / "two.eval")

    monkeypatch.setattr(archive, "MAX_PART", 1 << 20)
    zeros = bytes(50 << 20)
    bomb = pa.compress(zeros, "zstd", asbytes=True)
    assert len(bomb) < 50_000
    for size in (None, 100):  # an honest header, and one that lies
        path = _zip(tmp_path / "bomb.eval", "header.json", zeros, bomb, size=size, checksum=0)
        with pytest.raises(InputError, match="unpacks to more than 1 MiB"):
            inspect_log.read(path)
    with pytest.raises(InputError, match="does not have its checksum"):
        inspect_log.read(
            _zip(tmp_path / "sum.eval", "header.json", b"{}", pa.compress(b"{}", "zstd", asbytes=True), checksum=1)
        )
    with pytest.raises(InputError, match="cannot be unpacked"):
        inspect_log.read(_zip(tmp_path / "cut.eval", "header.json", b"{}", b"\x28\xb5\x2f\xfd broken"))
    whole = (VECTORS / "inspect" / "tiny.eval").read_bytes()
    (tmp_path / "half.eval").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is not a ZIP archive, or is cut off"):
        inspect_log.read(tmp_path / "half.eval")


def test_half_a_parquet_file_is_called_so_and_never_passed_over(tmp_path: Path) -> None:
    folder = copied(tmp_path, "lighteval")
    broken = only(folder, "details_tiny_math|0*")
    broken.write_bytes(broken.read_bytes()[:1000])
    said = r"details_tiny_math\|0_.*is a Parquet file that is cut off or damaged .*download or copy it again"
    for given in (folder, broken):
        with pytest.raises(InputError, match=said):
            detect_format([given])
        with pytest.raises(InputError, match=said):
            lighteval.read(given)
    broken.write_text("<html>", "utf-8")
    with pytest.raises(InputError, match=r"details_tiny_math\|0_.*is not a Parquet file .*download or copy it again"):
        lighteval.read(folder)


def test_a_log_of_inspect_that_is_there_twice_or_is_no_archive(tmp_path: Path) -> None:
    folder = copied(tmp_path, "inspect")
    shutil.copy(folder / "tiny.eval", folder / "again.eval")
    with pytest.raises(InputError, match=r"answers problem .* again .*; give only one of the logs .*another --seed$"):
        inspect_log.read(folder)
    (folder / "again.eval").write_bytes(b"<html>")
    with pytest.raises(InputError, match=r"again.eval: is not a ZIP archive"):
        inspect_log.read(folder)
