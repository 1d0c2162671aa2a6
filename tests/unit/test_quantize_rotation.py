"""Rotations and other transforms leave a model's function as it is, in float64, for every kind of attention."""

from __future__ import annotations

import json
import shutil
from itertools import product
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import torch
from quantize_helpers import responses, save_tiny, tiny_model, write_array

from qrm_forensics.errors import InputError
from qrm_forensics.quantize import Calibration, load_calibration, quantize, rotation
from qrm_forensics.quantize.adapters import ModelMap, model_map
from qrm_forensics.recipes import Recipe
from qrm_forensics.runtime.attach import attach, load_model
from qrm_forensics.runtime.spec import AttentionSpec, CacheSpec, LinearSpec, Rounding, RuntimeSpec, Transform

IDS = torch.randint(3, 90, (2, 24), generator=torch.Generator().manual_seed(1))


def _exact_norm(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon)


def random_model(kind: str, *, tied: bool, bias: bool, kv_heads: int, head_dim: int) -> tuple[Any, ModelMap]:
    """Two layers, hidden 96 = 12 · 8, intermediate 160 = 20 · 8, in float64, every parameter random."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4}
    options = {"attention_bias": bias} if kind != "qwen2" else {}
    config = AutoConfig.for_model(
        kind,
        vocab_size=96,
        **sizes,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        tie_word_embeddings=tied,
        **options,
    )
    torch.manual_seed(3)
    network = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").double().eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        noise = torch.randn_like(parameter)
        parameter.copy_(noise.exp() if "norm" in name else noise / (1 if noise.dim() == 1 else noise.shape[1] ** 0.5))
    for module in network.modules():
        if type(module).__name__.endswith("RMSNorm"):  # theirs goes through float32
            module.forward = MethodType(_exact_norm, module)
    shapes = {
        name: tuple(p.shape) for name, p in network.state_dict().items() if not (tied and name == "lm_head.weight")
    }
    return network, model_map(config.to_dict() | {"architectures": [type(network).__name__]}, shapes, "test")


ATTENTION = [
    *product(["qwen2"], [True, False], [True], [4, 2], [24]),
    *product(["llama", "qwen3"], [True, False], [True, False], [4, 2, 1], [24, 32]),
]


@pytest.mark.parametrize("turn", ["hadamard", "householder"])
@pytest.mark.parametrize(("kind", "tied", "bias", "kv_heads", "head_dim"), ATTENTION)
def test_rotations_change_nothing(kind: str, tied: bool, bias: bool, kv_heads: int, head_dim: int, turn: str) -> None:
    network, model = random_model(kind, tied=tied, bias=bias, kv_heads=kv_heads, head_dim=head_dim)
    before = network(IDS).logits
    assert rotation.untie(network, model) == tied == model.tied
    rotation.fuse_norms(network, model)
    assert (network(IDS).logits - before).abs().max() < 1e-9
    rotation.rotate_hidden(network, model, rotation.hidden_rotation(96, turn, 0))
    rotation.rotate_values(network, model)
    assert (network(IDS).logits - before).abs().max() < 1e-9
    for shards in (2, 1):
        rotation.rotate_down_input(network, model, shards)
        assert (network(IDS).logits - before).abs().max() > 1e-3
        spec = LinearSpec((Transform("hadamard", blocks=shards),))
        attached = attach(network, RuntimeSpec("test", {model.name(i, "mlp.down_proj"): spec for i in range(2)}), {})
        assert (network(IDS).logits - before).abs().max() < 1e-9
    attached.detach()


def test_a_hadamard_rotation_spreads_one_channel_over_all_and_a_reflection_does_not() -> None:
    spike = torch.zeros(96, dtype=torch.float64)
    spike[5] = 1
    assert torch.allclose(
        (spike @ rotation.hidden_rotation(96, "hadamard", 0)).abs(), torch.full((96,), 96**-0.5).double()
    )
    reflected = spike @ rotation.hidden_rotation(96, "householder", 0)
    assert reflected.abs().max() > 0.5 and reflected.norm() == pytest.approx(1)
    with pytest.raises(InputError, match="householder has every size"):
        rotation.hidden_rotation(100, "hadamard", 0)


@pytest.mark.parametrize("kind", ["qwen2", "llama", "qwen3"])
def test_keys_and_values_at_many_bits_change_nothing(kind: str) -> None:
    network, _ = random_model(kind, tied=False, bias=True, kv_heads=2, head_dim=24)
    network = network.float()
    before = network(IDS).logits
    width = 2 * 24
    fine = Rounding(bits=16)
    static = Rounding(bits=16, static=True, tensors={"scale": "s", "zero": "z"})
    side = {"s": torch.full((width,), 2**-8), "z": torch.full((width,), 2.0**15)}
    generator = torch.Generator().manual_seed(0)
    some = torch.randn(24, 24, generator=generator) + 4 * torch.eye(24)
    side |= {"m": some, "i": torch.linalg.inv(some.double()).float()}
    turned = Transform("matrix", tensors={"matrix": "m", "inverse": "i"})
    for keys in (
        CacheSpec(fine),
        CacheSpec(fine, transform=Transform("hadamard")),
        CacheSpec(fine, transform=turned),
        CacheSpec(static, "before_rope", before_bias=True),
        CacheSpec(static, "before_rope", before_bias=False),
    ):
        spec = RuntimeSpec("test", attention={i: AttentionSpec(keys, CacheSpec(fine)) for i in range(2)})
        attached = attach(network, spec, side)
        now = network(IDS).logits
        assert 0 < (now - before).abs().max() < 0.02 * before.abs().max()
        attached.detach()
        assert torch.equal(network(IDS).logits, before)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Calibration]:
    folder = tmp_path_factory.mktemp("source")
    made = save_tiny(folder / "model", dtype="float32", tied=True)
    return made, load_calibration(write_array(folder / "r.json", responses()), made, samples=8, length=64)


RECIPES = [
    *("kvquant_star-kv4", "kvquant_star-kv3+postbias", "quarot-kv4", "mxfp4-w4a4kv4", "quarot-w8a8kv8"),
    *("quarot-w4a4kv4s2+householder", "smoothquant-w8a8kv8", "quarot-w8a8kv8+skip0", "flatquant-w8a8kv8"),
]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_loads_by_itself_and_rounds_each_token_once(
    name: str, source: tuple[Path, Calibration], tmp_path: Path
) -> None:
    """With and without a cache, at once and token by token: the same tokens meet the same grids."""
    made = quantize(source[0], Recipe.parse(name), tmp_path / "out", source[1])
    network = load_model(made.path, dtype=torch.float32).eval()
    at_once = network(IDS, use_cache=False).logits
    assert torch.equal(network(IDS, use_cache=True).logits, at_once)
    plain = tiny_model(tied=True)(IDS).logits.detach()
    off = (at_once - plain).norm() / plain.norm()
    assert 0.001 < off < 0.9
    past, close = None, []
    for t in range(IDS.shape[1]):
        step = network(IDS[:, t : t + 1], past_key_values=past, use_cache=True)
        past = step.past_key_values
        close.append((step.logits[:, 0] - at_once[:, t]).abs().amax(-1) < 1e-2)
    # float noise may push a value over the edge of a step, and no more than that
    assert torch.stack(close).float().mean() > 0.8


def test_finer_caches_are_closer(source: tuple[Path, Calibration], tmp_path: Path) -> None:
    plain = tiny_model(tied=True)(IDS).logits.detach()
    off = {}
    for name in ("quarot-kv8", "quarot-kv3", "smoothquant-w8a8kv8", "smoothquant-w4a4kv4"):
        made = quantize(source[0], Recipe.parse(name), tmp_path / name, source[1])
        now = load_model(made.path, dtype=torch.float32)(IDS).logits.detach()
        off[name] = float((now - plain).norm() / plain.norm())
    assert off["quarot-kv8"] < off["quarot-kv3"] and off["smoothquant-w8a8kv8"] < off["smoothquant-w4a4kv4"]


def test_wrong_pairings_are_refused(source: tuple[Path, Calibration], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    first, second = (
        Path(quantize(source[0], Recipe.parse(name), tmp_path / name, source[1]).path)
        for name in ("quarot-w8a8kv8", "quarot-w8a8kv8+householder")
    )
    with pytest.raises(ValueError, match="qrm_qwen2"):
        AutoModelForCausalLM.from_pretrained(first)
    (second / "runtime.json").write_bytes((first / "runtime.json").read_bytes())
    with pytest.raises(InputError, match="made for other weights"):
        load_model(str(second))
    shutil.copy(first / "runtime.json", source[0] / "runtime.json")
    try:
        with pytest.raises(InputError, match="does not say so"):
            load_model(str(source[0]))
    finally:
        (source[0] / "runtime.json").unlink()
    (first / "runtime.json").unlink()
    with pytest.raises(InputError, match="is missing"):
        load_model(str(first))
    (first / "runtime.json").write_text(json.dumps({"format": 1, "recipe": 3}), encoding="utf-8")
    with pytest.raises(InputError, match="not a runtime description"):
        load_model(str(first))


def test_flatquant_transforms_change_nothing_and_training_helps() -> None:
    """At 16 bits the transformed layer is the layer; at 4 bits training lowers the loss; the way back is exact."""
    from qrm_forensics.quantize.flatquant_core import LayerTransforms, Settings
    from qrm_forensics.quantize.flatquant_train import rounded, train_layer

    network, model = random_model("qwen3", tied=False, bias=True, kv_heads=2, head_dim=32)
    layer = network.float().model.layers[0]
    x = torch.randn(4, 24, 96, generator=torch.Generator().manual_seed(0)) * 3
    places = network.model.rotary_emb(x, torch.arange(24)[None])
    given = {"position_embeddings": places, "attention_mask": None}
    plain = layer(x, **given)
    peaks = {"ln": torch.full((96,), 4.0), "up": torch.full((96,), 4.0), "down": torch.full((160,), 8.0)}
    for shards in (1, 2):
        fine = LayerTransforms(layer, model, Settings(16, 16, 16, shards), peaks, 0)
        for name in fine.clips:
            fine.clips[name].fill_(30.0)  # no clipping
        with rounded(layer, model, fine):
            assert (layer(x, **given) - plain).abs().max() < 2e-2 * plain.abs().max()
        assert torch.equal(layer(x, **given), plain)
        back = fine.restore_weights(fine.transform_weights(layer, exact=True))
        for name, weight in back.items():
            assert torch.allclose(weight, layer.get_submodule(name.removesuffix(".weight")).weight.double(), atol=1e-5)
    coarse = LayerTransforms(layer, model, Settings(4, 4, 4, 1), peaks, 0)
    told = train_layer(layer, model, coarse, [x], [given], epochs=40)
    assert 0 < told["relative_loss_after"] < 0.8 * told["relative_loss_before"]


@pytest.mark.parametrize(
    ("n", "factors"), [(1536, (32, 48)), (8960, (80, 112)), (2240, (40, 56)), (18944, (128, 148)), (97, (1, 97))]
)
def test_kronecker_sizes_are_those_of_the_public_code(n: int, factors: tuple[int, int]) -> None:
    from qrm_forensics.quantize.flatquant_core import kronecker_sizes

    assert kronecker_sizes(n) == factors
