"""What every quantization method is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from qrm_forensics.errors import InputError
from qrm_forensics.quantize.adapters import ModelMap
from qrm_forensics.quantize.export.packed import PackedFormat, codes_of, tensor_hash
from qrm_forensics.quantize.partial import FinishedLayers
from qrm_forensics.recipes import Recipe
from qrm_forensics.runtime.spec import RuntimeSpec
from qrm_forensics.weights import Checkpoint, TensorEntry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from qrm_forensics.quantize.affine import AffineGrid
    from qrm_forensics.quantize.calibration import Calibration

#: Called with (decoder layers done, decoder layers in all).
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """One checkpoint to quantize.  ``calibration`` is None where the method needs none.  ``real``: the format of a real
    checkpoint; None for a simulated one.  ``finished``: layers of an earlier attempt, and where new ones are kept.
    """

    source: Checkpoint
    recipe: Recipe
    calibration: Calibration | None
    progress: Progress
    real: PackedFormat | None = None
    finished: FinishedLayers = field(default_factory=FinishedLayers)

    def scale_dtype(self, stored: torch.dtype) -> torch.dtype | None:
        """What grids round their scales to, given how the weights are stored; None where scales are stored nowhere."""
        return stored if self.real is not None else None


@dataclass(frozen=True, slots=True)
class PackedLinear:
    """What stands in the place of a linear's weight, by suffix, and the hash of the weight that it simulates."""

    tensors: dict[str, Tensor | TensorEntry]
    weight_sha256: str


@dataclass(slots=True)
class Outcome:
    """``tensors``: those that differ from the source, by their name in it, on the CPU, or by their place in a file of
    finished layers, as those of ``packed`` are.

    ``modules``: one JSON-able record per quantized linear.  ``settings``: constants of the
    algorithm, for the manifest.  ``added``: tensors that the source does not have (an lm_head that is no longer
    tied), ``config``: entries of ``config.json`` that change with them.  ``runtime`` and ``side`` are what has to happen as
    the model runs, and its tensors; without them the result is an ordinary checkpoint.  ``packed``: of a real one, by module.
    """

    tensors: dict[str, Tensor | TensorEntry] = field(default_factory=dict)
    modules: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    added: dict[str, Tensor] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    runtime: RuntimeSpec | None = None
    side: dict[str, Tensor] = field(default_factory=dict)
    packed: dict[str, PackedLinear] = field(default_factory=dict)

    def resume(self, job: Job, layers: int) -> int:
        """Take over the layers that an earlier attempt has finished, and say how many; called when everything in front of the first layer is in."""
        done = job.finished.restore(self)
        if done:
            job.progress(done, layers)
        return done

    def pack(self, job: Job, made: Mapping[str, tuple[AffineGrid, Tensor]]) -> None:
        """Replace the rounded weights of some linears (grid and codes by full module name) by their codes.

        Called layer by layer, so that no more than a layer is in memory unpacked.  Nothing happens where the
        checkpoint is to be simulated.  Raises InputError that names the module whose shape the format cannot hold.
        """
        if job.real is None:
            return
        for module, (grid, codes) in made.items():
            weight = self.tensors.pop(f"{module}.weight", None)
            assert not isinstance(weight, TensorEntry), "layers are packed before they are kept"
            if weight is None:  # it was on the grid already
                weight = job.source.tensor(f"{module}.weight")
            try:
                tensors = job.real.pack(codes_of(grid, codes, weight.dtype))
            except ValueError as error:
                raise InputError(f"{job.recipe}: {module}: {error}, so {job.real.name} cannot hold it") from error
            self.packed[module] = PackedLinear(dict(tensors), tensor_hash(weight))


class Quantizer(Protocol):
    """One method.  ``version`` goes up whenever the numbers that it makes change."""

    name: str
    version: int
    calibrated: bool

    def refuse(self, recipe: Recipe) -> str | None:
        """Why this recipe cannot be made, in one line; None where it can.  Loads nothing."""

    def quantize(self, job: Job) -> Outcome:
        """Make it.  Raises InputError where the source does not fit the recipe."""


def group_sizes(
    recipe: Recipe, model: ModelMap, shapes: Mapping[str, tuple[int, ...]], *, rows: bool = False
) -> dict[str, int]:
    """The group size of every linear of every layer, by full module name; ``rows``: whole rows, whatever the recipe says.

    -1 means a whole row, except for row-parallel linears (o_proj, down_proj) with ``quant_shards`` k > 1,
    where it is a k-th of a row, as the scales of a checkpoint made for k ranks are.  Raises InputError that
    names the first module whose input channels cannot be divided so.
    """
    sizes = {}
    for layer in range(model.layers):
        for stage in model.stages:
            for linear in stage.linears:
                module = model.name(layer, linear)
                columns = shapes[f"{module}.weight"][1]
                shards = recipe.quant_shards if linear in model.row_parallel else 1
                size = -1 if rows else recipe.group_size
                assert size is not None, "grouped methods always carry a group size"
                if size == -1:
                    if columns % shards:
                        raise InputError(
                            f"{recipe}: {module} has {columns} input channels, which {shards} shards do not divide"
                        )
                    size = columns // shards
                elif columns % size:
                    raise InputError(
                        f"{recipe}: {module} has {columns} input channels, which groups of {size} do not divide; "
                        f"use a group size that divides {columns}, or g-1 for one group per row"
                    )
                sizes[module] = size
    return sizes
