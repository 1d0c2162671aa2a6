"""Makes llmcompressor.json: what llm-compressor 0.14.0.1 does to a tiny model, as figures to compare our quantizers with.

    python tests/vectors/make_llmcompressor.py      # in an environment with llmcompressor==0.14.0.1 and torch 2.13

The model and the calibration windows are drawn with numpy's RandomState, whose streams do not change between versions; the test
draws them again (``tests/llmcompressor_sample.py``).
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llmcompressor_sample import ALPHA, GROUP, gptq_case, save_sample, windows


def awq(bits: int) -> dict[str, Any]:
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform import AWQModifier
    from llmcompressor.pipelines import cache
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Without an accelerator the library stops at pinning memory for it.
    cache.IntermediatesCache._pin_intermediate = classmethod(lambda cls, value: None)
    with tempfile.TemporaryDirectory() as folder:
        save_sample(Path(folder))
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        before = {k: v.clone() for k, v in model.state_dict().items()}
        arguments = QuantizationArgs(num_bits=bits, symmetric=False, strategy="group", group_size=GROUP)
        scheme = QuantizationScheme(targets=["Linear"], weights=arguments)
        data = Dataset.from_list([{"input_ids": w, "attention_mask": [1] * len(w)} for w in windows()])
        oneshot(
            model=model,
            tokenizer=tokenizer,
            dataset=data,
            recipe=[
                AWQModifier(duo_scaling=False, n_grid=21),
                QuantizationModifier(config_groups={"all": scheme}, ignore=["lm_head"]),
            ],
            max_seq_length=len(windows()[0]),
            num_calibration_samples=len(windows()),
        )
        after = model.state_dict()
    found = {}
    for name, tensor in before.items():
        if "layernorm" in name:
            found[name] = (tensor / after[name]).tolist()
    return found


def smoothquant() -> dict[str, Any]:
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.transform import SmoothQuantModifier
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        save_sample(Path(folder))
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        before = {k: v.clone() for k, v in model.state_dict().items()}
        data = Dataset.from_list([{"input_ids": w, "attention_mask": [1] * len(w)} for w in windows()])
        oneshot(
            model=model,
            tokenizer=AutoTokenizer.from_pretrained(folder),
            dataset=data,
            recipe=[SmoothQuantModifier(smoothing_strength=ALPHA)],
            max_seq_length=len(windows()[0]),
            num_calibration_samples=len(windows()),
        )
        after = model.state_dict()
    return {k: (v / after[k]).tolist() for k, v in before.items() if "layernorm" in k}


def gptq(bits: int) -> list[list[int]]:
    """Codes [rows, columns]; grids by smallest and largest value of the original groups, columns by descending diagonal."""
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.utils import calculate_qparams
    from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight

    weight, hessian = gptq_case()
    arguments = QuantizationArgs(num_bits=bits, symmetric=False, strategy="group", group_size=GROUP, actorder="weight")
    parts = weight.unflatten(1, (-1, GROUP))
    scale, zero = calculate_qparams(parts.amin(-1), parts.amax(-1), arguments)
    found = quantize_weight(
        weight[None].clone(),
        hessian[None].clone(),
        scale[None],
        zero[None],
        None,
        arguments,
        blocksize=128,
        percdamp=0.01,
    )
    wide_scale, wide_zero = scale.repeat_interleave(GROUP, 1), zero.repeat_interleave(GROUP, 1)
    codes: list[list[int]] = (found[0][0] / wide_scale + wide_zero).round().int().tolist()
    return codes


if __name__ == "__main__":
    made = {"awq-4": awq(4), "awq-3": awq(3), "smoothquant": smoothquant(), "gptq-4": gptq(4), "gptq-3": gptq(3)}
    Path(__file__).with_name("llmcompressor.json").write_text(json.dumps(made) + "\n", encoding="utf-8")
