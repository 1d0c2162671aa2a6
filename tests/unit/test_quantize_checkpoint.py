"""Quantized checkpoints end to end on a tiny random Qwen2: files, manifest, reuse, refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from quantize_helpers import responses, save_tiny, write_array
from safetensors.torch import load_file

from qrm_forensics.errors import InputError, RecipeError
from qrm_forensics.quantize import Calibration, content_hash, load_calibration, needs_calibration, quantize, refuse
from qrm_forensics.recipes import Recipe
from qrm_forensics.weights import open_checkpoint

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny") / "source")


@pytest.fixture(scope="module")
def responses_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_array(tmp_path_factory.mktemp("responses") / "NuminaMath-1.5.jsonl", responses())


@pytest.fixture(scope="module")
def calibration(source: Path, responses_file: Path) -> Calibration:
    return load_calibration(responses_file, source, samples=8, length=48)


def manifest(folder: Path) -> dict:
    return json.loads((folder / "recipe.json").read_text(encoding="utf-8"))


def logits(folder: Path) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return model(torch.arange(60).view(2, 30)).logits


@pytest.mark.parametrize(
    "name",
    [
        *("rtn-w8g128", "rtn-w3g128", "rtn-w2g64", "rtn-w4g128sym", "rtn-w4g-1"),
        *("awq-w4g128", "awq-w3g64", "awq-w2g128"),
        *("gptq-w4g128", "gptq-w3g64", "gptq-w2g128", "gptq-w3g128sym", "gptq-w4g-1"),
    ],
)
def test_recipe(name: str, source: Path, calibration: Calibration, tmp_path: Path) -> None:
    recipe, out = Recipe.parse(name), tmp_path / "out"
    steps: list[tuple[int, int]] = []
    made = quantize(source, recipe, out, calibration, progress=lambda done, total: steps.append((done, total)))
    before, after = load_file(source / "model.safetensors"), load_file(out / "model.safetensors")
    told = manifest(out)

    assert steps == [(1, 2), (2, 2)]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (made.path, made.recipe, made.realization) == (str(out), name, "simulated")
    assert made.content_hash == content_hash(out) == told["content_hash"] != content_hash(source)
    for file in source.iterdir():
        assert file.suffix == ".safetensors" or (out / file.name).read_bytes() == file.read_bytes()

    assert (out / "model.safetensors").stat().st_mode == (out / "config.json").stat().st_mode
    assert before.keys() == after.keys()
    scaled = {"model.layers.*.input_layernorm.weight", "model.layers.*.post_attention_layernorm.weight"}
    for tensor, old in before.items():
        new = after[tensor]
        assert (new.shape, new.dtype) == (old.shape, torch.bfloat16)
        module, _, kind = tensor.rpartition(".")
        if module.endswith(LINEARS) and kind == "weight":
            assert not torch.equal(new, old)
            size = told["modules"][module]["group"]
            assert size == (old.shape[1] if recipe.group_size == -1 else recipe.group_size)
            parts = new.reshape(-1, size)
            assert max(len(part.unique()) for part in parts) <= 2**recipe.weight_bits
            continue
        pattern = tensor.replace(".0.", ".*.").replace(".1.", ".*.")
        if recipe.method == "awq" and pattern in scaled:
            assert told["full_precision"][pattern].startswith("scale folded in")
        else:
            assert torch.equal(new, old), tensor
            assert told["full_precision"][pattern] == "unchanged"
    assert {"lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"} <= told["full_precision"].keys()
    scales = [m["scales"] for m in told["modules"].values()]
    assert len(scales) == 14 and len({s["sha256"] for s in scales}) == 14
    for module, said in zip(told["modules"].values(), scales, strict=True):
        rows, columns = module["shape"]
        assert said["count"] == rows * columns // module["group"]
        assert 0 < said["min"] <= said["median"] <= said["max"]

    assert told["recipe"] == {"name": name, **recipe.model_dump(mode="json")}
    assert Recipe.model_validate({k: v for k, v in told["recipe"].items() if k != "name"}) == recipe
    assert set(told["versions"]) == {"qrm-forensics", "python", "torch", "transformers", "safetensors"}
    assert told["seconds"] > 0 and told["request"]["source_hash"] == content_hash(source)
    expected = calibration.sha256 if needs_calibration(recipe) else None
    assert told["request"]["calibration_hash"] == expected
    assert (told["calibration"] or {"token_sha256": None})["token_sha256"] == expected
    assert torch.isfinite(logits(out)).all()


def test_gptq_records_what_it_did(source: Path, calibration: Calibration, tmp_path: Path) -> None:
    quantize(source, Recipe.parse("gptq-w3g64"), tmp_path / "out", calibration)
    for name, record in manifest(tmp_path / "out")["modules"].items():
        assert record["relative_output_error"] < record["relative_output_error_rtn"], name
        assert (record["damping"], record["attempts"], record["fallback"]) == (0.01, 1, None)
        assert record["input_vectors"] == calibration.token_ids.size


def test_gptq_sees_earlier_quantized_weights(source: Path, calibration: Calibration, tmp_path: Path) -> None:
    """Changing what comes first changes what comes later: the last layer's Hessian is that of the quantized model."""
    from transformers import AutoModelForCausalLM

    from qrm_forensics.quantize.gptq_core import quantize_weight
    from qrm_forensics.quantize.hessian import InputMoments

    save_tiny(tmp_path / "float", dtype="float32")
    quantize(tmp_path / "float", Recipe.parse("gptq-w2g64"), tmp_path / "out", calibration)
    made = load_file(tmp_path / "out" / "model.safetensors")
    original = load_file(tmp_path / "float" / "model.safetensors")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    moments = InputMoments()
    model.model.layers[1].mlp.down_proj.register_forward_pre_hook(lambda _m, args: moments.add(args[0]))
    with torch.no_grad():
        model(torch.from_numpy(calibration.token_ids).long())
    name = "model.layers.1.mlp.down_proj.weight"
    again = quantize_weight(original[name], moments.hessian(), bits=2, group=64).weight
    assert ((again - made[name]).abs() > 1e-4).float().mean() < 5e-3
    with_layer = torch.linalg.norm(made[name] - again) / torch.linalg.norm(made[name])
    assert with_layer < 0.05


def test_more_bits_are_closer_to_the_original(source: Path, calibration: Calibration, tmp_path: Path) -> None:
    reference = logits(source)
    for method in ("rtn", "awq", "gptq"):
        errors = []
        for bits in (2, 3, 4):
            out = tmp_path / f"{method}{bits}"
            quantize(source, Recipe.parse(f"{method}-w{bits}g64"), out, calibration)
            errors.append(float((logits(out) - reference).square().mean()))
        assert errors[0] > errors[1] > errors[2] > 0


@pytest.mark.parametrize("name", ["rtn-w3g128", "awq-w3g128", "gptq-w3g128"])
def test_same_request_gives_the_same_weights_and_is_reused(
    name: str, source: Path, calibration: Calibration, tmp_path: Path
) -> None:
    recipe, calls = Recipe.parse(name), []
    one = quantize(source, recipe, tmp_path / "one", calibration)
    two = quantize(source, recipe, tmp_path / "two", calibration)
    assert one.content_hash == two.content_hash
    kept = (tmp_path / "one" / "recipe.json").stat().st_mtime_ns
    again = quantize(source, recipe, tmp_path / "one", calibration, progress=lambda *at: calls.append(at))
    assert again == one and not calls and (tmp_path / "one" / "recipe.json").stat().st_mtime_ns == kept
    # a weight that is not what was written is made again
    weights = tmp_path / "one" / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    assert quantize(source, recipe, tmp_path / "one", calibration) == one
    assert content_hash(tmp_path / "one") == one.content_hash


def test_another_request_replaces_the_old_result(source: Path, responses_file: Path, tmp_path: Path) -> None:
    out, recipe = tmp_path / "out", Recipe.parse("gptq-w3g128")
    hashes = set()
    for seed in (0, 1):
        calibration = load_calibration(responses_file, source, samples=2, length=48, seed=seed)
        hashes.add(quantize(source, recipe, out, calibration).content_hash)
    hashes.add(quantize(source, Recipe.parse("rtn-w3g128"), out).content_hash)
    assert len(hashes) == 3 and [p.name for p in tmp_path.iterdir()] == ["out"]


def test_baseline_is_copied_bit_by_bit_or_converted(source: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig

    same = quantize(source, Recipe.parse("bf16"), tmp_path / "same")
    assert (same.realization, same.content_hash) == ("original", content_hash(source))
    wide = save_tiny(tmp_path / "wide", dtype="float32")
    made = quantize(wide, Recipe.parse("bf16"), tmp_path / "narrow")
    assert made.content_hash == content_hash(source)
    assert AutoConfig.from_pretrained(tmp_path / "narrow").dtype == torch.bfloat16
    assert set(manifest(tmp_path / "narrow")["full_precision"].values()) == {"converted"}
    # a baseline can be quantized on, and gives what the source gives
    again = quantize(tmp_path / "same", Recipe.parse("rtn-w3g128"), tmp_path / "a")
    assert again.content_hash == quantize(source, Recipe.parse("rtn-w3g128"), tmp_path / "b").content_hash


def test_sharded_and_tied_checkpoints(calibration: Calibration, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    tied = save_tiny(tmp_path / "tied", tied=True)
    AutoModelForCausalLM.from_pretrained(tied, dtype="auto").save_pretrained(
        tmp_path / "shards", max_shard_size="200KB"
    )
    for file in tied.glob("tokenizer*"):
        shutil.copyfile(file, tmp_path / "shards" / file.name)
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert content_hash(tied) == content_hash(tmp_path / "shards")
    recipe = Recipe.parse("awq-w3g128")
    whole = quantize(tied, recipe, tmp_path / "a", calibration)
    parts = quantize(tmp_path / "shards", recipe, tmp_path / "b", calibration)
    assert whole.content_hash == parts.content_hash
    assert torch.equal(logits(tmp_path / "a"), logits(tmp_path / "b"))
    assert manifest(tmp_path / "a")["tied_lm_head"] is True


def test_shards_of_a_row_only_matter_where_a_row_is_one_group(source: Path, tmp_path: Path) -> None:
    quantize(source, Recipe.parse("rtn-w4g-1s2"), tmp_path / "out")
    groups = {name.rpartition(".")[2]: m["group"] for name, m in manifest(tmp_path / "out")["modules"].items()}
    assert groups == {"q_proj": 128, "k_proj": 128, "v_proj": 128, "o_proj": 64} | {
        "gate_proj": 128,
        "up_proj": 128,
        "down_proj": 128,
    }
    with pytest.raises(InputError, match=r"o_proj has 128 input channels, which 3 shards"):
        quantize(source, Recipe.parse("rtn-w4g-1s3"), tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("awq-w4g128sym", "asymmetric grids only"),
        ("awq-w4g128+paper-text", "weight statistics"),
        ("gptq-w4g128+paper-text", "use fixed or paper-code"),
        ("rtn-w4g128+paper-code", "would change nothing"),
    ],
)
def test_refused_recipes_say_why(name: str, reason: str, tmp_path: Path) -> None:
    recipe = Recipe.parse(name)
    told = refuse(recipe)
    assert told is not None and reason in told and told.startswith(name) and "\n" not in told
    with pytest.raises(RecipeError, match=reason):
        quantize(tmp_path / "nowhere", recipe, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["bf16", "rtn-w2g128", "rtn-w4g128sym", "awq-w3g128+paper-code", "gptq-w2g128sym"])
def test_accepted_recipes(name: str) -> None:
    assert refuse(Recipe.parse(name)) is None


def test_bad_input_is_named_and_leaves_nothing(
    source: Path, responses_file: Path, calibration: Calibration, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def refused(message: str, folder: Path = source, name: str = "rtn-w4g128", **options: Calibration) -> None:
        with pytest.raises(InputError, match=message) as caught:
            quantize(folder, Recipe.parse(name), out, **options)
        assert "\n" not in str(caught.value) and not out.exists()
        assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]

    refused(r"layers\.0\.self_attn\.k_proj has 128 input channels, which groups of 96 do not", name="rtn-w4g96")
    refused("needs calibration", name="awq-w4g128")
    refused("preset fixed; load it with paper-code", name="gptq-w4g128+paper-code", calibration=calibration)
    refused("no such checkpoint folder", tmp_path / "absent")
    with pytest.raises(InputError, match="is the source itself"):
        quantize(source, Recipe.parse("rtn-w4g128"), source)

    def altered(config: dict[str, object], label: str) -> Path:
        folder = shutil.copytree(source, tmp_path / label)
        read = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(read | config))
        return folder

    refused(
        "no adapter for MambaForCausalLM.*Qwen2ForCausalLM", altered({"architectures": ["MambaForCausalLM"]}, "mamba")
    )
    refused("quantized already", altered({"quantization_config": {"bits": 4}}, "packed"))
    refused("sliding-window", altered({"use_sliding_window": True}, "window"))
    refused(r"should have the tensor model\.layers\.2\.", altered({"num_hidden_layers": 3}, "three"))
    refused(r"does not know the tensor model\.layers\.1\.", altered({"num_hidden_layers": 1}, "one"))
    small = altered({"vocab_size": 20}, "small")
    refused("outside of the vocabulary", small, "gptq-w4g128", calibration=calibration)

    broken = altered({}, "pointer")
    (broken / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    refused("git lfs pull", broken)
    (broken / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes()[:-100])
    refused("ends before the tensor", broken)
    (broken / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0" + b"{" * 16)
    refused("header cannot be read", broken)
    (broken / "model.safetensors").write_bytes(b"abc")
    refused("not a whole safetensors file", broken)
    (broken / "model.safetensors").unlink()
    refused("no .*safetensors weights", broken)

    quantize(source, Recipe.parse("rtn-w4g128"), tmp_path / "done")
    refused(r"quantized checkpoint already \(rtn-w4g128\)", tmp_path / "done")


def test_nan_in_the_weights_is_an_error_with_the_module(source: Path, calibration: Calibration, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = shutil.copytree(source, tmp_path / "nan")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.input_layernorm.weight"][3] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for name, where in (("gptq-w4g128", r"layers\.1\.self_attn\.k_proj"), ("awq-w4g128", r"layers\.1")):
        with pytest.raises(InputError, match=where):
            quantize(folder, Recipe.parse(name), tmp_path / "out", calibration)
        assert not (tmp_path / "out").exists()


def test_a_folder_of_somebody_else_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"not a checkpoint with a recipe\.json"):
        quantize(source, Recipe.parse("rtn-w4g128"), tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"


def test_interruption_leaves_the_old_result(source: Path, tmp_path: Path) -> None:
    old = quantize(source, Recipe.parse("rtn-w4g128"), tmp_path / "out")

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(source, Recipe.parse("rtn-w3g128"), tmp_path / "out", progress=stop)
    assert content_hash(tmp_path / "out") == old.content_hash
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out.partial"]  # no half-written checkpoint


def test_content_hash_is_of_the_tensors_only(source: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(source, tmp_path / "copy")
    (folder / "config.json").write_text("{}")
    assert content_hash(folder) == content_hash(source)
    entry = open_checkpoint(source).entries["model.norm.weight"]
    raw = bytearray((folder / "model.safetensors").read_bytes())
    raw[entry.start] ^= 1
    (folder / "model.safetensors").write_bytes(raw)
    assert content_hash(folder) != content_hash(source)


def test_importing_and_refusing_needs_no_torch() -> None:
    code = (
        "import sys; from qrm_forensics.quantize import refuse; from qrm_forensics.recipes import Recipe;"
        "[refuse(Recipe.parse(n)) for n in ('rtn-w4g128', 'awq-w4g128', 'gptq-w4g128', 'bf16')];"
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'safetensors')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
