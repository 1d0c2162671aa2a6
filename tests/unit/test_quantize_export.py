"""Real checkpoints: layouts against independent readers, codes against the simulated weights, refusals."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from quantize_helpers import responses, save_tiny, write_array
from safetensors.torch import load_file

from qrm_forensics.errors import InputError, RecipeError
from qrm_forensics.importers.folders import parse_folder
from qrm_forensics.quantize import Calibration, content_hash, load_calibration, quantize
from qrm_forensics.quantize.affine import awq_grid, minmax_grid, mse_grid, split_groups
from qrm_forensics.quantize.export import DEFAULT, FORMATS, packed_format, refuse_real
from qrm_forensics.quantize.export.packed import Codes, codes_of, pack_bits, unpack_bits
from qrm_forensics.quantize.export.verify import dequantized, verify, write_twin
from qrm_forensics.quantize.gptq_core import quantize_weight
from qrm_forensics.quantize.naming import checkpoint_name
from qrm_forensics.recipes import Recipe
from qrm_forensics.runtime.attach import load_model
from qrm_forensics.runtime.rounding import fake_quantize
from qrm_forensics.runtime.spec import Rounding
from qrm_forensics.weights import open_checkpoint


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny") / "source")


@pytest.fixture(scope="module")
def calibration(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    file = write_array(tmp_path_factory.mktemp("responses") / "own.jsonl", responses(8))
    return load_calibration(file, source, samples=4, length=48)


def made(name: str, real: str, source: Path, calibration: Calibration, out: Path) -> dict[str, Any]:
    quantize(source, Recipe.parse(name), out, calibration, real=real)
    return json.loads((out / "recipe.json").read_text(encoding="utf-8"))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(60).view(2, 30)).logits


def random_codes(rows: int, columns: int, group: int, bits: int, symmetric: bool, dtype: torch.dtype) -> Codes:
    torch.manual_seed(rows + columns + bits)
    groups = columns // group
    zero = (
        torch.full((rows, groups), 2 ** (bits - 1), dtype=torch.uint8)
        if symmetric
        else torch.randint(0, 2**bits, (rows, groups), dtype=torch.uint8)
    )
    codes = torch.randint(0, 2**bits, (rows, columns), dtype=torch.uint8)
    return Codes(codes, torch.rand(rows, groups).add(0.01).to(dtype), zero, bits, symmetric)


# --- layouts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("compressed-tensors", "rtn-w4g32"),
        ("compressed-tensors", "rtn-w4g32sym"),
        ("compressed-tensors", "gptq-w8g-1sym"),
        ("compressed-tensors", "smoothquant-w8a8kv8"),
        ("awq", "awq-w4g32"),
        ("gptq", "gptq-w4g32sym"),
        ("gptq", "rtn-w8g64sym"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_is_packed_is_unpacked(name: str, recipe: str, dtype: torch.dtype) -> None:
    parsed = Recipe.parse(recipe)
    layout, bits = packed_format(name, parsed), parsed.weight_bits or 0
    grouped = parsed.group_size not in (None, -1)
    codes = random_codes(
        24, 128, (parsed.group_size or 0) if grouped else 128, bits, parsed.symmetric or "smooth" in recipe, dtype
    )
    tensors = layout.pack(codes)
    assert set(tensors) <= set(layout.suffixes) and all(t.is_contiguous() for t in tensors.values())
    again = layout.unpack(tensors, layout.config(parsed, ["lm_head"]))
    for field in ("codes", "scale", "zero"):
        assert torch.equal(getattr(again, field), getattr(codes, field)), field
    assert (again.bits, again.symmetric, again.group) == (codes.bits, codes.symmetric, codes.group)
    assert torch.equal(again.dequantize(), codes.dequantize())


def test_bits_are_a_little_endian_stream() -> None:
    values = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 15]], dtype=torch.uint8)
    assert pack_bits(values, 4).item() == 0xF7654321 - 2**32
    assert torch.equal(unpack_bits(pack_bits(values, 4), 4), values)
    with pytest.raises(ValueError, match="7 values of 4 bits do not fill"):
        pack_bits(values[:, :7], 4)


def awq_nibble(word: int, channel: int) -> int:
    """AutoAWQ's published unpacking order, by which output channel c of eight is read from nibble order[c]."""
    return (word >> (4 * (0, 4, 1, 5, 2, 6, 3, 7)[channel])) & 15


def test_awq_is_read_by_the_published_order() -> None:
    codes = random_codes(16, 64, 32, 4, False, torch.float16)
    tensors = packed_format("awq", Recipe.parse("awq-w4g32")).pack(codes)
    assert (
        tensors["qweight"].shape == (64, 2) and tensors["qzeros"].shape == (2, 2) and tensors["scales"].shape == (2, 16)
    )
    read = torch.empty(16, 64, dtype=torch.float16)
    for column in range(64):
        for row in range(16):
            block, channel = divmod(row, 8)
            q = awq_nibble(int(tensors["qweight"][column, block]), channel)
            z = awq_nibble(int(tensors["qzeros"][column // 32, block]), channel)
            read[row, column] = (q - z) * tensors["scales"][column // 32, row]
    assert torch.equal(read, codes.dequantize())


@pytest.mark.parametrize("bits", [4, 8])
def test_gptq_is_read_by_its_definition(bits: int) -> None:
    codes = random_codes(16, 64, 32, bits, True, torch.bfloat16)
    tensors = packed_format("gptq", Recipe.parse(f"gptq-w{bits}g32sym")).pack(codes)
    per_word, mask = 32 // bits, 2**bits - 1
    read = torch.empty(16, 64, dtype=torch.bfloat16)
    for column in range(64):
        group = int(tensors["g_idx"][column])
        for row in range(16):
            q = (int(tensors["qweight"][column // per_word, row]) >> (bits * (column % per_word))) & mask
            z = ((int(tensors["qzeros"][group, row // per_word]) >> (bits * (row % per_word))) & mask) + 1
            read[row, column] = (q - z) * tensors["scales"][group, row]
    assert torch.equal(read, codes.dequantize())


# --- grids whose scales are stored -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bits", [4, 8])
def test_stored_scales_and_zero_points_hold_every_group(bits: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = split_groups(torch.randn(64, 256) * torch.logspace(-6, 2, 64).unsqueeze(1), 32)
    x[:8] = -x[:8].abs()  # the zero-point lies at the upper end
    x[8:12], x[12] = 0.0, 3.0
    grids = [minmax_grid(x, bits, scale_dtype=dtype), mse_grid(x, bits, scale_dtype=dtype)]
    grids += [awq_grid(x, bits, scale_dtype=dtype), minmax_grid(x, bits, symmetric=True, scale_dtype=dtype)]
    for grid in grids:
        codes = codes_of(grid, grid.codes(x), dtype)
        assert codes.bits == bits and bool((codes.scale > 0).all())
        assert torch.equal(codes.dequantize(), grid.fake_quantize(x).flatten(1).to(dtype))
    with pytest.raises(ValueError, match="make the grid with scale_dtype"):
        codes_of(minmax_grid(x, bits), minmax_grid(x, bits).codes(x), dtype)


def test_gptq_walks_on_the_stored_grid() -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(32, 128), torch.randn(400, 128)
    result = quantize_weight(weight, x.T @ x / 200, bits=4, group=64, scale_dtype=torch.bfloat16)
    codes = codes_of(result.grid, result.codes, torch.bfloat16)
    assert torch.equal(codes.dequantize(), result.weight.bfloat16())
    assert result.error < result.rtn_error


# --- checkpoints -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "real"),
    [
        ("rtn-w4g32", DEFAULT),
        ("awq-w4g128", DEFAULT),
        ("gptq-w4g128", DEFAULT),
        ("gptq-w4g-1sym+skip-1", DEFAULT),
        ("awq-w4g64+skip0", "awq"),
        ("gptq-w4g64sym+skip0", "gptq"),
    ],
)
def test_checkpoint(name: str, real: str, source: Path, calibration: Calibration, tmp_path: Path) -> None:
    out, recipe = tmp_path / "out", Recipe.parse(name)
    manifest = made(name, real, source, calibration, out)
    kept = recipe.skipped(2)
    assert verify(out) == 14 - 7 * len(kept) == len(manifest["modules"])
    assert manifest["realization"] == "packed" and manifest["content_hash"] == content_hash(out)
    assert (out / "model.safetensors").stat().st_size < 0.75 * (source / "model.safetensors").stat().st_size

    # the weights that the quantizer's own arithmetic left, not those of the files
    weights = dict(dequantized(out))
    before, stored = load_file(source / "model.safetensors"), load_file(out / "model.safetensors")
    for module, weight in weights.items():
        assert weight.dtype == torch.bfloat16 and f"{module}.weight" not in stored
        levels = split_groups(weight, manifest["modules"][module]["group"]).sort(-1).values.diff(dim=-1) != 0
        assert int(levels.sum(-1).max()) < 2 ** (recipe.weight_bits or 0)
    for tensor, old in before.items():
        if tensor.removesuffix(".weight") not in weights and "layernorm" not in tensor and "bias" not in tensor:
            assert torch.equal(stored[tensor], old), tensor

    write_twin(out, tmp_path / "twin")
    twin = load_model(str(tmp_path / "twin"), dtype="auto")
    for module, weight in weights.items():
        assert torch.equal(twin.get_submodule(module).weight, weight)
    if real == DEFAULT:
        assert torch.equal(logits(load_model(str(out), dtype="auto")), logits(twin))


@pytest.mark.parametrize("name", ["rtn-w4g32", "rtn-w4g128sym", "rtn-w4g-1", "rtn-w8g64sym"])
def test_compressed_tensors_reads_it_by_itself(
    name: str, source: Path, calibration: Calibration, tmp_path: Path
) -> None:
    pytest.importorskip("compressed_tensors", reason="the library that the format is of")
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig

    out = tmp_path / "out"
    made(name, DEFAULT, source, calibration, out)
    checkpoint = open_checkpoint(out)
    config = QuantizationConfig.model_validate(checkpoint.config["quantization_config"])
    scheme = config.config_groups["group_0"]
    compressor = BaseCompressor.get_value_from_registry(scheme.format)
    for module, weight in dequantized(out):
        local = {
            n.rsplit(".", 1)[1]: checkpoint.tensor(n) for n in checkpoint.entries if n.startswith(f"{module}.weight")
        }
        assert set(local) == set(compressor.compression_param_names(scheme))
        assert torch.equal(compressor.decompress(local, scheme)["weight"], weight)


def test_stock_transformers_loads_symmetric_codes(source: Path, calibration: Calibration, tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors", reason="transformers loads this format with it")
    from transformers import AutoModelForCausalLM

    out = tmp_path / "out"
    made("rtn-w4g64sym", DEFAULT, source, calibration, out)
    write_twin(out, tmp_path / "twin")
    stock = AutoModelForCausalLM.from_pretrained(out, dtype="auto")
    assert torch.equal(logits(stock), logits(load_model(str(tmp_path / "twin"), dtype="auto")))


def test_int8_rounds_inputs_as_the_simulation_does(source: Path, calibration: Calibration, tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors", reason="transformers loads this format with it")
    from compressed_tensors.quantization.lifecycle.forward import forward_quantize

    out = tmp_path / "out"
    manifest = made("smoothquant-w8a8kv8", DEFAULT, source, calibration, out)
    assert verify(out) == 14 and "kv_cache" in manifest["real"] and not (out / "runtime.json").exists()
    assert load_file(out / "model.safetensors")["model.layers.0.mlp.up_proj.weight"].dtype == torch.int8
    engine = load_model(str(out), dtype="auto")
    assert torch.isfinite(logits(engine)).all()  # weights are decompressed when they are first used
    torch.manual_seed(0)
    x = torch.randn(2, 5, 256) * torch.logspace(-2, 2, 5).unsqueeze(1)
    for module, weight in dequantized(out):
        linear = engine.get_submodule(module)
        assert torch.equal(linear.weight, weight)
        inputs = x[..., : weight.shape[1]]
        seen = forward_quantize(linear, inputs, "input", linear.quantization_scheme.input_activations)
        assert torch.equal(seen, fake_quantize(inputs, Rounding(bits=8), {}))


def test_a_damaged_code_is_found(source: Path, calibration: Calibration, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = made("rtn-w4g128", DEFAULT, source, calibration, out)
    entry = open_checkpoint(out).entries["model.layers.1.mlp.up_proj.weight_packed"]
    raw = bytearray((out / "model.safetensors").read_bytes())
    raw[entry.start + 17] ^= 0x10
    (out / "model.safetensors").write_bytes(raw)
    with pytest.raises(InputError, match=r"layers\.1\.mlp\.up_proj does not dequantize to the simulated weight"):
        verify(out)
    # and is made again, as the same request is
    assert made("rtn-w4g128", DEFAULT, source, calibration, out)["content_hash"] == first["content_hash"]
    assert verify(out) == 14


def test_real_and_simulated_are_different_requests(source: Path, calibration: Calibration, tmp_path: Path) -> None:
    out, recipe = tmp_path / "out", Recipe.parse("rtn-w4g128")
    simulated = quantize(source, recipe, out)
    real = quantize(source, recipe, out, real=DEFAULT)
    assert (simulated.realization, real.realization) == ("simulated", "packed")
    assert simulated.content_hash != real.content_hash
    with pytest.raises(InputError, match="quantized checkpoint already"):
        quantize(out, recipe, tmp_path / "again")
    with pytest.raises(InputError, match="not empty"):
        write_twin(out, source)
    with pytest.raises(InputError, match="does not describe a real checkpoint"):
        verify(quantize_simulated(source, tmp_path))


def quantize_simulated(source: Path, folder: Path) -> Path:
    quantize(source, Recipe.parse("rtn-w4g128"), folder / "simulated")
    return folder / "simulated"


def test_sharded_checkpoints_keep_their_files(source: Path, calibration: Calibration, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(source, dtype="auto").save_pretrained(
        tmp_path / "parts", max_shard_size="200KB"
    )
    for file in source.glob("tokenizer*"):
        shutil.copyfile(file, tmp_path / "parts" / file.name)
    out = tmp_path / "out"
    whole = made("rtn-w4g64", DEFAULT, source, calibration, tmp_path / "whole")
    assert made("rtn-w4g64", DEFAULT, tmp_path / "parts", calibration, out)["content_hash"] == whole["content_hash"]
    index = json.loads((out / "model.safetensors.index.json").read_text(encoding="utf-8"))
    found = {name: entry.file.name for name, entry in open_checkpoint(out).entries.items()}
    assert index["weight_map"] == found and len(set(found.values())) > 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.isfinite(logits(load_model(str(out), dtype="auto"))).all()


# --- refusals and names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "real", "reason"),
    [
        ("gptq-w4g128", "gptq", "vLLM refuses asymmetric gptq.*gptq-w4g128sym"),
        ("awq-w4g128", "gptq", "vLLM refuses asymmetric gptq"),
        ("gptq-w4g128sym", "awq", "4 bits with zero-points only.*--real gptq"),
        ("awq-w3g128", DEFAULT, "no kernel of vLLM takes 3-bit"),
        ("gptq-w2g128sym", "gptq", "no kernel of vLLM takes 2-bit"),
        ("gptq-w8g128", DEFAULT, "8-bit weights without zero-points only; use gptq-w8g128sym"),
        ("awq-w8g128", DEFAULT, "use gptq-w8g128sym"),
        ("rtn-w4g16", DEFAULT, "groups of 32, 64 or 128"),
        ("rtn-w4g-1s2", DEFAULT, "cut in 2"),
        ("quarot-w4a4kv4", DEFAULT, "has no real checkpoint"),
        ("kvquant_star-kv4", DEFAULT, "has no real checkpoint"),
        ("smoothquant-w8a8kv8", "awq", "rounds activations too"),
        ("smoothquant-w4a8kv8", DEFAULT, "integers of 8 bits"),
        ("smoothquant-w8a8kv8s2", DEFAULT, "use one shard"),
        ("bf16", DEFAULT, "nothing is quantized"),
    ],
)
def test_what_engines_do_not_load_is_refused(name: str, real: str, reason: str, tmp_path: Path) -> None:
    recipe = Recipe.parse(name)
    told = refuse_real(recipe, real)
    assert told is not None and told.startswith(name) and "\n" not in told
    with pytest.raises(RecipeError, match=reason):
        quantize(tmp_path / "nowhere", recipe, tmp_path / "out", real=real)
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(RecipeError, match="did you mean 'compressed-tensors'"):
        packed_format("compressed_tensor", Recipe.parse("rtn-w4g128"))
    assert set(FORMATS) == {"compressed-tensors", "awq", "gptq"}


def test_shapes_and_dtypes_that_cannot_be_packed_are_named(calibration: Calibration, tmp_path: Path) -> None:
    wide = save_tiny(tmp_path / "wide", dtype="float32")
    with pytest.raises(InputError, match=r"is stored as F32.*the recipe bf16"):
        quantize(wide, Recipe.parse("rtn-w4g128"), tmp_path / "out", real=DEFAULT)
    with pytest.raises(ValueError, match="20 output channels cannot be packed by eights"):
        packed_format("awq", Recipe.parse("awq-w4g32")).pack(random_codes(20, 64, 32, 4, False, torch.float16))


@pytest.mark.parametrize(
    ("name", "real", "said"),
    [
        ("awq-w4g128", None, "Tiny-1B-awq-w4g128-tp1"),
        ("quarot-w4a4kv4s4", None, "Tiny-1B-quarot-w4a4kv4-tp4"),
        ("gptq-w3g128+skip-1", None, "Tiny-1B-gptq-w3g128+skip-1-tp1"),
        ("gptq-w4g128sym", "gptq", "Tiny-1B-quantized.gptq-gptq-w4g128sym"),
        ("awq-w4g128", DEFAULT, "Tiny-1B-quantized.awq-compressed_tensors-w4g128"),
    ],
)
def test_folder_names_are_those_of_the_paper(name: str, real: str | None, said: str) -> None:
    recipe = Recipe.parse(name)
    assert checkpoint_name("Tiny-1B", recipe, real) == said
    read = parse_folder(f"{said}-seed42").checkpoint
    assert (read.model, read.recipe) == ("Tiny-1B", recipe.model_copy(update={"quant_shards": 1}))
    assert read.tensor_parallel == recipe.quant_shards and (read.library is None) == (real is None)
