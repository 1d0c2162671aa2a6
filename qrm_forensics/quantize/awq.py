"""AWQ over a whole model: scales folded into what feeds each linear, ranges clipped, then rounding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qrm_forensics.errors import InputError
from qrm_forensics.quantize.adapters import ModelMap, Stage, model_map
from qrm_forensics.quantize.affine import awq_grid, split_groups, sqnr_db
from qrm_forensics.quantize.awq_core import (
    CLIP_SHRINK,
    CLIP_STEPS,
    GRID,
    ScaleChoice,
    SeenInputs,
    clip,
    search_clip,
    search_scale,
    search_scale_by_moments,
)
from qrm_forensics.quantize.base import Job, Outcome, group_sizes
from qrm_forensics.quantize.layerwise import LayerStream, first
from qrm_forensics.recipes import Recipe
from qrm_forensics.weights import Checkpoint

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from qrm_forensics.quantize.affine import AffineGrid

#: Attention scores multiply queries with keys, so their clipping error cannot be judged per layer.
NOT_CLIPPED = ("q_proj", "k_proj")
#: Input vectors on which the output error of the manifest is measured.
SAMPLE = 1024


class AWQ:
    """``awq-w{b}g{g}``, asymmetric.

    Each layer is searched against *unquantized* inputs: the next layer gets the full-precision output.
    Inspected outputs: self_attn for q, k, v; mlp for gate, up; the linear's own for o_proj (only where
    v_proj has its shape, so never with grouped-query attention) and down_proj.

    Presets: ``fixed`` computes in float32 from whole responses.  ``paper-code`` loads the model, and does all
    arithmetic on scales, weights and activations, in bfloat16, as the paper's code does, and calibrates
    on prompts and first characters (see :func:`~qrm_forensics.quantize.calibration.load_calibration`).  In both, clipping
    is judged on all tokens instead of a stride of 512, and the text is the model's own reasoning,
    where the paper's AWQ rows use the Pile.
    """

    name = "awq"
    version = 2
    calibrated = True

    def refuse(self, recipe: Recipe) -> str | None:
        if recipe.symmetric:
            return f"{recipe}: awq is defined here for asymmetric grids only; leave sym out, or use rtn or gptq"
        if recipe.preset == "paper-text":
            return f"{recipe}: the scale formula of the paper's text (with weight statistics) is not available; use fixed or paper-code"
        return None

    def quantize(self, job: Job) -> Outcome:
        import torch

        recipe, source = job.recipe, job.source
        model = model_map(source.config, source.shapes, str(source.folder))
        groups = group_sizes(recipe, model, source.shapes)
        assert recipe.weight_bits is not None and job.calibration is not None
        dtype = torch.bfloat16 if recipe.preset == "paper-code" else torch.float32
        outcome = Outcome(
            settings={
                "ratios": [step / GRID for step in range(GRID)],
                "scale": "mean |x| ^ ratio / sqrt(max min)",
                "clip": {"steps": CLIP_STEPS, "shrink": CLIP_SHRINK, "not_clipped": list(NOT_CLIPPED)},
                "range": "min and max of the group, not forced to include 0",
                "arithmetic": str(dtype).removeprefix("torch."),
            }
        )
        skipped = recipe.skipped(model.layers)
        stream = LayerStream(source, job.calibration, dtype)
        outcome.resume(job, model.layers)
        for index in range(model.layers):
            layer = stream.layer(index)
            if index in skipped or job.finished.has(index):  # the next layer gets the output of the unquantized one
                stream.advance(layer)
                stream.release(index)
                if job.finished.has(index):
                    continue
                job.finished.save(index, outcome)
                job.progress(index + 1, model.layers)
                continue
            tokens = job.calibration.token_ids.size
            inputs = {stage: _seen(layer, stage, tokens, dtype) for stage in model.stages}
            arguments = stream.arguments
            stream.advance(layer, {stage.linears[0]: found.add for stage, found in inputs.items()})
            sizes = {linear: groups[model.name(index, linear)] for linear in model.linears}
            try:
                choices = _scales(layer, model, inputs, arguments, recipe.weight_bits, sizes)
            except ValueError as error:
                raise InputError(f"{recipe}: {model.prefix}.{index}: {error}; check the checkpoint") from error
            for stage, chosen in choices.items():
                fold_scale(layer, stage, chosen.scale)
            made: dict[str, tuple[AffineGrid, Tensor]] = {}
            for stage in model.stages:
                choice, seen = choices.get(stage), inputs.pop(stage)
                scale = choice.scale if choice else None
                moments = seen.scaled_moments(scale, sizes[stage.linears[0]])
                sample = seen.scaled_sample(scale)
                for linear in stage.linears:
                    module = model.name(index, linear)
                    stored = job.scale_dtype(source.dtype(f"{module}.weight"))
                    record, made[module] = _round(
                        layer.get_submodule(linear), linear, moments, sample, recipe.weight_bits, sizes[linear], stored
                    )
                    outcome.modules[module] = record | _choice_record(choice)
            outcome.tensors |= _changed(layer, source, model.name(index, ""))
            outcome.pack(job, made)
            job.finished.save(index, outcome)
            stream.release(index)
            job.progress(index + 1, model.layers)
        return outcome


def _choice_record(choice: ScaleChoice | None) -> dict[str, Any]:
    if choice is None:
        skipped = "v_proj and o_proj differ in shape (grouped-query attention)"
        return {"ratio": None, "losses": None, "scale_skipped": skipped}
    return {"ratio": choice.ratio, "losses": choice.losses, "scale_skipped": None}


def _changed(layer: nn.Module, source: Checkpoint, prefix: str) -> dict[str, Tensor]:
    """The parameters of a finished layer that are no longer the source's, in its dtypes, on the CPU."""
    import torch

    found = {}
    for name, parameter in layer.named_parameters():
        before = source.tensor(prefix + name)
        after = parameter.detach().to("cpu", before.dtype)
        if not torch.equal(before, after):
            found[prefix + name] = after
    return found


def _scales(
    layer: nn.Module,
    model: ModelMap,
    inputs: dict[Stage, SeenInputs],
    arguments: list[dict[str, Any]],
    bits: int,
    groups: Mapping[str, int],
) -> dict[Stage, ScaleChoice]:
    """Search every stage of a layer on its untouched weights.

    o_proj is left out where v_proj has another shape: with grouped-query attention one output row of v_proj feeds
    several input channels of o_proj.
    """
    choices = {}
    for stage in model.stages:
        linears: list[nn.Linear] = [layer.get_submodule(name) for name in stage.linears]
        source = layer.get_submodule(stage.source)
        if stage.source == "self_attn.v_proj" and source.weight.shape != linears[0].weight.shape:
            continue
        sums = inputs[stage].sums()
        if sums is not None:
            choices[stage] = search_scale_by_moments(*sums, linears, bits, groups[stage.linears[0]])
            continue
        block, seen = layer.get_submodule(stage.inspect), inputs[stage].batches

        def run(
            i: int, block: Any = block, seen: list[Tensor] = seen, attention: bool = stage.inspect == "self_attn"
        ) -> Tensor:
            import torch

            with torch.no_grad():
                return first(block(seen[i], **(arguments[i] if attention else {})))

        choices[stage] = search_scale(run, linears, seen, bits, groups[stage.linears[0]])
    return choices


def fold_scale(layer: nn.Module, stage: Stage, scale: Tensor) -> None:
    """Divide the stage's input by ``scale`` ``[channels]`` at its source, and multiply it into the stage's weights.

    A norm takes it on its weight (and bias); a linear on its output rows and bias.  The biases of the
    stage's own linears are added after the product and stay as they are.  In exact arithmetic the layer computes
    the same function.
    """
    source = layer.get_submodule(stage.source)
    for name, parameter in source.named_parameters():
        parameter.data.div_(scale.unsqueeze(1) if name == "weight" and parameter.dim() == 2 else scale)
    for linear in stage.linears:
        layer.get_submodule(linear).weight.data.mul_(scale)


def _seen(layer: nn.Module, stage: Stage, tokens: int, dtype: torch.dtype) -> SeenInputs:
    """An empty collector, with a sample of at most about ``SAMPLE`` input vectors, evenly spaced."""
    import torch

    first: Any = layer.get_submodule(stage.linears[0])
    alone = stage.inspect == stage.linears[0] and dtype == torch.float32
    return SeenInputs(summed=alone and tokens > first.in_features, step=max(1, -(-tokens // SAMPLE)))


def _output_error(weight: Tensor, rounded: Tensor, sample: Tensor) -> float:
    """‖X(W' - W)ᵀ‖² / ‖X Wᵀ‖² on the sample; 0 where the output is 0."""
    exact = (sample @ weight.float().T).square().sum()
    lost = (sample @ (rounded.float() - weight.float()).T).square().sum()
    return float(lost / exact) if exact > 0 else 0.0


def _round(
    linear: nn.Linear,
    name: str,
    moments: Tensor,
    sample: Tensor,
    bits: int,
    group: int,
    scale_dtype: torch.dtype | None,
) -> tuple[dict[str, Any], tuple[AffineGrid, Tensor]]:
    """Clip and round the scaled weight of one linear in place; its manifest record, and its grid and codes."""
    weight = linear.weight.data
    kept = weight
    record: dict[str, Any] = {"shape": list(weight.shape), "group": group, "clipped_groups": None, "mean_clip": None}
    if not name.endswith(NOT_CLIPPED):
        limit = search_clip(weight, moments, bits)
        share = limit.float() / split_groups(weight, group).abs().amax(-1, keepdim=True).float().clamp(min=1e-30)
        record["clipped_groups"] = float((share < 0.999).float().mean())
        record["mean_clip"] = float(share.mean())
        kept = clip(weight, limit)
    split = split_groups(kept, group)
    grid = awq_grid(split, bits, scale_dtype=scale_dtype)
    codes = grid.codes(split)
    linear.weight.data = grid.dequantize(codes).reshape_as(weight)
    record["scales"] = grid.summary()
    record["scaled_weight_sqnr_db"] = sqnr_db(weight, linear.weight.data)
    record["relative_output_error"] = _output_error(weight, linear.weight.data, sample)
    return record, (grid, codes)
