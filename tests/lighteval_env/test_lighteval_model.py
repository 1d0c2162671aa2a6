"""Our backends as a model of lighteval, run by lighteval's own pipeline; what it writes is imported again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lighteval", reason="needs lighteval; run make lighteval-test")
from lighteval.logging.evaluation_tracker import EvaluationTracker
from lighteval.models.custom.custom_model import CustomModelConfig
from lighteval.models.model_input import GenerationParameters
from lighteval.models.model_loader import load_custom_model
from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters

from qrm_forensics import builtin, lighteval_bridge
from qrm_forensics.errors import InputError
from qrm_forensics.generate import get_generator
from qrm_forensics.generate.prompts import chat_prompts
from qrm_forensics.importers import detect_format, lighteval
from qrm_forensics.lighteval_bridge.registry import load_only
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import Finish, Kind, ModelRef, Problem, Request

TASKS = Path(__file__).parents[1] / "vectors" / "importers" / "lighteval_task.py"
MODEL = Path(lighteval_bridge.__file__).with_name("model.py")


def config(tmp_path: Path, name: str = "builtin", **generation: Any) -> CustomModelConfig:
    return CustomModelConfig(
        model_name=name,
        model_definition_file_path=str(MODEL),
        cache_dir=str(tmp_path / "cache"),
        generation_parameters=GenerationParameters(**generation),
    )


def test_a_pipeline_runs_through_our_backend_and_is_imported_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_TASK_FOLDER", str(tmp_path / "data"))
    monkeypatch.setenv("QRM_FORENSICS_BACKEND", "{name: embedded, batch_size: 4}")
    asked = builtin.problems(3)
    (tmp_path / "data").mkdir()
    rows = "".join(json.dumps({"problem": p.question, "answer": p.gold}) + "\n" for p in asked)
    (tmp_path / "data" / "test.jsonl").write_text(rows, "utf-8")
    load_only([], TASKS)
    pipeline = Pipeline(
        tasks="tiny_math_twice|0",
        pipeline_parameters=PipelineParameters(launcher_type=ParallelismManager.CUSTOM, bootstrap_iters=10),
        evaluation_tracker=EvaluationTracker(output_dir=str(tmp_path / "out"), save_details=True),
        model_config=config(tmp_path, temperature=0.6, top_p=0.95, seed=43),
    )
    pipeline.evaluate()
    pipeline.save_and_push_results()

    assert detect_format([tmp_path / "out"]) == "lighteval"
    (cell,) = lighteval.read(tmp_path / "out").cells
    assert sorted((t.problem_id, t.sample, t.seed) for t in cell.traces) == [
        (f"idx-{i}", sample, 43) for i in range(3) for sample in (0, 1)
    ]
    # The same task asked without lighteval: token by token what it stored.
    sampling = Sampling(temperature=0.6, top_p=0.95, max_new_tokens=38, seeds=(43,))
    message = [
        p.question + "\n\nPlease reason step by step, and put your final answer within \\boxed{}." for p in asked
    ]
    prompts = chat_prompts([builtin.weights_dir()], message)
    requests = [
        Request("x", Problem("tiny_math_twice", f"idx-{i}", "", prompt, "", Kind.MATH, None, None), sample, 43)
        for i, prompt in enumerate(prompts)
        for sample in (0, 1)
    ]
    with get_generator("embedded").open(
        ModelRef(str(builtin.weights_dir()), None, "bf16", None, "original")
    ) as session:
        ours = {(t.problem_id, t.sample): t for t in session.sample(requests, sampling)}
    for trace in cell.traces:
        own = ours[trace.problem_id, trace.sample]
        assert (trace.text, trace.token_ids, trace.prompt) == (
            own.text,
            own.token_ids,
            prompts[int(trace.problem_id[4:])],
        )
        assert (trace.finish is Finish.LENGTH) == (own.finish is Finish.LENGTH)
    assert any(t.finish is Finish.LENGTH for t in cell.traces)


def test_greedy_responses_are_those_of_the_backend(tmp_path: Path) -> None:
    """Temperature 0 does not depend on keys, so every token can be compared."""
    from lighteval.tasks.requests import Doc

    model = load_custom_model(config(tmp_path))
    asked = builtin.problems(2)
    docs = [
        Doc(query=p.question, choices=[p.gold], gold_index=0, id=str(i), task_name="t|0", generation_size=40)
        for i, p in enumerate(asked)
    ]
    responses = type(model).greedy_until.__wrapped__(model, docs)
    prompts = chat_prompts([builtin.weights_dir()], [p.question for p in asked])
    requests = [
        Request("x", Problem("b", f"idx-{i}", "", p, "", Kind.MATH, None, None), 0, 1) for i, p in enumerate(prompts)
    ]
    with get_generator("embedded").open(
        ModelRef(str(builtin.weights_dir()), None, "bf16", None, "original")
    ) as session:
        traces = {
            t.problem_id: t for t in session.sample(requests, Sampling(temperature=0.0, top_p=1.0, max_new_tokens=40))
        }
    for i, response in enumerate(responses):
        assert response.text == [traces[f"idx-{i}"].text] and response.output_tokens == [traces[f"idx-{i}"].token_ids]
        assert response.input == prompts[i] and len(response.input_tokens) > 3
    docs[0].stop_sequences = ["Question:"]
    with pytest.raises(InputError, match="asks for stop sequences"):
        type(model).greedy_until.__wrapped__(model, docs)
    with pytest.raises(NotImplementedError, match="this model generates"):
        model.loglikelihood(docs)
    model.cleanup()


def test_a_model_or_backend_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="neither 'builtin' nor a folder"):
        load_custom_model(config(tmp_path, "nowhere"))
    monkeypatch.setenv("QRM_FORENSICS_BACKEND", "embeded")
    with pytest.raises(InputError, match="did you mean 'embedded'"):
        load_custom_model(config(tmp_path))
