"""The built-in model as it ships: loads with stock classes, reasons, is really quantized, and survives kill -9."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qrm_forensics import builtin, pipeline
from qrm_forensics.builtin.train import prompt_text, response_text
from qrm_forensics.generate import get_generator, noise_floor
from qrm_forensics.recipes import Recipe, Sampling
from qrm_forensics.records import Finish, ModelRef, Request, Trace
from qrm_forensics.store import Store
from qrm_forensics.study import BenchmarkSpec, CalibrationSpec, Study

pytest.importorskip("torch", reason="the built-in model needs torch")

SAMPLING = Sampling(max_new_tokens=builtin.MAX_NEW_TOKENS)
MODEL = ModelRef(str(builtin.weights_dir()), None, "bf16", None, "original")


def generate(problems: int, batch_size: int) -> list[Trace]:
    requests = [Request("bf16", p, 0, 42) for p in builtin.problems(problems)]
    with get_generator("embedded", batch_size=batch_size).open(MODEL) as session:
        return sorted(session.sample(requests, SAMPLING), key=lambda t: t.key)


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    return generate(48, 48)


def test_it_loads_with_stock_classes_and_its_chat_template_is_the_prompt() -> None:
    import torch
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    model = AutoModelForCausalLM.from_pretrained(builtin.weights_dir())
    tokenizer = PreTrainedTokenizerFast.from_pretrained(builtin.weights_dir())
    assert type(model).__name__ == "Qwen2ForCausalLM" and model.dtype == torch.bfloat16
    assert model.config.hidden_size % 128 == 0 and model.config.intermediate_size % 128 == 0
    assert model.config.num_key_value_heads < model.config.num_attention_heads
    assert not model.config.tie_word_embeddings
    assert model.model.layers[0].self_attn.q_proj.bias is not None
    for problem in builtin.problems(8):
        rendered = tokenizer.apply_chat_template(
            [{"role": "user", "content": problem.question}], tokenize=False, add_generation_prompt=True
        )
        assert rendered == problem.prompt == builtin.prompt_text(problem.question) == prompt_text(problem.question)


def test_the_tokenizer_is_lossless_and_has_one_token_per_digit() -> None:
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(builtin.weights_dir())
    texts = [response_text(w) for _, _, w in builtin.draw(40, held_out=True, seed=7)]
    for text in [*texts, "한글 \u202e <script> 12.5\t\n\n  x", "</think>\nThe answer is \\boxed{1234}."]:
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert len(tokenizer("1234567", add_special_tokens=False)["input_ids"]) == 7
    assert len(tokenizer("</think>", add_special_tokens=False)["input_ids"]) == 1


def test_it_reasons(traces: list[Trace]) -> None:
    """The model card has the figures of the whole benchmark; this is a guard against shipping a broken model."""
    golds = {p.id: p.gold for p in builtin.problems(48)}
    right = [
        t for t in traces if t.text and t.text.endswith(f"</think>\nThe answer is \\boxed{{{golds[t.problem_id]}}}.")
    ]
    assert len(right) >= 0.75 * len(traces)
    assert sum(t.completion_tokens or 0 for t in traces) / len(traces) >= 120


def test_traces_do_not_depend_on_the_batch(traces: list[Trace]) -> None:
    floor = noise_floor(traces, generate(48, 5))
    assert floor.identical >= floor.n - 1, "more than the rounding noise of one trace"


def test_quantizing_to_two_bits_really_breaks_it_and_four_bits_hardly_do(tmp_path: Path) -> None:
    study = Study(
        name="small",
        models=("builtin",),
        recipes=tuple(Recipe.parse(r) for r in ("bf16", "gptq-w4g128", "rtn-w2g128")),
        benchmarks=(BenchmarkSpec(name="builtin", limit=32),),
        sampling=SAMPLING,
        calibration=CalibrationSpec(samples=16, length=128),
    )
    store = pipeline.run(pipeline.make_plan(study), tmp_path / "run")
    right: dict[str, int] = {}
    for row in store.verdicts().to_pylist():
        right[row["variant"]] = right.get(row["variant"], 0) + (
            row["policy"] == "strict" and row["status"] == "correct"
        )
    assert right["rtn-w2g128"] < right["gptq-w4g128"] <= 32
    assert right["bf16"] - right["gptq-w4g128"] <= 10
    manifest = json.loads((store.checkpoint_dir("gptq-w4g128") / "recipe.json").read_text(encoding="utf-8"))
    assert "lm_head" in json.dumps(manifest["full_precision"])
    for trace in store.trace_records("bf16", builtin.BENCHMARK):
        assert trace.finish in (Finish.STOP, Finish.LENGTH)
        assert len(trace.token_ids or ()) == len(trace.logprobs or ()) == len(trace.entropies or ())


STUDY = """
name: killed
models: [builtin]
recipes: [bf16, rtn-w2g128]
benchmarks: [{name: builtin, limit: 24}]
sampling: {max_new_tokens: 400}
"""


@pytest.mark.slow
def test_kill_nine_three_times_then_run_gives_what_an_uninterrupted_run_gives(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    arguments = [sys.executable, "-m", "qrm_forensics", "run", "study.yaml", "--out"]
    subprocess.run([*arguments, "whole"], cwd=tmp_path, check=True, capture_output=True, timeout=900)
    rng, kills = random.Random(5), 0
    for _ in range(3):
        process = subprocess.Popen(
            [*arguments, "cut"], cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        # Kill at a random moment after the first trace of this attempt, or whenever it ends by itself.
        before, deadline = _finished(tmp_path / "cut"), time.monotonic() + 120
        while process.poll() is None and _finished(tmp_path / "cut") == before and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(rng.random() * 0.3)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills == 3, "an attempt ended before it could be killed"
    subprocess.run([*arguments, "cut"], cwd=tmp_path, check=True, capture_output=True, timeout=900)
    whole, cut = Store(tmp_path / "whole"), Store(tmp_path / "cut")
    plan = pipeline.make_plan(pipeline_study(tmp_path))
    for variant in ("bf16", "rtn-w2g128"):
        planned = sorted(r.key for r in plan.requests(variant, builtin.BENCHMARK))
        assert sorted(cut.trace_keys(variant, builtin.BENCHMARK)) == planned
        assert cut.sealed(variant, builtin.BENCHMARK)
        floor = noise_floor(
            whole.trace_records(variant, builtin.BENCHMARK), cut.trace_records(variant, builtin.BENCHMARK)
        )
        assert floor.identical >= floor.n - 1


def pipeline_study(folder: Path) -> Study:
    from qrm_forensics.study import load_study

    return load_study(folder / "study.yaml")


def _finished(run: Path) -> int:
    """Traces that are on disk: journal lines and the rows of parts."""
    lines = 0
    for journal in run.glob("traces/*/*/journal.jsonl"):
        with contextlib.suppress(FileNotFoundError):  # made a part since
            lines += journal.read_bytes().count(b"\n")
    return lines + 1000 * len(list(run.glob("traces/*/*/part-*.parquet")))
