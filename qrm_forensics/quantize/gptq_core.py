"""GPTQ for one weight matrix: columns are rounded one by one, and the error of each is pushed into the rest.

Frantar et al., arXiv 2210.17323, algorithm 1, with ``act_order`` (columns by falling diagonal of H)
and static groups: every group's grid is fixed beforehand on the weights in their own column order,
so that the result needs no column index at run time.  The same numbers come out of Babai's nearest
plane algorithm (arXiv 2507.18553), which is what the tests compare with.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qrm_forensics.quantize.affine import AffineGrid, minmax_grid, mse_grid, split_groups
from qrm_forensics.quantize.hessian import DAMPING, h_norm_errors, inverse_factor

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BLOCK = 128


@dataclass(frozen=True, slots=True)
class GPTQResult:
    """``weight``: dequantized, float32, ``[rows, columns]``; ``codes``: what it was dequantized from, on ``grid``.

    ``error`` and ``rtn_error`` are relative output errors (:func:`~qrm_forensics.quantize.hessian.h_norm_error`) of this weight and of plain
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


def quantize_weight(weight: Tensor, hessian: Tensor, **options: Any) -> GPTQResult:
    """:func:`quantize_weights` for one weight."""
    return quantize_weights([weight], hessian, **options)[0]


def quantize_weights(
    weights: Sequence[Tensor],
    hessian: Tensor,
    *,
    bits: int,
    group: int,
    symmetric: bool = False,
    act_order: bool = True,
    clip: bool = True,
    damping: float = DAMPING,
    scale_dtype: torch.dtype | None = None,
) -> list[GPTQResult]:
    """Round weights ``[rows, columns]`` that share their inputs under the metric of ``hessian`` ``[columns, columns]``.

    Rows are independent, so all weights are walked through at once.  ``group`` divides the columns.  ``clip`` searches each group's range for the
    smallest 2.4-norm error (:func:`mse_grid`) instead of taking min and max.  ``scale_dtype``: see
    :mod:`~qrm_forensics.quantize.affine`.  Raises ValueError where the Hessian holds NaN or infinity.
    """
    import torch

    if not bool(torch.isfinite(hessian).all()):
        raise ValueError("the calibration inputs hold NaN or infinity")
    original = torch.cat([weight.float() for weight in weights])
    dead = hessian.diagonal() == 0
    w = original.masked_fill(dead, 0)
    search = mse_grid if clip else minmax_grid
    grid = search(split_groups(w, group), bits, symmetric=symmetric, scale_dtype=scale_dtype)
    nearest = grid.codes(split_groups(w, group))
    diagonal = hessian.diagonal().float().masked_fill(dead, 1)
    order = torch.argsort(diagonal, descending=True, stable=True) if act_order else torch.arange(w.shape[1])
    order = order.to(w.device)
    give_back_memory()
    factor = inverse_factor(hessian.float(), damping, order=order, diagonal=diagonal)
    if factor.upper is None:
        codes = nearest.reshape_as(w)
    else:
        # Transposed, a column of the weight is one contiguous row.
        scale = grid.scale.squeeze(-1).T.contiguous()
        zero = grid.zero.squeeze(-1).T.contiguous()
        groups = (order // group).tolist()
        walked = _walk(w[:, order].T.contiguous(), factor.upper, scale, zero, groups, grid.qmin, grid.qmax)
        codes = walked.T[:, torch.argsort(order)].contiguous()
    failed = factor.upper is None
    attempts, damping = factor.attempts, factor.damping
    del factor
    result = grid.dequantize(split_groups(codes, group)).reshape_as(w)
    rounded = result if failed else grid.dequantize(nearest).reshape_as(w)
    rows = [weight.shape[0] for weight in weights]
    lost = h_norm_errors(original, [result, rounded], hessian, rows)
    parts = zip(
        *(whole.split(rows) for whole in (result, codes, grid.scale, grid.zero)), zip(*lost, strict=True), strict=True
    )
    return [
        GPTQResult(
            weight=weight,
            codes=code,
            grid=AffineGrid(scale, zero, grid.qmin, grid.qmax),
            damping=damping,
            attempts=attempts,
            fallback="rtn" if failed else None,
            dead=int(dead.sum()),
            error=error,
            rtn_error=rtn_error,
        )
        for weight, code, scale, zero, (error, rtn_error) in parts
    ]


def _walk(w: Tensor, upper: Tensor, scale: Tensor, zero: Tensor, groups: list[int], qmin: int, qmax: int) -> Tensor:
    """The codes.  ``w`` and ``upper`` are used up; ``w`` and the result are ``[columns, rows]`` in walking order; ``scale`` and ``zero`` are ``[groups, rows]``,
    ``groups`` says to which of them a column belongs.  Updates beyond a block come lazily.
    """
    import torch

    codes = torch.empty_like(w)
    lowest, highest = qmin - zero, qmax - zero
    # row i is what the rounding error of column i, undivided, does to the columns behind it
    pushed = upper.div_(upper.diagonal().clone().unsqueeze(1))
    for start in range(0, w.shape[0], BLOCK):
        stop = min(start + BLOCK, w.shape[0])
        local, steps, corner = w[start:stop], codes[start:stop], pushed[start:stop, start:stop]
        for i, g in enumerate(groups[start:stop]):
            column, s = local[i], scale[g]
            step = torch.div(column, s, out=steps[i]).round_().clamp_(lowest[g], highest[g])
            column.addcmul_(step, s, value=-1)  # what is left of the column is its error
            local[i + 1 :].addr_(corner[i, i + 1 :], column, alpha=-1)
        w[stop:].addmm_(pushed[start:stop, stop:].T, local, alpha=-1)
    return codes.add_(zero[groups])


def give_back_memory() -> None:
    """Let glibc return what is free to the system: what the passes through a layer leave in pieces would come on top of the large matrices."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)
