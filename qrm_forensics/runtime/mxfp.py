"""MXFP4: blocks of 32 values with one power-of-two scale, each value one of ±{0, .5, 1, 1.5, 2, 3, 4, 6}.

OCP Microscaling Formats (MX) Specification v1.0, section 5 and 6.3.  The specification leaves open how scales and ties are
rounded, and implementations differ, so both are parameters:

* scale ``floor``: 2^(floor(log2 amax) - 2), the specification's suggestion; values above 6 scales saturate.
* scale ``even``: amax is first rounded to E2M1's one mantissa bit, half away from zero on the magnitude's bits; then as ``floor``.
* scale ``rceil``: 2^ceil(log2(amax / 6)): nothing saturates.
* ties ``even``: to the value whose mantissa bit is 0; ``away``: away from zero.

The exponent is kept in [-127, 127], as E8M0 has it.  A block of zeros stays zero; NaN and infinity poison their block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 32
#: Largest value of E2M1, and the exponent of its largest power of two.
LARGEST, LARGEST_EXPONENT = 6.0, 2
SCALE_RULES = ("floor", "even", "rceil")
TIES = ("even", "away")


def fake_quantize(
    x: Tensor,
    *,
    block: int = BLOCK,
    scale_rule: Literal["floor", "even", "rceil"] = "floor",
    ties: Literal["even", "away"] = "even",
) -> Tensor:
    """``x`` [..., n] on the MXFP4 grid, in blocks of ``block`` along the last axis; same shape and dtype.

    Computed in float32, which holds every intermediate exactly.  Raises ValueError where ``block`` does not divide n.
    """
    import torch

    if x.shape[-1] % block:
        raise ValueError(f"blocks of {block} do not divide {x.shape[-1]} values")
    values = x.float().unflatten(-1, (-1, block))
    amax = values.abs().amax(-1, keepdim=True)
    exponent = block_exponent(amax, scale_rule)
    # two steps: 2^127 as well as its inverse are in range, 2^-(-149) is not
    scaled = torch.ldexp(values, -exponent)
    rounded = torch.ldexp(_round_e2m1(scaled, ties), exponent)
    rounded = torch.where(amax == 0, torch.zeros_like(rounded), rounded)
    rounded = torch.where(torch.isfinite(amax), rounded, torch.full_like(rounded, float("nan")))
    return rounded.flatten(-2).to(x.dtype)


def block_exponent(amax: Tensor, rule: Literal["floor", "even", "rceil"]) -> Tensor:
    """Exponent (int32) of the scale of blocks whose largest magnitude is ``amax`` (float32, any shape)."""
    import torch

    if rule == "even":
        # add half of the last kept bit: E2M1 keeps one of float32's 23 mantissa bits
        bits = amax.contiguous().view(torch.int32)
        amax = ((bits + (1 << 21)) & ~((1 << 22) - 1)).view(torch.float32)
    mantissa, exponent = torch.frexp(amax)  # amax = mantissa * 2^exponent, mantissa in [.5, 1)
    exponent = exponent.to(torch.int32) - 1
    if rule == "rceil":
        # 2^e * 6 >= amax = m * 2^(k+1) with m in [.5, 1): e = k - 2 where 2m <= 1.5, else k - 1
        found = exponent - LARGEST_EXPONENT + (2 * mantissa > LARGEST / 4).to(torch.int32)
    else:
        found = exponent - LARGEST_EXPONENT
    return found.clamp(-127, 127)


def _round_e2m1(x: Tensor, ties: Literal["even", "away"]) -> Tensor:
    """Values of any size to the nearest of the grid, saturating at 6."""
    import torch

    magnitude = x.abs().clamp(max=LARGEST)
    # steps of the grid: .5 below 2, 1 below 4, 2 above; rounding in units of the step
    step = torch.where(magnitude < 2, 0.5, torch.where(magnitude < 4, 1.0, 2.0))
    units = magnitude / step
    whole = units.round() if ties == "even" else torch.floor(units + 0.5)
    return torch.copysign(whole * step, x)
