"""The tiny task for lighteval (``custom_tasks_directory``); ``folder`` holds ``test.jsonl``."""

from __future__ import annotations

import os

import numpy as np
from lighteval.metrics.dynamic_metrics import MultilingualExtractiveMatchMetric
from lighteval.metrics.metrics import Metrics
from lighteval.metrics.utils.extractive_match_utils import ExprExtractionConfig, LatexExtractionConfig
from lighteval.metrics.utils.metric_utils import SampleLevelMetric
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc, SamplingMethod

INSTRUCTION = "\n\nPlease reason step by step, and put your final answer within \\boxed{}."


def prompt(line: dict, task_name: str) -> Doc:
    return Doc(task_name=task_name, query=line["problem"] + INSTRUCTION, choices=[line["answer"]], gold_index=0)


def match() -> SampleLevelMetric:
    return SampleLevelMetric(
        metric_name="extractive_match",
        sample_level_fn=MultilingualExtractiveMatchMetric(
            gold_extraction_target=(ExprExtractionConfig(), LatexExtractionConfig(boxed_match_priority=0)),
            pred_extraction_target=(ExprExtractionConfig(), LatexExtractionConfig(boxed_match_priority=0)),
        ),
        category=SamplingMethod.GENERATIVE,
        corpus_level_fn=np.mean,
        higher_is_better=True,
    )


def task(name: str, samples: int, metrics: list) -> LightevalTaskConfig:
    return LightevalTaskConfig(
        name=name,
        prompt_function=prompt,
        hf_repo=os.environ["TINY_TASK_FOLDER"],
        hf_subset="default",
        hf_avail_splits=["test"],
        evaluation_splits=["test"],
        metrics=metrics,
        generation_size=38,
        stop_sequence=[],
        num_samples=[samples],
    )


TASKS_TABLE = [
    task("tiny_math", 1, [match()]),
    task("tiny_math_twice", 2, [Metrics.pass_at_k_math(sample_params={"k": 1, "n": 2})]),
]
