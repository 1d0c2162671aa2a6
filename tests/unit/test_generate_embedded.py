"""The embedded backend on tiny random checkpoints, against transformers' own ``generate`` and forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: E402
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast  # noqa: E402

from qrm_forensics.errors import EnvironmentMissing, InputError  # noqa: E402
from qrm_forensics.generate import get_generator, noise_floor  # noqa: E402
from qrm_forensics.generate.admission import end_tokens  # noqa: E402
from qrm_forensics.generate.embedded import EmbeddedSession  # noqa: E402
from qrm_forensics.recipes import Sampling  # noqa: E402
from qrm_forensics.records import Finish, Kind, ModelRef, Problem, Request, Trace  # noqa: E402
from qrm_forensics.tokenizer import load_tokenizer  # noqa: E402

VOCAB = 300
MAX_LENGTH = 192
SPECIAL = ["<pad>", "<bos>", "<eos>", "<eot>"]
#: Many end tokens, so that random sequences end at very different lengths.
EOS = [258, 259, *range(60, 68)]
SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": MAX_LENGTH,
    "bos_token_id": 257,
    "eos_token_id": 258,
    "pad_token_id": 256,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "qwen2": {},
    "llama": {},
    "qwen3": {"head_dim": 16},
    "mistral": {"sliding_window": 20},
    "qwen2-sliding": {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1},
}


def build(folder: Path, kind: str, **more: Any) -> Path:
    """A checkpoint with a byte-level tokenizer; its head is scaled up so that the logits are far from flat."""
    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(kind.partition("-")[0], **SHAPE, **CONFIGS[kind], **more)
    network = AutoModelForCausalLM.from_config(config)
    network.lm_head.weight.data *= 15
    network.generation_config.eos_token_id = EOS
    network.save_pretrained(folder)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", padding_side="left"
    )
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The work is too small to be shared; on a busy machine threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"), "qwen2")


def opened(path: Path, batch_size: int = 64, **options: Any) -> Any:
    return get_generator("embedded", batch_size=batch_size, device="cpu", **options).open(
        ModelRef(str(path), None, "bf16", None, "original")
    )


def request(i: int, prompt: str | None = None, sample: int = 0, variant: str = "bf16") -> Request:
    prompt = "<bos>" + "abcdefgh "[: 1 + i % 9] * (1 + i % 4) + str(i) if prompt is None else prompt
    return Request(variant, Problem("bench", f"p{i}", "", prompt, "1", Kind.MATH, None, None), sample, 42)


def run(path: Path, requests: list[Request], batch_size: int = 64, **sampling: Any) -> dict[str, Trace]:
    with opened(path, batch_size) as session:
        traces = list(session.sample(requests, Sampling(**{"max_new_tokens": 24, **sampling})))
    assert len(traces) == len(requests)
    return {trace.problem_id: trace for trace in traces}


@pytest.mark.parametrize("kind", CONFIGS)
def test_greedy_equals_transformers_generate(tmp_path: Path, kind: str) -> None:
    path = build(tmp_path, kind)
    prompts = ["<bos>a", "a", "<bos>What is 3 + 4?", "x" * 70, "<bos>" + "loop " * 12]
    made = run(path, [request(i, prompt) for i, prompt in enumerate(prompts)], batch_size=2, temperature=0)
    network, tokenizer = AutoModelForCausalLM.from_pretrained(path), load_tokenizer(path)
    for i, prompt in enumerate(prompts):
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
        mask = torch.ones_like(ids)
        expected = network.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=24)[0, ids.shape[1] :]
        assert made[f"p{i}"].token_ids == expected.tolist()
        assert made[f"p{i}"].prompt_tokens == ids.shape[1]


def test_log_probabilities_and_entropies_equal_one_full_forward_pass(tiny: Path) -> None:
    requests = [request(i) for i in range(12)]
    made = run(tiny, requests, batch_size=5, temperature=0.7, top_p=0.9, max_new_tokens=80)
    network, tokenizer = AutoModelForCausalLM.from_pretrained(tiny), load_tokenizer(tiny)
    for r in requests:
        trace = made[r.problem.id]
        prompt = tokenizer.encode(r.problem.prompt, add_special_tokens=False)
        assert trace.token_ids is not None
        with torch.no_grad():
            logits = network(torch.tensor([prompt + trace.token_ids])).logits[0, len(prompt) - 1 : -1]
        log_p = logits.double().log_softmax(-1)
        expected = log_p.gather(1, torch.tensor(trace.token_ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(trace.logprobs).double(), expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(
            torch.tensor(trace.entropies).double(), -(log_p.exp() * log_p).sum(-1), atol=1e-4, rtol=0
        )


def test_traces_do_not_depend_on_batch_size_order_or_company(tiny: Path) -> None:
    requests = [request(i) for i in range(60)]
    alone = run(tiny, requests, batch_size=1).values()
    for batch_size in (8, 64):
        floor = noise_floor(alone, run(tiny, requests, batch_size).values())
        assert floor.n == 60 and (floor.share or 0) >= 0.99
    some = run(tiny, list(reversed(requests))[::3], batch_size=7).values()
    floor = noise_floor(alone, some)
    assert floor.n == len(some) == 20 and (floor.share or 0) >= 0.99


def test_samples_and_problems_differ_and_variants_share_their_random_numbers(tiny: Path) -> None:
    same_prompt = [request(i, "<bos>go") for i in range(6)] + [replace(request(0, "<bos>go"), sample=1)]
    with opened(tiny) as session:
        sampling = Sampling(max_new_tokens=24, temperature=1.0)
        traces = list(session.sample(same_prompt, sampling))
        other = list(session.sample([replace(r, variant="rtn-w3g128") for r in same_prompt], sampling))
    assert len({tuple(t.token_ids or []) for t in traces}) == 7
    assert {t.key: t.token_ids for t in traces} == {t.key: t.token_ids for t in other}


def scheduled(lengths: list[int], slots: int) -> int:
    """Steps until all are done when each freed slot is refilled at once, in order."""
    free_at = [0] * slots
    for length in lengths:
        slot = free_at.index(min(free_at))
        free_at[slot] += length
    return max(free_at)


def test_a_slot_is_refilled_as_soon_as_its_sequence_ends(tiny: Path) -> None:
    requests = [request(i) for i in range(48)]
    with opened(tiny, 8) as session:
        made = {t.problem_id: t for t in session.sample(requests, Sampling(max_new_tokens=100, temperature=1.0))}
        steps = session.steps
    lengths = [made[r.problem.id].completion_tokens or 0 for r in requests]
    finishes = {t.finish for t in made.values()}
    assert finishes == {Finish.STOP, Finish.LENGTH}  # else this test shows nothing
    assert steps == scheduled(lengths, 8)
    assert steps < 0.8 * sum(max(lengths[i : i + 8]) for i in range(0, 48, 8))


def test_traces_come_as_they_end_and_requests_are_read_as_slots_come_free(tiny: Path) -> None:
    taken = 0

    def source() -> Iterator[Request]:
        nonlocal taken
        for i in range(30):
            taken += 1
            yield request(i)

    with opened(tiny, 4) as session:
        traces = session.sample(source(), Sampling(max_new_tokens=24))
        first = next(traces)
        assert taken == 4
        assert not torch.is_inference_mode_enabled()  # the caller's own tensors stay ordinary
        assert len({first.problem_id, *(t.problem_id for t in traces)}) == 30


def test_the_end_token_is_stored_but_not_decoded_and_other_special_tokens_stay(tiny: Path) -> None:
    made = run(tiny, [request(i) for i in range(60)], max_new_tokens=60, temperature=1.3, top_p=1.0)
    tokenizer = load_tokenizer(tiny)
    ends, specials = set(), 0
    for trace in made.values():
        ids = trace.token_ids
        assert ids is not None and len(ids) == trace.completion_tokens == len(trace.logprobs or []) > 0
        assert len(trace.entropies or []) == len(ids)
        assert not set(ids[:-1]) & set(EOS)
        stopped = ids[-1] in EOS
        assert trace.finish is (Finish.STOP if stopped else Finish.LENGTH)
        assert stopped or len(ids) == 60
        if stopped:
            ends.add(ids[-1])
        kept = ids[:-1] if stopped else ids
        assert trace.text == tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        specials += sum((trace.text or "").count(s) for s in ("<pad>", "<bos>"))
        assert specials == 0 or trace.text is not None
        assert trace.seconds is not None and trace.seconds > 0 and trace.error is None
    assert len(ends) >= 3 and specials > 0


def test_the_models_own_length_is_a_limit_and_is_said(tiny: Path) -> None:
    long = "y" * (MAX_LENGTH - 5)
    requests = [request(0, long), request(1, "y" * MAX_LENGTH), request(2, "<bos>a")]
    made = run(tiny, requests, temperature=0, max_new_tokens=8)
    if made["p0"].finish is Finish.LENGTH:
        assert made["p0"].completion_tokens == 5
        assert (
            made["p0"].error == f"stopped at the model's maximum length of {MAX_LENGTH} tokens, before max_new_tokens"
        )
    assert made["p1"].finish is Finish.ERROR and made["p1"].text is None
    assert made["p1"].error == f"the prompt has {MAX_LENGTH} tokens, which leaves no room in the model's {MAX_LENGTH}"
    assert made["p2"].error is None


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("<bos><bos>hello", "begins with <bos> twice"),
        ("", "the prompt is empty"),
        ("lone \ud800 surrogate", "cannot be tokenised"),
    ],
)
def test_a_bad_prompt_is_one_error_trace_and_the_others_go_on(tiny: Path, prompt: str, message: str) -> None:
    made = run(tiny, [request(0), request(1, prompt), request(2)], batch_size=1)
    assert made["p1"].finish is Finish.ERROR and message in str(made["p1"].error)
    assert made["p0"].finish is not Finish.ERROR and made["p2"].finish is not Finish.ERROR


def test_a_sequence_that_is_not_finite_does_not_touch_the_others(tmp_path: Path) -> None:
    path = build(tmp_path, "qwen2")
    clean = run(path, [request(i) for i in range(12)], batch_size=3)
    network = AutoModelForCausalLM.from_pretrained(path)
    bad = load_tokenizer(path).encode("~", add_special_tokens=False)
    if any(set(bad) & set(t.token_ids or []) for t in clean.values()):
        pytest.fail("pick another poisoned token: a clean trace draws this one")
    network.get_input_embeddings().weight.data[bad] = float("nan")
    network.save_pretrained(path)
    mixed = [request(i) for i in range(12)]
    poisoned = [request(100 + i, "<bos>" + "a" * 15 + "~" + "a" * 15) for i in range(4)]
    for at, r in zip((1, 4, 7, 10), poisoned, strict=True):
        mixed.insert(at, r)
    made = run(path, mixed, batch_size=3)
    for r in poisoned:
        assert made[r.problem.id].finish is Finish.ERROR
        assert "not finite (NaN or infinity) at generated token 0" in str(made[r.problem.id].error)
    assert noise_floor(clean.values(), made.values()).identical == 12


def test_checkpoints_that_cannot_be_run_are_refused_by_name(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot load the model .*nowhere"), opened(tmp_path / "nowhere"):
        pass
    with pytest.raises(EnvironmentMissing, match="'cuda:77'"):
        model = ModelRef(str(tiny), None, "bf16", None, "original")
        get_generator("embedded", device="cuda:77").open(model).__enter__()
    settings = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    path = build(tmp_path / "rope", "llama", rope_parameters=settings, rope_scaling=settings)
    with pytest.raises(InputError, match="depends on the longest sequence"), opened(path, 2):
        pass
    with opened(path, 1) as session:
        assert isinstance(session, EmbeddedSession)


def test_end_tokens_are_those_of_the_generation_config_else_of_the_config(tiny: Path, tmp_path: Path) -> None:
    path = build(tmp_path, "qwen2")
    (path / "generation_config.json").unlink()
    made = run(path, [request(i) for i in range(20)], max_new_tokens=40, temperature=1.0)
    ends = {(t.token_ids or [])[-1] for t in made.values() if t.finish is Finish.STOP}
    assert ends <= {258}
    assert any(set(t.token_ids or []) & set(EOS[2:]) for t in made.values())
    nothing = (SimpleNamespace(), SimpleNamespace(eos_token_id=None))
    assert end_tokens((*nothing, SimpleNamespace(eos_token_id=7)), "m") == {7}
    with pytest.raises(InputError, match="m names no end token"):
        end_tokens(nothing, "m")


def test_loading_draws_no_bar_of_its_own_and_leaves_the_callers_setting(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.utils import logging

    from qrm_forensics.runtime.attach import load_model

    folder = str(build(tmp_path, "qwen2"))
    drawn = []
    load = AutoModelForCausalLM.from_pretrained

    def watched(*given: Any, **options: Any) -> Any:
        drawn.append(logging.is_progress_bar_enabled())
        return load(*given, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", watched)
    capfd.readouterr()
    load_model(folder)
    assert capfd.readouterr() == ("", "")
    assert drawn == [False] and logging.is_progress_bar_enabled()
