"""The two searches of AWQ: per-channel scales, and clipping of each group's range.

Lin et al., arXiv 2306.00978, as the paper's public code has it: the scale is a power of the mean
input magnitude only (weight statistics are not used), and clipping is judged by the group's
share of the layer's output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qrm_forensics.quantize.affine import awq_grid, split_groups

if TYPE_CHECKING:
    from torch import Tensor, nn

GRID = 20
CLIP_STEPS = 20
CLIP_SHRINK = 0.5
SMALLEST_SCALE = 1e-4


@dataclass(frozen=True, slots=True)
class ScaleChoice:
    """``scale`` ``[channels]``; ``losses[i]`` is the mean squared change of the inspected output at ratio i/20.

    At ratio 0 nothing is scaled, so ``losses[0]`` is that of plain rounding.
    """

    scale: Tensor
    ratio: float
    losses: list[float]


def mean_magnitude(inputs: Sequence[Tensor]) -> Tensor:
    """Mean absolute value per input channel over all batches, summed in float32, in the inputs' dtype."""
    count = sum(x[..., 0].numel() for x in inputs)
    total = sum(x.float().abs().flatten(0, -2).sum(0) for x in inputs) / count
    magnitude: Tensor = total.to(inputs[0].dtype)
    return magnitude


def candidate_scale(magnitude: Tensor, ratio: float) -> Tensor:
    """s = max(m^ratio, 1e-4), divided by sqrt(max s · min s)."""
    scale = magnitude.pow(ratio).clamp(min=SMALLEST_SCALE)
    return scale / (scale.max() * scale.min()).sqrt()


def round_weight(weight: Tensor, bits: int, group: int) -> Tensor:
    """``[rows, columns]`` on AWQ's grid, in the dtype of the weight."""
    split = split_groups(weight, group)
    return awq_grid(split, bits).fake_quantize(split).reshape_as(weight)


def search_scale(
    run: Callable[[int], Tensor],
    linears: Sequence[nn.Linear],
    inputs: Sequence[Tensor],
    bits: int,
    group: int,
) -> ScaleChoice:
    """Try the ratios 0, 1/20 … 19/20 and keep the first with the smallest loss.

    ``run(i)`` gives the inspected block's output on batch ``i`` with the weights as they are at that moment;
    ``inputs[i]`` is what ``linears`` see there.  Each trial sets W ← Q(W · s) / s.  The difference of outputs
    is taken in their dtype, squared and averaged in float32.  The weights are put back.  Raises
    ValueError where no ratio gives a finite loss.
    """
    targets = [run(i) for i in range(len(inputs))]
    elements = sum(target.numel() for target in targets)
    magnitude = mean_magnitude(inputs)
    originals = [linear.weight.data for linear in linears]
    losses, best, choice = [], math.inf, None
    try:
        for step in range(GRID):
            scale = candidate_scale(magnitude, step / GRID)
            for linear, original in zip(linears, originals, strict=True):
                linear.weight.data = round_weight(original * scale, bits, group) / scale
            loss = sum(float((target - run(i)).float().square().sum()) for i, target in enumerate(targets)) / elements
            losses.append(loss)
            if loss < best:
                best, choice = loss, (scale, step / GRID)
    finally:
        for linear, original in zip(linears, originals, strict=True):
            linear.weight.data = original
    if choice is None:
        raise ValueError("no scale gives a finite output")
    return ScaleChoice(*choice, losses)


def group_moments(inputs: Sequence[Tensor], group: int) -> Tensor:
    """G = (1/n) Σ x xᵀ within each group of channels: ``[groups, group, group]``, float32."""
    total, count = None, 0
    for x in inputs:
        parts = x.flatten(0, -2).float().unflatten(-1, (-1, group)).transpose(0, 1)
        count += parts.shape[1]
        gram = parts.transpose(1, 2) @ parts
        total = gram if total is None else total + gram
    if total is None:
        raise ValueError("no input was seen")
    moments: Tensor = total / count
    return moments


def search_clip(weight: Tensor, moments: Tensor, bits: int) -> Tensor:
    """The largest magnitude to keep in each group: ``[rows, groups, 1]``, one of max \\|w\\| · (1 - i/20), i < 10.

    The error of a candidate is the mean over tokens of the squared change of the group's part of the
    output, Δwᵀ G Δw with ``moments`` G (:func:`group_moments`), against the unclipped weight; the first of
    equals wins.  Equal to running a sample of tokens through the group as AWQ's code does, but over
    all of them.
    """
    import torch

    split = split_groups(weight, moments.shape[-1])
    largest = split.abs().amax(-1, keepdim=True)
    best, smallest = largest.clone(), torch.full_like(largest, float("inf"), dtype=torch.float32)
    for step in range(int(CLIP_SHRINK * CLIP_STEPS)):
        limit = largest * (1 - step / CLIP_STEPS)
        clipped = torch.maximum(torch.minimum(split, limit), -limit)
        delta = (awq_grid(clipped, bits).fake_quantize(clipped) - split).float().transpose(0, 1)
        error = ((delta @ moments) * delta).sum(-1, keepdim=True).transpose(0, 1)
        better = error < smallest
        smallest = torch.where(better, error, smallest)
        best = torch.where(better, limit, best)
    return best


def clip(weight: Tensor, limit: Tensor) -> Tensor:
    """``[rows, columns]`` with every group limited to ± ``limit`` ``[rows, groups, 1]``."""
    import torch

    split = split_groups(weight, weight.shape[1] // limit.shape[1])
    return torch.maximum(torch.minimum(split, limit), -limit).reshape_as(weight)
