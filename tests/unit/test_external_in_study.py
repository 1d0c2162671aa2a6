"""``external:`` recipes of a study: another library makes the checkpoint in its own environment, and a backend answers with it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from external_library import WORKS, library
from quantize_helpers import responses, write_lines

from qrm_forensics import builtin, pipeline
from qrm_forensics.errors import EnvironmentMissing, RecipeError
from qrm_forensics.pipeline.estimate import estimate
from qrm_forensics.quantize import external
from qrm_forensics.recipes import EXTERNAL, Recipe
from qrm_forensics.store import Store
from qrm_forensics.study import Study, load_study

ASKED = "external:llmcompressor-w4a16_asym"
DOCS = Path(__file__).parents[2] / "docs" / "quantize.md"


def study(tmp_path: Path, recipe: str = ASKED, **more: Any) -> Study:
    own = tmp_path / "own.jsonl"
    write_lines(own, responses(6))
    return Study.model_validate(
        {
            "name": "others",
            "models": ["builtin"],
            "recipes": ["bf16", recipe],
            "benchmarks": [{"name": "builtin", "limit": 2}],
            "sampling": {"max_new_tokens": 8},
            "calibration": {"path": str(own), "samples": 2, "length": 16},
            **more,
        }
    )


def test_every_recipe_of_another_library_is_a_recipe() -> None:
    assert EXTERNAL.keys() == external.ARMS.keys()
    for name in EXTERNAL:
        recipe = Recipe.parse(f"external:{name}")
        assert str(recipe) == f"external:{name}" and recipe.quantized
        assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
        options = external.ARMS[name].options
        assert options.get("bits", recipe.weight_bits) == recipe.weight_bits
        assert options.get("group_size", recipe.group_size) == recipe.group_size
        assert external.ARMS[name].config.split("-")[0] == ("rtn" if name.endswith("mxfp4") else recipe.method)
    # what makes it comparable with other methods at the same bits
    assert Recipe.parse("external:autoawq-w4g128").config == Recipe.parse("gptq-w4g128").config == "w4g128"
    assert "library" not in Recipe.parse("awq-w4g128").model_dump()
    with pytest.raises(RecipeError, match="did you mean 'external:llmcompressor-fp8'"):
        Recipe.parse("external:llmcompressor-fp9")
    with pytest.raises(ValueError, match="write external:NAME"):
        Recipe(method="awq", weight_bits=3, group_size=128, library="autoawq-w4g128")


def test_a_study_names_another_librarys_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("compressed_tensors", reason="transformers reads this format with compressed-tensors")
    from qrm_forensics.quantize import quantize

    real = quantize(builtin.weights_dir(), Recipe.parse("rtn-w4g128"), tmp_path / "real", real="compressed-tensors")
    monkeypatch.setenv("FAKE_RESULT", real.path)
    monkeypatch.delenv("QRM_EXTERNAL_PYTHON", raising=False)
    environment = library(tmp_path / "env", WORKS)
    elsewhere = library(tmp_path / "bare", "")
    for about in (elsewhere / "lib").rglob("llmcompressor-9.9.dist-info/METADATA"):
        about.unlink()
        about.parent.rmdir()
    plan = pipeline.make_plan(study(tmp_path))
    assert [v.id for v in plan.variants] == ["bf16", ASKED]
    # of several environments the one that has the library is taken
    both = f"{elsewhere}{os.pathsep}{environment}"
    store = pipeline.run(plan, tmp_path / "run", only="generate", external_python=both)
    made = store.checkpoint_dir(ASKED)
    manifest = json.loads((made / "recipe.json").read_text())
    assert manifest["recipe"]["name"] == ASKED and manifest["realization"] == "packed"
    assert manifest["request"]["package"] == "llmcompressor 9.9" and manifest["calibration"]["samples"] == 2
    traces = store.traces(["variant", "text", "finish"]).to_pylist()
    assert [t["variant"] for t in traces].count(ASKED) == 2 and all(t["text"] for t in traces)

    # finished is finished, whoever asks; the variable says the same as the option
    stamp = (made / "recipe.json").stat().st_mtime_ns
    monkeypatch.setenv("QRM_EXTERNAL_PYTHON", str(environment))
    assert isinstance(pipeline.run(plan, tmp_path / "run", only="generate"), Store)
    assert (made / "recipe.json").stat().st_mtime_ns == stamp


def test_what_cannot_be_made_or_read_is_said_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QRM_EXTERNAL_PYTHON", raising=False)
    plan = pipeline.make_plan(study(tmp_path))
    with pytest.raises(EnvironmentMissing, match="pip install 'llmcompressor==") as missing:
        pipeline.run(plan, tmp_path / "run", external_python=str(library(tmp_path / "env", "")) + "-not")
    assert "\n" not in str(missing.value) and not (tmp_path / "run").exists()

    def absent(name: str) -> str:
        raise external.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(external.metadata, "version", absent)
    with pytest.raises(EnvironmentMissing, match=r"awq format only with the package 'gptqmodel'.*backend"):
        pipeline.run(pipeline.make_plan(study(tmp_path, "external:autoawq-w4g128")), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert external.unreadable(external.arm("external:autoawq-w4g128"), "vllm") is None


def test_a_dry_run_counts_it(tmp_path: Path) -> None:
    found = estimate(study(tmp_path))
    assert found.variants == ["bf16", ASKED] and found.checkpoints


def test_the_example_of_the_manual_is_a_study(tmp_path: Path) -> None:
    text = re.search(r"```yaml\n(name: others.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert text is not None
    file = tmp_path / "study.yaml"
    file.write_text(text[1], encoding="utf-8")
    libraries = [recipe.library for recipe in load_study(file).recipes]
    assert sum(library is not None for library in libraries) >= 2
