"""JSON Lines of anybody's making: OpenAI's shapes, a batch that vLLM ran (tests/vectors/importers/batch), simple rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qrm_forensics.errors import InputError
from qrm_forensics.importers import FORMATS, detect_format, import_run, jsonl, load_format, notices
from qrm_forensics.importers.provides import FACTS, WITHOUT, Said
from qrm_forensics.records import Finish, Status, Trace

VECTORS = Path(__file__).parents[1] / "vectors" / "importers"
MODEL = "Tiny-1B-awq-w4g128"


def put(tmp_path: Path, *rows: Any, name: str = "MINI.jsonl") -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def traces(path: Path | list[Path], problems: Path | None = None) -> list[Trace]:
    return [t for cell in jsonl.read(path, problems).cells for t in cell.traces]


def row(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "model": MODEL,
        "problem": "What is 1 + 1?",
        "response": "<think>\n</think>\\boxed{2}",
        "answer": 2,
    }
    return {k: v for k, v in (made | changes).items() if v is not None}


def completion(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": MODEL, "choices": list(choices)} | more


def choice(text: str | None, index: int = 0, reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {"index": index, "finish_reason": reason, "message": {"role": "assistant", "content": text, **message}}


# ------------------------------------------------------------------ simple rows
def test_simple_rows(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        row(id="a", seed=42, finish_reason="stop", subject="Algebra", level=3, metrics={"mine": True, "note": "x"}),
        row(id="a", seed=43, finish_reason="length", completion_tokens=17, token_ids=[1, 2], logprobs=[-0.5, -1]),
        row(id="b", response=["one", "two"], problem="?", seed=42),
    )
    assert detect_format([path]) == "jsonl"
    read = jsonl.read(path)
    first, second, *several = [t for c in read.cells for t in c.traces]
    assert (first.benchmark, first.problem_id, first.seed, first.finish) == ("MINI", "a", 42, Finish.STOP)
    assert (second.seed, second.finish, second.completion_tokens) == (43, Finish.LENGTH, 17)
    assert (second.token_ids, second.logprobs) == ([1, 2], [-0.5, -1.0])
    assert [(t.sample, t.text, t.finish) for t in several] == [(0, "one", Finish.UNKNOWN), (1, "two", Finish.UNKNOWN)]
    assert read.cells[0].metrics[0] == {"mine": 1.0}
    a, b = read.problems
    assert (a.id, a.question, a.gold, a.subject, a.level) == (
        "a",
        "What is 1 + 1?",
        "2",
        "Algebra",
        "3",
    ) and b.id == "b"


def test_responses_without_numbers_are_samples_in_their_order(tmp_path: Path) -> None:
    found = traces(put(tmp_path, row(idx=0, response="x"), row(idx=0, response="y"), row(idx=1, response="z")))
    assert [(t.problem_id, t.sample, t.text) for t in found] == [
        ("idx-0", 0, "x"),
        ("idx-0", 1, "y"),
        ("idx-1", 0, "z"),
    ]
    with pytest.raises(InputError, match=r"record 1 .*answers problem idx-0 again for awq-w4g128, sample 1 and seed 0"):
        traces(put(tmp_path, row(idx=0, sample=1), row(idx=0, sample=1)))


def test_messages_whose_last_turn_is_the_response(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 1 + 1?"},
        {"role": "assistant", "content": "2"},
    ]
    (read,) = (jsonl.read(put(tmp_path, {"model": MODEL, "messages": messages})),)
    (trace,) = read.cells[0].traces
    assert trace.text == "2" and trace.prompt == "[system]\nBe brief.\n\n[user]\nWhat is 1 + 1?"
    assert read.problems[0].question == "What is 1 + 1?"


def test_the_folder_names_the_model_where_no_row_does(tmp_path: Path) -> None:
    path = put(tmp_path, row(model=None), name="QwQ-32B-gptq-w3g128-tp1-seed44/AIME.jsonl")
    assert detect_format([path]) == "jsonl"
    (trace,) = traces(path)
    assert (trace.variant, trace.seed, trace.benchmark) == ("gptq-w3g128", 44, "AIME")
    with pytest.raises(InputError, match=r"record 0 .*has no 'model'; add it, or put the file into a folder"):
        traces(put(tmp_path, row(model=None)))


# ------------------------------------------------------------------ OpenAI's shapes
def test_chat_completions_with_reasoning_apart_and_several_choices(tmp_path: Path) -> None:
    logs = {"content": [{"token": "2", "logprob": -0.5}]}
    path = put(
        tmp_path,
        completion(
            choice("2", logprobs=None) | {"logprobs": logs},
            problem_id="p",
            usage={"prompt_tokens": 5, "completion_tokens": 9},
        ),
        completion(choice("x", 0), choice("y", 1, "length"), problem_id="q", usage={"completion_tokens": 9}),
        completion(choice("2", reasoning_content="one and one"), problem_id="r"),
        completion(choice(None, reason="length", reasoning="one and"), problem_id="s"),
        completion(choice(None), problem_id="t"),
        {
            "model": MODEL,
            "choices": [{"text": "2", "finish_reason": "tool_calls", "logprobs": {"token_logprobs": [-1.0]}}],
        },
    )
    read = jsonl.read(path)
    p, q0, q1, r, s, t, old = (t for c in read.cells for t in c.traces)
    assert (p.text, p.logprobs, p.prompt_tokens, p.completion_tokens) == ("2", [-0.5], 5, 9)
    assert [(t.sample, t.text, t.finish, t.completion_tokens) for t in (q0, q1)] == [
        (0, "x", Finish.STOP, None),  # what a call used is that of all its choices
        (1, "y", Finish.LENGTH, None),
    ]
    assert r.text == "<think>\none and one\n</think>\n\n2" and r.problem_id == "r"
    assert s.text == "<think>\none and" and s.finish is Finish.LENGTH  # cut off while it was thinking
    assert (t.finish, t.text, t.error) == (Finish.ERROR, None, "no text in the response")
    assert (old.text, old.finish, old.logprobs) == ("2", Finish.UNKNOWN, [-1.0])
    assert (
        "apart from the text of 2 responses" in read.notices[0] and "1 responses ended for a reason" in read.notices[1]
    )


def test_responses_of_the_newer_interface(tmp_path: Path) -> None:
    items = [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "one and one"}], "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "2"}]},
    ]
    body = {"object": "response", "model": MODEL, "output": items, "usage": {"input_tokens": 4, "output_tokens": 8}}
    cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    done, stopped = traces(put(tmp_path, body | {"status": "completed", "idx": 0}, body | cut | {"idx": 1}))
    assert (done.text, done.finish) == ("<think>\none and one\n</think>\n\n2", Finish.STOP)
    assert (done.prompt_tokens, done.completion_tokens, stopped.finish) == (4, 8, Finish.LENGTH)


def batch(name: str, body: dict[str, Any] | None, status: int = 200, error: Any = None) -> dict[str, Any]:
    response = {"status_code": status, "request_id": "r", "body": body} if body is not None else None
    return {"id": "batch_req_1", "custom_id": name, "response": response, "error": error}


def request(name: str, question: str, seed: int) -> dict[str, Any]:
    body = {"model": MODEL, "seed": seed, "messages": [{"role": "user", "content": question}]}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}


def test_a_batch_with_its_requests(tmp_path: Path) -> None:
    output = put(
        tmp_path,
        batch("one", completion(choice("2"))),
        batch("two", {"error": {"message": "context too long"}}, 400),
        batch("three", None, error={"code": "batch_expired", "message": "too late"}),
        name="output.jsonl",
    )
    requests = put(tmp_path, *(request(n, f"What is {n}?", 44) for n in ("one", "two", "three")), name="requests.jsonl")
    assert detect_format([tmp_path]) == "jsonl"
    read = jsonl.read([output, requests])
    good, long, late = read.cells[0].traces
    assert (good.text, good.seed, good.prompt, good.problem_id) == ("2", 44, "What is one?", "one")
    assert (long.finish, long.error, late.error) == (Finish.ERROR, "context too long", "too late")
    assert [p.question for p in read.problems] == ["What is one?", "What is two?", "What is three?"]
    with pytest.raises(InputError, match="only requests, no responses; give the output file of the batch too"):
        jsonl.read(requests)


def test_a_batch_alone_takes_its_problems_from_a_file(tmp_path: Path) -> None:
    """Its ``custom_id`` is all there is: the file's own id, or a number."""
    sets = put(
        tmp_path,
        *({"problem": f"{n}?", "answer": str(n), "unique_id": f"u{n}"} for n in range(3)),
        name="sets/MINI/test.jsonl",
    )
    output = put(tmp_path, batch("u2", completion(choice("2"))), batch("idx-1", completion(choice("1"))))
    read = jsonl.read(output, sets.parents[1])
    assert [t.problem_id for t in read.cells[0].traces] == ["u2", "u1"] and len(read.problems) == 3
    without = import_run([output], tmp_path / "run")
    told = "\n".join(notices(without))
    assert "do not hold the right answer" in told and "do not hold the exact prompt" in told
    assert {v["gold"] for v in (vars_of(p) for p in without.problems().values())} == {""}


def vars_of(problem: Any) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in ("gold", "question")}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"model": MODEL, "problem": "?", "reply": "x"}, "no response .*call it 'response'"),
        ({"model": MODEL, "response": 7}, "no response"),
        ({"custom_id": "a", "response": None, "error": None, "model": MODEL}, "neither a response nor an error"),
        (row(model="Llama-8B-AWQ-INT4"), "says that the model is quantized"),
        (row(token_ids=[2**40]), "its token ids are no ids"),
        (row(benchmark=" "), "the benchmark has no name"),
    ],
)
def test_rows_that_cannot_be_read_say_what_to_do(tmp_path: Path, line: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=rf"MINI\.jsonl: record 0 \(counted from 0\).*{said}"):
        jsonl.read(put(tmp_path, line))


def test_a_response_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qrm_forensics.importers.foreign.MAX_TEXT", 1000)
    with pytest.raises(InputError, match=r"record 0 .*has 1,001 characters, more than 1,000; remove it"):
        jsonl.read(put(tmp_path, row(response="a" * 1001)))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"a": NaN}\n', b"[" * 100_000, "\ufeff".encode(), b"\xff\xfe{", b'{"model": "a"}']
)
def test_hostile_files_end_in_one_clear_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(data)
    for ask in (lambda: detect_format([path]), lambda: jsonl.read(path)):
        with pytest.raises(InputError) as error:
            ask()
        assert "\n" not in str(error.value) and "x.jsonl" in str(error.value)


# ------------------------------------------------------------------ what formats say of themselves
def test_facts_have_words_and_formats_have_facts() -> None:
    assert set(FACTS) == set(WITHOUT) == {name for name, _ in jsonl.PROVIDES.items()}
    assert all(load_format(name).TITLE for name in FORMATS)


@pytest.mark.parametrize(
    ("name", "folder"), [("lighteval", "lighteval"), ("lm-eval", "lm_eval"), ("inspect", "inspect/tiny.eval")]
)
def test_what_a_format_says_it_provides_is_what_its_files_hold(name: str, folder: str) -> None:
    module = load_format(name)
    read = module.read(VECTORS / folder)
    found = [t for c in read.cells for t in c.traces if t.finish is not Finish.ERROR]
    golds = {(p.benchmark, p.id): p.gold for p in read.problems}
    has = {
        "text": [t.text is not None for t in found],
        "finish": [t.finish is not Finish.UNKNOWN for t in found],
        "token_counts": [t.completion_tokens is not None for t in found],
        "token_ids": [t.token_ids is not None for t in found],
        "logprobs": [t.logprobs is not None for t in found],
        "prompt": [bool(t.prompt) for t in found],
        "gold": [bool(golds[t.benchmark, t.problem_id]) for t in found],
        "seeds": [t.seed != 0 for t in found],
        "samples": [t.sample > 0 for t in found],
    }
    for fact, said in module.PROVIDES.items():
        held = {
            Said.YES: any(has[fact]) if fact == "samples" else all(has[fact]),
            Said.NO: not any(has[fact]),
            Said.SOMETIMES: any(has[fact]),
        }
        assert held[said], f"{name} says {said} of {fact}"


def test_imported_rows_are_scored(tmp_path: Path) -> None:
    from qrm_forensics.derive import derive

    store = import_run([put(tmp_path, row(idx=0), row(idx=1, problem="What is 2 + 2?", answer="4"))], tmp_path / "run")
    with store.writing():
        derive(store, steps=("score",))
    verdicts = store.verdicts().to_pylist()
    verdicts = [v for v in verdicts if v["policy"] == "strict"]
    assert [v["status"] for v in sorted(verdicts, key=lambda v: v["problem_id"])] == [Status.CORRECT, Status.WRONG]


# ------------------------------------------------------------------ a batch that vLLM ran
def test_a_batch_of_vllm_with_its_requests_and_problems() -> None:
    folder = VECTORS / "batch"
    assert detect_format([folder / "output.jsonl", folder / "requests.jsonl"]) == "jsonl"
    read = jsonl.read([folder / "output.jsonl", folder / "requests.jsonl"], folder / "problems.jsonl")
    # Without a benchmark in the rows it is called after the file.
    (cell,) = read.cells
    assert (cell.variant, cell.benchmark, read.size_known) == ("awq-w4g128", "output", {"output": True})
    first, one, two, cut = cell.traces
    assert first.problem_id == "0000-addition" and first.text is not None and "\\boxed{77}" in first.text
    assert (first.finish, first.seed, first.prompt) == (Finish.STOP, 42, "What is 36 + 41?")
    assert (one.problem_id, one.sample, two.sample) == ("0001-multiplication", 0, 1)
    assert (cut.finish, cut.completion_tokens, cut.prompt_tokens) == (Finish.LENGTH, 8, 16)
    assert cut.logprobs is not None and len(cut.logprobs) == 8 and max(cut.logprobs) <= 0
    assert {p.id: p.gold for p in read.problems}["0000-addition"] == "77"


def test_an_empty_file_and_a_folder_of_different_things_say_what_to_do(tmp_path: Path) -> None:
    nothing = tmp_path / "empty.jsonl"
    nothing.touch()
    with pytest.raises(InputError, match=r"empty\.jsonl: is empty"):
        detect_format([nothing])
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "problems.jsonl").write_text('{"problem": "1+1", "answer": "2"}\n', "utf-8")
    with pytest.raises(InputError, match="give the files of responses by themselves"):
        detect_format([folder])
