"""One model on two ranks, each in a process of its own: the greedy responses of one."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("vllm", reason="needs vllm; run make vllm-test")

from conftest import OPTIONS

from qrm_forensics import builtin
from qrm_forensics.errors import EnvironmentMissing
from qrm_forensics.generate import get_generator
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import Key, ModelRef, Request, Trace

MODEL = ModelRef(str(builtin.weights_dir()), None, "bf16", None, "original")
REQUESTS = [Request("bf16", problem, 0, 42) for problem in builtin.problems(8)]
#: Without it vLLM binds each rank to a NUMA node of its own, and does not start where there are fewer.
FREE = {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}


def greedy(**options: Any) -> tuple[dict[Key, Trace], dict[str, Any]]:
    with get_generator("vllm", **OPTIONS | options).open(MODEL) as session:
        made = {trace.key: trace for trace in session.sample(REQUESTS, Sampling(temperature=0, max_new_tokens=100))}
        return made, session.describe()


def test_tensor_parallelism_gives_the_same_greedy_traces() -> None:
    alone, _ = greedy()
    shared, said = greedy(tensor_parallel_size=2, environment=FREE)
    assert (
        said["arguments"]["tensor_parallel_size"] == 2 and said["environment"]["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    )
    assert shared.keys() == alone.keys() and len(shared) == len(REQUESTS)
    for key, trace in shared.items():
        assert (trace.token_ids, trace.finish, trace.text) == (alone[key].token_ids, alone[key].finish, alone[key].text)
        assert trace.logprobs == pytest.approx(alone[key].logprobs, abs=1e-4)
    # sums in another order: it was not one rank again
    assert any(trace.logprobs != alone[key].logprobs for key, trace in shared.items())


def test_ranks_that_vllm_cannot_bind_are_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm.utils.cpu_resource_utils.get_visible_memory_node", lambda: [0])
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    with pytest.raises(EnvironmentMissing, match="Not enough allowed NUMA nodes"):
        greedy(tensor_parallel_size=2)
