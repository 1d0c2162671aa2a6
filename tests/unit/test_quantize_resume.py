"""A quantization that was stopped goes on behind its last finished layer, and ends where an uninterrupted one does, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from quantize_helpers import responses, save_tiny, write_array

from qrm_forensics.quantize import load_calibration, passage, quantize
from qrm_forensics.quantize.layerwise import LayerStream
from qrm_forensics.recipes import Recipe
from qrm_forensics.weights import content_hash, read_json

RECIPES = [
    ("rtn-w4g64", None),
    ("awq-w3g64", None),
    ("gptq-w3g64", None),
    ("gptq-w4g64", "compressed-tensors"),
    ("gptq-w4g64+skip0", None),
    ("smoothquant-w8a8kv8", None),
    ("quarot-w4a4kv4", None),
    ("flatquant-w4a4kv4", None),
    ("kvquant_star-kv4", None),
    ("kvquant_star-kv4+skip0", None),
    ("mxfp4-w4a4kv4", None),
    ("mxfp4-w4a4kv4+skip0", None),
]

KILLED = """
import os, signal, sys
from pathlib import Path
from qrm_forensics.quantize import load_calibration, quantize
from qrm_forensics.recipes import Recipe

def progress(done, total):
    if done == 1:
        os.kill(os.getpid(), signal.SIGKILL)

source, text, out = map(Path, sys.argv[1:4])
quantize(source, Recipe.parse(sys.argv[4]), out, load_calibration(text, source, samples=6, length=48), progress=progress)
"""


class Stopped(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("source") / "model")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_array(tmp_path_factory.mktemp("text") / "r.jsonl", responses())


def made(folder: Path) -> dict[str, Any]:
    """All that ``recipe.json`` says but how long it took."""
    said = read_json(folder / "recipe.json")
    assert said["content_hash"] == content_hash(folder)
    return {key: value for key, value in said.items() if key != "seconds"}


def stop(done: int, _total: int) -> None:
    if done == 1:
        raise Stopped


@pytest.mark.parametrize(("name", "real"), RECIPES, ids=[f"{name}-{real}" if real else name for name, real in RECIPES])
def test_goes_on_behind_the_last_layer(source: Path, text: Path, tmp_path: Path, name: str, real: str | None) -> None:
    recipe = Recipe.parse(name)
    calibration = load_calibration(text, source, samples=6, length=48)
    whole, out = tmp_path / "whole", tmp_path / "out"
    quantize(source, recipe, whole, calibration, real=real)
    with pytest.raises(Stopped):
        quantize(source, recipe, out, calibration, progress=stop, real=real)
    kept = tmp_path / "out.partial"
    assert sorted(file.name for file in kept.iterdir()) == ["layer-0000.safetensors", "request.json"]
    assert not out.exists()
    (kept / "layer-0001.tmp").write_bytes(b"half a layer")
    steps: list[tuple[int, int]] = []
    quantize(source, recipe, out, calibration, progress=lambda *at: steps.append(at), real=real)
    assert steps == [(1, 2), (2, 2)]
    assert made(out) == made(whole)
    assert not kept.exists()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on this system")
def test_killed_process(source: Path, text: Path, tmp_path: Path) -> None:
    name = "gptq-w3g64"
    calibration = load_calibration(text, source, samples=6, length=48)
    quantize(source, Recipe.parse(name), tmp_path / "whole", calibration)
    arguments = [str(source), str(text), str(tmp_path / "out"), name]
    ended = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False, env=os.environ, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert (tmp_path / "out.partial" / "layer-0000.safetensors").is_file()
    steps: list[int] = []
    quantize(source, Recipe.parse(name), tmp_path / "out", calibration, progress=lambda done, _: steps.append(done))
    assert steps == [1, 2]
    assert made(tmp_path / "out") == made(tmp_path / "whole")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()


def test_layers_of_another_request_are_not_used(source: Path, text: Path, tmp_path: Path) -> None:
    recipe = Recipe.parse("gptq-w3g64")
    calibration = load_calibration(text, source, samples=6, length=48)
    other = load_calibration(text, source, samples=4, length=48)
    with pytest.raises(Stopped):
        quantize(source, recipe, tmp_path / "out", other, progress=stop)
    steps: list[int] = []
    quantize(source, recipe, tmp_path / "out", calibration, progress=lambda done, _: steps.append(done))
    assert steps == [1, 2]
    quantize(source, recipe, tmp_path / "whole", calibration)
    assert made(tmp_path / "out") == made(tmp_path / "whole")


def test_text_does_not_go_through_finished_layers_again(
    source: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe.parse("kvquant_star-kv4")
    calibration = load_calibration(text, source, samples=6, length=48)
    quantize(source, recipe, tmp_path / "whole", calibration)
    monkeypatch.setattr(passage, "INTERVAL", 0)
    monkeypatch.setattr(passage, "WORTH", 0)
    passed: list[int] = []
    own = LayerStream.layer

    def layer(stream: LayerStream, index: int) -> Any:
        passed.append(index)
        return own(stream, index)

    monkeypatch.setattr(LayerStream, "layer", layer)
    for out, damage, expected in (("out", False, [1]), ("damaged", True, [0, 1])):
        with pytest.raises(Stopped):
            quantize(source, recipe, tmp_path / out, calibration, progress=stop)
        kept = tmp_path / f"{out}.partial" / passage.FILE
        if damage:
            kept.write_bytes(kept.read_bytes()[:100])
        passed.clear()
        quantize(source, recipe, tmp_path / out, calibration)
        assert passed == expected
        assert made(tmp_path / out) == made(tmp_path / "whole")
        assert not kept.parent.exists()
