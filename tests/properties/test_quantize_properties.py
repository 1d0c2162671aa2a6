"""What holds for every affine grid, whatever the weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qrm_forensics.quantize.affine import awq_grid, minmax_grid, mse_grid
from qrm_forensics.quantize.gptq_core import quantize_weight
from qrm_forensics.quantize.hessian import h_norm_error

values = st.floats(-1e4, 1e4, width=32).map(lambda v: 0.0 if abs(v) < 1e-3 else v)
groups = st.lists(values, min_size=16, max_size=16).map(lambda v: torch.tensor(v).reshape(2, 1, 8))
bit_widths = st.sampled_from([2, 3, 4, 8])


@settings(max_examples=150, deadline=None)
@given(groups, bit_widths, st.booleans())
def test_no_value_moves_by_more_than_a_step(x: torch.Tensor, bits: int, symmetric: bool) -> None:
    grid = minmax_grid(x, bits, symmetric=symmetric)
    # half a step for rounding, half a step for the rounding of the zero-point
    assert ((grid.fake_quantize(x) - x).abs() <= grid.scale * 1.001).all()


@settings(max_examples=150, deadline=None)
@given(groups, bit_widths)
def test_rounding_twice_is_rounding_once(x: torch.Tensor, bits: int) -> None:
    for grid in (minmax_grid(x, bits), mse_grid(x, bits), awq_grid(x, bits)):
        once = grid.fake_quantize(x)
        assert torch.equal(grid.fake_quantize(once), once)
        assert len(once[0].unique()) <= 2**bits


@settings(max_examples=100, deadline=None)
@given(groups, bit_widths, st.integers(-4, 4))
def test_scaling_by_a_power_of_two_scales_the_result(x: torch.Tensor, bits: int, power: int) -> None:
    if x.abs().amax() == 0:
        return
    factor = 2.0**power
    for make in (minmax_grid, mse_grid):
        if (x.amax(-1).clamp(min=0) - x.amin(-1).clamp(max=0)).min() * min(factor, 1) < 1e-3:
            continue  # a range at the floor does not scale
        assert torch.equal(make(x * factor, bits).fake_quantize(x * factor), make(x, bits).fake_quantize(x) * factor)


@settings(max_examples=100, deadline=None)
@given(groups, bit_widths)
def test_the_searched_range_is_never_worse_in_its_norm(x: torch.Tensor, bits: int) -> None:
    def error(y: torch.Tensor) -> torch.Tensor:
        return (y - x).double().abs().pow(2.4).sum(-1)

    searched, plain = (make(x, bits).fake_quantize(x) for make in (mse_grid, minmax_grid))
    assert (error(searched) <= error(plain) * (1 + 1e-5)).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), bit_widths, st.booleans())
def test_gptq_is_on_its_grid_for_any_rank_of_inputs(seed: int, bits: int, symmetric: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(6, 32, generator=generator)
    x = torch.randn(int(torch.randint(1, 80, (), generator=generator)), 32, generator=generator)
    h = 2 / len(x) * x.T @ x
    result = quantize_weight(w, h, bits=bits, group=16, symmetric=symmetric)
    split = result.weight.reshape(6, 2, 16)
    torch.testing.assert_close(result.grid.fake_quantize(split), split, rtol=1e-5, atol=1e-6)
    assert result.error == pytest.approx(h_norm_error(w, result.weight, h))
