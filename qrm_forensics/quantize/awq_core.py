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
from qrm_forensics.quantize.hessian import InputMoments, energies

if TYPE_CHECKING:
    from torch import Tensor, nn

GRID = 20
CLIP_STEPS = 20
CLIP_SHRINK = 0.5
SMALLEST_SCALE = 1e-4


@dataclass(frozen=True, slots=True)
class ScaleChoice:
    """``scale`` ``[channels]``; ``losses[i]`` is the mean squared change of the inspected output at ratio i/20.

    At ratio 0 nothing is scaled, so ``losses[0]`` is that of plain rounding.  None where it is not finite, or where a part of the
    text was enough to see that another ratio is better.
    """

    scale: Tensor
    ratio: float
    losses: list[float | None]


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
    is taken in their dtype, squared and averaged in float32.  All ratios see the first batch; the others are gone through from the most
    promising one, each until it has lost more than the best one in all, which changes no choice.  The weights are put back.  Raises
    ValueError where no ratio gives a finite loss.
    """
    targets = [run(i) for i in range(len(inputs))]
    elements = sum(target.numel() for target in targets)
    magnitude = mean_magnitude(inputs)
    originals = [linear.weight.data for linear in linears]

    def lost(i: int) -> float:
        return float((targets[i] - run(i)).float().square_().sum())

    def scaled(step: int) -> Tensor:
        scale = candidate_scale(magnitude, step / GRID)
        for linear, original in zip(linears, originals, strict=True):
            linear.weight.data = round_weight(original * scale, bits, group) / scale
        return scale

    totals, losses, best = [], [math.nan] * GRID, math.inf
    try:
        for step in range(GRID):
            scaled(step)
            totals.append(lost(0))
        promising = sorted((s for s in range(GRID) if math.isfinite(totals[s])), key=lambda s: (totals[s], s))
        for step in promising:
            if len(targets) > 1 and totals[step] <= best:
                scaled(step)
                for i in range(1, len(targets)):
                    totals[step] += lost(i)
                    if totals[step] > best:
                        break
                else:
                    losses[step] = totals[step] / elements
            elif len(targets) == 1:
                losses[step] = totals[step] / elements
            if math.isfinite(losses[step]):
                best = min(best, totals[step])
    finally:
        for linear, original in zip(linears, originals, strict=True):
            linear.weight.data = original
    return _choice(magnitude, losses)


def search_scale_by_moments(
    moments: Tensor, magnitude: Tensor, linears: Sequence[nn.Linear], bits: int, group: int
) -> ScaleChoice:
    """:func:`search_scale` where the inspected output is that of the linears themselves, without running them.

    The mean squared change of the output is Σ Δwᵀ G Δw / rows with ``moments`` G = (1/n) Σ x xᵀ ``[columns, columns]``.
    ``magnitude``: :func:`mean_magnitude` of the same inputs.
    """
    losses = []
    rows = sum(linear.weight.shape[0] for linear in linears)
    for step in range(GRID):
        scale, loss = candidate_scale(magnitude, step / GRID), 0.0
        for linear in linears:
            weight = linear.weight.data
            delta = round_weight(weight * scale, bits, group).div_(scale).sub_(weight)
            loss += float(energies(delta, moments).sum()) / rows
        losses.append(loss)
    return _choice(magnitude, losses)


def _choice(magnitude: Tensor, losses: list[float]) -> ScaleChoice:
    """The first of the smallest; losses that are not finite were not taken to the end, or are none."""
    finite = [step for step in range(GRID) if math.isfinite(losses[step])]
    if not finite:
        raise ValueError("no scale gives a finite output")
    best = min(finite, key=lambda step: losses[step])
    told = [loss if math.isfinite(loss) else None for loss in losses]
    return ScaleChoice(candidate_scale(magnitude, best / GRID), best / GRID, told)


class SeenInputs:
    """What the searches need of a stage's inputs: the inputs themselves, or (``summed``) only their moments.

    Moments are equivalent in float32 where the linear's own output is inspected, and smaller once there are more tokens than channels.
    Every ``step``-th input vector of a batch is kept as a sample in either case.
    """

    def __init__(self, *, summed: bool, step: int) -> None:
        self.batches: list[Tensor] = []
        self._moments = InputMoments() if summed else None
        self._step = step
        self._size: Tensor | None = None
        self._sample: list[Tensor] = []

    def add(self, x: Tensor) -> None:
        if self._moments is None:
            self.batches.append(x)
            return
        self._moments.add(x)
        rows = x.flatten(0, -2)
        size = rows.abs().sum(0)
        self._size = size if self._size is None else self._size + size
        self._sample.append(rows[:: self._step].clone())

    def sums(self) -> tuple[Tensor, Tensor] | None:
        """G = (1/n) Σ x xᵀ and the mean magnitude; None where the inputs themselves are there."""
        if self._moments is None or self._size is None:
            return None
        return self._moments.hessian() / 2, self._size / self._moments.count

    def scaled_moments(self, scale: Tensor | None, group: int) -> Tensor:
        """:func:`group_moments` of the inputs divided by ``scale``."""
        import torch

        found = self.sums()
        if found is None:
            return group_moments([x if scale is None else x / scale for x in self.batches], group)
        columns = len(found[0])
        blocks = torch.stack([found[0][i : i + group, i : i + group] for i in range(0, columns, group)])
        if scale is None:
            return blocks
        parts = scale.float().reshape(-1, group)
        return blocks / (parts.unsqueeze(-1) * parts.unsqueeze(-2))

    def scaled_sample(self, scale: Tensor | None) -> Tensor:
        """Some input vectors divided by ``scale``, float32 ``[vectors, channels]``."""
        import torch

        found = torch.cat(self._sample or [x.flatten(0, -2)[:: self._step] for x in self.batches])
        return (found if scale is None else found / scale).float()


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
