"""The two figures: their numbers against transformers alone, and the commands on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from quantize_helpers import responses, save_tiny, write_array

from qrm_forensics.cli import cli
from qrm_forensics.errors import InputError
from qrm_forensics.quantize import activations, load_calibration


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", dtype="float32")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_array(tmp_path_factory.mktemp("text") / "own.json", responses())


def test_inputs_are_those_of_the_model(model: Path, text: Path) -> None:
    network = activations.Network(model)
    ids = load_calibration(text, model, samples=3, length=40).token_ids
    seen = activations.input_statistics(network, {"own": ids}, [0])
    with torch.no_grad():
        layer = network.model.model.layers[0]
        inputs = layer.input_layernorm(network.model.model.embed_tokens(torch.from_numpy(ids).long())).reshape(-1, 128)
        values = layer.self_attn.v_proj(inputs)
    own = seen["model.layers.0.self_attn.k_proj"]["own"]
    assert own.tokens == 120
    assert np.allclose(own.mean, inputs.abs().mean(0), rtol=1e-4)
    assert np.allclose(seen["model.layers.0.self_attn.v_proj.out"]["own"].mean, values.abs().mean(0), rtol=1e-4)
    # fewer tokens than points: all of them are kept, in order
    assert np.allclose(own.sample, inputs, atol=1e-5)
    assert len(seen) == 6


def test_gap_is_zero_for_the_same_text(model: Path, text: Path) -> None:
    network = activations.Network(model)
    ids = load_calibration(text, model, samples=1, length=40).token_ids
    other = np.full_like(ids, 7)
    seen = activations.input_statistics(network, {"a": ids, "b": ids, "c": other}, [1])
    for row in activations.domain_gap({k: v for k, v in seen.items() if k.endswith("mlp.up_proj")}):
        gaps = {tuple(pair["corpora"]): pair["cosine_distance"] for pair in row["gap"]}
        assert abs(gaps["a", "b"]) < 1e-9 < gaps["a", "c"]
        assert len(row["corpora"]["a"]["pca"]) == len(row["corpora"]["a"]["tsne"]) == 40


def test_keys_before_the_bias_and_behind_rope(model: Path, text: Path) -> None:
    network = activations.Network(model)
    ids = load_calibration(text, model, samples=2, length=40).token_ids
    (row,) = activations.key_cache(network, ids, [1])
    kinds = row["kinds"]
    assert set(kinds) == {"before_bias", "before_rope", "after_rope"} and row["positions"][-1] == [30, 40]
    shapes = {kind: (np.shape(k["surface"]), np.shape(k["parts"])) for kind, k in kinds.items()}
    assert set(shapes.values()) == {((40, 64), (4, 64))}
    bias = np.array(row["bias"])
    assert bias.shape == (64,) and np.abs(bias).max() > 0
    # RoPE leaves the first token, and the length of each pair of channels, as they are
    before, after = (np.array(kinds[kind]["surface"]) for kind in ("before_rope", "after_rope"))
    assert np.allclose(before[0], after[0], rtol=1e-3, atol=1e-4)
    pairs = [(k.reshape(40, 2, 2, 16) ** 2).sum(2) for k in (before, after)]
    assert np.allclose(*pairs, rtol=1e-3, atol=1e-4)
    assert not np.allclose(before, after, rtol=1e-2)
    with pytest.raises(InputError, match="4 parts"):
        activations.key_cache(network, ids[:, :3], [0])


def test_layers_are_checked(model: Path) -> None:
    network = activations.Network(model)
    assert network.layers(None) == [0, 1] and network.layers([-1]) == [1]
    with pytest.raises(InputError, match="no decoder layer 2"):
        network.layers([2])


def test_commands_write_pages_and_data(model: Path, text: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("Some other text about 3 birds. " * 20, encoding="utf-8")
    out = tmp_path / "gap.html"
    line = ["figures", "domain-gap", str(model), "--corpus", str(text), "--corpus", f"<b>={plain}", "--layer", "0"]
    line += ["--tokens", "32", "--length", "16", "--out", str(out), "--json"]
    told = json.loads(CliRunner().invoke(cli, line, catch_exceptions=False).stdout)
    data = json.loads(Path(told["data"]).read_text("utf-8"))
    assert list(data["corpora"]) == ["own", "<b>"] and data["corpora"]["own"]["corpus"] == "responses"
    assert data["corpora"]["<b>"]["corpus"] == "file" and len(data["modules"]) == told["modules"] == 6
    page = out.read_text("utf-8")
    body = page[page.index("<h1>") : page.index("<h2>")]
    assert "&lt;b&gt;" in body and "<b>" not in body and page.count("plotly-graph-div") >= 6
    out = tmp_path / "keys.html"
    line = ["figures", "kcache-bias", str(model), "--windows", "1", "--length", "16", "--layer", "1", "--out", str(out)]
    made = CliRunner().invoke(cli, line, catch_exceptions=False)
    assert made.stdout.split() == [str(out), str(out.with_suffix(".json"))] and "largest |bias|" in out.read_text(
        "utf-8"
    )
    twice = CliRunner().invoke(cli, ["figures", "domain-gap", str(model), "--corpus", str(text), "--corpus", str(text)])
    assert isinstance(twice.exception, InputError) and "two called 'own'" in str(twice.exception)
