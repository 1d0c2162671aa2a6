"""KVQuant*: keys on static grids per channel in front of RoPE, values on a grid per token and head.

The paper's simplification of KVQuant (Hooper et al., arXiv 2401.18079): plain min and max of the calibration text, forced to
include 0, no outliers kept apart, no clipping.  Weights stay as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qrm_forensics.quantize.adapters import ModelMap, model_map
from qrm_forensics.quantize.base import Job, Outcome
from qrm_forensics.quantize.layerwise import LayerStream
from qrm_forensics.quantize.passage import Passage
from qrm_forensics.recipes import Recipe
from qrm_forensics.runtime.rounding import affine_parameters, on_grid
from qrm_forensics.runtime.spec import AttentionSpec, CacheSpec, Rounding, RuntimeSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Hidden sizes of the models for which the paper's scripts take the bias of k_proj out: R1-Distill-Qwen 1.5B and 7B.
PRE_BIAS_HIDDEN = (1536, 3584)


class KVQuantStar:
    """``kvquant_star-kv{b}``.

    Keys before or after the bias of ``k_proj``: ``fixed`` takes it out wherever there is one, as a constant only
    widens a range that includes 0; the paper's presets for the two models that its scripts name.  ``+prebias`` and
    ``+postbias`` decide by hand.  With a norm of keys (Qwen3) the norm's output is rounded, and there is no bias to take out.
    """

    name = "kvquant_star"
    version = 1
    calibrated = True

    def refuse(self, recipe: Recipe) -> str | None:
        return None

    def quantize(self, job: Job) -> Outcome:
        import torch

        recipe, source = job.recipe, job.source
        model = model_map(source.config, source.shapes, str(source.folder))
        assert recipe.kv_bits is not None and job.calibration is not None
        before_bias = takes_bias_out(recipe, model, f"{model.name(0, 'self_attn.k_proj')}.bias" in source.shapes)
        outcome = Outcome(
            settings={
                "keys": "per channel, static, min and max including 0, in front of RoPE",
                "key_bias": "added after rounding" if before_bias else "part of what is rounded",
                "values": "per token and head, fitted at run time, min and max including 0",
                "activations": "float32",
            }
        )
        attention: dict[int, AttentionSpec] = {}
        values = CacheSpec(Rounding(bits=recipe.kv_bits))
        skipped = recipe.skipped(model.layers)
        stream = LayerStream(source, job.calibration, torch.float32)
        done = outcome.resume(job, model.layers)
        passage = Passage(job.finished, stream)
        passed = passage.restore(done)
        for index in range(model.layers):
            if index not in skipped:
                tensors = {part: f"layers.{index}.keys.{part}" for part in ("scale", "zero")}
                rounding = Rounding(bits=recipe.kv_bits, static=True, tensors=tensors)
                attention[index] = AttentionSpec(CacheSpec(rounding, "before_rope", before_bias), values)
            if index < passed:
                continue
            layer = stream.layer(index)
            if job.finished.has(index):
                stream.advance(layer)
                stream.release(index)
                continue
            keys = KeyRange(layer, model, before_bias=before_bias)
            stream.advance(layer, {model.key_source: keys.add})
            if index not in skipped:
                scale, zero = affine_parameters(keys.low, keys.high, recipe.kv_bits, False)
                outcome.side |= {tensors["scale"]: scale, tensors["zero"]: zero}
                outcome.modules[model.name(index, model.key_source)] = keys.record(scale, zero, recipe.kv_bits)
            job.finished.save(index, outcome)
            passage.keep(index + 1)
            stream.release(index)
            job.progress(index + 1, model.layers)
        outcome.runtime = RuntimeSpec(str(recipe), attention=attention)
        return outcome


def takes_bias_out(recipe: Recipe, model: ModelMap, has_bias: bool) -> bool:
    """Whether keys are rounded before their bias is added."""
    if not has_bias or model.head_norms:
        return False
    if recipe.key_bias != "auto":
        return recipe.key_bias == "before"
    return recipe.preset == "fixed" or model.geometry.hidden in PRE_BIAS_HIDDEN


class KeyRange:
    """Running minimum and maximum (float32 [kv heads x head dim]) of a layer's keys in front of RoPE, with 0 in them."""

    def __init__(self, layer: nn.Module, model: ModelMap, *, before_bias: bool) -> None:
        self._source: Any = layer.get_submodule(model.key_source)
        self._before_bias = before_bias
        self._normed = bool(model.head_norms)
        self.low: Tensor
        self.high: Tensor
        self.count = 0
        self._sample: Tensor | None = None

    def add(self, x: Tensor) -> None:
        """``x``: the input of ``k_proj``, or of the key norm."""
        import torch

        if self._normed:
            # not by calling the module, whose hook this is
            keys = self._source.forward(x).flatten(-2)
        else:
            bias = None if self._before_bias else self._source.bias
            keys = torch.nn.functional.linear(x, self._source.weight, bias)
        rows = keys.reshape(-1, keys.shape[-1]).float()
        low, high = rows.amin(0).clamp(max=0), rows.amax(0).clamp(min=0)
        self.low = torch.minimum(self.low, low) if self.count else low
        self.high = torch.maximum(self.high, high) if self.count else high
        if self._sample is None:
            self._sample = rows[:512].clone()
        self.count += rows.shape[0]

    def record(self, scale: Tensor, zero: Tensor, bits: int) -> dict[str, Any]:
        """For the manifest: the widest channels, and the error on the first tokens."""
        assert self._sample is not None
        width = self.high - self.low
        error = (on_grid(self._sample, scale, zero, bits, False) - self._sample).square().sum()
        order = width.argsort(descending=True)[:8]
        bias = getattr(self._source, "bias", None)
        return {
            "channels": int(width.numel()),
            "tokens": self.count,
            "widest_channels": {str(int(i)): float(width[i]) for i in order},
            "median_range": float(width.median()),
            "largest_bias": None if bias is None else float(bias.abs().max()),
            "relative_key_error": float(error / self._sample.square().sum().clamp(min=1e-30)),
        }
