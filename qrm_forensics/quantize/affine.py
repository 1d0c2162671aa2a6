"""Affine (uniform) quantization grids, one scale and zero-point per group of input channels.

Three range rules, as the paper's public code has them:

* :func:`minmax_grid`: the range of each group, **forced to include 0** (RTN; the start of the GPTQ search).
* :func:`mse_grid`: that range shrunk by the factor 1 - i/100, i < 80, with the smallest sum of \\|error\\|^2.4
  (GPTQ with weight clipping).
* :func:`awq_grid`: the range of each group as it is, **not** forced to include 0 (AWQ).

All work on weights that :func:`split_groups` has brought to the shape ``[rows, groups, group]``
and compute in the dtype that they are given; callers pass float32, unless they reproduce
arithmetic that was done in bfloat16.  Codes are rounded half to even, and the zero-point
is added *after* rounding: ``q = clamp(round(x / s) + z, qmin, qmax)``, ``x' = (q - z) * s``.

``scale_dtype``: scales are rounded to that dtype before anything is computed with them, as a packed checkpoint will store
them; its dequantized weights are then those of this grid bit by bit.  None leaves them alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: The smallest range of a group, so that a scale is never 0.
TINY = 1e-5
MSE_NORM = 2.4
MSE_STEPS = 100
MSE_SHRINK = 0.8
#: Weights whose range is searched at a time.
_AT_A_TIME, _AT_A_TIME_CPU = 1 << 24, 1 << 18
#: Lower bounds are taken for that much smaller than they came out, so that their rounding decides nothing.
_ROUNDED = 0.999
#: Errors that are that close are compared again with more precision.
_NEAR = 2e-4
_SMALLEST = 1e-15


@dataclass(frozen=True, slots=True)
class AffineGrid:
    """Scales and zero-points of shape ``[rows, groups, 1]``, integer codes in ``[qmin, qmax]``.

    Symmetric grids have zero-points of 0 and signed codes, asymmetric ones unsigned codes.
    """

    scale: Tensor
    zero: Tensor
    qmin: int
    qmax: int

    def codes(self, x: Tensor) -> Tensor:
        """The integer codes (in the dtype of ``x``) of values of shape ``[rows, groups, n]``."""
        return ((x / self.scale).round() + self.zero).clamp(self.qmin, self.qmax)

    def dequantize(self, codes: Tensor) -> Tensor:
        return (codes - self.zero) * self.scale

    def fake_quantize(self, x: Tensor) -> Tensor:
        """Values on the grid nearest to ``x``, same shape and dtype."""
        return self.dequantize(self.codes(x))

    def summary(self) -> dict[str, float | int | str]:
        """Count and range of the scales, and the hash of scales and zero-points as little-endian float32."""
        import torch

        digest = hashlib.sha256()
        for part in (self.scale, self.zero):
            digest.update(part.detach().to("cpu", torch.float32).contiguous().numpy().astype("<f4").tobytes())
        scales = self.scale.detach().float()
        return {
            "count": scales.numel(),
            "min": float(scales.min()),
            "median": float(scales.median()),
            "max": float(scales.max()),
            "sha256": digest.hexdigest(),
        }


def split_groups(weight: Tensor, group: int) -> Tensor:
    """``[rows, columns]`` as ``[rows, columns / group, group]``."""
    return weight.reshape(weight.shape[0], -1, group)


def _range_with_zero(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)


def _stored(scale: Tensor, dtype: torch.dtype | None) -> Tensor:
    return scale if dtype is None else scale.to(dtype).to(scale.dtype)


def _codes(bits: int, symmetric: bool) -> tuple[int, int]:
    """The smallest and the largest code."""
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if symmetric else (0, 2**bits - 1)


def _grid(low: Tensor, high: Tensor, bits: int, symmetric: bool, scale_dtype: torch.dtype | None = None) -> AffineGrid:
    import torch

    qmin, qmax = _codes(bits, symmetric)
    if symmetric:
        scale = _stored(torch.maximum(low.abs(), high).clamp(min=TINY) / qmax, scale_dtype)
        return AffineGrid(scale, torch.zeros_like(scale), qmin, qmax)
    scale = _stored((high - low).clamp(min=TINY) / qmax, scale_dtype)
    # a scale that was rounded down could put the zero-point one step beyond the codes
    return AffineGrid(scale, (-low / scale).round().clamp(0, qmax), qmin, qmax)


def minmax_grid(x: Tensor, bits: int, *, symmetric: bool = False, scale_dtype: torch.dtype | None = None) -> AffineGrid:
    """The grid over the range of each group, with 0 in it.  ``x`` has shape ``[rows, groups, group]``.

    Asymmetric: s = (max - min) / (2^b - 1), z = round(-min / s).
    Symmetric: s = max \\|x\\| / (2^(b-1) - 1), codes in [-2^(b-1), 2^(b-1) - 1].
    """
    return _grid(*_range_with_zero(x), bits, symmetric, scale_dtype)


def mse_grid(x: Tensor, bits: int, *, symmetric: bool = False, scale_dtype: torch.dtype | None = None) -> AffineGrid:
    """The grid over the shrunken range that makes Σ \\|x' - x\\|^2.4 of the group smallest.

    The factors are 1 - i/100 for i < 80; the first of equals wins.
    """
    import torch

    groups = x.reshape(-1, x.shape[-1])
    # searched in parts whose intermediate results stay in a CPU's cache
    parts = groups.split(max(1, (_AT_A_TIME_CPU if x.device.type == "cpu" else _AT_A_TIME) // x.shape[-1]))
    found = [_search_range(part, bits, symmetric, scale_dtype) for part in parts]
    scale, zero = (torch.cat(column).reshape(*x.shape[:-1], 1) for column in zip(*found, strict=True))
    return AffineGrid(scale, zero, *_codes(bits, symmetric))


def _search_range(x: Tensor, bits: int, symmetric: bool, scale_dtype: torch.dtype | None) -> tuple[Tensor, Tensor]:
    """Scales and zero-points ``[groups, 1]`` for ``[groups, group]``.

    The choice is that of trying all ranges.  A trial of a group is skipped where its outermost values alone, cut off at the ends of the
    grid, are worse than the best so far.  The others are ranked by powers that are taken through logarithms; only trials that come as
    close to the best one as these may be wrong are compared by ``pow``, which takes five times as long.
    """
    import torch

    low, high = _range_with_zero(x)
    shrunk = [1 - i / MSE_STEPS for i in range(int(MSE_SHRINK * MSE_STEPS))]
    lows, highs = (torch.stack([keep * end for keep in shrunk]) for end in (low, high))
    trials = _grid(lows, highs, bits, symmetric, scale_dtype)
    scale, bottom, top = trials.scale, trials.qmin - trials.zero, trials.qmax - trials.zero
    beyond = _cut_off(x, bottom * scale, top * scale).mul_(_ROUNDED)
    precision = torch.finfo(x.dtype).eps
    # what the rounding of x' itself may add to a sum
    slack = x.shape[-1] * (_powers((high - low).squeeze(-1).float() * (100 * precision)) + 1e-34)
    errors = torch.full_like(beyond, float("inf"))
    limit = errors[0].clone()
    for i in range(len(shrunk)):
        tried = (beyond[i] <= limit).nonzero().squeeze(-1)
        if len(tried) == 0:
            continue
        given = (x, scale[i], bottom[i], top[i])
        if len(tried) < len(x):
            given = tuple(part.index_select(0, tried) for part in given)
        error = _powers(_misses(*given).float()).sum(-1)
        errors[i, tried] = error
        limit[tried] = torch.minimum(limit[tried], error * (1 + max(_NEAR, 8 * precision)) + slack[tried])
    near = errors <= limit
    best = near.byte().argmax(0)
    undecided = (near.sum(0) > 1).nonzero().squeeze(-1)
    if len(undecided):
        exact = errors[:, undecided].fill_(float("inf"))
        for pairs in near[:, undecided].nonzero().split(len(x)):
            i, group = pairs[:, 0], undecided[pairs[:, 1]]
            error = _misses(x[group], scale[i, group], bottom[i, group], top[i, group]).pow_(MSE_NORM).sum(-1).float()
            exact[i, pairs[:, 1]] = error.nan_to_num(float("inf"), float("inf"))
        best[undecided] = exact.argmin(0)
    taken = best.reshape(1, -1, 1)
    return scale.gather(0, taken)[0], trials.zero.gather(0, taken)[0]


def _misses(x: Tensor, scale: Tensor, bottom: Tensor, top: Tensor) -> Tensor:
    """\\|x' - x\\| on the grids with codes from ``bottom`` to ``top`` (zero-points taken off), in one piece of memory."""
    import torch

    found = (x / scale).round_()
    torch.maximum(found, bottom, out=found)
    torch.minimum(found, top, out=found)
    return found.mul_(scale).sub_(x).abs_()


def _cut_off(x: Tensor, bottom: Tensor, top: Tensor) -> Tensor:
    """A part of Σ \\|x' - x\\|^2.4, which so is no less: that of the largest and smallest of every 32 values beyond the ends
    ``[trials, groups, 1]`` of a grid.  ``[trials, groups]``, float32.
    """
    import torch

    split = x.unflatten(-1, (-1, 32 if x.shape[-1] % 32 == 0 else x.shape[-1]))
    largest, smallest = split.amax(-1), split.amin(-1)
    found = x.new_empty(top.shape[:-1], dtype=torch.float32)
    for i in range(len(top)):
        over = torch.cat([largest - top[i], bottom[i] - smallest], -1)
        found[i] = _powers(over.float()).sum(-1)
    return found


def _powers(x: Tensor) -> Tensor:
    """x^2.4 in the memory of ``x``, float32, to about 1e-5; ``_SMALLEST`` and all below it, whose logarithms would be slow, give 1e-36."""
    return x.clamp_(min=_SMALLEST).log_().mul_(MSE_NORM).exp_()


def awq_grid(x: Tensor, bits: int, *, scale_dtype: torch.dtype | None = None) -> AffineGrid:
    """The asymmetric grid over the range of each group, 0 in it or not.

    s = (max - min) / (2^b - 1), z = clamp(-round(min / s), 0, 2^b - 1).  A group whose weights all
    have one sign gets a clamped zero-point and so loses part of its range, as in AWQ's code.
    """
    low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
    qmax = 2**bits - 1
    scale = _stored((high - low).clamp(min=TINY) / qmax, scale_dtype)
    return AffineGrid(scale, (-(low / scale).round()).clamp(0, qmax), 0, qmax)


def sqnr_db(original: Tensor, quantized: Tensor) -> float | None:
    """Signal to quantization noise in dB, in float64; None where there is no noise or no signal."""
    import math

    signal = float(original.double().square().sum())
    noise = float((original.double() - quantized.double()).square().sum())
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None
