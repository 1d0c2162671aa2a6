"""The built-in study with vLLM: the same responses as with transformers, and a run that survives being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="needs vllm; run make vllm-test")

from qrm_forensics import builtin
from qrm_forensics.compare import mcnemar_exact
from qrm_forensics.pipeline import make_plan, run
from qrm_forensics.records import Status, Trace
from qrm_forensics.store import Store
from qrm_forensics.study import load_study

RECIPES = ("bf16", "rtn-w3g128", "awq-w3g128", "gptq-w3g128")
STUDY = """
name: vllm-{backend}
models: [builtin]
recipes: [{recipes}]
benchmarks: [{{name: builtin, limit: {limit}}}]
sampling: {{temperature: {temperature}, max_new_tokens: 200, seeds: [{seeds}]}}
calibration: {{samples: 16, length: 128}}
backend:
  name: {backend}
"""
VLLM = """  batch_size: 32
  options: {dtype: float32, kv_cache_memory_bytes: 67108864}
"""


def study_file(
    folder: Path, backend: str, *, recipes: tuple[str, ...], limit: int, temperature: float, seeds: str = "42"
) -> Path:
    text = STUDY.format(backend=backend, recipes=", ".join(recipes), limit=limit, temperature=temperature, seeds=seeds)
    path = folder / f"{backend}.yaml"
    path.write_text(text + VLLM * (backend == "vllm"), encoding="utf-8")
    return path


def made(folder: Path, backend: str, **settings: object) -> Store:
    """A run without its measures, which do not depend on what generated."""
    plan = make_plan(load_study(study_file(folder, backend, **settings)))  # type: ignore[arg-type]
    run(plan, folder / backend, only="generate")
    return run(plan, folder / backend, only="score")


def verdicts(store: Store, variant: str) -> dict[tuple[str, int], bool]:
    rows = store.verdicts(variant).to_pylist()
    return {(r["problem_id"], r["seed"]): r["status"] == Status.CORRECT for r in rows if r["policy"] == "strict"}


def test_greedy_responses_of_every_recipe_are_those_of_transformers(tmp_path: Path) -> None:
    theirs = made(tmp_path, "embedded", recipes=RECIPES, limit=8, temperature=0)
    ours = made(tmp_path, "vllm", recipes=RECIPES, limit=8, temperature=0)
    right = {}
    for recipe in RECIPES:
        # greedy decoding in float32: another order of the same sums may only matter where two logits are almost equal
        assert [_response(t) for t in _sorted(ours, recipe)] == [_response(t) for t in _sorted(theirs, recipe)], recipe
        right[recipe] = sum(verdicts(ours, recipe).values())
        assert verdicts(ours, recipe) == verdicts(theirs, recipe)
    assert right["bf16"] > 3
    info = ours.study["runs"][0]
    assert info["backend"] == "vllm" and set(info["engines"]) == set(RECIPES)
    assert info["engines"]["bf16"]["resolved"]["dtype"] == "float32"


def _sorted(store: Store, variant: str) -> list[Trace]:
    return sorted(store.trace_records(variant, builtin.BENCHMARK), key=lambda t: t.key)


def _response(trace: Trace) -> tuple[object, ...]:
    return (trace.key, trace.token_ids, trace.text, trace.finish)


def test_a_killed_run_goes_on_where_it_was_and_samples_as_well_as_transformers(tmp_path: Path) -> None:
    """One variant, sampled: the accuracy differs from that of transformers by no more than chance does."""
    settings = {"recipes": ("bf16",), "limit": 60, "temperature": 0.6, "seeds": "42, 43"}
    file = study_file(tmp_path, "vllm", **settings)  # type: ignore[arg-type]
    process = subprocess.Popen(
        [sys.executable, "-m", "qrm_forensics", "run", str(file), "--out", "vllm", "--only", "generate"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    journal = tmp_path / "vllm" / "traces" / "bf16" / builtin.BENCHMARK / "journal.jsonl"
    deadline = time.monotonic() + 900
    while process.poll() is None and time.monotonic() < deadline and _lines(journal) < 10:
        time.sleep(0.02)
    assert process.poll() is None, "the run ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    whole = journal.read_text("utf-8").split("\n")[:-1]  # the kill may have cut a line that was being written
    kept = {(r["problem_id"], r["seed"]): r for r in map(json.loads, whole)}
    assert 10 <= len(kept) < 120

    store = made(tmp_path, "vllm", **settings)
    assert store.sealed("bf16", builtin.BENCHMARK)
    traces = _sorted(store, "bf16")
    assert [t.key for t in traces] == sorted({t.key for t in traces}) and len(traces) == 120
    for trace in traces:
        if (trace.problem_id, trace.seed) in kept:
            before = kept[trace.problem_id, trace.seed]
            assert (trace.token_ids, trace.seconds) == (before["token_ids"], before["seconds"])
    assert store.study["runs"][0]["traces_made"] == 120 - len(kept)

    theirs, ours = verdicts(made(tmp_path, "embedded", **settings), "bf16"), verdicts(store, "bf16")
    assert ours.keys() == theirs.keys()
    only_ours = sum(ours[k] and not theirs[k] for k in ours)
    only_theirs = sum(theirs[k] and not ours[k] for k in ours)
    assert mcnemar_exact(only_ours, only_theirs) > 0.01
    assert sum(ours.values()) > 60


def _lines(path: Path) -> int:
    """Whole lines of the journal."""
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0
