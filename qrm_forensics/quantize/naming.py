"""What checkpoint folders are called in the paper's repository."""

from __future__ import annotations

from qrm_forensics.recipes import Recipe


def checkpoint_name(model: str, recipe: Recipe, real: str | None = None) -> str:
    """``<model>-<recipe>-tp<n>`` for a simulated checkpoint, n being the shards that its groups were made for.

    A real one is called ``<model>-quantized.<method>-<format>-<config>``.  Both are names that the importer reads back.
    """
    if not recipe.quantized:
        return f"{model}-{recipe}"
    if real is None:
        plain = recipe.model_copy(update={"quant_shards": 1})
        return f"{model}-{plain}-tp{recipe.quant_shards}"
    config = str(recipe).removeprefix(f"{recipe.method}-")
    return f"{model}-quantized.{recipe.method}-{real.replace('-', '_')}-{config}"
