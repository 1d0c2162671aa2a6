"""Second moments of a linear layer's inputs, and the factor of their inverse that GPTQ walks along."""

from __future__ import annotations

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
        self.total: Tensor | None = None
        self.count = 0

    def add(self, x: Tensor) -> None:
        """``x``: ``[..., columns]``; every leading position is one input vector."""
        rows = x.reshape(-1, x.shape[-1]).float()
        self.count += rows.shape[0]
        if self.total is None:
            self.total = rows.T @ rows
        else:
            self.total.addmm_(rows.T, rows)

    def hessian(self) -> Tensor:
        """``[columns, columns]``, float32.  Raises ValueError before the first :meth:`add`."""
        if self.total is None:
            raise ValueError("no input was seen")
        return self.total * (2 / self.count)


@dataclass(frozen=True, slots=True)
class InverseFactor:
    """``upper`` (float32) is upper triangular with ``upperᵀ upper = (H + damping · mean(diag H) · I)⁻¹``.

    ``upper`` is None where no damping up to the largest made the matrix positive definite.
    """

    upper: Tensor | None
    damping: float
    attempts: int


def inverse_factor(hessian: Tensor, damping: float = DAMPING, attempts: int = ATTEMPTS) -> InverseFactor:
    """Cholesky, invert, Cholesky again, in float64.

    If any of the three fails, or leaves something that is not finite, the damping is doubled
    and the *whole chain* starts again from the undamped matrix: dampings do not add up, and no
    later factorisation is repeated on a matrix that an earlier one has overwritten (the public
    GPTQ code does both).  The callers log the damping that was used.
    """
    import torch

    exact = hessian.double()
    unit = exact.diagonal().mean()
    for attempt in range(1, attempts + 1):
        damped = exact.clone()
        damped.diagonal().add_(damping * unit)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
            if not failed and bool(torch.isfinite(upper).all()):
                return InverseFactor(upper.float(), damping, attempt)
        damping *= 2
    return InverseFactor(None, damping / 2, attempts)


def h_norm_error(weight: Tensor, quantized: Tensor, hessian: Tensor) -> float:
    """‖X(W' - W)ᵀ‖² / ‖X Wᵀ‖² from the second moments, in float64; 0 where the layer's output is 0."""
    h = hessian.double()
    delta, w = (quantized - weight).double(), weight.double()
    output = float(((w @ h) * w).sum())
    return float(((delta @ h) * delta).sum()) / output if output > 0 else 0.0
