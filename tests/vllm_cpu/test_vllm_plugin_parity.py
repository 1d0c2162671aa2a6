"""Every recipe of the paper: vLLM with the plugin computes what the transformers path computes, prompts in chunks and continuations."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from quantize_helpers import responses, write_array

pytest.importorskip("vllm", reason="needs vllm; run make vllm-test")

from vllm_parity import CLOSE, Scored, compare, engine, save_family, scored

from qrm_forensics.quantize import load_calibration, quantize
from qrm_forensics.recipes import Recipe
from qrm_forensics.runtime.attach import load_model
from qrm_forensics.runtime.spec import RuntimeSpec, read_runtime, write_runtime
from qrm_forensics.weights import weights_hash

Make = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """(family, recipe) -> a checkpoint folder; each is made once."""
    root = tmp_path_factory.mktemp("plugin")

    def made(family: str, recipe: str) -> Path:
        source, out = root / family, root / f"{family}-{recipe}"
        if not source.exists():
            save_family(source, family)
        if not out.exists():
            file = write_array(root / "responses.json", responses())
            quantize(source, Recipe.parse(recipe), out, load_calibration(file, source, samples=4, length=64))
        return out

    return made


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    monkeypatch.setattr("qrm_forensics.quantize.flatquant.EPOCHS", 2)


def assert_parity(folder: Path, texts: list[Scored], source: Path) -> None:
    """Within 1e-4; farther off only where a rounding of this recipe lies so close to the edge between two codes that the transformers
    path itself moves as far when the noise of its float32 is another.  (One code that falls to the other side puts the
    rounding noise of all that comes after it, of this token and those behind it, to other values.)
    """
    network = load_model(str(folder), dtype=torch.float32).eval()
    found = compare(network, texts)
    far, edge = found.off > CLOSE, found.own > CLOSE
    assert not (far & ~edge).any(), found.off[far & ~edge]
    assert far.float().mean() < 0.2
    assert found.off.median() < 5e-6
    assert found.greedy.float().mean() > 0.95
    # what is compared is not what the model computes without the recipe
    plain = compare(load_model(str(source), dtype=torch.float32).eval(), texts, draws=1)
    assert plain.off.median() > 100 * found.off.median()


ORDINARY = ["rtn-w4g32", "awq-w3g32", "gptq-w4g32", "flatquant-w4a4kv4+plain"]
RECIPES = [
    *(("qwen2", r) for r in ("kvquant_star-kv4+prebias", "kvquant_star-kv3+prebias", "kvquant_star-kv4+postbias")),
    *(("qwen2", r) for r in ("quarot-kv4", "quarot-w4a4kv4", "quarot-w8a8kv8", "quarot-w4a4kv4s2+householder")),
    *(("qwen2", r) for r in ("smoothquant-w8a8kv8", "flatquant-w4a4kv4", "flatquant-w8a8kv8", "mxfp4-w4a4kv4")),
    *(("qwen2", r) for r in ("mxfp4-w4a4kv4+even+away", "quarot-w4a4kv4+skip-1", "kvquant_star-kv3+skip0")),
    *(("llama", r) for r in ("kvquant_star-kv4", "quarot-w4a4kv4", "smoothquant-w8a8kv8")),
    *(("qwen3", r) for r in ("kvquant_star-kv4", "quarot-w4a4kv4", "flatquant-w4a4kv4", "mxfp4-w4a4kv4+skip-1")),
]


@pytest.mark.parametrize(("family", "recipe"), [*(("qwen2", r) for r in ORDINARY), *RECIPES])
def test_log_probabilities_are_those_of_transformers(family: str, recipe: str, make: Make) -> None:
    folder = make(family, recipe)
    assert (folder / "runtime.json").exists() == (recipe not in ORDINARY)
    with engine(folder) as llm:
        texts = scored(llm)
    assert_parity(folder, texts, folder.parent / family)


def test_an_engine_in_a_process_of_its_own_is_taught_as_well(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started anew, not forked: what it knows it was taught through the entry point."""
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    folder = make("qwen2", "flatquant-w4a4kv4")
    with engine(folder) as llm:
        assert type(llm.llm_engine.engine_core).__name__ != "InprocClient"
        texts = scored(llm)
    assert_parity(folder, texts, folder.parent / "qwen2")


#: Family, and the recipes of each layer's linears and caches.
MIXTURES = [
    ("qwen2", ("flatquant-w4a4kv4", "quarot-w4a4kv4"), ("flatquant-w4a4kv4", "kvquant_star-kv4+prebias")),
    ("qwen3", ("mxfp4-w4a4kv4", "smoothquant-w8a8kv8"), ("kvquant_star-kv4", "quarot-w4a4kv4")),
]


@pytest.mark.parametrize(("family", "linears", "caches"), MIXTURES)
def test_two_ranks_that_share_every_layer_compute_what_one_does(
    family: str, linears: tuple[str, ...], caches: tuple[str, ...], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensor parallelism, in processes that were started anew.  Each layer is of another recipe, as starting takes longest."""
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # to bind them vLLM wants a NUMA node for each
    folder = mixed([make(family, r) for r in linears], [make(family, r) for r in caches])
    with engine(folder, tensor_parallel_size=2) as llm:
        assert llm.llm_engine.vllm_config.parallel_config.tensor_parallel_size == 2
        texts = scored(llm)
    assert_parity(folder, texts, folder.parent / family)


def mixed(linears: list[Path], caches: list[Path]) -> Path:
    """Weights that no recipe has touched; layer n computes with the linears and caches of the n-th checkpoints."""
    family = linears[0].name.split("-")[0]
    out = linears[0].parent / f"{family}-mixed"
    shutil.copytree(linears[0].parent / family, out)
    spec, tensors = RuntimeSpec("mixed", weights_hash=weights_hash(out)), {}
    for layer, folders in enumerate(zip(linears, caches, strict=True)):
        (given, side), (kept, more) = (read_runtime(folder) for folder in folders)
        part = RuntimeSpec(
            "part",
            {name: linear for name, linear in given.linears.items() if name.startswith(f"model.layers.{layer}.")},
            {layer: kept.attention[layer]},
        )
        assert part.linears
        spec.linears.update(part.linears)
        spec.attention.update(part.attention)
        tensors |= {name: tensor for name, tensor in (side | more).items() if name in part.tensor_names()}
    write_runtime(out, spec, tensors)
    return out
