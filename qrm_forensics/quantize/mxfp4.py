"""MXFP4 everywhere: weights, inputs of linears, keys and values in blocks of 32 with a power-of-two scale.

The paper names ``mxfp4-w4a4kv4`` and publishes no code for it; this is round-to-nearest as the OCP specification suggests,
with the two choices that the specification leaves open as options (see :mod:`qrm_forensics.runtime.mxfp`).
"""

from __future__ import annotations

from qrm_forensics.errors import InputError
from qrm_forensics.quantize.adapters import ModelMap, model_map
from qrm_forensics.quantize.affine import sqnr_db
from qrm_forensics.quantize.base import Job, Outcome
from qrm_forensics.recipes import Recipe
from qrm_forensics.runtime import mxfp
from qrm_forensics.runtime.spec import AttentionSpec, CacheSpec, LinearSpec, Rounding, RuntimeSpec


class MXFP4:
    """``mxfp4-w4a4kv4``, with ``+even`` or ``+rceil`` and ``+away``.

    Keys are rounded behind RoPE, queries not at all.  With ``quant_shards`` k the blocks of row-parallel linears must
    not straddle the k parts of their inputs.
    """

    name = "mxfp4"
    version = 1
    calibrated = False

    def refuse(self, recipe: Recipe) -> str | None:
        if recipe.preset != "fixed":
            return f"{recipe}: the paper has neither code nor settings for mxfp4, so there is no preset {recipe.preset}"
        return None

    def quantize(self, job: Job) -> Outcome:
        recipe, source = job.recipe, job.source
        model = model_map(source.config, source.shapes, str(source.folder))
        _check_blocks(recipe, model, source.shapes)
        rounding = Rounding(kind="mxfp4", bits=4, scale_rule=recipe.mx_scale, ties=recipe.mx_ties)
        outcome = Outcome(
            settings={"block": mxfp.BLOCK, "scale": recipe.mx_scale, "ties": recipe.mx_ties, "arithmetic": "float32"}
        )
        linears: dict[str, LinearSpec] = {}
        attention: dict[int, AttentionSpec] = {}
        skipped = recipe.skipped(model.layers)
        outcome.resume(job, model.layers)
        for index in range(model.layers):
            if index not in skipped:
                linears |= {model.name(index, linear): LinearSpec(rounding=rounding) for linear in model.linears}
                attention[index] = AttentionSpec(CacheSpec(rounding), CacheSpec(rounding))
            if job.finished.has(index):
                continue
            for linear in model.linears if index not in skipped else ():
                module = model.name(index, linear)
                stored = source.tensor(f"{module}.weight")
                weight = stored.float()
                rounded = mxfp.fake_quantize(weight, scale_rule=recipe.mx_scale, ties=recipe.mx_ties).to(stored.dtype)
                outcome.tensors[f"{module}.weight"] = rounded
                outcome.modules[module] = {
                    "shape": list(weight.shape),
                    "group": mxfp.BLOCK,
                    "zeros": float((rounded == 0).float().mean()),
                    "weight_sqnr_db": sqnr_db(weight, rounded.float()),
                }
            job.finished.save(index, outcome)
            job.progress(index + 1, model.layers)
        outcome.runtime = RuntimeSpec(str(recipe), linears, attention)
        return outcome


def _check_blocks(recipe: Recipe, model: ModelMap, shapes: dict[str, tuple[int, ...]]) -> None:
    """Every input, per shard where it is split, and every head must be whole blocks."""
    if model.geometry.head_dim % mxfp.BLOCK:
        raise InputError(f"{recipe}: heads of {model.geometry.head_dim} channels are not whole blocks of {mxfp.BLOCK}")
    for linear in model.linears:
        module = model.name(0, linear)
        columns = shapes[f"{module}.weight"][1]
        shards = recipe.quant_shards if linear in model.row_parallel else 1
        if columns % (shards * mxfp.BLOCK):
            raise InputError(
                f"{recipe}: {module} has {columns} input channels, which {shards} shards of blocks of {mxfp.BLOCK} "
                "do not divide"
            )
