"""QuaRot: hidden states, values and inputs of down_proj are rotated so that no channel stands out; keys behind RoPE.

Ashkboos et al., arXiv 2404.00456, as the paper's public code runs it (methods/quarot_gptq), with what is broken there mended:
values are rotated head by head whatever the number of shards, every size with a Hadamard matrix works, and tied embeddings
are untied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qrm_forensics.errors import InputError
from qrm_forensics.quantize import rotation
from qrm_forensics.quantize.adapters import ModelMap, model_map
from qrm_forensics.quantize.base import Job, Outcome, group_sizes
from qrm_forensics.quantize.gptq_layers import GPTQSettings, quantize_layer
from qrm_forensics.quantize.layerwise import LayerStream
from qrm_forensics.quantize.rotated import input_roundings, keep_changed
from qrm_forensics.recipes import Recipe
from qrm_forensics.runtime import hadamard
from qrm_forensics.runtime.attach import attach
from qrm_forensics.runtime.spec import AttentionSpec, CacheSpec, LinearSpec, Rounding, RuntimeSpec, Transform

if TYPE_CHECKING:
    from torch import nn

#: Clipping ratios of the public scripts: of activations, and of keys and values.
ACTIVATION_CLIP, CACHE_CLIP = 0.9, 0.95
#: Seed of the signs (or the direction) of the rotation of hidden states.
SEED = 0


class QuaRot:
    """``quarot-w{b}a{b}kv{b}``, with ``+householder``; for the cache alone see :class:`QuaRotCache`.

    Weights: GPTQ without act_order, per row (row-parallel linears per row and shard), symmetric, range search in the
    2.4-norm.  Inputs: per token, asymmetric, clip 0.9.  Keys behind RoPE, rotated, and values: per token and head, asymmetric, clip
    0.95.
    """

    name = "quarot"
    version = 2
    calibrated = True

    def refuse(self, recipe: Recipe) -> str | None:
        if recipe.preset == "paper-text":
            return f"{recipe}: the paper's text and code describe the same quarot; use fixed or paper-code"
        return None

    def quantize(self, job: Job) -> Outcome:
        model, attention = _cache(job)
        return _whole(job, model, attention)


class QuaRotCache:
    """``quarot-kv{b}``: keys are rotated behind RoPE and rounded, values rounded, and nothing else changes."""

    name = "quarot-kv"
    version = 1
    calibrated = False

    def refuse(self, recipe: Recipe) -> str | None:
        if recipe.preset != "fixed":
            return f"{recipe}: the cache alone is the same in every preset; leave {recipe.preset} out"
        if recipe.rotation == "householder":
            return f"{recipe}: the cache alone needs no rotation of hidden states; leave householder out"
        return None

    def quantize(self, job: Job) -> Outcome:
        model, attention = _cache(job)
        outcome = Outcome(settings={"keys": "rotated behind RoPE", "values": "not rotated", "clip": CACHE_CLIP})
        outcome.runtime = RuntimeSpec(str(job.recipe), attention=attention)
        job.progress(model.layers, model.layers)
        return outcome


def _cache(job: Job) -> tuple[ModelMap, dict[int, AttentionSpec]]:
    """The model, and how the cache of every layer that is not skipped is rounded."""
    recipe, source = job.recipe, job.source
    model = model_map(source.config, source.shapes, str(source.folder))
    assert recipe.kv_bits is not None
    check_sizes(recipe, model)
    rounding = Rounding(bits=recipe.kv_bits, clip=CACHE_CLIP)
    cache = AttentionSpec(CacheSpec(rounding, transform=Transform("hadamard")), CacheSpec(rounding))
    skipped = recipe.skipped(model.layers)
    return model, {index: cache for index in range(model.layers) if index not in skipped}


def check_sizes(recipe: Recipe, model: ModelMap) -> None:
    sizes = {"a head": model.geometry.head_dim}
    if recipe.weight_bits is not None:
        if model.geometry.intermediate % recipe.quant_shards:
            raise InputError(
                f"{recipe}: {recipe.quant_shards} shards do not divide the {model.geometry.intermediate} inputs of down_proj"
            )
        sizes["the input of down_proj"] = model.geometry.intermediate // recipe.quant_shards
    for what, size in sizes.items():
        try:
            hadamard.factors(size)
        except ValueError as error:
            raise InputError(f"{recipe}: {what}: {error}") from None


def _whole(job: Job, model: ModelMap, attention: dict[int, AttentionSpec]) -> Outcome:
    import torch

    recipe, source = job.recipe, job.source
    assert recipe.weight_bits is not None and job.calibration is not None
    shards = recipe.quant_shards
    online = Transform("hadamard", blocks=shards)
    # every layer is rotated, as hidden states are one for all; skipped layers are not rounded
    turned = {model.name(i, "mlp.down_proj"): LinearSpec((online,)) for i in range(model.layers)}
    outcome = Outcome()

    def prepare(network: nn.Module) -> None:
        if rotation.untie(network, model):
            outcome.config["tie_word_embeddings"] = False
        rotation.fuse_norms(network, model)
        q = rotation.hidden_rotation(model.geometry.hidden, recipe.rotation, SEED)
        rotation.rotate_hidden(network, model, q)
        rotation.rotate_values(network, model)
        rotation.rotate_down_input(network, model, shards)
        for part in (model.embedding, model.final_norm, model.lm_head):
            keep_changed(network.get_submodule(part), source, outcome, f"{part}.")
        attach(network, RuntimeSpec(str(recipe), turned), {})

    stream = LayerStream(source, job.calibration, torch.float32, prepare)
    modules = [model.name(index, linear) for index in range(model.layers) for linear in model.linears]
    settings = GPTQSettings(
        bits=recipe.weight_bits,
        symmetric=True,
        act_order=False,
        groups=group_sizes(recipe, model, source.shapes, rows=True),
        dtypes={module: source.dtype(f"{module}.weight") for module in modules},
    )
    outcome.settings = settings.said(model) | _said(recipe)
    outcome.resume(job, model.layers)
    for index in range(model.layers):
        layer = stream.layer(index)
        if job.finished.has(index):
            job.finished.load(index, layer)
            stream.advance(layer)
            stream.release(index)
            continue
        if index in attention:
            outcome.modules |= quantize_layer(stream, index, layer, model, settings, recipe)
        else:
            stream.advance(layer)
        keep_changed(layer, source, outcome, model.name(index, ""))
        job.finished.save(index, outcome, layer, settings.parameters(index, model))
        stream.release(index)
        job.progress(index + 1, model.layers)
    rounded = input_roundings(recipe, model, source.shapes, attention, clip=ACTIVATION_CLIP)
    linears = turned | {
        n: LinearSpec(turned[n].transforms, s.rounding) if n in turned else s for n, s in rounded.items()
    }
    outcome.runtime = RuntimeSpec(str(recipe), linears, attention)
    return outcome


def _said(recipe: Recipe) -> dict[str, Any]:
    return {
        "rotation": recipe.rotation,
        "rotation_seed": SEED,
        "values": "rotated head by head, folded into v_proj and o_proj",
        "down_proj": "input rotated at run time, per shard",
        "keys": "rotated behind RoPE at run time",
        "activation_clip": ACTIVATION_CLIP,
        "cache_clip": CACHE_CLIP,
        "weights": "symmetric, per row and shard",
    }
