"""Rounding as a model runs: grids fitted to every token, and static ones.

Affine grids are those of the paper's activation and cache quantizers: the range of the group, forced to include 0, both ends
multiplied by a clipping ratio; asymmetric s = (max - min) / (2^b - 1), z = round(-min / s); symmetric s = max |x| /
(2^(b-1) - 1); ``q = clamp(round(x / s) + z)``.  A group of zeros has the range [-1, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qrm_forensics.runtime import mxfp
from qrm_forensics.runtime.spec import Rounding

if TYPE_CHECKING:
    from torch import Tensor


def fake_quantize(x: Tensor, spec: Rounding, tensors: Mapping[str, Tensor]) -> Tensor:
    """``x`` [..., n] rounded along its last axis as ``spec`` says; same shape and dtype, computed in float32.

    ``tensors`` are the side tensors that the spec names, on the device of ``x``.
    Raises ValueError where the groups do not divide n.
    """
    if spec.kind == "mxfp4":
        block = mxfp.BLOCK if spec.group == -1 else spec.group
        return mxfp.fake_quantize(x, block=block, scale_rule=spec.scale_rule, ties=spec.ties)
    if spec.static:
        scale, zero = tensors[spec.tensors["scale"]], tensors[spec.tensors["zero"]]
        return on_grid(x.float(), scale, zero, spec.bits, spec.symmetric).to(x.dtype)
    n = x.shape[-1]
    group = n if spec.group == -1 else spec.group
    if n % group:
        raise ValueError(f"groups of {group} do not divide {n} values")
    values = x.float().unflatten(-1, (-1, group))
    low = values.amin(-1, keepdim=True).clamp(max=0)
    high = values.amax(-1, keepdim=True).clamp(min=0)
    if spec.tensors:  # learned clipping, one factor per group and end
        low = low * tensors[spec.tensors["clip_low"]].unsqueeze(-1)
        high = high * tensors[spec.tensors["clip_high"]].unsqueeze(-1)
    elif spec.clip != 1.0:
        low, high = low * spec.clip, high * spec.clip
    scale, zero = affine_parameters(low, high, spec.bits, spec.symmetric)
    return on_grid(values, scale, zero, spec.bits, spec.symmetric).flatten(-2).to(x.dtype)


def affine_parameters(low: Tensor, high: Tensor, bits: int, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Scale and zero-point (float32, of the shape of ``low``) of ranges with 0 in them."""
    import torch

    empty = (low == 0) & (high == 0)
    low, high = torch.where(empty, -1.0, low), torch.where(empty, 1.0, high)
    if symmetric:
        scale = torch.maximum(low.abs(), high) / (2 ** (bits - 1) - 1)
        return scale, torch.zeros_like(scale)
    scale = (high - low) / (2**bits - 1)
    return scale, (-low / scale).round()


def on_grid(x: Tensor, scale: Tensor, zero: Tensor, bits: int, symmetric: bool) -> Tensor:
    """Values on an affine grid, float32."""
    smallest = -(2 ** (bits - 1)) if symmetric else 0
    codes = ((x / scale).round() + zero).clamp(smallest, smallest + 2**bits - 1)
    return (codes - zero) * scale
