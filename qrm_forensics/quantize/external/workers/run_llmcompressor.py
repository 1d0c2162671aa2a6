"""Runs llm-compressor in its own environment: ``python run_llmcompressor.py task.json``.  Imports nothing of this package."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

IGNORED = ["lm_head"]


def main(task: dict[str, Any]) -> None:
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not torch.cuda.is_available():
        _no_pinned_memory()
    model = AutoModelForCausalLM.from_pretrained(task["model"], dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(task["model"])
    ids = task["token_ids"]
    data: dict[str, Any] = {}
    if ids is not None:
        rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in ids]
        data = {
            "dataset": Dataset.from_list(rows),
            "num_calibration_samples": len(rows),
            "max_seq_length": len(ids[0]),
            "shuffle_calibration_samples": False,
        }
    oneshot(model=model, tokenizer=tokenizer, recipe=modifiers(**task["options"]), **data)
    model.save_pretrained(task["out"], save_compressed=True)
    tokenizer.save_pretrained(task["out"])


def modifiers(modifier: str, scheme: str) -> list[Any]:
    """llm-compressor's own defaults; all linears but the lm_head."""
    from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier

    common = {"targets": "Linear", "scheme": scheme, "ignore": IGNORED}
    if modifier == "gptq":
        return [GPTQModifier(**common)]
    if modifier == "awq":
        from llmcompressor.modifiers.transform.awq import AWQModifier

        return [AWQModifier(), QuantizationModifier(**common)]
    if modifier == "smoothquant":
        from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

        return [SmoothQuantModifier(smoothing_strength=0.8), GPTQModifier(**common)]
    return [QuantizationModifier(**common)]


def _no_pinned_memory() -> None:
    """Version 0.14 pins memory even where there is no accelerator to pin it for, and fails."""
    from llmcompressor.pipelines import cache

    def keep(self: Any, *_arguments: Any, **_named: Any) -> Any:
        return self

    if hasattr(cache.IntermediatesCache, "pin_memory"):
        cache.IntermediatesCache.pin_memory = keep


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    main(given)
    packages = ("llmcompressor", "compressed-tensors", "transformers", "torch")
    found = {name: metadata.version(name) for name in packages}
    Path(given["result"]).write_text(json.dumps(found), encoding="utf-8")
