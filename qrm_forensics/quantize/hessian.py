"""Second moments of a linear layer's inputs, and the factor of their inverse that GPTQ walks along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

DAMPING = 0.01
#: 0.01, 0.02, 0.04 ... 0.64 of the mean diagonal, then round-to-nearest.
ATTEMPTS = 7


class InputMoments:
    """H = (2/n) Σ x xᵀ over all input vectors, summed in float32 (GPTQ, arXiv 2210.17323, section 3)."""

    def __init__(self) -> None:
        #: Right of its diagonal blocks, and in them; the rest is their mirror image and is never computed.
        self.total: Tensor | None = None
        self.count = 0

    def add(self, x: Tensor) -> None:
        """``x``: ``[..., columns]``; every leading position is one input vector."""
        rows = x.reshape(-1, x.shape[-1]).float()
        self.count += rows.shape[0]
        if self.total is None:
            self.total = rows.new_zeros(rows.shape[1], rows.shape[1])
        for start, stop in _blocks(rows.shape[1]):
            self.total[start:stop, start:].addmm_(rows[:, start:stop].T, rows[:, start:])

    def hessian(self) -> Tensor:
        """``[columns, columns]``, float32.  Raises ValueError before the first :meth:`add`."""
        if self.total is None:
            raise ValueError("no input was seen")
        return _mirrored(self.total * (2 / self.count))

    def take(self) -> Tensor:
        """:meth:`hessian` in the memory of the sum, which starts again from nothing."""
        if self.total is None:
            raise ValueError("no input was seen")
        found, self.total = self.total, None
        return _mirrored(found.mul_(2 / self.count))


def _mirrored(found: Tensor) -> Tensor:
    for start, stop in _blocks(len(found)):
        found[stop:, start:stop] = found[start:stop, stop:].T
    return found


def _blocks(columns: int) -> list[tuple[int, int]]:
    """At most eight blocks of columns, wide enough for fast matrix products."""
    width = max(256, -(-columns // 8))
    return [(start, min(start + width, columns)) for start in range(0, columns, width)]


@dataclass(frozen=True, slots=True)
class InverseFactor:
    """``upper`` (float32) is upper triangular with ``upperᵀ upper = (H + damping · mean(diag H) · I)⁻¹``.

    ``upper`` is None where no damping up to the largest made the matrix positive definite.
    """

    upper: Tensor | None
    damping: float
    attempts: int


def inverse_factor(
    hessian: Tensor,
    damping: float = DAMPING,
    attempts: int = ATTEMPTS,
    *,
    order: Tensor | None = None,
    diagonal: Tensor | None = None,
) -> InverseFactor:
    """The inverse of the upper triangular R with ``R Rᵀ = H + damping · mean(diag H) · I``, in float64.

    ``(R Rᵀ)⁻¹ = (R⁻¹)ᵀ R⁻¹``, and R⁻¹ is upper triangular, so that one factorisation is enough; R comes from the Cholesky factor of the
    matrix with rows and columns in reverse order.  If it fails, or leaves something that is not finite, the damping is doubled and
    everything starts again from the undamped matrix: dampings do not add up (in the public GPTQ code they do).  The callers log
    the damping that was used.

    ``order``: of the rows and columns of H in all this, and in the result.  ``diagonal``: what stands for the diagonal of ``hessian``, in its own order.
    """
    import torch

    columns = torch.arange(len(hessian), device=hessian.device) if order is None else order
    ordered = (hessian.diagonal() if diagonal is None else diagonal)[columns]
    unit = ordered.double().mean()
    backwards = columns.flip(0)
    for attempt in range(1, attempts + 1):
        # filled block by block: beside a large H there is one matrix of its size in float64, and no other
        damped = hessian.new_empty(hessian.shape, dtype=torch.float64)
        for start, stop in _blocks(len(hessian)):
            damped[start:stop] = hessian[backwards[start:stop].unsqueeze(1), backwards]
        damped.diagonal().copy_(ordered.flip(0)).add_(damping * unit)
        lower, failed = _cholesky(damped)
        del damped
        if not failed:
            upper = _inverse(lower)
            del lower
            if bool(torch.isfinite(upper).all()):
                return InverseFactor(upper, damping, attempt)
        damping *= 2
    return InverseFactor(None, damping / 2, attempts)


def _cholesky(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The lower factor, and whether there is none; on a CPU in the memory of ``matrix``, which is used up."""
    import torch

    if matrix.device.type != "cpu":
        lower, failed = torch.linalg.cholesky_ex(matrix)
        return lower, failed
    columns = matrix.mT  # symmetric, and laid out as LAPACK wants it
    failed = torch.empty((), dtype=torch.int32)
    torch.linalg.cholesky_ex(columns, out=(columns, failed))
    return columns, failed


def _inverse(lower: Tensor) -> Tensor:
    """The inverse of a lower triangular matrix, with rows and columns in reverse order, float32: block by block, as what is above a block is 0."""
    import torch

    n = len(lower)
    found = lower.new_zeros((n, n), dtype=torch.float32)
    for start, stop in _blocks(n):
        columns = lower.new_zeros(stop - start, n - start).mT
        columns.diagonal().fill_(1)
        torch.linalg.solve_triangular(lower[start:, start:], columns, upper=False, out=columns)
        found[: n - start, n - stop : n - start] = columns.flip(0, 1)
    return found


def h_norm_error(weight: Tensor, quantized: Tensor, hessian: Tensor) -> float:
    """‖X(W' - W)ᵀ‖² / ‖X Wᵀ‖² from the second moments, in float64; 0 where the layer's output is 0."""
    return h_norm_errors(weight, [quantized], hessian, [weight.shape[0]])[0][0]


def h_norm_errors(
    weight: Tensor, quantized: Sequence[Tensor], hessian: Tensor, rows: Sequence[int]
) -> list[list[float]]:
    """:func:`h_norm_error` of several roundings, each for the parts that weights of ``rows`` rows stand below one another in."""

    def parts(w: Tensor) -> list[float]:
        return [float(part.sum()) for part in energies(w.double(), hessian).split(list(rows))]

    output = parts(weight)
    return [
        [lost / whole if whole > 0 else 0.0 for lost, whole in zip(parts(q - weight), output, strict=True)]
        for q in quantized
    ]


def energies(weight: Tensor, moments: Tensor) -> Tensor:
    """wᵀ H w of every row w of ``[rows, columns]``, in the dtype of ``weight``: ``[rows]``.  H is symmetric."""
    found = weight.new_zeros(len(weight))
    for start, stop in _blocks(len(moments)):  # what is right of a diagonal block counts twice
        seen = weight[:, start:stop] @ moments[start:stop, start:].to(weight.dtype)
        seen[:, stop - start :] *= 2
        found += seen.mul_(weight[:, start:]).sum(1)
    return found
