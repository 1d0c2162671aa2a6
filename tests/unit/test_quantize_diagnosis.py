"""The diagnosis that comes with quantizing: numbers against independent ones, and every trap planted once."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from quantize_helpers import responses, save_tiny, write_array

from qrm_forensics.observing import Silent
from qrm_forensics.quantize import load_calibration, quantize
from qrm_forensics.quantize.adapters import Geometry
from qrm_forensics.quantize.diagnosis import read_warnings
from qrm_forensics.quantize.key_grids import Channels, grid_error, turn
from qrm_forensics.quantize.witness import KeyChannels, current_witness
from qrm_forensics.recipes import Recipe
from qrm_forensics.runtime.spec import CacheSpec, Rounding, Transform


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


def plant(source: Path, folder: Path) -> Path:
    """A copy that computes the same function with key biases of about 400."""
    from safetensors.torch import load_file, save_file

    script = Path(__file__).parents[2] / "bench" / "plant_key_bias.py"
    spec = importlib.util.spec_from_file_location("plant_key_bias", script)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shutil.copytree(source, folder)
    tensors = load_file(source / "model.safetensors")
    module.plant(tensors, json.loads((source / "config.json").read_text("utf-8")), 400.0)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def planted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant(source, tmp_path_factory.mktemp("planted") / "tiny")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_array(tmp_path_factory.mktemp("text") / "r.json", responses())


def diagnosed(source: Path, recipe: str, out: Path, text: Path, **options: Any) -> dict[str, Any]:
    preset = Recipe.parse(recipe).preset
    calibration = load_calibration(text, source, preset=preset, **{"samples": 6, "length": 48, **options})
    quantize(source, Recipe.parse(recipe), out, calibration)
    manifest: dict[str, Any] = json.loads((out / "recipe.json").read_text("utf-8"))
    assert current_witness() is None
    return dict(manifest["diagnosis"])


def codes(diagnosis: dict[str, Any]) -> set[str]:
    return {warning["code"] for warning in diagnosis["warnings"]}


@pytest.mark.parametrize("recipe", ["quarot-kv4", "smoothquant-w8a8kv8", "mxfp4-w4a4kv4"])
def test_huge_key_bias_is_a_trap_and_an_ordinary_one_is_not(
    source: Path, planted: Path, text: Path, tmp_path: Path, recipe: str
) -> None:
    assert "key-bias-per-token" not in codes(diagnosed(source, recipe, tmp_path / "a", text))
    found = diagnosed(planted, recipe, tmp_path / "b", text)
    (warning,) = [w for w in found["warnings"] if w["code"] == "key-bias-per-token"]
    from safetensors.torch import load_file

    layer = int(warning["module"].split(".")[2])
    bias = load_file(planted / "model.safetensors")[f"{warning['module']}.bias"].float()
    numbers = warning["numbers"]
    assert numbers["largest_bias"] == float(bias.abs().max())
    assert abs(float(bias[numbers["head"] * 32 + numbers["channel"]])) == numbers["largest_bias"]
    assert numbers["layers"] == 2 and f"layer {layer} " in warning["sentence"]
    assert [w.code for w in read_warnings(tmp_path / "b")] == [w["code"] for w in found["warnings"]]


def test_static_keys_before_the_bias_are_no_trap(planted: Path, text: Path, tmp_path: Path) -> None:
    found = diagnosed(planted, "kvquant_star-kv4", tmp_path / "a", text)
    assert "key-bias-per-token" not in codes(found)
    assert all(row["grid_error"] is None and row["largest_bias"] > 200 for row in found["keys"])


def test_modules_have_errors_and_outliers(source: Path, text: Path, tmp_path: Path) -> None:
    found = diagnosed(source, "gptq-w4g32", tmp_path / "a", text)
    assert len(found["modules"]) == 14
    record = json.loads((tmp_path / "a" / "recipe.json").read_text("utf-8"))["modules"]
    for name, row in found["modules"].items():
        assert row["output_error"] == record[name]["relative_output_error"]
        assert row["weight_error"] == pytest.approx(10 ** (-record[name]["weight_sqnr_db"] / 10))
        assert row["input_vectors"] == 6 * 48
    # against the inputs of the first layer, computed by transformers alone: nothing in front of it is rounded
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    ids = load_calibration(text, source, samples=6, length=48).token_ids
    with torch.no_grad():
        layer = model.model.layers[0]
        inputs = layer.input_layernorm(model.model.embed_tokens(torch.from_numpy(ids).long()))
        keys = torch.nn.functional.linear(inputs, layer.self_attn.k_proj.weight)
    peak = inputs.abs().amax((0, 1))
    outlier = found["modules"]["model.layers.0.self_attn.q_proj"]["input_outlier"]
    assert outlier["channel"] == int(peak.argmax())
    assert outlier["ratio"] == pytest.approx(float(peak.max() / peak.median()), rel=1e-4)
    # the key weights are rounded by the time that they are seen
    assert found["keys"][0]["median_spread"] == pytest.approx(
        float(keys.square().mean((0, 1)).sqrt().median()), rel=0.1
    )


def test_recipes_without_calibration_say_that_they_saw_nothing(source: Path, text: Path, tmp_path: Path) -> None:
    found = diagnosed(source, "rtn-w4g32", tmp_path / "a", text)
    assert found["inputs"].startswith("not seen")
    row = found["modules"]["model.layers.1.mlp.down_proj"]
    assert row["input_outlier"] is None and row["output_error"] is None and 0 < row["weight_error"] < 0.05


def test_awq_says_what_it_skipped_and_its_output_error(source: Path, text: Path, tmp_path: Path) -> None:
    found = diagnosed(source, "awq-w4g32", tmp_path / "a", text)
    (warning,) = found["warnings"]
    assert warning["code"] == "awq-scale-skipped" and warning["numbers"] == {"modules": 2}
    assert "o_proj in 2 layers" in warning["sentence"]
    assert all(0 < row["output_error"] < 0.1 for row in found["modules"].values())
    equal = save_tiny(tmp_path / "equal", kv_heads=4)
    assert not codes(diagnosed(equal, "awq-w4g32", tmp_path / "b", text))


def test_gptq_on_too_little_text(source: Path, text: Path, tmp_path: Path) -> None:
    found = diagnosed(source, "gptq-w4g32", tmp_path / "a", text, samples=2, length=32)
    (warning,) = [w for w in found["warnings"] if w["code"] == "few-tokens"]
    assert warning["numbers"] == {"input_vectors": 64, "channels": 256, "modules": 14}
    assert warning["module"].endswith("mlp.down_proj")


def test_paper_code_text_is_called_prompts(source: Path, text: Path, tmp_path: Path) -> None:
    found = diagnosed(source, "gptq-w4g32+paper-code", tmp_path / "a", text)
    assert "calibration-prompts-only" in codes(found)


def test_traps_of_records_that_are_hard_to_provoke(source: Path, text: Path, tmp_path: Path) -> None:
    from qrm_forensics.quantize.base import Job, Outcome
    from qrm_forensics.quantize.traps import traps
    from qrm_forensics.runtime.spec import LinearSpec, RuntimeSpec
    from qrm_forensics.weights import open_checkpoint

    recipe = Recipe.parse("quarot-w4a4kv4")
    job = Job(open_checkpoint(source), recipe, load_calibration(text, source, samples=2, length=32), lambda *_: None)
    outcome = Outcome(
        modules={
            "a": {"fallback": "rtn", "attempts": 7, "damping": 0.64},
            "b": {"fallback": None, "attempts": 3, "damping": 0.04, "dead_channels": 5},
            "c": {"fallback": None, "attempts": 2, "damping": 0.02, "dead_channels": 0},
        },
        runtime=RuntimeSpec("r", {"c": LinearSpec(rounding=Rounding(bits=4))}),
    )
    modules: dict[str, Any] = {
        "a": {"output_error": None, "input_outlier": {"ratio": 100.0, "channel": 1}},
        "c": {"output_error": 0.1, "input_outlier": {"ratio": 16.0, "channel": 3}},
    }
    found = {trap.code: trap for trap in traps(job, outcome, modules, [])}
    assert set(found) == {"gptq-fallback", "gptq-damping", "dead-channels", "input-outliers-per-token"}
    assert found["gptq-fallback"].module == "a" and found["gptq-fallback"].numbers["modules"] == 1
    assert (found["gptq-damping"].module, found["gptq-damping"].numbers["damping"]) == ("b", 0.04)
    assert found["dead-channels"].numbers == {"modules": 1, "channels": 5}
    # "a" has larger outliers, but its inputs are not rounded
    assert found["input-outliers-per-token"].module == "c"
    modules["c"] |= {"input_outlier": {"ratio": 15.0, "channel": 3}, "output_error": 0.3}
    found = {trap.code: trap for trap in traps(job, outcome, modules, [])}
    assert "input-outliers-per-token" not in found
    assert (found["large-output-error"].module, found["large-output-error"].numbers["modules"]) == ("c", 1)
    assert "30%" in found["large-output-error"].sentence


def test_values_beyond_the_range_of_the_first_half() -> None:
    seen = KeyChannels(windows=4, bias=torch.tensor([10.0, 0.0]))
    first = torch.tensor([[[11.0, -1.0]], [[12.0, 1.0]]])  # less the bias: 1 and 2; -1 and 1
    second = torch.tensor([[[13.0, 0.5]], [[9.0, -3.0]]])  # 3 and -1 are beyond [0, 2], -3 beyond [-1, 1]
    for window in (*first.split(1), *second.split(1)):
        seen.add(window)
    assert (seen.beyond, seen.judged, seen.vectors) == (3, 4, 4)
    at_once = KeyChannels(windows=4, bias=torch.tensor([10.0, 0.0]))
    at_once.add(torch.cat([first, second]))
    assert (at_once.beyond, at_once.judged) == (3, 4)
    spread = seen.spread()
    assert spread is not None
    assert spread.tolist() == pytest.approx([((1 + 4 + 9 + 1) / 4) ** 0.5, ((1 + 1 + 0.25 + 9) / 4) ** 0.5])
    alone = KeyChannels(windows=1, bias=None)
    alone.add(first[:1])
    assert alone.judged == 0


def test_static_range_trap(source: Path, text: Path, tmp_path: Path) -> None:
    found = diagnosed(source, "kvquant_star-kv4", tmp_path / "a", text, samples=4, length=16)
    (warning,) = [w for w in found["warnings"] if w["code"] == "beyond-static-range"]
    assert warning["numbers"]["share"] == max(row["beyond_first_half"] for row in found["keys"])
    assert warning["numbers"]["values"] == 2 * 16 * 64
    assert "beyond-static-range" not in codes(diagnosed(source, "gptq-w4g32", tmp_path / "b", text))


def test_grid_error_grows_with_the_bias_and_not_with_a_change_of_coordinates() -> None:
    geometry = Geometry(hidden=64, intermediate=64, heads=4, kv_heads=2, head_dim=32)
    ones = Channels(torch.zeros(64), torch.ones(64))
    queries = Channels(torch.zeros(128), torch.ones(128))
    for transform in (None, Transform("hadamard")):
        spec = CacheSpec(Rounding(bits=4), transform=transform)
        errors = []
        for size in (0.0, 40.0, 400.0):
            bias = torch.zeros(64)
            bias[37] = size
            errors.append(grid_error(spec, {}, replace(ones, bias=bias), queries, geometry, 10000.0))
        assert errors[0].error == errors[0].even < errors[1].error < errors[2].error
        assert errors[2].error > 5 * errors[2].even and errors[2].head == 1
    # 16 bits hide nothing
    assert grid_error(CacheSpec(Rounding(bits=16)), {}, ones, queries, geometry, 10000.0).error < 1e-3


def test_rope_is_that_of_transformers() -> None:
    from transformers import Qwen2Config
    from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding, apply_rotary_pos_emb

    config = Qwen2Config(hidden_size=64, num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=4096)
    keys, positions = torch.randn(2, 5, 32), torch.tensor([0, 1, 7, 100, 4000])
    cos, sin = Qwen2RotaryEmbedding(config)(keys, positions.unsqueeze(0))
    expected = apply_rotary_pos_emb(keys.unsqueeze(0), keys.unsqueeze(0), cos, sin)[1][0]
    assert torch.allclose(turn(keys, positions, 10000.0), expected, atol=2e-3)


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_run_tells_of_traps_and_keeps_them_in_its_log(tmp_path: Path) -> None:
    from qrm_forensics import builtin, pipeline
    from qrm_forensics.recipes import Sampling
    from qrm_forensics.study import BenchmarkSpec, Study

    model = plant(builtin.weights_dir(), tmp_path / "planted")
    problems = tmp_path / "p.jsonl"
    problems.write_text(json.dumps({"problem": "1 + 1?", "answer": "2"}) + "\n", encoding="utf-8")
    study = Study(
        name="traps",
        models=(str(model),),
        recipes=(Recipe.parse("bf16"), Recipe.parse("quarot-kv4")),
        benchmarks=(BenchmarkSpec(name="one", path=str(problems)),),
        sampling=Sampling(max_new_tokens=2),
    )
    told = Notes()
    store = pipeline.run(pipeline.make_plan(study), tmp_path / "run", observer=told)
    (note,) = told.notes
    assert note.startswith("quarot-kv4: keys are rounded to 4 bits behind RoPE")
    assert store.study["runs"][-1]["warnings"] == [note]


def test_keys_behind_a_norm_have_no_bias(source: Path, text: Path, tmp_path: Path) -> None:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    sizes = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 64, "vocab_size": 96, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 128, "pad_token_id": None}
    folder = tmp_path / "qwen3"
    Qwen3ForCausalLM(Qwen3Config(**sizes, **heads)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, folder / name)
    (row,) = diagnosed(folder, "kvquant_star-kv4", tmp_path / "a", text)["keys"]
    assert row["largest_bias"] is None and row["spread_from"] == "calibration" and row["judged_values"] == 3 * 48 * 64
    (row,) = diagnosed(folder, "quarot-kv4", tmp_path / "b", text)["keys"]
    # the weight of a fresh norm
    assert row["spread_from"] == "weights" and row["median_spread"] == 1.0
