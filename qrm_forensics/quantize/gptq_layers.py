"""GPTQ over the layers of a model that is streamed through memory: used by every recipe whose weights GPTQ rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qrm_forensics.errors import InputError
from qrm_forensics.quantize.adapters import ModelMap, Stage
from qrm_forensics.quantize.affine import MSE_NORM, MSE_SHRINK, MSE_STEPS, sqnr_db
from qrm_forensics.quantize.gptq_core import BLOCK, GPTQResult, give_back_memory, quantize_weights
from qrm_forensics.quantize.hessian import ATTEMPTS, DAMPING, InputMoments
from qrm_forensics.quantize.layerwise import LayerStream
from qrm_forensics.recipes import Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from qrm_forensics.quantize.affine import AffineGrid

#: Called with (layer number, layer) before its first stage, for changes that need its inputs.
Before = Callable[[int, "nn.Module"], None]


@dataclass(frozen=True, slots=True)
class GPTQSettings:
    """``groups`` by full module name; ``dtypes``: how rounded weights will be stored, per module.  ``real``: their scales are stored as well."""

    bits: int
    symmetric: bool
    act_order: bool
    groups: Mapping[str, int]
    dtypes: Mapping[str, torch.dtype]
    real: bool = False

    def parameters(self, index: int, model: ModelMap) -> dict[str, torch.dtype]:
        """How the weights of one layer are stored, by their name in it."""
        return {f"{linear}.weight": self.dtypes[model.name(index, linear)] for linear in model.linears}

    def said(self, model: ModelMap) -> dict[str, Any]:
        """For the manifest."""
        return {
            "act_order": self.act_order,
            "static_groups": True,
            "block": BLOCK,
            "damping": DAMPING,
            "damping_on_failure": f"doubled, up to {ATTEMPTS} attempts, then rtn",
            "range_search": {"norm": MSE_NORM, "steps": MSE_STEPS, "shrink": MSE_SHRINK},
            "stages": [list(stage.linears) for stage in model.stages],
            "activations": "float32",
        }


def quantize_layer(
    stream: LayerStream,
    index: int,
    layer: nn.Module,
    model: ModelMap,
    settings: GPTQSettings,
    recipe: Recipe,
    made: dict[str, tuple[AffineGrid, Tensor]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Round the linears of one layer in place, stage by stage, each seeing what was rounded before it, and move on behind the layer.

    Returns the manifest's record per full module name; ``made`` is filled with grids and codes.  Raises InputError that names the module whose calibration
    inputs are not finite.
    """
    records = {}
    for stage in model.stages:
        moments, first = InputMoments(), stage.linears[0]
        attended, finished = None, None
        if first == model.attention_end:
            attended = stream.attend(layer, first, moments.add)
        elif first == model.mlp_end:
            finished = stream.finish(layer, first, moments.add)
        else:
            stream.observe(layer, {first: moments.add}, until=first)
        for linear, result in _round_stage(stage, index, layer, model, settings, recipe, moments):
            module = model.name(index, linear)
            live = layer.get_submodule(linear).weight
            rounded = result.weight.to(settings.dtypes[module])
            if made is not None:
                made[module] = (result.grid, result.codes)
            records[module] = {
                "shape": list(live.shape),
                "group": settings.groups[module],
                "scales": result.grid.summary(),
                "input_vectors": moments.count,
                "damping": result.damping,
                "attempts": result.attempts,
                "fallback": result.fallback,
                "dead_channels": result.dead,
                "relative_output_error": result.error,
                "relative_output_error_rtn": result.rtn_error,
                "weight_sqnr_db": sqnr_db(live.detach(), rounded),
            }
            live.data.copy_(rounded)
        if attended is not None:
            stream.leave_attention(layer, first, model.norms[1], attended)
    stream.advance(layer, end=model.mlp_end, held=finished)
    return records


def _round_stage(
    stage: Stage,
    index: int,
    layer: nn.Module,
    model: ModelMap,
    settings: GPTQSettings,
    recipe: Recipe,
    moments: InputMoments,
) -> Iterator[tuple[str, GPTQResult]]:
    """The linears of a stage share their inputs, and so one Hessian and one factorisation."""
    alike: dict[tuple[int, torch.dtype | None], list[str]] = {}
    for linear in stage.linears:
        module = model.name(index, linear)
        stored = settings.dtypes[module] if settings.real else None
        alike.setdefault((settings.groups[module], stored), []).append(linear)
    hessian = moments.take()
    for (group, stored), linears in alike.items():
        try:
            results = quantize_weights(
                [layer.get_submodule(linear).weight.detach() for linear in linears],
                hessian,
                bits=settings.bits,
                group=group,
                symmetric=settings.symmetric,
                act_order=settings.act_order,
                scale_dtype=stored,
            )
        except ValueError as error:
            raise InputError(f"{recipe}: {model.name(index, linears[0])}: {error}; check the checkpoint") from error
        yield from zip(linears, results, strict=True)
        del results
    del hessian
    give_back_memory()
