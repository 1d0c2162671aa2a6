"""Tiny checkpoints of every family, and how far vLLM's log-probabilities lie from those of the transformers path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from quantize_helpers import save_tiny

#: Log-probabilities that differ by less are called the same.
CLOSE = 1e-4
PROMPTS = torch.randint(3, 76, (12, 16), generator=torch.Generator().manual_seed(1)).tolist()


def save_family(folder: Path, family: str, *, dtype: str = "float32", gain: float = 1.0) -> Path:
    """Two layers, hidden 128, 4 heads of 32, 2 of keys; Qwen2 with biases.  Logits vary by about 2.5, as those of real models do:
    with larger ones float32 itself is not good to 1e-4.  ``gain`` multiplies the linears of the layers.
    """
    from safetensors.torch import load_file, save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    save_tiny(folder, dtype=dtype)
    if family != "qwen2":
        config = AutoConfig.for_model(
            family,
            vocab_size=96,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=256,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=1,
        )
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            parameter.data = (
                (noise / 2).exp() if "norm" in name else noise / noise.shape[1] ** (0.5 * ("layers" in name))
            )
        model.to(getattr(torch, dtype)).save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] *= 0.1
    for name in weights:
        if name.endswith("proj.weight"):
            weights[name] *= gain
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@contextmanager
def engine(path: Path, **options: Any) -> Iterator[Any]:
    """vLLM on a checkpoint.  A step takes 24 tokens, so that prompts of 16 are read in parts."""
    from vllm import LLM

    default: dict[str, Any] = {
        "dtype": "float32",
        "max_model_len": 256,
        "max_num_seqs": 8,
        "max_num_batched_tokens": 24,
        "enforce_eager": True,
        "kv_cache_memory_bytes": 32 * 2**20,
        "disable_log_stats": True,
    }
    llm = LLM(model=str(path), **(default | options))
    try:
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()


@dataclass(frozen=True, slots=True)
class Scored:
    """One prompt with vLLM's own greedy continuation: the tokens, and vLLM's log-probability of each but the first."""

    tokens: list[int]
    prompt: int
    logprobs: torch.Tensor


def scored(llm: Any, *, new: int = 8) -> list[Scored]:
    from vllm import SamplingParams

    sampling = SamplingParams(temperature=0, max_tokens=new, prompt_logprobs=0, logprobs=0, ignore_eos=True)
    made = []
    for prompt, answer in zip(
        PROMPTS, llm.generate([{"prompt_token_ids": p} for p in PROMPTS], sampling, use_tqdm=False), strict=True
    ):
        end = answer.outputs[0]
        found = [told[token].logprob for told, token in zip(answer.prompt_logprobs[1:], prompt[1:], strict=True)]
        found += [told[token].logprob for told, token in zip(end.logprobs, end.token_ids, strict=True)]
        made.append(Scored(prompt + list(end.token_ids), len(prompt), torch.tensor(found)))
    return made


def forced(llm: Any, texts: list[Scored]) -> torch.Tensor:
    """Log-probabilities of the same tokens, given as prompts; those of all texts one after the other."""
    from vllm import SamplingParams

    sampling = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0)
    answers = llm.generate([{"prompt_token_ids": text.tokens} for text in texts], sampling, use_tqdm=False)
    return torch.tensor(
        [
            told[token].logprob
            for text, answer in zip(texts, answers, strict=True)
            for told, token in zip(answer.prompt_logprobs[1:], text.tokens[1:], strict=True)
        ]
    )


@dataclass(frozen=True, slots=True)
class Compared:
    """Per token of all texts.  ``off``: \\|vLLM - transformers\\|.  ``own``: by how much the transformers path itself moves under
    relative noise of 3e-7 (float32 has steps of 1.2e-7) behind its norms.  ``greedy``: whether vLLM's token is the likeliest one of
    transformers; of continuations only.
    """

    off: torch.Tensor
    own: torch.Tensor
    greedy: torch.Tensor


def compare(network: Any, texts: list[Scored], *, draws: int = 16) -> Compared:
    off, own, greedy = [], [], []
    for text in texts:
        targets = torch.tensor(text.tokens[1:])
        with torch.no_grad():
            plain = network(torch.tensor([text.tokens])).logits[0, :-1].log_softmax(-1)
        off.append((plain.gather(-1, targets[:, None])[:, 0] - text.logprobs).abs())
        greedy.append((plain.argmax(-1) == targets)[text.prompt - 1 :])
        moved = _noisy(network, text.tokens, draws)[:, :-1].log_softmax(-1)
        moved = moved.gather(-1, targets[None, :, None].expand(draws, -1, 1))[..., 0]
        own.append(moved.amax(0) - moved.amin(0))
    return Compared(torch.cat(off), torch.cat(own), torch.cat(greedy))


def _noisy(network: Any, tokens: list[int], draws: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)

    def disturb(_module: Any, _arguments: Any, out: torch.Tensor) -> torch.Tensor:
        return out * (1 + 3e-7 * torch.randn(out.shape, generator=generator))

    norms = [module for name, module in network.named_modules() if name.endswith("norm")]
    hooks = [module.register_forward_hook(disturb) for module in norms]
    try:
        with torch.no_grad():
            found: torch.Tensor = network(torch.tensor([tokens] * draws), use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()
    return found
