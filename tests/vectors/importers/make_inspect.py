"""Logs written by Inspect itself: ``python make_inspect.py`` in an environment with inspect-ai; no network, no model."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from inspect_ai import Task, eval  # noqa: E402
from inspect_ai.dataset import MemoryDataset, Sample  # noqa: E402
from inspect_ai.log import read_eval_log, write_eval_log  # noqa: E402
from inspect_ai.model import (  # noqa: E402
    ChatCompletionChoice,
    ChatMessageAssistant,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelOutput,
    ModelUsage,
    get_model,
)
from inspect_ai.scorer import match  # noqa: E402
from inspect_ai.solver import generate, prompt_template  # noqa: E402
from tiny_task import INSTRUCTION, PROBLEMS, is_cut, reply, tokens  # noqa: E402

OUT = HERE / "inspect"
asked: dict[str, int] = {}


def answer(messages, tools, tool_choice, config):  # type: ignore[no-untyped-def]
    question = messages[-1].text
    sample = asked[question] = asked.get(question, -1) + 1
    if "12 + 30" in question and sample == 1:
        raise RuntimeError("the engine went away")
    text = reply(question, sample)
    # As a provider that takes reasoning apart, for one problem; the others write it into their text.
    content: str | list[object] = text
    if "one half" in question:
        thought, _, rest = text.removeprefix("<think>\n").partition("\n</think>\n\n")
        content = [ContentReasoning(reasoning=thought), ContentText(text=rest)]
    count = len(tokens(text))
    return ModelOutput(
        model="tiny",
        choices=[
            ChatCompletionChoice(
                message=ChatMessageAssistant(content=content, source="generate"),
                stop_reason="max_tokens" if is_cut(question, sample) else "stop",
                logprobs=Logprobs(content=[Logprob(token=w, logprob=-0.25) for w in text.split()]),
            )
        ],
        usage=ModelUsage(input_tokens=len(tokens(question)), output_tokens=count, total_tokens=0),
        time=0.5,
    )


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    task = Task(
        dataset=MemoryDataset([Sample(id=i, input=q, target=a) for i, q, a in PROBLEMS], name="tiny_math"),
        solver=[prompt_template("{prompt}" + INSTRUCTION.replace("{}", "{{}}")), generate()],
        scorer=match(),
        name="tiny_math",
        epochs=2,
    )
    model = get_model("mockllm/Tiny-1B-awq-w4g128", custom_outputs=answer)
    (log,) = eval(
        task,
        model=model,
        log_dir=str(OUT / "raw"),
        display="none",
        fail_on_error=False,
        max_connections=1,
        max_samples=1,
        log_model_api=False,
        **GenerateConfig(seed=43, max_tokens=64).model_dump(exclude_none=True, exclude={"max_connections"}),
    )
    whole = read_eval_log(log.location)
    for sample in whole.samples or []:
        sample.events, sample.error_retries, sample.timelines = [], None, None  # the bulk of a log, which is not read
        if sample.error:
            sample.error.traceback = sample.error.traceback_ansi = "(traceback removed)"
    whole.eval.packages = {"inspect_ai": whole.eval.packages["inspect_ai"]}
    whole.eval.revision = None
    whole.eval.task_file = None
    write_eval_log(whole, str(OUT / "tiny.eval"))
    for sample in whole.samples or []:
        for choice in sample.output.choices:
            choice.logprobs = None  # the other half of a log in JSON; those of the archive stay
    write_eval_log(whole, str(OUT / "tiny.json"))
    shutil.rmtree(OUT / "raw")
    text = (OUT / "tiny.json").read_text("utf-8")
    assert not re.search(r"/(home|root|tmp|work|Users)/", text), "a machine path"
    print(json.loads(text)["eval"]["packages"], {p.name: p.stat().st_size for p in OUT.iterdir()})


if __name__ == "__main__":
    main()
