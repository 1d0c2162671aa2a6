"""AutoGPTQ's layout, version 1: symmetric, groups in the order of the channels (``desc_act`` false).

Version 1 stores every zero-point less one, which is why an asymmetric grid whose zero-point is 0 cannot be
stored, and vLLM takes symmetric weights only.  ``desc_act`` stays false although GPTQ walks the columns by falling
importance: the groups are fixed beforehand, so the channels of a group lie side by side.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qrm_forensics.quantize.export.packed import Codes, pack_bits, unpack_bits
from qrm_forensics.recipes import Recipe

if TYPE_CHECKING:
    from torch import Tensor


class GPTQ:
    """``qweight`` int32 [columns · bits / 32, rows], ``qzeros`` int32 [groups, rows · bits / 32], ``scales`` [groups, rows], ``g_idx``
    int32 [columns]: the group of each input channel.
    """

    name = "gptq"
    suffixes = ("qweight", "qzeros", "scales", "g_idx")

    def refuse(self, recipe: Recipe) -> str | None:
        if not recipe.symmetric:
            return (
                f"{recipe}: vLLM refuses asymmetric gptq checkpoints (version 1 of the format stores zero-points less one, so 0 "
                "cannot be stored); use --real compressed-tensors"
                + ("" if recipe.method == "awq" else f", or the recipe {recipe.model_copy(update={'symmetric': True})}")
            )
        return None

    def pack(self, codes: Codes) -> dict[str, Tensor]:
        import torch

        columns = codes.codes.shape[1]
        return {
            "qweight": pack_bits(codes.codes, codes.bits).T.contiguous(),
            "qzeros": pack_bits(codes.zero.T - 1, codes.bits),
            "scales": codes.scale.T.contiguous(),
            "g_idx": torch.arange(columns, dtype=torch.int32) // codes.group,
        }

    def unpack(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Codes:
        bits = int(config["bits"])
        zero = unpack_bits(tensors["qzeros"], bits).T.contiguous() + 1
        codes = unpack_bits(tensors["qweight"].T.contiguous(), bits)
        return Codes(codes, tensors["scales"].T.contiguous(), zero, bits, True)

    def config(self, recipe: Recipe, unquantized: Sequence[str]) -> dict[str, Any]:
        layers = dict.fromkeys(m[0] for name in unquantized if (m := re.match(r".*\.\d+(?=\.)", name)))
        # negative matches of GPTQModel, which vLLM reads as well
        skipped: dict[str, dict[str, Any]] = {f"-:{re.escape(layer)}\\..*": {} for layer in layers}
        return {
            "quant_method": "gptq",
            "bits": recipe.weight_bits,
            "group_size": recipe.group_size,
            "sym": True,
            "desc_act": False,
            "static_groups": True,
            "true_sequential": True,
            "lm_head": False,
            "checkpoint_format": "gptq",
        } | ({"dynamic": skipped} if skipped else {})
