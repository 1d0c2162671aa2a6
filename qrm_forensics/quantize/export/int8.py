"""compressed-tensors, ``int-quantized``: int8 weights, and inputs that the engine rounds per token as the model runs.

SmoothQuant W8A8.  Inputs are asymmetric like the simulation's (vLLM takes int8 inputs per token with or without
zero-points; weights without).  No format of checkpoints says that a cache shall be int8, so keys and values are left to the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qrm_forensics.quantize.export.compressed_tensors import scheme
from qrm_forensics.quantize.export.packed import Codes
from qrm_forensics.recipes import Recipe

if TYPE_CHECKING:
    from torch import Tensor

_OFFSET = 128


class Int8:
    """``weight`` int8 [rows, columns], ``weight_scale`` [rows, 1]."""

    name = "compressed-tensors"
    suffixes = ("weight", "weight_scale")

    def refuse(self, recipe: Recipe) -> str | None:
        return None

    def pack(self, codes: Codes) -> dict[str, Tensor]:
        import torch

        return {"weight": (codes.codes.short() - _OFFSET).to(torch.int8), "weight_scale": codes.scale}

    def unpack(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Codes:
        import torch

        scale = tensors["weight_scale"]
        codes = (tensors["weight"].short() + _OFFSET).to(torch.uint8)
        return Codes(codes, scale, torch.full(scale.shape, _OFFSET, dtype=torch.uint8), 8, True)

    def config(self, recipe: Recipe, unquantized: Sequence[str]) -> dict[str, Any]:
        common = {"num_bits": 8, "type": "int", "group_size": None, "actorder": None}
        weights = common | {"symmetric": True, "strategy": "channel", "dynamic": False}
        inputs = common | {"symmetric": False, "strategy": "token", "dynamic": True}
        return scheme("int-quantized", weights, inputs, unquantized)
