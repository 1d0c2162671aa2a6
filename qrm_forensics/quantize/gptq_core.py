"""GPTQ for one weight matrix: columns are rounded one by one, and the error of each is pushed into the rest.

Frantar et al., arXiv 2210.17323, algorithm 1, with ``act_order`` (columns by falling diagonal of H)
and static groups: every group's grid is fixed beforehand on the weights in their own column order,
so that the result needs no column index at run time.  The same numbers come out of Babai's nearest
plane algorithm (arXiv 2507.18553), which is what the tests compare with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qrm_forensics.quantize.affine import AffineGrid, minmax_grid, mse_grid, split_groups
from qrm_forensics.quantize.hessian import DAMPING, h_norm_error, inverse_factor

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BLOCK = 128


@dataclass(frozen=True, slots=True)
class GPTQResult:
    """``weight``: dequantized, float32, ``[rows, columns]``; ``codes``: what it was dequantized from, on ``grid``.

    ``error`` and ``rtn_error`` are relative output errors (:func:`h_norm_error`) of this weight and of plain
    rounding to the same grid.  ``dead``: input channels that were 0 in the whole calibration; their weights
    become 0.  ``fallback`` is ``"rtn"`` where H could not be factorised, else None.
    """

    weight: Tensor
    codes: Tensor
    grid: AffineGrid
    damping: float
    attempts: int
    fallback: str | None
    dead: int
    error: float
    rtn_error: float


def quantize_weight(
    weight: Tensor,
    hessian: Tensor,
    *,
    bits: int,
    group: int,
    symmetric: bool = False,
    act_order: bool = True,
    clip: bool = True,
    damping: float = DAMPING,
    scale_dtype: torch.dtype | None = None,
) -> GPTQResult:
    """Round ``weight`` ``[rows, columns]`` under the metric of ``hessian`` ``[columns, columns]``.

    ``group`` divides the columns.  ``clip`` searches each group's range for the smallest 2.4-norm
    error (:func:`mse_grid`) instead of taking min and max.  ``scale_dtype``: see :mod:`~qrm_forensics.quantize.affine`.
    Raises ValueError where the Hessian holds NaN or infinity.
    """
    import torch

    if not bool(torch.isfinite(hessian).all()):
        raise ValueError("the calibration inputs hold NaN or infinity")
    original = weight.float()
    w, h = original.clone(), hessian.float().clone()
    dead = h.diagonal() == 0
    h.diagonal()[dead] = 1
    w[:, dead] = 0
    search = mse_grid if clip else minmax_grid
    grid = search(split_groups(w, group), bits, symmetric=symmetric, scale_dtype=scale_dtype)
    nearest = grid.codes(split_groups(w, group))
    rounded = grid.dequantize(nearest).reshape_as(w)
    order = torch.argsort(h.diagonal(), descending=True, stable=True) if act_order else torch.arange(w.shape[1])
    order = order.to(w.device)
    factor = inverse_factor(h[order][:, order], damping)
    if factor.upper is None:
        codes, result = nearest.reshape_as(w), rounded
    else:
        # Transposed, a column of the weight is one contiguous row.
        scale = grid.scale.squeeze(-1).repeat_interleave(group, 1)[:, order].T.contiguous()
        zero = grid.zero.squeeze(-1).repeat_interleave(group, 1)[:, order].T.contiguous()
        walked = _walk(w[:, order].T.contiguous(), factor.upper, scale, zero, grid.qmin, grid.qmax)
        codes = walked.T[:, torch.argsort(order)].contiguous()
        result = grid.dequantize(split_groups(codes, group)).reshape_as(w)
    return GPTQResult(
        weight=result,
        codes=codes,
        grid=grid,
        damping=factor.damping,
        attempts=factor.attempts,
        fallback=None if factor.upper is not None else "rtn",
        dead=int(dead.sum()),
        error=h_norm_error(original, result, hessian),
        rtn_error=h_norm_error(original, rounded, hessian),
    )


def _walk(w: Tensor, upper: Tensor, scale: Tensor, zero: Tensor, qmin: int, qmax: int) -> Tensor:
    """The codes.  All arguments are ``[columns, rows]`` in walking order; ``w`` is used up.  Updates beyond a block come lazily."""
    import torch

    codes = torch.empty_like(w)
    for start in range(0, w.shape[0], BLOCK):
        stop = min(start + BLOCK, w.shape[0])
        local, corner = w[start:stop], upper[start:stop, start:stop]
        errors = torch.empty_like(local)
        for i in range(stop - start):
            s, z = scale[start + i], zero[start + i]
            code = ((local[i] / s).round() + z).clamp(qmin, qmax)
            codes[start + i] = code
            errors[i] = (local[i] - (code - z) * s) / corner[i, i]
            local[i + 1 :].addr_(corner[i, i + 1 :], errors[i], alpha=-1)
        w[stop:].addmm_(upper[start:stop, stop:].T, errors, alpha=-1)
    return codes
