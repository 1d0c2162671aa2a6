"""What makes the quantizers fast changes nothing that they find: each shortcut against the long way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from quantize_helpers import responses, save_tiny, write_array

from qrm_forensics.quantize import load_calibration
from qrm_forensics.quantize.affine import MSE_NORM, minmax_grid, mse_grid
from qrm_forensics.quantize.awq_core import (
    GRID,
    SeenInputs,
    candidate_scale,
    group_moments,
    mean_magnitude,
    round_weight,
    search_scale,
    search_scale_by_moments,
)
from qrm_forensics.quantize.gptq_core import quantize_weight, quantize_weights
from qrm_forensics.quantize.hessian import InputMoments, energies
from qrm_forensics.quantize.layerwise import LayerStream
from qrm_forensics.weights import open_checkpoint


@pytest.mark.parametrize(
    ("bits", "symmetric", "dtype"), [(4, False, None), (3, True, None), (4, False, torch.bfloat16)]
)
def test_range_search_tries_all_that_could_win(bits: int, symmetric: bool, dtype: Any) -> None:
    torch.manual_seed(bits)
    x = torch.distributions.StudentT(torch.tensor(4.0)).sample((40, 3, 64))
    x[0], x[1, 0], x[2], x[3] = 0, 3.0, x[2].abs(), x[3] * 1e-7
    low, high = x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)
    grids, errors = [], []
    for i in range(80):
        ends = torch.cat([low, high], -1) * (1 - i / 100)
        grids.append(minmax_grid(ends, bits, symmetric=symmetric, scale_dtype=dtype))
        errors.append((grids[-1].fake_quantize(x) - x).abs().pow(MSE_NORM).sum(-1, keepdim=True))
    best = torch.stack(errors).argmin(0, keepdim=True)
    found = mse_grid(x, bits, symmetric=symmetric, scale_dtype=dtype)
    assert torch.equal(found.scale, torch.stack([g.scale for g in grids]).gather(0, best)[0])
    assert torch.equal(found.zero, torch.stack([g.zero for g in grids]).gather(0, best)[0])
    assert len(best.unique()) > 5


def linear_problem(batches: int = 12) -> tuple[torch.nn.Linear, list[torch.Tensor]]:
    torch.manual_seed(1)
    linear = torch.nn.Linear(128, 96, bias=False).requires_grad_(False)
    sizes = torch.exp(1.5 * torch.randn(128))
    return linear, [torch.randn(1, 40, 128) * sizes for _ in range(batches)]


def exhaustive(linear: torch.nn.Linear, inputs: list[torch.Tensor]) -> list[float]:
    x = torch.cat(inputs).flatten(0, 1)
    magnitude, losses = mean_magnitude(inputs), []
    for step in range(GRID):
        scale = candidate_scale(magnitude, step / GRID)
        trial = round_weight(linear.weight * scale, 3, 32) / scale
        losses.append(float((x @ (trial - linear.weight).T).square().mean()))
    return losses


def test_scale_search_gives_up_on_losers_only() -> None:
    linear, inputs = linear_problem()
    before, losses, seen = linear.weight.clone(), exhaustive(linear, inputs), []

    def run(i: int) -> torch.Tensor:
        seen.append(i)
        return linear(inputs[i])

    found = search_scale(run, [linear], inputs, 3, 32)
    assert found.ratio == min(range(GRID), key=lambda i: losses[i]) / GRID
    assert torch.equal(linear.weight, before)
    for told, loss in zip(found.losses, losses, strict=True):
        assert told is None or told == pytest.approx(loss, rel=1e-4)
    assert len(seen) < len(inputs) * (GRID + 1) * 0.85, "nothing was saved"
    assert None in found.losses and found.losses[round(found.ratio * GRID)] is not None


def test_scale_search_without_a_finite_loss_is_refused() -> None:
    linear, inputs = linear_problem()
    with pytest.raises(ValueError, match="no scale"):
        search_scale(lambda i: linear(inputs[i]) * float("nan"), [linear], inputs, 3, 32)


def test_moments_stand_for_the_inputs() -> None:
    linear, inputs = linear_problem()
    kept, summed = SeenInputs(summed=False, step=7), SeenInputs(summed=True, step=7)
    for x in inputs:
        kept.add(x)
        summed.add(x)
    sums = summed.sums()
    assert sums is not None and kept.sums() is None and not summed.batches
    losses = exhaustive(linear, inputs)
    found = search_scale_by_moments(*sums, [linear], 3, 32)
    assert found.losses == pytest.approx(losses, rel=1e-4)
    assert found.ratio == min(range(GRID), key=lambda i: losses[i]) / GRID
    for scale in (None, found.scale):
        expected = group_moments([x if scale is None else x / scale for x in inputs], 32)
        for seen in (kept, summed):
            torch.testing.assert_close(
                seen.scaled_moments(scale, 32), expected, rtol=1e-4, atol=1e-4 * float(expected.max())
            )
        assert torch.equal(kept.scaled_sample(scale), summed.scaled_sample(scale))


def test_moments_are_mirrored() -> None:
    torch.manual_seed(0)
    x = torch.randn(700, 600)
    moments = InputMoments()
    moments.add(x[:300])
    moments.add(x[300:].reshape(2, 200, 600))
    h = moments.hessian()
    assert torch.equal(h, h.T)
    torch.testing.assert_close(h, 2 / 700 * x.T @ x, rtol=1e-4, atol=1e-4)
    w = torch.randn(5, 600).double()
    torch.testing.assert_close(energies(w, h.double()), ((w @ h.double()) * w).sum(1), rtol=1e-12, atol=0)


def test_weights_that_share_inputs_are_rounded_as_if_alone() -> None:
    torch.manual_seed(0)
    x = torch.randn(300, 128) * torch.exp(torch.randn(128))
    h = 2 / 300 * x.T @ x
    weights = [torch.randn(rows, 128) for rows in (24, 8, 40)]
    together = quantize_weights(weights, h, bits=3, group=32)
    for weight, found in zip(weights, together, strict=True):
        alone = quantize_weight(weight, h, bits=3, group=32)
        assert torch.equal(found.grid.scale, alone.grid.scale)
        assert (found.codes != alone.codes).float().mean() <= 1e-3
        assert found.error == pytest.approx(alone.error, rel=1e-3)
        assert found.rtn_error == pytest.approx(alone.rtn_error, rel=1e-9)


@pytest.mark.parametrize("held", [1 << 28, 0], ids=["kept", "computed-again"])
def test_a_layer_in_halves_is_the_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr("qrm_forensics.quantize.layerwise.HELD_BYTES", held)
    source = save_tiny(tmp_path / "source", dtype="float32")
    calibration = load_calibration(write_array(tmp_path / "r.jsonl", responses()), source, samples=6, length=48)
    whole, halves = (LayerStream(open_checkpoint(source), calibration, torch.float32, windows=2) for _ in range(2))
    down: list[torch.Tensor] = []
    attended: list[torch.Tensor] = []
    for index in range(2):
        whole.advance(whole.layer(index), {"mlp.down_proj": down.append, "self_attn.o_proj": attended.append})
        layer, seen, last = halves.layer(index), [], []
        halves.leave_attention(
            layer, "self_attn.o_proj", "post_attention_layernorm", halves.attend(layer, "self_attn.o_proj", seen.append)
        )
        assert all(torch.equal(a, b) for a, b in zip(seen, attended[-3:], strict=True))
        kept = halves.finish(layer, "mlp.down_proj", last.append)
        assert (kept is None) == (held == 0)
        assert all(torch.equal(a, b) for a, b in zip(last, down[-3:], strict=True))
        halves.advance(layer, end="mlp.down_proj", held=kept)
        assert all(torch.equal(a, b) for a, b in zip(whole.batches, halves.batches, strict=True))
        assert "forward" not in layer.self_attn.__dict__ and "forward" not in layer.mlp.__dict__
