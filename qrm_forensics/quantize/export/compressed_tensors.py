"""compressed-tensors, ``pack-quantized``: int4 weights with or without zero-points, int8 without.

What llm-compressor writes and vLLM, SGLang and transformers read (W4A16, ``W4A16_ASYM``).  Codes are packed along the
input channels, zero-points along the output channels, both without gaps; an asymmetric zero-point is stored
unsigned here, as in every layout of this package: the library's signed one plus 2^(bits-1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qrm_forensics.quantize.export.packed import Codes, pack_bits, unpack_bits
from qrm_forensics.recipes import Recipe

if TYPE_CHECKING:
    from torch import Tensor


class CompressedTensors:
    """``weight_packed`` int32 [rows, columns · bits / 32], ``weight_scale`` [rows, groups], ``weight_shape`` int64 [2], and
    where the grid is asymmetric ``weight_zero_point`` int32 [rows · bits / 32, groups].
    """

    name = "compressed-tensors"
    suffixes = ("weight_packed", "weight_scale", "weight_zero_point", "weight_shape")

    def refuse(self, recipe: Recipe) -> str | None:
        return None

    def pack(self, codes: Codes) -> dict[str, Tensor]:
        import torch

        packed = {
            "weight_packed": pack_bits(codes.codes, codes.bits),
            "weight_scale": codes.scale,
            "weight_shape": torch.tensor(codes.codes.shape),
        }
        if not codes.symmetric:
            packed["weight_zero_point"] = pack_bits(codes.zero.T, codes.bits).T.contiguous()
        return packed

    def unpack(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Codes:
        import torch

        weights = config["config_groups"]["group_0"]["weights"]
        bits, symmetric = int(weights["num_bits"]), bool(weights["symmetric"])
        scale = tensors["weight_scale"]
        if symmetric:
            zero = torch.full(scale.shape, 2 ** (bits - 1), dtype=torch.uint8)
        else:
            zero = unpack_bits(tensors["weight_zero_point"].T, bits).T.contiguous()
        return Codes(unpack_bits(tensors["weight_packed"], bits), scale, zero, bits, symmetric)

    def config(self, recipe: Recipe, unquantized: Sequence[str]) -> dict[str, Any]:
        grouped = recipe.group_size != -1
        weights = {
            "num_bits": recipe.weight_bits,
            "type": "int",
            "symmetric": recipe.symmetric,
            "strategy": "group" if grouped else "channel",
            "group_size": recipe.group_size if grouped else None,
            "dynamic": False,
            "actorder": None,
        }
        return scheme("pack-quantized", weights, None, unquantized)


def scheme(
    layout: str, weights: dict[str, Any], inputs: dict[str, Any] | None, unquantized: Sequence[str]
) -> dict[str, Any]:
    """``quantization_config`` with one scheme for all linears but the named ones."""
    group = {
        "targets": ["Linear"],
        "weights": weights,
        "input_activations": inputs,
        "output_activations": None,
        "format": layout,
    }
    return {
        "quant_method": "compressed-tensors",
        "format": layout,
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": list(unquantized),
        "kv_cache_scheme": None,
    }
