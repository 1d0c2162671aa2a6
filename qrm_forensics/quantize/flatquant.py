"""FlatQuant: every linear gets a trained transform that flattens its weight and its input, then both are rounded to nearest.

Sun et al., arXiv 2410.09426, as the paper's public code runs it (methods/flatquant): no GPTQ, transforms and clipping factors
are trained layer by layer on full-precision inputs.  See :mod:`qrm_forensics.quantize.flatquant_core`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qrm_forensics.errors import InputError
from qrm_forensics.quantize.adapters import ModelMap, model_map
from qrm_forensics.quantize.affine import sqnr_db
from qrm_forensics.quantize.base import Job, Outcome
from qrm_forensics.quantize.flatquant_core import LayerTransforms, Settings
from qrm_forensics.quantize.flatquant_train import BATCH, CLIP_RATE, EPOCHS, RATE, train_layer
from qrm_forensics.quantize.layerwise import LayerStream
from qrm_forensics.recipes import Recipe
from qrm_forensics.runtime.spec import AttentionSpec, CacheSpec, LinearSpec, Rounding, RuntimeSpec, Transform

if TYPE_CHECKING:
    from torch import Tensor, nn

SEED = 0
#: Where the diagonal of a stage is folded to.
_FOLDED = {"ln": "input_layernorm", "up": "post_attention_layernorm", "down": "mlp.up_proj"}


class FlatQuant:
    """``flatquant-w{b}a{b}kv{b}``: transforms are folded into weights and norms as far as they can be, and the rest is applied
    as the model runs.  ``+plain``: the rounded weights mapped back to their own coordinates, an ordinary checkpoint whose inputs
    and cache are not rounded.
    """

    name = "flatquant"
    version = 2
    calibrated = True

    def refuse(self, recipe: Recipe) -> str | None:
        if recipe.preset == "paper-text":
            return f"{recipe}: the paper's text and code describe the same flatquant; use fixed or paper-code"
        return None

    def quantize(self, job: Job) -> Outcome:
        import torch

        recipe, source = job.recipe, job.source
        model = model_map(source.config, source.shapes, str(source.folder))
        _check_shards(recipe, model)
        assert recipe.weight_bits and recipe.activation_bits and recipe.kv_bits and job.calibration is not None
        settings = Settings(recipe.weight_bits, recipe.activation_bits, recipe.kv_bits, recipe.quant_shards)
        outcome = Outcome(
            settings={
                "epochs": EPOCHS,
                "batch": BATCH,
                "learning_rates": {"transforms": RATE, "clips": CLIP_RATE},
                "optimizer": "AdamW, cosine to a thousandth",
                "inputs": "of the full-precision model",
                "weights": "symmetric, per row and shard, to nearest",
                "stored": recipe.transforms,
            }
        )
        linears: dict[str, LinearSpec] = {}
        attention: dict[int, AttentionSpec] = {}
        skipped = recipe.skipped(model.layers)
        stream = LayerStream(source, job.calibration, torch.float32, windows=BATCH)
        outcome.resume(job, model.layers)
        for index in range(model.layers):
            layer = stream.layer(index)
            peaks = _Peaks(model)
            inputs, arguments = list(stream.batches), stream.arguments
            stream.advance(layer, peaks.watch())
            if index not in skipped and not job.finished.has(index):
                transforms = LayerTransforms(layer, model, settings, peaks.found, SEED + index)
                told = train_layer(layer, model, transforms, inputs, arguments)
                _store(outcome, job, model, index, layer, transforms, told)
                if recipe.transforms == "folded":
                    outcome.side |= _side(transforms, index)
            if index not in skipped and recipe.transforms == "folded":
                linears |= _linears(model, index, settings)
                attention[index] = _attention(settings, index)
            stream.release(index)
            if not job.finished.has(index):
                job.finished.save(index, outcome)
                job.progress(index + 1, model.layers)
        if recipe.transforms == "folded":
            outcome.runtime = RuntimeSpec(str(recipe), linears, attention)
        return outcome


def _check_shards(recipe: Recipe, model: ModelMap) -> None:
    g = model.geometry
    for what, n in (("heads", g.heads), ("inputs of down_proj", g.intermediate)):
        if n % recipe.quant_shards:
            raise InputError(f"{recipe}: {recipe.quant_shards} shards do not divide the {n} {what}")


class _Peaks:
    """Largest |x| per channel of the inputs that have a diagonal."""

    def __init__(self, model: ModelMap) -> None:
        self._stages = dict(zip(("ln", "o", "up", "down"), model.stages, strict=True))
        self.found: dict[str, Tensor] = {}

    def watch(self) -> dict[str, Any]:
        return {stage.linears[0]: self._add(name) for name, stage in self._stages.items() if name != "o"}

    def _add(self, name: str) -> Any:
        def add(x: Tensor) -> None:
            import torch

            largest = x.abs().reshape(-1, x.shape[-1]).amax(0).float()
            self.found[name] = torch.maximum(self.found[name], largest) if name in self.found else largest

        return add


def _store(
    outcome: Outcome,
    job: Job,
    model: ModelMap,
    index: int,
    layer: nn.Module,
    transforms: LayerTransforms,
    told: dict[str, float],
) -> None:
    """Put the layer's new tensors and records into the outcome."""
    source, recipe = job.source, job.recipe
    exact = transforms.transform_weights(layer, exact=True)
    changed = dict(exact)
    for linear in model.linears:
        changed[f"{linear}.weight"] = transforms.round_weight(linear, exact[f"{linear}.weight"])
    records = {
        linear: {"weight_sqnr_db": sqnr_db(exact[f"{linear}.weight"], changed[f"{linear}.weight"])}
        for linear in model.linears
    }
    if recipe.transforms == "plain":
        changed = transforms.restore_weights(changed)
    else:
        for name, where in _FOLDED.items():
            diagonal = transforms.diagonals[name].double()
            if where.endswith("_proj"):  # rows of a symmetric grid per row: scaling commutes with rounding
                changed[f"{where}.weight"] = changed[f"{where}.weight"] * diagonal.unsqueeze(1)
            else:
                changed[f"{where}.weight"] = layer.get_submodule(where).weight.detach().double() * diagonal
    for name, tensor in changed.items():
        full = model.name(index, name)
        outcome.tensors[full] = tensor.to("cpu", source.dtype(full))
    for linear in model.linears:
        rows, columns = layer.get_submodule(linear).weight.shape
        groups = transforms.clips[f"{linear}.weight.low"].shape[1]
        outcome.modules[model.name(index, linear)] = {
            "shape": [rows, columns],
            "group": columns // groups,
            **records[linear],
            **told,
        }


def _side(transforms: LayerTransforms, index: int) -> dict[str, Tensor]:
    """The side tensors of one layer, float32."""
    import torch

    prefix = f"layers.{index}"
    found = {
        f"{prefix}.{name}": m.detach().clone() for name, m in transforms.matrices.items() if name not in ("v", "k")
    }
    k = transforms.matrices["k"][0].detach()
    found |= {f"{prefix}.k": k.clone(), f"{prefix}.k_inverse": torch.linalg.inv(k.double()).float()}
    found[f"{prefix}.head"] = torch.eye(transforms.model.geometry.head_dim, device=k.device)
    for name in transforms.clips:
        thing, _, end = name.rpartition(".")
        if not thing.endswith(".weight"):
            found[f"{prefix}.{name}"] = transforms.clip(thing, end).detach().clone()
    return found


def _linears(model: ModelMap, index: int, settings: Settings) -> dict[str, LinearSpec]:
    """Transforms (their diagonals are folded) and rounding of every linear's input."""
    found = {}
    shards, bits = settings.shards, settings.activation_bits
    for name, stage in zip(("ln", "o", "up", "down"), model.stages, strict=True):
        blocks = shards if name in ("o", "down") else 1
        left, right = ("o", "head") if name == "o" else (f"{name}.left", f"{name}.right")
        transform = Transform(
            "kronecker", blocks, {"left": f"layers.{index}.{left}", "right": f"layers.{index}.{right}"}
        )
        for linear in stage.linears:
            columns = model.geometry.hidden if name in ("ln", "up") else _columns(model, name)
            group = -1 if blocks == 1 else columns // blocks
            clips = {f"clip_{end}": f"layers.{index}.{linear}.input.{end}" for end in ("low", "high")}
            found[model.name(index, linear)] = LinearSpec((transform,), Rounding(bits=bits, group=group, tensors=clips))
    return found


def _columns(model: ModelMap, name: str) -> int:
    g = model.geometry
    return g.heads * g.head_dim if name == "o" else g.intermediate


def _attention(settings: Settings, index: int) -> AttentionSpec:
    bits, prefix = settings.kv_bits, f"layers.{index}"
    roundings = {
        cache: Rounding(bits=bits, tensors={f"clip_{end}": f"{prefix}.{cache}.{end}" for end in ("low", "high")})
        for cache in ("k", "v")
    }
    turn = Transform("matrix", tensors={"matrix": f"{prefix}.k", "inverse": f"{prefix}.k_inverse"})
    return AttentionSpec(CacheSpec(roundings["k"], transform=turn), CacheSpec(roundings["v"]))
