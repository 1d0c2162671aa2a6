"""Real checkpoints: integer codes, scales and zero-points in the formats that inference engines read.

The codes are those that the quantizer chose, and their scales were rounded to the stored dtype *before* the codes were
computed, so that dequantizing such a checkpoint gives the simulated weights bit by bit
(:mod:`~qrm_forensics.quantize.export.verify`).  What vLLM's kernels do not take is refused here, with the reason, instead of
being found out when somebody loads the result.  Formats: ``compressed-tensors`` (the default; int4 packed, int8 as it
is), ``awq`` (AutoAWQ's GEMM layout) and ``gptq`` (AutoGPTQ's, version 1).
"""

from __future__ import annotations

import difflib
import importlib
from typing import cast

from qrm_forensics.errors import RecipeError
from qrm_forensics.quantize.export.packed import PackedFormat
from qrm_forensics.recipes import Recipe

DEFAULT = "compressed-tensors"
#: name on the command line -> "module:Class", imported when asked for.
FORMATS = {
    "compressed-tensors": "qrm_forensics.quantize.export.compressed_tensors:CompressedTensors",
    "awq": "qrm_forensics.quantize.export.awq:AWQGemm",
    "gptq": "qrm_forensics.quantize.export.gptq:GPTQ",
}
_INT8 = "qrm_forensics.quantize.export.int8:Int8"
#: Groups that the Marlin kernels of vLLM have (``MARLIN_SUPPORTED_GROUP_SIZES``); -1 is a whole row.
KERNEL_GROUPS = (-1, 32, 64, 128)
#: Methods whose weights alone are rounded, so that codes say all.
WEIGHTS_ONLY = ("rtn", "awq", "gptq")


def packed_format(name: str, recipe: Recipe) -> PackedFormat:
    """The format called ``name`` for ``recipe``.

    Raises RecipeError for an unknown format, and where the recipe cannot be stored in it.
    """
    if name not in FORMATS:
        near = difflib.get_close_matches(name, FORMATS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known formats: {', '.join(FORMATS)}"
        raise RecipeError(f"unknown format {name!r} of real checkpoints; {hint}")
    reason = refuse_real(recipe, name)
    if reason:
        raise RecipeError(reason)
    return _format(name, recipe)


def refuse_real(recipe: Recipe, name: str = DEFAULT) -> str | None:
    """Why ``recipe`` cannot become a real checkpoint in the format ``name``, in one line; None where it can."""
    if not recipe.quantized:
        return f"{recipe}: nothing is quantized, so there are no codes to pack; leave --real out"
    if recipe.method == "smoothquant":
        return _refuse_smoothquant(recipe, name)
    if recipe.method not in WEIGHTS_ONLY:
        return (
            f"{recipe}: has no real checkpoint: what {recipe.method} rounds or transforms while the model runs is in no format "
            "that engines read; leave --real out, the result then runs through the simulation"
        )
    if recipe.weight_bits not in (4, 8):
        return (
            f"{recipe}: no kernel of vLLM takes {recipe.weight_bits}-bit weights (4, or 8 symmetric); leave --real out"
        )
    if recipe.weight_bits == 8 and not recipe.symmetric:
        return f"{recipe}: the kernels of vLLM take 8-bit weights without zero-points only; use {_symmetric(recipe)}"
    if recipe.group_size not in KERNEL_GROUPS:
        return f"{recipe}: the kernels of vLLM take groups of 32, 64 or 128 input channels, or whole rows (g-1)"
    if recipe.group_size == -1 and recipe.quant_shards != 1:
        return (
            f"{recipe}: the rows of o_proj and down_proj would be cut in {recipe.quant_shards} and those of the others not, "
            "which no format can say; use a group size, or one shard"
        )
    return _format(name, recipe).refuse(recipe)


def _refuse_smoothquant(recipe: Recipe, name: str) -> str | None:
    if name != DEFAULT:
        return f"{recipe}: rounds activations too, which the {name} format cannot say; use --real {DEFAULT}"
    if (recipe.weight_bits, recipe.activation_bits) != (8, 8):
        return f"{recipe}: engines multiply integers of 8 bits, so only smoothquant-w8a8kv8 has a real checkpoint"
    if recipe.quant_shards != 1:
        return f"{recipe}: an int8 checkpoint has one scale per row and per token; use one shard"
    return None


def _symmetric(recipe: Recipe) -> str:
    changed = recipe.model_copy(update={"symmetric": True})
    return f"gptq-w{recipe.weight_bits}g{recipe.group_size}sym" if recipe.method == "awq" else str(changed)


def _format(name: str, recipe: Recipe) -> PackedFormat:
    module, _, attribute = (_INT8 if recipe.method == "smoothquant" else FORMATS[name]).partition(":")
    return cast(PackedFormat, getattr(importlib.import_module(module), attribute)())
