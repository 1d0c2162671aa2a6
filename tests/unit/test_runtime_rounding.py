"""Rounding at run time against independent implementations, and Hadamard matrices against their definition."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from qrm_forensics.runtime import hadamard, mxfp
from qrm_forensics.runtime.rounding import fake_quantize
from qrm_forensics.runtime.spec import Rounding

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "mxfp4_torchao.json").read_text(encoding="utf-8"))
#: Hidden and intermediate sizes of the paper's models and of Qwen3 (per rank of four where they are split), heads.
SIZES = (1536, 8960, 2240, 3584, 18944, 4736, 5120, 13824, 27648, 14336, 28672, 9728, 17408, 25600, 128, 64)


@pytest.mark.parametrize("rule", mxfp.SCALE_RULES)
def test_mxfp4_equals_torchao_to_the_last_bit(rule: str) -> None:
    x = torch.tensor(VECTORS["input"])
    assert torch.equal(mxfp.fake_quantize(x, scale_rule=rule), torch.tensor(VECTORS[rule]))  # type: ignore[arg-type]


def test_mxfp4_even_equals_compressed_tensors() -> None:
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization import fake_quantize as theirs
    from compressed_tensors.quantization.utils import calculate_qparams

    torch.manual_seed(0)
    x = torch.randn(64, 32)
    settings = QuantizationArgs(num_bits=4, type="float", strategy="group", group_size=32, symmetric=True,
                                scale_dtype=torch.uint8, zp_dtype=torch.uint8)  # fmt: skip
    scale, zero = calculate_qparams(x.amin(-1, keepdim=True), x.amax(-1, keepdim=True), settings)
    assert torch.equal(mxfp.fake_quantize(x, scale_rule="even"), theirs(x, scale, zero, settings))


def test_ties_go_to_even_or_away() -> None:
    x = torch.tensor([[6.0, 5.0, 3.5, 2.5, 1.75, 1.25, 0.75, 0.25] * 4])
    even = mxfp.fake_quantize(x)[0, :8].tolist()
    away = mxfp.fake_quantize(x, ties="away")[0, :8].tolist()
    assert even == [6, 4, 4, 2, 2, 1, 1, 0]
    assert away == [6, 6, 4, 3, 2, 1.5, 1, 0.5]


def test_a_huge_value_swallows_its_block_and_nan_poisons_it() -> None:
    x = torch.full((1, 64), 1e-3)
    x[0, 0] = 402.0
    rounded = mxfp.fake_quantize(x)
    assert rounded[0, 1:32].abs().max() == 0 and rounded[0, 32:].min() > 0
    x[0, 0] = float("nan")
    assert mxfp.fake_quantize(x)[0, :32].isnan().all() and not mxfp.fake_quantize(x)[0, 32:].isnan().any()
    with pytest.raises(ValueError, match="blocks of 32"):
        mxfp.fake_quantize(torch.ones(1, 40))


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("group", [-1, 32])
def test_token_grids_equal_compressed_tensors(bits: int, group: int) -> None:
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization import fake_quantize as theirs
    from compressed_tensors.quantization.utils import calculate_qparams

    torch.manual_seed(bits)
    x = torch.randn(40, 64) * 3
    strategy = {"strategy": "token"} if group == -1 else {"strategy": "group", "group_size": group}
    settings = QuantizationArgs(num_bits=bits, symmetric=False, dynamic=True, **strategy)
    parts = x if group == -1 else x.unflatten(-1, (-1, group))
    keep = {"keepdim": True} if group == -1 else {}
    scale, zero = calculate_qparams(parts.amin(-1, **keep), parts.amax(-1, **keep), settings)
    ours = fake_quantize(x, Rounding(bits=bits, group=group), {})
    # they round x / s + z, the paper x / s: halves may go one step the other way
    step = scale.max()
    off = (ours - theirs(x, scale, zero, settings)).abs()
    assert (off > 1e-5).float().mean() <= 0.003
    assert off.max() <= step * 1.001


def test_clipping_zero_rows_and_static_grids() -> None:
    x = torch.tensor([[-1.0, 0.0, 1.0, 3.0], [0.0, 0.0, 0.0, 0.0], [5.0, 5.0, 5.0, 5.0]])
    rounded = fake_quantize(x, Rounding(bits=8), {})
    assert torch.allclose(rounded, x, atol=4 / 255 / 2 + 1e-6)
    assert torch.equal(rounded[1], x[1])
    assert fake_quantize(x, Rounding(bits=8, clip=0.5), {}).max() == pytest.approx(2.5, abs=0.02)
    static = Rounding(bits=2, static=True, tensors={"scale": "s", "zero": "z"})
    found = fake_quantize(x, static, {"s": torch.ones(4), "z": torch.tensor([1.0, 0, 0, 0])})
    assert found.tolist() == [[-1, 0, 1, 3], [0, 0, 0, 0], [2, 3, 3, 3]]


@pytest.mark.parametrize("n", [n for n in SIZES if n <= 2240])
def test_hadamard_is_orthogonal_in_integers(n: int) -> None:
    h = hadamard.signs(n).astype(np.int64)
    assert set(np.unique(h)) == {-1, 1}
    assert np.array_equal(h @ h.T, n * np.eye(n, dtype=np.int64))


@pytest.mark.parametrize("n", SIZES)
def test_the_fast_product_is_the_matrix(n: int) -> None:
    m, power = hadamard.factors(n)
    assert m * power == n and power & (power - 1) == 0
    x = torch.randn(3, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    turned = hadamard.multiply(x)
    assert torch.equal(hadamard.multiply(x, dense=hadamard.core(n)), turned)
    assert torch.allclose(hadamard.multiply(turned, transposed=True), x, atol=1e-10)
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1))
    if n <= 2240:
        assert torch.allclose(turned, x @ hadamard.matrix(n), atol=1e-10)
        blocks = hadamard.multiply(torch.cat([x, 2 * x], -1), 2)
        assert torch.allclose(blocks, torch.cat([turned, 2 * turned], -1), atol=1e-10)


def test_a_size_without_a_matrix_is_an_error() -> None:
    with pytest.raises(ValueError, match="no Hadamard matrix of order 100"):
        hadamard.factors(100)
