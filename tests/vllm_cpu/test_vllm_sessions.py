"""Engines of the vllm backend that come and go in one process: other weights, other options, and nothing left behind."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="needs vllm; run make vllm-test")

from conftest import OPTIONS

from qrm_forensics import builtin
from qrm_forensics.errors import EnvironmentMissing
from qrm_forensics.generate import get_generator
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import Finish, ModelRef, Request, Trace

MODEL = ModelRef(str(builtin.weights_dir()), None, "bf16", None, "original")


def with_head(folder: Path, value: float) -> ModelRef:
    """The built-in model with one number in all places of its head: with 0 every token is as likely as any other."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(builtin.weights_dir(), folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"].fill_(value)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return replace(MODEL, path=str(folder))


def answer(session: Any) -> Trace:
    (trace,) = session.sample([Request("v", builtin.problems(1)[0], 0, 42)], Sampling(temperature=0, max_new_tokens=20))
    assert isinstance(trace, Trace)
    return trace


def test_loops_are_stopped_where_that_was_asked_for_and_nowhere_else(tmp_path: Path) -> None:
    import llvmlite.binding  # noqa: F401  # as after anything of numba's: vLLM alone cannot start then

    model = with_head(tmp_path / "zeros", 0.0)
    with get_generator("vllm", **OPTIONS).open(model) as session:
        assert answer(session).finish is Finish.LENGTH
        with pytest.raises(EnvironmentMissing, match="already open"), get_generator("vllm", **OPTIONS).open(MODEL):
            pass
        assert answer(session).completion_tokens == 20  # the second has not broken the first

    before = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_DIST_IDENT")}
    options = {
        "repetition_detection": {"max_pattern_size": 4, "min_count": 8},
        "environment": {"QRM_TEST": 1},
        "dtype": "bfloat16",
    }
    with get_generator("vllm", **OPTIONS | options).open(model) as session:
        assert os.environ["QRM_TEST"] == session.describe()["environment"]["QRM_TEST"] == "1"
        assert session.describe()["resolved"]["dtype"] == "bfloat16"
        trace = answer(session)
    assert trace.finish is Finish.LOOP_STOPPED
    assert trace.completion_tokens == len(trace.token_ids or []) == 8 and len(set(trace.token_ids or [])) == 1
    assert trace.logprobs == pytest.approx([-math.log(576)] * 8, abs=1e-4)
    assert "QRM_TEST" not in os.environ and "VLLM_CPU_INT4_W4A8" not in os.environ
    assert before.items() <= os.environ.items()


def test_a_model_without_finite_output_is_an_error_of_its_traces(tmp_path: Path) -> None:
    with get_generator("vllm", **OPTIONS).open(with_head(tmp_path / "nan", math.nan)) as session:
        trace = answer(session)
    assert trace.finish is Finish.ERROR and "not finite" in (trace.error or "")
    assert trace.token_ids is None
