"""What the plugin refuses, what it leaves alone, and what of vLLM it stands on."""

from __future__ import annotations

import inspect
import json
import shutil
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from quantize_helpers import responses, write_array
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

pytest.importorskip("vllm", reason="needs vllm; run make vllm-test")

from vllm_parity import engine, save_family

from qrm_forensics.errors import InputError
from qrm_forensics.quantize import load_calibration, quantize
from qrm_forensics.recipes import Recipe
from qrm_forensics.runtime.attach import change_input, round_cache
from qrm_forensics.runtime.spec import CacheSpec, LinearSpec, Rounding, Transform
from qrm_forensics.vllm_plugin import register
from qrm_forensics.vllm_plugin.methods import SideTensors, early_key_tensors


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_family(tmp_path_factory.mktemp("refused") / "source", "qwen2")


@pytest.fixture(scope="module")
def mxfp4(source: Path) -> Path:
    return Path(quantize(source, Recipe.parse("mxfp4-w4a4kv4"), source.parent / "mxfp4").path)


@pytest.fixture(scope="module")
def kvquant(source: Path) -> Path:
    calibration = load_calibration(write_array(source.parent / "r.json", responses(8)), source, samples=2, length=48)
    return Path(quantize(source, Recipe.parse("kvquant_star-kv4"), source.parent / "kvquant", calibration).path)


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")


def copied(folder: Path, out: Path) -> Path:
    return Path(shutil.copytree(folder, out))


def refused(folder: Path, match: str, **options: Any) -> None:
    with pytest.raises(InputError, match=match), engine(folder, **options):
        pass


def test_vllm_finds_the_plugin_and_may_call_it_again() -> None:
    found = [e for e in entry_points(group="vllm.general_plugins") if e.name == "qrm_forensics"]
    assert [e.value for e in found] == ["qrm_forensics.vllm_plugin:register"]
    assert found[0].load() is register
    register()
    register()


def test_transformers_still_refuses_what_it_cannot_execute(mxfp4: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    register()
    assert AutoConfig.from_pretrained(mxfp4).model_type == "qrm_qwen2"
    with pytest.raises(ValueError, match="Unrecognized configuration class"):
        AutoModelForCausalLM.from_pretrained(mxfp4)


def test_wrong_pairings_are_refused(mxfp4: Path, kvquant: Path, source: Path, tmp_path: Path) -> None:
    mixed = copied(kvquant, tmp_path / "mixed")
    shutil.copy(mxfp4 / "model.safetensors", mixed)
    refused(mixed, "made for other weights")
    bare = copied(kvquant, tmp_path / "bare")
    (bare / "runtime.tensors").unlink()
    refused(bare, "runtime.tensors: cannot be read")
    (bare / "runtime.json").unlink()
    refused(bare, "runtime.json: is missing")


def test_descriptions_of_another_model_are_refused(mxfp4: Path, tmp_path: Path) -> None:
    def changed(name: str, edit: Any) -> Path:
        folder = copied(mxfp4, tmp_path / name)
        described = json.loads((folder / "runtime.json").read_text(encoding="utf-8"))
        edit(described)
        (folder / "runtime.json").write_text(json.dumps(described), encoding="utf-8")
        return folder

    def rename(described: Any) -> None:
        described["linears"]["model.layers.0.mlp.experts"] = described["linears"].pop("model.layers.0.mlp.up_proj")

    def deepen(described: Any) -> None:
        described["attention"]["7"] = described["attention"]["0"]

    refused(changed("experts", rename), "names the module model.layers.0.mlp.experts")
    refused(changed("deep", deepen), "names decoder layer 7, the model has 2")
    folder = copied(mxfp4, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["PhiForCausalLM"]}), encoding="utf-8")
    refused(folder, "not taught to run a quantized PhiForCausalLM")


def test_a_cache_is_not_rounded_twice(mxfp4: Path) -> None:
    refused(mxfp4, "kv_cache_dtype=fp8: this checkpoint rounds its own cache", kv_cache_dtype="fp8")


def test_a_rank_rounds_its_own_keys_and_refuses_groups_that_it_has_a_part_of() -> None:
    """6 heads of 4 channels on 2 ranks, and 2 heads on 4 ranks, where two have the same head."""

    def rank(number: int, ranks: int, heads: int) -> Any:
        own, replicas = max(1, heads // ranks), max(1, ranks // heads)
        return SimpleNamespace(
            tp_rank=number,
            tp_size=ranks,
            head_size=4,
            total_num_kv_heads=heads,
            num_kv_heads=own,
            num_kv_head_replicas=replicas,
        )

    def first(number: int, ranks: int, heads: int) -> list[float]:
        tensors = {"s": torch.arange(4.0 * heads), "z": torch.zeros(4 * heads), "other": torch.ones(3)}
        found = early_key_tensors(rank(number, ranks, heads), static, tensors)
        assert found["other"] is tensors["other"] and found["z"].shape == found["s"].shape
        return [float(found["s"][0]), float(found["s"][-1])]

    static = CacheSpec(Rounding(static=True, tensors={"scale": "s", "zero": "z"}), "before_rope")
    assert [first(n, 2, 6) for n in range(2)] == [[0, 11], [12, 23]]
    assert [first(n, 4, 2) for n in range(4)] == [[0, 3], [0, 3], [4, 7], [4, 7]]
    assert first(0, 1, 6) == [0, 23]
    for group, ranks, fits in (
        (-1, 1, True),
        (4, 2, True),
        (12, 2, True),
        (24, 2, False),
        (-1, 2, False),
        (8, 2, False),
    ):
        fitted = CacheSpec(Rounding(group=group), "before_rope")
        if fits:
            early_key_tensors(rank(0, ranks, 6), fitted, {})
            continue
        with pytest.raises(InputError, match=r"groups of \d+ values across heads, and a rank has 12"):
            early_key_tensors(rank(0, ranks, 6), fitted, {})


class Devices(TorchDispatchMode):
    """Where the tensors are that pass through."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.seen |= {leaf.device.type for leaf in tree_leaves((args, kwargs, made)) if isinstance(leaf, torch.Tensor)}
        return made


def test_nothing_is_copied_to_the_device_while_the_model_runs() -> None:
    """A CUDA graph cannot take in a copy.  Here the device is "meta", and each tensor that is not there would be seen."""
    width, head, rows = 12 * 16, 20, 3  # Hadamard matrices with a dense factor
    transforms = (Transform("hadamard", blocks=2), Transform("kronecker", tensors={"left": "a", "right": "b"}))
    linear = LinearSpec(transforms, Rounding(bits=4, tensors={"clip_low": "c", "clip_high": "c"}))
    cache = CacheSpec(Rounding(kind="mxfp4", group=4), transform=Transform("hadamard"))
    tensors = {"a": torch.eye(12), "b": torch.eye(16), "c": torch.ones(1)}
    layer = torch.nn.Module()
    with torch.device("meta"):
        ours, theirs = (
            SideTensors(layer, tensors, width, linear),
            SideTensors(other := torch.nn.Module(), {}, head, cache),
        )
        x, heads = torch.empty(rows, width), torch.empty(rows, 2, head)
    assert {tuple(b.shape) for b in layer.buffers()} == {(12, 12), (16, 16), (1,)} and len(list(layer.buffers())) == 4
    assert [tuple(b.shape) for b in other.buffers()] == [(20, 20)]
    with Devices() as found:
        change_input(x, linear, ours.of(layer))
        round_cache(heads, cache, theirs.of(other))
    assert found.seen == {"meta"}
    with Devices() as found:  # the matrices are what it is about
        round_cache(heads, cache, {})
    assert "cpu" in found.seen


def test_a_layer_that_vllm_does_not_ask_about_is_noticed(mxfp4: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a release named its fused linears otherwise: not executed would be garbage, so it is an error."""
    monkeypatch.setattr("qrm_forensics.vllm_plugin.quantization.FUSED", {})
    refused(mxfp4, "does not ask how model.layers.0.self_attn.[qkv]_proj is quantized")


def test_what_the_plugin_stands_on() -> None:
    """Fails where a release of vLLM changes what the plugin calls, overrides or hooks."""
    from vllm.model_executor.layers.attention import Attention
    from vllm.model_executor.layers.linear import UnquantizedLinearMethod
    from vllm.model_executor.layers.quantization.base_config import QuantizationConfig
    from vllm.model_executor.layers.quantization.kv_cache import BaseKVCacheMethod
    from vllm.model_executor.models.llama import LlamaAttention, LlamaForCausalLM
    from vllm.model_executor.models.qwen2 import Qwen2Attention, Qwen2ForCausalLM
    from vllm.model_executor.models.qwen3 import Qwen3Attention, Qwen3ForCausalLM

    from qrm_forensics.vllm_plugin.quantization import FUSED

    def parameters(function: Any) -> list[str]:
        return list(inspect.signature(function).parameters)

    assert parameters(Attention.forward)[:4] == ["self", "query", "key", "value"]
    assert parameters(UnquantizedLinearMethod.apply) == ["self", "layer", "x", "bias"]
    assert parameters(UnquantizedLinearMethod.create_weights)[1:4] == [
        "layer",
        "input_size_per_partition",
        "output_partition_sizes",
    ]
    assert parameters(UnquantizedLinearMethod.process_weights_after_loading) == ["self", "layer"]
    assert parameters(BaseKVCacheMethod.create_weights) == ["self", "layer"]
    assert parameters(QuantizationConfig.maybe_update_config) == ["self", "model_name", "hf_config", "revision"]
    assert parameters(QuantizationConfig.get_quant_method) == ["self", "layer", "prefix"]
    for attention, normed in ((Qwen2Attention, False), (LlamaAttention, False), (Qwen3Attention, True)):
        assert parameters(attention.forward) == ["self", "positions", "hidden_states"]
        told = inspect.getsource(attention.forward)
        assert "self.qkv_proj(hidden_states)" in told and "self.attn(q, k, v)" in told
        assert not normed or "self.k_norm(k_by_head)" in told
    for model in (Qwen2ForCausalLM, LlamaForCausalLM, Qwen3ForCausalLM):
        assert {name: tuple(parts) for name, parts in model.packed_modules_mapping.items()} == FUSED
        assert parameters(model.__init__)[:3] == ["self", "vllm_config", "prefix"]
