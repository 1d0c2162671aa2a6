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
#: Sums of powers are taken for that much smaller than they came out, so that their rounding decides nothing.
_ROUNDED = 0.999


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

    A trial of a group is skipped where its largest values alone, cut off at the ends of the grid, are worse than the best so far: the
    choice is that of trying all.
    """
    import torch

    low, high = _range_with_zero(x)
    ends = min(x.shape[-1], max(1, x.shape[-1] // 32))
    far = torch.stack([x.topk(ends, -1).values, -x.topk(ends, -1, largest=False).values], 1)
    first = _grid(low, high, bits, symmetric, scale_dtype)
    scale, zero = first.scale.clone(), first.zero.clone()
    smallest = torch.full_like(scale, float("inf"))
    for i in range(int(MSE_SHRINK * MSE_STEPS)):
        keep = 1 - i / MSE_STEPS
        grid = _grid(keep * low, keep * high, bits, symmetric, scale_dtype)
        limits = torch.stack([grid.qmax - grid.zero, grid.zero - grid.qmin], 1) * grid.scale.unsqueeze(1)
        beyond = (far - limits).clamp_(min=0).log2_().mul_(MSE_NORM).exp2_().sum((1, 2))
        tried = (beyond * _ROUNDED < smallest.squeeze(-1)).nonzero().squeeze(-1)
        if len(tried) == 0:
            continue
        if len(tried) == len(x):
            error = _range_error(x, grid.scale, grid.zero, grid)
        else:
            error = smallest.clone()
            error[tried] = _range_error(x[tried], grid.scale[tried], grid.zero[tried], grid)
        better = error < smallest
        smallest = torch.where(better, error, smallest)
        scale = torch.where(better, grid.scale, scale)
        zero = torch.where(better, grid.zero, zero)
    return scale, zero


def _range_error(x: Tensor, scale: Tensor, zero: Tensor, grid: AffineGrid) -> Tensor:
    """Σ \\|x' - x\\|^2.4 per group, ``[groups, 1]``, in one piece of memory."""
    error = (x / scale).round_().add_(zero).clamp_(grid.qmin, grid.qmax).sub_(zero).mul_(scale).sub_(x)
    return error.abs_().pow_(MSE_NORM).sum(-1, keepdim=True)


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
