"""What a dry run says, and that it needs nothing but the study file and writes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from qrm_forensics import builtin
from qrm_forensics.cli import cli
from qrm_forensics.cli.dry_run import said
from qrm_forensics.errors import InputError
from qrm_forensics.pipeline.estimate import _counted, estimate
from qrm_forensics.study import Study, load_study
from qrm_forensics.weights import open_checkpoint

EXAMPLES = sorted(
    file for file in (Path(__file__).parents[2] / "examples").glob("*.yaml") if not file.name.endswith("policy.yaml")
)


def study(**changes: Any) -> Study:
    plain: dict[str, Any] = {
        "name": "s",
        "models": ["builtin"],
        "recipes": ["bf16", "rtn-w4g128"],
        "benchmarks": [{"name": "builtin", "limit": 10}],
        "sampling": {"max_new_tokens": 100, "seeds": [1, 2], "samples": 3},
    }
    return Study.model_validate(plain | changes)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda p: p.name)
def test_every_example_can_be_planned_without_its_models(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["run", str(file), "--dry-run"], standalone_mode=False)
    assert done.exception is None and "responses per variant" in done.output
    assert list(tmp_path.iterdir()) == []
    found = estimate(load_study(file))
    missing = [m for m in load_study(file).models if m != builtin.NAME and found.models]
    assert all(any(reason.startswith(f"{m}: is not a folder here") for reason in found.unknown) for m in missing)
    sized = not any("how many problems" in reason for reason in found.unknown)
    assert (found.requests is not None) is (found.tokens_at_most is not None) is sized


def test_requests_and_tokens_are_those_of_the_plan() -> None:
    from qrm_forensics.pipeline import make_plan

    asked = study(thinking=["free", "suppress-32"])
    found, plan = estimate(asked), make_plan(asked)
    assert found.variants == [v.id for v in plan.variants]
    assert found.requests == sum(len(plan.requests(v.id, b)) for v in plan.variants for b in plan.benchmarks()) == 240
    assert (
        found.tokens_at_most == 240 * 100 and found.tokens_expected == 240 * 100
    )  # the usual length is above the limit
    assert found.unknown == []


def test_memory_is_that_of_the_checkpoint() -> None:
    (model,) = estimate(study()).models
    shapes = open_checkpoint(builtin.weights_dir()).shapes.values()
    parameters = sum(rows * (columns[0] if columns else 1) for rows, *columns in shapes)
    assert (model.parameters, model.parameters_by, model.weights) == (parameters, "weights", 4 * parameters)
    # keys and values, 8 layers, 2 heads of width 32, float32, 100 tokens
    assert model.cache_per_sequence == 2 * 8 * 2 * 32 * 4 * 100 and model.cache == 64 * model.cache_per_sequence


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        # Llama 3.1 8B and Qwen2.5 1.5B have 8,030,261,248 and 1,543,714,304 parameters, the latter's biases included
        ((4096, 14336, 128256, 32, 32, 8, False, "llama"), 8_030_261_248),
        ((1536, 8960, 151936, 28, 12, 2, True, "qwen2"), 1_543_714_304 - 28 * (1536 + 2 * 256)),
        ((1536, 8960, 151936, 28, 12, 2, True, "mixture"), None),
    ],
)
def test_parameters_by_the_config(config: tuple[Any, ...], parameters: int | None) -> None:
    keys = ("hidden_size", "intermediate_size", "vocab_size", "num_hidden_layers", "num_attention_heads")
    names = (*keys, "num_key_value_heads", "tie_word_embeddings", "model_type")
    assert _counted(dict(zip(names, config, strict=True))) == parameters


def test_what_is_not_here_is_null_and_said(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "strange", "hidden_size": 8}', "utf-8")
    asked = study(
        models=["hub/Some-Model-7B", str(tmp_path)],
        benchmarks=[{"name": "mine", "path": "nowhere.jsonl"}, {"name": "GSM8K", "hub": True}],
    )
    found = estimate(asked)
    named, strange = found.models
    assert (named.parameters, named.parameters_by, named.cache) == (7_000_000_000, "name", None)
    assert strange.parameters is strange.weights is strange.cache is None
    assert [(c.problems, c.requests) for c in found.cells] == [(None, None), (1319, 1319 * 6)]
    assert found.requests is found.tokens_at_most is found.traces_at_most is found.checkpoints is None
    assert len(found.unknown) == 5
    done = CliRunner().invoke(cli, ["run", "--dry-run", "--json"], standalone_mode=False)
    assert json.loads(done.output)["requests"] == 1200


def test_what_could_never_run_is_refused() -> None:
    with pytest.raises(InputError, match="unknown generation backend"):
        estimate(study(backend={"name": "vlm"}))
    with pytest.raises(InputError, match="the same model for bf16 and for rtn-w4g128"):
        estimate(study(backend={"name": "server", "options": {"base_url": "http://h/v1"}}))
    with pytest.raises(InputError, match="only the built-in model writes its own"):
        estimate(study(models=["hub/x"], recipes=["bf16", "gptq-w4g128"]))


def test_the_passes_beside_the_responses_are_named() -> None:
    text = {"name": "WikiText-2", "path": "not/here"}
    asked = study(
        benchmarks=[{"name": "builtin", "limit": 10}, text], latency={"problems": 4}, thinking=["suppress-32"]
    )
    found = estimate(asked)
    assert (found.perplexity, found.timed) == (["WikiText-2"], 4)
    lines = "\n".join(said(found))
    assert "WikiText-2  its text is read once by every checkpoint" in lines
    assert "latency     4 responses of every checkpoint once more" in lines
    assert "4 variants × 1 benchmark, backend" in lines
    plain = estimate(study())
    assert (plain.perplexity, plain.timed) == ([], 0) and "latency" not in "\n".join(said(plain))
    assert estimate(study(latency={"problems": 40})).timed == 10


def test_columns_stand_below_each_other_on_a_terminal() -> None:
    """A Korean letter takes two cells."""
    from rich.cells import cell_len

    own = ["수학 문제 모음", "a-benchmark-with-a-long-name"]
    found = estimate(study(benchmarks=[{"name": "builtin"}, *({"name": n, "path": "no.jsonl"} for n in own)]))
    names = [*(cell.benchmark for cell in found.cells), "variants", "in all", "disk"]
    heads = [
        line[: -len(line.partition("  ")[2].lstrip())]
        for line in said(found)
        if line.startswith(tuple(f"{n} " for n in names))
    ]
    assert sorted(head.rstrip() for head in heads) == sorted(names)
    assert {cell_len(head) for head in heads} == {cell_len(own[1]) + 2}


def test_a_study_of_perplexity_alone_is_refused_as_the_run_refuses_it(tmp_path: Path) -> None:
    from qrm_forensics.pipeline import make_plan

    text = tmp_path / "text.txt"
    text.write_text("One line.\n", "utf-8")
    asked = study(benchmarks=[{"name": "PPL", "path": str(text)}])
    for ask in (estimate, make_plan):
        with pytest.raises(InputError, match="beside problems"):
            ask(asked)
