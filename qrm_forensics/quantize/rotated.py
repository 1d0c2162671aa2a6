"""What recipes share that change a whole model before they round it: loading, saving, and rounding inputs and caches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from qrm_forensics.errors import InputError
from qrm_forensics.quantize.adapters import ModelMap
from qrm_forensics.quantize.base import Outcome
from qrm_forensics.recipes import Recipe
from qrm_forensics.runtime.spec import LinearSpec, Rounding
from qrm_forensics.weights import Checkpoint

if TYPE_CHECKING:
    from torch import nn


def input_roundings(
    recipe: Recipe, model: ModelMap, shapes: dict[str, tuple[int, ...]], layers: Iterable[int], *, clip: float
) -> dict[str, LinearSpec]:
    """Every linear's input per token, asymmetric; those of row-parallel linears per token and shard.

    Raises InputError where the shards do not divide an input.
    """
    assert recipe.activation_bits is not None
    found = {}
    for index in layers:
        for linear in model.linears:
            module = model.name(index, linear)
            columns = shapes[f"{module}.weight"][1]
            shards = recipe.quant_shards if linear in model.row_parallel else 1
            if columns % shards:
                raise InputError(
                    f"{recipe}: {module} has {columns} input channels, which {shards} shards do not divide"
                )
            group = -1 if shards == 1 else columns // shards
            found[module] = LinearSpec(rounding=Rounding(bits=recipe.activation_bits, group=group, clip=clip))
    return found


def keep_changed(network: nn.Module, source: Checkpoint, outcome: Outcome, prefix: str = "") -> None:
    """Put the parameters of ``network`` that are not the source's into the outcome, in the source's dtypes, on the CPU.

    ``prefix``: full name of ``network`` with a dot behind it, where it is a part of the model.
    """
    import torch

    for name, parameter in network.named_parameters():
        full = prefix + name
        if parameter.device.type == "meta":
            continue
        if full not in source.entries:
            outcome.added[full] = parameter.detach().to("cpu", copy=True)
            continue
        before = source.tensor(full)
        after = parameter.detach().to("cpu", before.dtype)
        if not torch.equal(before, after):
            outcome.tensors[full] = after.clone()
