"""A tiny random Qwen2 checkpoint and response files, for the tests of the quantizers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

BOS = "<bos>"


def tiny_model(*, kv_heads: int = 2, tied: bool = False, seed: int = 0, vocab: int = 96) -> Any:
    """Qwen2 with 2 layers, hidden 128, head size 32, QKV biases, and inputs of very unequal channel sizes."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=vocab,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=None,
    )
    model = Qwen2ForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(torch.exp(torch.randn_like(parameter)))
            elif name.endswith("bias"):
                parameter.copy_(torch.randn_like(parameter))
            elif "layers" in name:
                parameter.copy_(torch.randn_like(parameter) / parameter.shape[1] ** 0.5)
            else:
                parameter.copy_(torch.randn_like(parameter))
    return model


def save_tiny(folder: Path, *, dtype: str = "bfloat16", **options: Any) -> Path:
    """The model and a byte-level tokenizer of 96 entries that adds ``<bos>`` where special tokens are asked for."""
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    model = tiny_model(**options).to(getattr(torch, dtype))
    model.save_pretrained(folder)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,?!+-*/=()\n"
    vocabulary = {token: i for i, token in enumerate([BOS, "<eos>", "<unk>", *letters])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    raw.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token=BOS, eos_token="<eos>", unk_token="<unk>")
    fast.save_pretrained(folder)
    return folder


def responses(records: int = 24, seed: int = 0) -> list[dict[str, str]]:
    import random

    rng = random.Random(seed)
    made = []
    for _ in range(records):
        a, b = rng.randint(10, 99), rng.randint(10, 99)
        steps = "".join(f"Wait, try {rng.randint(0, 999)}.\n" for _ in range(12))
        made.append({"full_prompt": f"{BOS}What is {a} + {b}?\n", "generated_text": f"{steps}So it is {a + b}."})
    return made


def write_array(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(records, indent=4), encoding="utf-8")
    return path


def write_lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path
