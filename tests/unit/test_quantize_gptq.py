"""GPTQ for one matrix against Babai's nearest plane in float64, and what must hold for any input."""

from __future__ import annotations

import pytest
import torch

from qrm_forensics.quantize.affine import AffineGrid, minmax_grid, mse_grid, split_groups
from qrm_forensics.quantize.gptq_core import quantize_weight
from qrm_forensics.quantize.hessian import InputMoments, h_norm_error, inverse_factor

GROUP = 64


def problem(rows: int = 48, columns: int = 192, tokens: int = 600, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight, and the second moments of correlated inputs with log-normal channel sizes."""
    torch.manual_seed(seed)
    mix = torch.randn(columns, columns) / columns**0.5 + torch.eye(columns)
    x = (torch.randn(tokens, columns) @ mix) * torch.exp(torch.randn(columns))
    moments = InputMoments()
    moments.add(x[: tokens // 2].unsqueeze(0))
    moments.add(x[tokens // 2 :])
    torch.testing.assert_close(moments.hessian(), 2 / tokens * x.T @ x, rtol=1e-4, atol=1e-4)
    return torch.randn(rows, columns) / columns**0.5, moments.hessian()


def babai(w: torch.Tensor, h: torch.Tensor, grid: AffineGrid, damping: float = 0.01) -> torch.Tensor:
    """Nearest plane: H = R Rᵀ with R upper triangular; a column sees the errors of those before it.  No inverse."""
    w, h = w.double(), h.double()
    order = torch.argsort(h.diagonal(), descending=True, stable=True)
    h = h + damping * h.diagonal().mean() * torch.eye(len(h), dtype=torch.float64)
    r = torch.linalg.cholesky(h[order][:, order].flip(0, 1)).flip(0, 1)
    scale, zero = (t.squeeze(-1).repeat_interleave(GROUP, 1).double()[:, order] for t in (grid.scale, grid.zero))
    w, e, q = w[:, order], torch.zeros_like(w), torch.zeros_like(w)
    for j in range(len(h)):
        target = w[:, j] + e[:, :j] @ r[:j, j] / r[j, j]
        q[:, j] = (((target / scale[:, j]).round() + zero[:, j]).clamp(grid.qmin, grid.qmax) - zero[:, j]) * scale[:, j]
        e[:, j] = w[:, j] - q[:, j]
    return q[:, torch.argsort(order)]


@pytest.mark.parametrize("bits", [4, 3, 2])
@pytest.mark.parametrize("symmetric", [False, True])
def test_same_codes_as_babai(bits: int, symmetric: bool) -> None:
    w, h = problem(seed=bits)
    result = quantize_weight(w, h, bits=bits, group=GROUP, symmetric=symmetric)
    oracle = babai(w, h, result.grid)
    differ = (result.weight.double() - oracle).abs() > 0.5 * result.grid.scale.min()
    assert differ.float().mean() <= 1e-3
    theirs = h_norm_error(w, oracle, h)
    assert result.error == pytest.approx(theirs, rel=1e-4 if not differ.any() else 5e-3)
    assert (result.fallback, result.attempts, result.damping) == (None, 1, 0.01)


@pytest.mark.parametrize("clip", [False, True])
def test_identity_hessian_is_round_to_nearest(clip: bool) -> None:
    w, _ = problem()
    split = split_groups(w, GROUP)
    expected = (mse_grid if clip else minmax_grid)(split, 3).fake_quantize(split).reshape_as(w)
    assert torch.equal(quantize_weight(w, torch.eye(192), bits=3, group=GROUP, clip=clip).weight, expected)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bits", [4, 3, 2])
def test_less_output_error_than_rounding(bits: int, seed: int) -> None:
    w, h = problem(seed=seed)
    result = quantize_weight(w, h, bits=bits, group=GROUP)
    assert result.error < result.rtn_error
    split = split_groups(w, GROUP)
    rounded = mse_grid(split, bits).fake_quantize(split).reshape_as(w)
    assert result.rtn_error == pytest.approx(h_norm_error(w, rounded, h))


def test_error_is_the_change_of_the_output() -> None:
    torch.manual_seed(3)
    x, w = torch.randn(500, 64).double(), torch.randn(8, 64)
    quantized = (w * 4).round() / 4
    direct = ((x @ (quantized - w).double().T) ** 2).sum() / ((x @ w.double().T) ** 2).sum()
    assert h_norm_error(w, quantized, 2 / 500 * x.T @ x) == pytest.approx(direct.item(), rel=1e-9)


def test_permuting_columns_permutes_the_result() -> None:
    w, h = problem()
    within = torch.cat([torch.randperm(GROUP) + g * GROUP for g in (2, 0, 1)])  # whole groups, and inside them
    plain = quantize_weight(w, h, bits=3, group=GROUP).weight
    moved = quantize_weight(w[:, within], h[within][:, within], bits=3, group=GROUP).weight
    assert ((plain[:, within] - moved).abs() > 1e-5).float().mean() <= 1e-3


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    w, h = problem()
    plain = quantize_weight(w, h, bits=3, group=GROUP).weight
    monkeypatch.setattr("qrm_forensics.quantize.gptq_core.BLOCK", 7)
    other = quantize_weight(w, h, bits=3, group=GROUP).weight
    assert ((plain - other).abs() > 1e-5).float().mean() <= 1e-3


def test_dead_channels_become_zero() -> None:
    w, h = problem()
    h[5], h[:, 5] = 0, 0
    result = quantize_weight(w, h, bits=4, group=GROUP)
    assert result.dead == 1
    assert torch.equal(result.weight[:, 5], torch.zeros(48))
    assert torch.isfinite(result.weight).all()


def test_failed_factorisation_starts_over_with_more_damping() -> None:
    h = torch.eye(8)
    h[0, 1] = h[1, 0] = 1.1  # smallest eigenvalue -0.1
    original = h.clone()
    factor = inverse_factor(h)
    assert (factor.damping, factor.attempts) == (0.16, 5)
    assert torch.equal(h, original)
    assert factor.upper is not None
    damped = h.double() + 0.16 * torch.eye(8, dtype=torch.float64)  # 0.16 alone: dampings are not added up
    torch.testing.assert_close((factor.upper.T @ factor.upper).double(), torch.linalg.inv(damped), rtol=1e-4, atol=1e-4)


def test_hopeless_hessian_falls_back_to_rounding_and_says_so() -> None:
    torch.manual_seed(0)
    w, h = torch.randn(4, 8), torch.eye(8)
    h[0, 1] = h[1, 0] = 5.0
    result = quantize_weight(w, h, bits=4, group=8)
    assert (result.fallback, result.attempts, result.damping) == ("rtn", 7, 0.64)
    assert torch.equal(result.weight, mse_grid(w.unsqueeze(1), 4).fake_quantize(w.unsqueeze(1)).squeeze(1))


def test_not_a_number_is_refused() -> None:
    h = torch.eye(8)
    h[2, 2] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        quantize_weight(torch.randn(4, 8), h, bits=4, group=8)


def test_no_input_is_refused() -> None:
    with pytest.raises(ValueError, match="no input"):
        InputMoments().hessian()
