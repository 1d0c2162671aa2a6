"""GPTQ over the layers of a model that is streamed through memory: used by every recipe whose weights GPTQ rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qrm_forensics.errors import InputError
from qrm_forensics.quantize.adapters import ModelMap
from qrm_forensics.quantize.affine import MSE_NORM, MSE_SHRINK, MSE_STEPS, sqnr_db
from qrm_forensics.quantize.gptq_core import BLOCK, quantize_weight
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
    """Round the linears of one layer in place, stage by stage, each seeing what was rounded before it.

    Returns the manifest's record per full module name; ``made`` is filled with grids and codes.  Raises InputError that names the module whose calibration
    inputs are not finite.
    """
    records = {}
    for stage in model.stages:
        moments = InputMoments()
        stream.observe(layer, {stage.linears[0]: moments.add}, until=stage.linears[0])
        hessian = moments.hessian()
        for linear in stage.linears:
            module = model.name(index, linear)
            live = layer.get_submodule(linear).weight
            before = live.detach().clone()
            try:
                result = quantize_weight(
                    live,
                    hessian,
                    bits=settings.bits,
                    group=settings.groups[module],
                    symmetric=settings.symmetric,
                    act_order=settings.act_order,
                    scale_dtype=settings.dtypes[module] if settings.real else None,
                )
            except ValueError as error:
                raise InputError(f"{recipe}: {module}: {error}; check the checkpoint") from error
            rounded = result.weight.to(settings.dtypes[module])
            live.data.copy_(rounded)
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
                "weight_sqnr_db": sqnr_db(before, live),
            }
    return records
