"""A copy of a checkpoint with a huge key bias that computes exactly the same function.

The built-in model has key biases of ordinary size; R1-Distill-Qwen-1.5B has one of 402, on which rotated 4-bit caches fail.  RoPE
turns the channels i and i + d/2 of a head together, so both may be multiplied by s in the keys (weight rows and bias) and divided by
s in the queries: every product of a query and a key stays as it is, whatever the positions.  The pair with the largest key bias
of every head is brought to the wanted size.

    python bench/plant_key_bias.py SOURCE OUT [--size 400]
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any


def plant(tensors: dict[str, Any], config: dict[str, Any], size: float) -> list[dict[str, float]]:
    """Change ``tensors`` (name -> tensor) in place, in float64; returns layer, head, factor and new bias of each pair."""
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    dim = config.get("head_dim") or config["hidden_size"] // heads
    told = []
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}.self_attn"
        bias = tensors[f"{name}.k_proj.bias"].double().view(groups, dim)
        for group in range(groups):
            pair = bias[group].abs().view(2, dim // 2).amax(0)
            i = int(pair.argmax())
            factor = size / float(pair[i])
            # a power of two loses nothing in any float format
            factor = 2.0 ** round(math.log2(factor))
            for channel in (i, i + dim // 2):
                row = group * dim + channel
                for part in ("weight", "bias"):
                    tensors[f"{name}.k_proj.{part}"][row] *= factor
                for head in range(group * heads // groups, (group + 1) * heads // groups):
                    for part in ("weight", "bias"):
                        tensors[f"{name}.q_proj.{part}"][head * dim + channel] /= factor
            told.append({"layer": layer, "head": group, "factor": factor, "bias": float(pair[i]) * factor})
    return told


def plant_checkpoint(source: Path, out: Path, size: float) -> list[dict[str, float]]:
    """Write the planted copy of the checkpoint folder ``source`` to the new folder ``out``."""
    from safetensors.torch import load_file, save_file

    from qrm_forensics.weights import side_files

    tensors = load_file(source / "model.safetensors")
    told = plant(tensors, json.loads((source / "config.json").read_text(encoding="utf-8")), size)
    out.mkdir(parents=True)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    for file in side_files(source):
        (out / file.name).write_bytes(file.read_bytes())
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=float, default=400.0)
    given = parser.parse_args()
    for row in plant_checkpoint(given.source, given.out, given.size):
        print(f"layer {row['layer']} head {row['head']}: x {row['factor']:g}, bias {row['bias']:.1f}")


if __name__ == "__main__":
    main()
