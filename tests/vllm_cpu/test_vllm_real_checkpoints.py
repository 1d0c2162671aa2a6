"""Integer codes in vLLM's kernels against the same weights dequantized, both in vLLM, in the dtypes that people use."""

from __future__ import annotations

from pathlib import Path

import pytest
from quantize_helpers import responses, write_array

pytest.importorskip("vllm", reason="needs vllm; run make vllm-test")

import torch
from vllm_parity import Scored, engine, forced, save_family, scored

from qrm_forensics.quantize import load_calibration, quantize
from qrm_forensics.quantize.export.verify import write_twin
from qrm_forensics.recipes import Recipe
from qrm_forensics.runtime.attach import load_model


@pytest.fixture(autouse=True)
def _faithful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    # a processor with AMX would round activations to 8 bits, unasked
    monkeypatch.setenv("VLLM_CPU_INT4_W4A8", "0")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # as gentle as a real model: with larger weights bfloat16 itself is off by more than a kernel may be
    return save_family(tmp_path_factory.mktemp("real") / "source", "qwen2", dtype="bfloat16", gain=0.4)


#: (recipe, format, largest mean and largest difference).  Kernels add up in another order, and bfloat16 has steps of 2^-8.
#: The last one rounds activations to 8 bits as well, which its twin does not.
CASES = [
    ("rtn-w4g32", "compressed-tensors", 0.025, 0.2),
    ("gptq-w4g32sym", "compressed-tensors", 0.025, 0.2),
    ("awq-w4g32", "awq", 0.025, 0.2),
    ("gptq-w4g32sym", "gptq", 0.025, 0.2),
    ("smoothquant-w8a8kv8", "compressed-tensors", 0.1, 0.4),
]


@pytest.mark.parametrize(("recipe", "layout", "mean", "largest"), CASES)
def test_codes_and_their_dequantized_twin_say_the_same(
    recipe: str, layout: str, mean: float, largest: float, source: Path, tmp_path: Path
) -> None:
    calibration = load_calibration(write_array(tmp_path / "r.json", responses()), source, samples=4, length=64)
    quantize(source, Recipe.parse(recipe), tmp_path / "real", calibration, real=layout)
    write_twin(tmp_path / "real", tmp_path / "twin")
    with engine(tmp_path / "real", dtype="bfloat16") as llm:
        method = llm.llm_engine.vllm_config.model_config.quantization
        assert method.removeprefix("auto_") == layout
        texts = scored(llm)
    with engine(tmp_path / "twin", dtype="bfloat16") as llm:
        assert llm.llm_engine.vllm_config.model_config.quantization is None
        twin = forced(llm, texts)
    off = (torch.cat([text.logprobs for text in texts]) - twin).abs()
    exact, unquantized = (told(folder, texts) for folder in (tmp_path / "twin", source))
    rounding, noise = (exact - unquantized).abs(), (exact - twin).abs()
    seen = f"mean {off.mean():.4f}, largest {off.max():.4f}, bfloat16 {noise.mean():.4f}, recipe {rounding.mean():.4f}"
    assert off.mean() < mean and off.max() < largest, seen
    if "a8" not in recipe:
        # as far apart as two bfloat16 runs are, and much closer than the recipe moves the model
        assert off.mean() < 2 * noise.mean() and off.mean() < rounding.mean() / 4, seen


def told(folder: Path, texts: list[Scored]) -> torch.Tensor:
    """What the weights say in float32."""
    network = load_model(str(folder), dtype=torch.float32).eval()
    found = []
    for text in texts:
        with torch.no_grad():
            logits = network(torch.tensor([text.tokens])).logits[0, :-1]
        found.append(logits.log_softmax(-1).gather(-1, torch.tensor(text.tokens[1:])[:, None])[:, 0])
    return torch.cat(found)
