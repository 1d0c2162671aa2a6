"""AutoAWQ's GEMM layout: uint4 with zero-points, packed along the output channels in an order of its own.

The eight nibbles of a word, from the lowest, hold the output channels 0, 2, 4, 6, 1, 3, 5, 7 of their block
(AutoAWQ, ``WQLinear_GEMM``): a kernel that splits even from odd bytes then gets them in turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qrm_forensics.quantize.export.packed import Codes, pack_bits, unpack_bits
from qrm_forensics.recipes import Recipe

if TYPE_CHECKING:
    from torch import Tensor

#: Output channel (within a block of eight) that each nibble of a word holds, from the lowest.
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


class AWQGemm:
    """``qweight`` int32 [columns, rows / 8], ``qzeros`` int32 [groups, rows / 8], ``scales`` [groups, rows].

    Scales keep the dtype of the model: AutoAWQ writes float16, but an engine that runs the model in bfloat16 would round
    float16 scales once more.
    """

    name = "awq"
    suffixes = ("qweight", "qzeros", "scales")

    def refuse(self, recipe: Recipe) -> str | None:
        if recipe.weight_bits != 4 or recipe.symmetric:
            return f"{recipe}: the awq format holds 4 bits with zero-points only; use --real compressed-tensors" + (
                " or --real gptq" if recipe.symmetric else ""
            )
        return None

    def pack(self, codes: Codes) -> dict[str, Tensor]:
        return {
            "qweight": _pack(codes.codes.T),
            "qzeros": _pack(codes.zero.T),
            "scales": codes.scale.T.contiguous(),
        }

    def unpack(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Codes:
        return Codes(
            codes=_unpack(tensors["qweight"]).T.contiguous(),
            scale=tensors["scales"].T.contiguous(),
            zero=_unpack(tensors["qzeros"]).T.contiguous(),
            bits=4,
            symmetric=False,
        )

    def config(self, recipe: Recipe, unquantized: Sequence[str]) -> dict[str, Any]:
        return {
            "quant_method": "awq",
            "bits": 4,
            "group_size": recipe.group_size,
            "zero_point": True,
            "version": "gemm",
            "modules_to_not_convert": list(unquantized),
        }


def _pack(values: Tensor) -> Tensor:
    if values.shape[1] % 8:
        raise ValueError(f"{values.shape[1]} output channels cannot be packed by eights")
    return pack_bits(values.unflatten(1, (-1, 8))[..., list(ORDER)].flatten(1), 4)


def _unpack(words: Tensor) -> Tensor:
    import torch

    blocks = unpack_bits(words, 4).unflatten(1, (-1, 8))
    return blocks[..., torch.argsort(torch.tensor(ORDER))].flatten(1)
