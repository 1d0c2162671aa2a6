"""What the plugin refuses, what it leaves alone, and what of vLLM it stands on."""

from __future__ import annotations

import inspect
import json
import shutil
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from quantize_helpers import responses, write_array

pytest.importorskip("vllm", reason="needs vllm; run make vllm-test")

from vllm_parity import engine, save_family

from qrm_forensics.errors import InputError
from qrm_forensics.quantize import load_calibration, quantize
from qrm_forensics.recipes import Recipe
from qrm_forensics.vllm_plugin import register


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


def test_tensor_parallelism_is_refused(mxfp4: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qrm_forensics.vllm_plugin.quantization.get_tensor_model_parallel_world_size", lambda: 2)
    refused(mxfp4, "use tensor_parallel_size=1")


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
