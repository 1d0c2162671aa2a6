"""SmoothQuant: outliers of activations are moved into weights before both are rounded to 8 bits.

Xiao et al., arXiv 2211.10438, equation 4: s_j = max |X_j|^α / max |W_j|^(1-α), with the settings of the paper's public code
(methods/smoothquant): α = 0.85, only what a norm feeds is smoothed, weights by GPTQ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qrm_forensics.quantize.adapters import ModelMap, Stage, model_map
from qrm_forensics.quantize.awq import fold_scale
from qrm_forensics.quantize.base import Job, Outcome, group_sizes
from qrm_forensics.quantize.gptq_layers import GPTQSettings, quantize_layer
from qrm_forensics.quantize.layerwise import LayerStream
from qrm_forensics.quantize.rotated import input_roundings, keep_changed
from qrm_forensics.recipes import Recipe
from qrm_forensics.runtime.spec import AttentionSpec, CacheSpec, Rounding, RuntimeSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from qrm_forensics.quantize.affine import AffineGrid

ALPHA = 0.85
#: The smallest maximum and the smallest scale, so that a silent channel is not blown up.
TINY = 1e-5


class SmoothQuant:
    """``smoothquant-w{b}a{b}kv{b}``: weights per row (and shard), symmetric, by GPTQ; inputs per token, keys behind RoPE and
    values per token and head, asymmetric, without clipping or rotation.
    """

    name = "smoothquant"
    version = 2
    calibrated = True

    def refuse(self, recipe: Recipe) -> str | None:
        return None

    def quantize(self, job: Job) -> Outcome:
        import torch

        recipe, source = job.recipe, job.source
        model = model_map(source.config, source.shapes, str(source.folder))
        assert recipe.weight_bits is not None and recipe.kv_bits is not None and job.calibration is not None
        modules = [model.name(index, linear) for index in range(model.layers) for linear in model.linears]
        settings = GPTQSettings(
            bits=recipe.weight_bits,
            symmetric=True,
            act_order=False,
            groups=group_sizes(recipe, model, source.shapes, rows=True),
            dtypes={module: source.dtype(f"{module}.weight") for module in modules},
            real=job.real is not None,
        )
        outcome = Outcome(settings=settings.said(model) | {"alpha": ALPHA, "smoothed": "what a norm feeds"})
        kept = [index for index in range(model.layers) if index not in recipe.skipped(model.layers)]
        stream = LayerStream(source, job.calibration, torch.float32)
        outcome.resume(job, model.layers)
        for index in range(model.layers):
            layer = stream.layer(index)
            if job.finished.has(index):
                job.finished.load(index, layer)
                stream.advance(layer)
                stream.release(index)
                continue
            if index in kept:
                smoothed = smooth_layer(stream, layer, model)
                made: dict[str, tuple[AffineGrid, Tensor]] = {}
                records = quantize_layer(stream, index, layer, model, settings, recipe, made)
                for linear in model.linears:
                    module = model.name(index, linear)
                    outcome.modules[module] = records[module] | {"smoothing": smoothed.get(linear)}
                keep_changed(layer, source, outcome, model.name(index, ""))
                outcome.pack(job, made)
            else:
                stream.advance(layer)
            job.finished.save(index, outcome, layer, settings.parameters(index, model))
            stream.release(index)
            job.progress(index + 1, model.layers)
        if job.real is not None:  # the engine rounds the inputs by itself
            return outcome
        cache = CacheSpec(Rounding(bits=recipe.kv_bits))
        linears = input_roundings(recipe, model, source.shapes, kept, clip=1.0)
        outcome.runtime = RuntimeSpec(str(recipe), linears, dict.fromkeys(kept, AttentionSpec(cache, cache)))
        return outcome


def smooth_layer(stream: LayerStream, layer: nn.Module, model: ModelMap) -> dict[str, dict[str, Any]]:
    """Fold the scales of one layer into its norms and the linears that they feed; the manifest's record per linear."""
    stages = [stage for stage in model.stages if stage.source in model.norms]
    peaks = {stage: _Peak() for stage in stages}
    last = stages[-1].linears[0]
    stream.observe(layer, {stage.linears[0]: peak.add for stage, peak in peaks.items()}, until=last)
    records: dict[str, dict[str, Any]] = {}
    for stage, peak in peaks.items():
        scale = smoothing(peak.largest, stage, layer)
        fold_scale(layer, stage, scale)
        said = {"min": float(scale.min()), "median": float(scale.median()), "max": float(scale.max())}
        records |= dict.fromkeys(stage.linears, said)
    return records


class _Peak:
    """Running maximum of |x| per channel."""

    def __init__(self) -> None:
        self.largest: Tensor

    def add(self, x: Tensor) -> None:
        import torch

        found = x.abs().reshape(-1, x.shape[-1]).amax(0).float()
        self.largest = torch.maximum(self.largest, found) if hasattr(self, "largest") else found


def smoothing(activation_peaks: Tensor, stage: Stage, layer: nn.Module, alpha: float = ALPHA) -> Tensor:
    """The scale (float32 [channels]) by which the inputs of a stage are divided and its weights multiplied."""
    import torch

    weights = torch.stack([layer.get_submodule(name).weight.abs().amax(0).float() for name in stage.linears]).amax(0)
    found = activation_peaks.clamp(min=TINY) ** alpha / weights.clamp(min=TINY) ** (1 - alpha)
    return found.clamp(min=TINY)
