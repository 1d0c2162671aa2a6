"""A tiny Qwen2 and calibration windows that every version of every library draws alike; for comparing with llm-compressor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

GROUP = 32
ALPHA = 0.85
VOCABULARY, HIDDEN, INTERMEDIATE = 64, 64, 96


def windows() -> list[list[int]]:
    """Eight windows of 32 token ids."""
    drawn: list[list[int]] = np.random.RandomState(1).randint(3, VOCABULARY, (8, 32)).tolist()
    return drawn


def gptq_case() -> tuple[torch.Tensor, torch.Tensor]:
    """A weight (32 × 96) and its Hessian, of correlated inputs with log-normal channel sizes."""
    random = np.random.RandomState(2)
    mix = random.standard_normal((96, 96)) / 96**0.5 + np.eye(96)
    inputs = random.standard_normal((400, 96)) @ mix * np.exp(random.standard_normal(96))
    weight = random.standard_normal((32, 96)) / 96**0.5
    return torch.from_numpy(weight).float(), torch.from_numpy(2 / len(inputs) * inputs.T @ inputs).float()


def save_sample(folder: Path) -> Path:
    """The checkpoint in float32: two layers, 4 query and 2 key-value heads of 16, QKV biases, channels of very unequal size."""
    from quantize_helpers import save_tiny  # its tokenizer
    from transformers import Qwen2Config, Qwen2ForCausalLM

    save_tiny(folder)
    (folder / "model.safetensors").unlink()
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=INTERMEDIATE,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=None,
    )
    model = Qwen2ForCausalLM(config).eval()
    random = np.random.RandomState(0)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            drawn = torch.from_numpy(random.standard_normal(tuple(parameter.shape))).float()
            if "norm" in name:
                drawn = torch.exp(drawn)
            elif "layers" in name and parameter.dim() == 2:
                drawn = drawn / parameter.shape[1] ** 0.5
            parameter.copy_(drawn)
    model.save_pretrained(folder)
    return folder
