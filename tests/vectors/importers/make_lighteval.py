"""Details and results written by lighteval itself: ``python make_lighteval.py`` in its environment; no network, no model."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
SCRATCH = Path(tempfile.mkdtemp())
os.environ["TINY_TASK_FOLDER"] = str(SCRATCH)

from tiny_task import PROBLEMS, reply, tokens  # noqa: E402

(SCRATCH / "test.jsonl").write_text(
    "".join(json.dumps({"problem": q, "answer": a}) + "\n" for _, q, a in PROBLEMS), "utf-8"
)

from lighteval.logging.evaluation_tracker import EvaluationTracker  # noqa: E402
from lighteval.models.abstract_model import LightevalModel, ModelConfig  # noqa: E402
from lighteval.models.model_input import GenerationParameters  # noqa: E402
from lighteval.models.model_output import ModelResponse  # noqa: E402
from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters  # noqa: E402
from lighteval.tasks.registry import Registry  # noqa: E402
from lighteval.tasks.requests import SamplingMethod  # noqa: E402
from lighteval.utils.cache_management import SampleCache, cached  # noqa: E402


class Scripted(LightevalModel):
    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self._cache = SampleCache(config)

    tokenizer = None
    add_special_tokens = False
    max_length = 4096

    @cached(SamplingMethod.GENERATIVE)
    def greedy_until(self, docs):  # type: ignore[no-untyped-def]
        answers = []
        for doc in docs:
            texts = [reply(doc.query, sample) for sample in range(doc.num_samples)]
            answers.append(
                ModelResponse(
                    input=doc.query,
                    input_tokens=tokens(doc.query),
                    text=texts,
                    output_tokens=[tokens(t)[:38] for t in texts],
                )
            )
        return answers

    def loglikelihood(self, docs):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    def loglikelihood_rolling(self, docs):  # type: ignore[no-untyped-def]
        raise NotImplementedError


def main() -> None:
    # The built-in tasks ask the hub for data when they are imported.
    Registry.load_all_task_configs = staticmethod(  # type: ignore[method-assign]
        lambda custom_tasks=None, load_multilingual=False: Registry._extract_configs(
            importlib.import_module("lighteval_task")
        )
    )
    out = HERE / "lighteval"
    shutil.rmtree(out, ignore_errors=True)
    # Each file has 15 kB of schema, so that there are few.
    for model, tasks in (("tiny/Tiny-1B", "tiny_math|0"), ("tiny/Tiny-1B-awq-w3g128", "tiny_math_twice|0")):
        config = ModelConfig(
            model_name=model, cache_dir=str(SCRATCH / "cache"), generation_parameters=GenerationParameters(seed=42)
        )
        pipeline = Pipeline(
            tasks=tasks,
            pipeline_parameters=PipelineParameters(launcher_type=ParallelismManager.CUSTOM, bootstrap_iters=10),
            evaluation_tracker=EvaluationTracker(output_dir=str(out), save_details=True),
            model=Scripted(config),
        )
        pipeline.evaluate()
        pipeline.save_and_push_results()
    for path in out.rglob("results_*.json"):
        text = path.read_text("utf-8").replace(str(SCRATCH), "(scratch)")
        path.write_text(text, "utf-8")
        assert not re.search(r"/(home|root|tmp|work|Users)/", text), re.search(
            r".*/(home|root|tmp|work|Users)/.*", text
        )
    print({str(p.relative_to(out)): p.stat().st_size for p in out.rglob("*") if p.is_file()})
    shutil.rmtree(SCRATCH)


if __name__ == "__main__":
    main()
