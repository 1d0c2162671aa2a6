"""Affine grids against compressed-tensors and by their definition."""

from __future__ import annotations

import pytest
import torch

from qrm_forensics.quantize.affine import awq_grid, minmax_grid, mse_grid, split_groups, sqnr_db

compressed = pytest.importorskip("compressed_tensors.quantization")


def weights(dtype: torch.dtype) -> torch.Tensor:
    torch.manual_seed(1)
    return (torch.randn(192, 512) * torch.rand(192, 1)).to(dtype)


def by_compressed_tensors(w: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    from compressed_tensors.quantization.utils import calculate_qparams

    args = compressed.QuantizationArgs(num_bits=bits, symmetric=False, strategy="group", group_size=128)
    split = split_groups(w, 128)
    scale, zero = calculate_qparams(split.amin(-1), split.amax(-1), args)
    return compressed.fake_quantize(w, scale, zero, args), scale, zero.float() + 2 ** (bits - 1)


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_rtn_agrees_with_compressed_tensors(bits: int, dtype: torch.dtype) -> None:
    w = weights(dtype).float()
    split = split_groups(w, 128)
    grid = minmax_grid(split, bits)
    theirs, scale, zero = by_compressed_tensors(w, bits)
    torch.testing.assert_close(grid.scale.squeeze(-1), scale, rtol=1e-6, atol=0)
    assert torch.equal(grid.zero.squeeze(-1), zero)
    codes = grid.codes(split)
    apart = (codes - (split_groups(theirs, 128) / grid.scale + grid.zero).round()).abs()
    assert apart.max() <= 1
    assert (apart > 0).float().mean() <= 0.003
    # They round x/s + z and the paper rounds x/s, so that only ties (up to float32 rounding) may differ.
    fraction = (split / grid.scale).double() % 1
    tie = (fraction - 0.5).abs() < 1e-4
    assert torch.equal(apart > 0, (apart > 0) & tie)
    mine = grid.fake_quantize(split)
    torch.testing.assert_close(mine[~tie], split_groups(theirs, 128)[~tie], rtol=1e-6, atol=1e-7)


def test_the_range_includes_zero_except_for_awq() -> None:
    positive = torch.rand(4, 2, 16) + 1
    grid = minmax_grid(positive, 4)
    assert torch.equal(grid.zero, torch.zeros_like(grid.zero))
    torch.testing.assert_close(grid.scale, positive.amax(-1, keepdim=True) / 15)
    torch.testing.assert_close(
        awq_grid(positive, 4).scale, (positive.amax(-1, keepdim=True) - positive.amin(-1, keepdim=True)) / 15
    )


def test_symmetric_grid_by_hand() -> None:
    grid = minmax_grid(torch.tensor([[[-3.5, 1.0, 7.0, 0.2]]]), 4, symmetric=True)
    assert (grid.qmin, grid.qmax, grid.scale.item(), grid.zero.item()) == (-8, 7, 1.0, 0.0)
    # -3.5 is a tie and goes to the even code
    assert grid.codes(torch.tensor([[[-3.5, 1.0, 7.0, 0.2]]])).flatten().tolist() == [-4.0, 1.0, 7.0, 0.0]


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("symmetric", [False, True])
def test_zero_stays_zero_and_codes_stay_in_range(bits: int, symmetric: bool) -> None:
    x = split_groups(weights(torch.float32), 128)
    for grid in (minmax_grid(x, bits, symmetric=symmetric), mse_grid(x, bits, symmetric=symmetric)):
        assert torch.equal(grid.fake_quantize(torch.zeros_like(x)), torch.zeros_like(x))
        assert grid.codes(x * 3).min() == grid.qmin and grid.codes(x * 3).max() == grid.qmax
        assert grid.qmax - grid.qmin + 1 == 2**bits


def test_degenerate_groups_stay_finite() -> None:
    x = torch.stack([torch.zeros(1, 8), torch.full((1, 8), 2.0), torch.full((1, 8), -2.0)])
    for grid in (minmax_grid(x, 3), mse_grid(x, 3), minmax_grid(x, 3, symmetric=True)):
        torch.testing.assert_close(grid.fake_quantize(x), x)
    assert torch.isfinite(awq_grid(x, 3).fake_quantize(x)).all()


def test_mse_grid_is_the_best_of_the_80_factors() -> None:
    x = split_groups(weights(torch.float32)[:8], 128)
    grid = mse_grid(x, 3)
    for row in range(8):
        for group in range(4):
            values = x[row, group]
            low, high = min(values.min().item(), 0), max(values.max().item(), 0)
            errors = []
            for i in range(80):
                p = 1 - i / 100
                s = (p * high - p * low) / 7
                z = round(-p * low / s)
                q = (torch.clamp(torch.round(values / s) + z, 0, 7) - z) * s
                errors.append((q - values).abs().pow(2.4).sum().item())
            best = (grid.fake_quantize(x)[row, group] - values).abs().pow(2.4).sum().item()
            assert best == pytest.approx(min(errors), rel=1e-4)


def test_sqnr_of_a_known_error() -> None:
    assert sqnr_db(torch.tensor([10.0]), torch.tensor([9.0])) == pytest.approx(20)
    assert sqnr_db(torch.tensor([1.0]), torch.tensor([1.0])) is None


def test_gaussian_sqnr_is_where_theory_puts_it() -> None:
    torch.manual_seed(0)
    x = torch.randn(512, 8, 128)
    assert sqnr_db(x, minmax_grid(x, 4).fake_quantize(x)) == pytest.approx(20.0, abs=0.3)
    assert sqnr_db(x, minmax_grid(x, 3).fake_quantize(x)) == pytest.approx(13.3, abs=0.3)
