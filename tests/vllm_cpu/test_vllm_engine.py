"""The vllm backend against the embedded one, and what it does with seeds, ends, errors and formats that are only pretended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="needs vllm; run make vllm-test")

from conftest import OPTIONS

from qrm_forensics import builtin
from qrm_forensics.errors import InputError
from qrm_forensics.generate import get_generator
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import Finish, Key, ModelRef, Problem, Request, Trace

MODEL = ModelRef(str(builtin.weights_dir()), None, "bf16", None, "original")
PROBLEMS = builtin.problems(24)
GREEDY = Sampling(temperature=0, max_new_tokens=160)


def request(problem: Problem, sample: int = 0, seed: int = 42) -> Request:
    return Request("bf16", problem, sample, seed)


def answers(session: Any, requests: Iterable[Request], sampling: Sampling) -> dict[Key, Trace]:
    made = list(session.sample(requests, sampling))
    found = {trace.key: trace for trace in made}
    assert len(found) == len(made)
    return found


def test_greedy_traces_are_those_of_transformers(builtin_session: Any) -> None:
    requests = [request(p) for p in PROBLEMS]
    ours = answers(builtin_session, requests, GREEDY)
    with get_generator("embedded").open(MODEL) as session:
        theirs = answers(session, requests, GREEDY)
    assert ours.keys() == theirs.keys()
    assert {t.finish for t in ours.values()} == {Finish.STOP, Finish.LENGTH}
    for key, trace in ours.items():
        twin = theirs[key]
        same = ("token_ids", "text", "finish", "error", "prompt", "prompt_tokens", "completion_tokens")
        assert [getattr(trace, name) for name in same] == [getattr(twin, name) for name in same]
        assert trace.logprobs == pytest.approx(twin.logprobs, abs=1e-4)
        assert trace.entropies is None
        assert trace.seconds is not None and trace.seconds > 0


def test_a_sample_is_its_own_and_does_not_depend_on_its_company(builtin_session: Any) -> None:
    sampling = Sampling(temperature=2.0, top_p=1.0, max_new_tokens=60)
    requests = [request(p, sample, seed) for p in PROBLEMS[:3] for sample in (0, 1) for seed in (42, 43)]
    together = answers(builtin_session, requests, sampling)
    for one in requests[:4]:
        alone = answers(builtin_session, [one], sampling)
        assert alone[one.key].token_ids == together[one.key].token_ids
        assert alone[one.key].logprobs == pytest.approx(together[one.key].logprobs, abs=1e-4)
    first = [tuple(together[r.key].token_ids or ()) for r in requests[:4]]
    assert len(set(first)) == 4, "samples and seeds of one problem share their random numbers"
    other_variant = [replace(r, variant="another") for r in requests[:4]]
    again = answers(builtin_session, other_variant, sampling)
    assert [tuple(again[r.key].token_ids or ()) for r in requests[:4]] == first


def test_log_probabilities_are_those_before_temperature_and_filters(builtin_session: Any) -> None:
    """A nucleus of one token leaves no choice, yet the log-probability is that of the whole distribution."""
    narrow = answers(builtin_session, [request(PROBLEMS[0])], Sampling(temperature=0.6, top_p=1e-6, max_new_tokens=60))
    greedy = answers(builtin_session, [request(PROBLEMS[0])], Sampling(temperature=0, max_new_tokens=60))
    (one,), (other,) = narrow.values(), greedy.values()
    assert one.token_ids == other.token_ids
    assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
    assert min(one.logprobs or []) < -1e-3


def test_the_end_token_is_in_the_ids_and_not_in_the_text(builtin_session: Any) -> None:
    made = answers(builtin_session, [request(p) for p in PROBLEMS], GREEDY)
    stopped = next(t for t in made.values() if t.finish is Finish.STOP)
    cut = next(t for t in made.values() if t.finish is Finish.LENGTH)
    assert stopped.token_ids and stopped.token_ids[-1] == 2
    assert stopped.text and stopped.text.endswith("}.") and "</think>" in stopped.text
    assert cut.completion_tokens == len(cut.token_ids or []) == len(cut.logprobs or []) == GREEDY.max_new_tokens


def test_requests_are_read_as_places_come_free_and_traces_come_as_they_end(builtin_session: Any) -> None:
    read = 0

    def reading() -> Iterator[Request]:
        nonlocal read
        for sample in range(10):
            for problem in PROBLEMS:
                read += 1
                yield request(problem, sample)

    traces = builtin_session.sample(reading(), Sampling(max_new_tokens=100))
    first = next(traces)
    assert read == OPTIONS["batch_size"] < 240
    assert (first.completion_tokens or 0) < 100
    traces.close()
    # Nothing of what was given up is left in the engine.
    assert not builtin_session._driver._engine.has_unfinished_requests()
    assert len(answers(builtin_session, [request(PROBLEMS[0])], GREEDY)) == 1


def test_what_is_wrong_with_one_request_is_its_own_trace(builtin_session: Any) -> None:
    good = PROBLEMS[0]
    tokenizer = builtin_session._tokenizer
    bos = tokenizer.bos_token
    bad = {
        "twice": (bos + bos + good.prompt, "begins with"),
        "empty": ("", "is empty"),
        "long": (good.prompt * 200, "leaves no room in the model's 2048"),
    }
    requests = [request(replace(good, id=name, prompt=prompt)) for name, (prompt, _) in bad.items()]
    made = answers(builtin_session, [*requests, request(good)], GREEDY)
    for name, (_, message) in bad.items():
        trace = made[(name, 0, 42)]
        assert trace.finish is Finish.ERROR and message in (trace.error or "")
        assert trace.text is trace.token_ids is trace.logprobs is None
    assert made[(good.id, 0, 42)].finish is Finish.STOP
    # A prompt that nearly fills the model says why its answer ended early.
    ids = tokenizer.encode(good.prompt, add_special_tokens=False)
    near = tokenizer.decode(ids[:1] + ids[1:] * 200, skip_special_tokens=False)
    near_ids = tokenizer.encode(near, add_special_tokens=False)[:2045]
    near = request(replace(good, id="near", prompt=tokenizer.decode(near_ids, skip_special_tokens=False)))
    (trace,) = answers(builtin_session, [near], GREEDY).values()
    assert trace.finish is Finish.LENGTH and "maximum length of 2048" in (trace.error or "")
    assert (trace.prompt_tokens, trace.completion_tokens) == (2045, 3)


def test_temperatures_that_vllm_would_change_are_refused(builtin_session: Any) -> None:
    for temperature in (0.005, 3.0):
        with pytest.raises(InputError, match="vLLM takes temperatures"):
            builtin_session.sample([], Sampling(temperature=temperature))


def test_a_session_says_what_it_runs_on(builtin_session: Any) -> None:
    import vllm

    said = json.loads(json.dumps(builtin_session.describe()))
    assert said["vllm"] == vllm.__version__ and said["platform"] == "cpu"
    assert said["resolved"]["dtype"] == "float32" and said["resolved"]["max_num_seqs"] == OPTIONS["batch_size"]
    assert said["arguments"]["logprobs_mode"] == "raw_logprobs"
    assert said["environment"]["VLLM_CPU_INT4_W4A8"] == "0"


@pytest.mark.parametrize("dtype", ["turboquant_4bit_nc", "turboquant_3bit_nc", "int4_per_token_head", "nvfp4"])
def test_cache_types_that_the_cpu_only_pretends_to_have_are_refused(dtype: str) -> None:
    from vllm.config.cache import CacheDType
    from vllm.platforms import current_platform
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    from qrm_forensics.generate.vllm_platform import platform_spec

    assert dtype in CacheDType.__args__, "vLLM itself takes it"
    assert platform_spec(current_platform).kv_dtypes == tuple(CPUAttentionBackend.supported_kv_cache_dtypes)
    backend = get_generator("vllm", kv_cache_dtype=dtype)
    with pytest.raises(InputError, match=f"kv_cache_dtype '{dtype}'"), backend.open(MODEL):
        pass


def test_engine_arguments_are_checked_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'max_num_batched_tokens'"):
        get_generator("vllm", engine={"max_num_batch_tokens": 7}).check()  # type: ignore[attr-defined]
    backend = get_generator("vllm", engine={"max_num_batched_tokens": 4096})
    backend.check()  # type: ignore[attr-defined]
    nowhere = replace(MODEL, path=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="nowhere"), backend.open(nowhere):
        pass
