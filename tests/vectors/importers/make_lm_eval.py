"""Samples and results written by lm-eval itself: ``python make_lm_eval.py`` in its environment; no network, no model."""

from __future__ import annotations

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

from lm_eval.__main__ import cli_evaluate  # noqa: E402
from lm_eval.api.model import LM  # noqa: E402
from lm_eval.api.registry import register_model  # noqa: E402
from tiny_task import INSTRUCTION, PROBLEMS, reply  # noqa: E402

TASK = """task: tiny_math
dataset_path: json
dataset_kwargs: {data_files: {test: PLACE/test.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{problem}}INSTRUCTION"
doc_to_target: "{{answer}}"
repeats: REPEATS
generation_kwargs: {until: [], do_sample: true, temperature: 0.6, max_gen_toks: 64}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - {name: boxed, filter: [{function: regex, regex_pattern: 'boxed\\{(.*)\\}'}, {function: take_first}]}
  - {name: first, filter: [{function: take_first}]}
"""

CHOICE = """task: tiny_choice
dataset_path: json
dataset_kwargs: {data_files: {test: PLACE/test.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{problem}}"
doc_to_choice: ["{{answer}}", "nothing"]
doc_to_target: 0
"""


@register_model("scripted")
class Scripted(LM):
    def __init__(self, **_: object) -> None:
        super().__init__()
        self.asked: dict[str, int] = {}

    @classmethod
    def create_from_arg_string(cls, arg_string, additional_config=None):  # type: ignore[no-untyped-def]
        return cls()

    @classmethod
    def create_from_arg_obj(cls, arg_dict, additional_config=None):  # type: ignore[no-untyped-def]
        return cls()

    def generate_until(self, requests):  # type: ignore[no-untyped-def]
        answers = []
        for request in requests:
            question = request.args[0]
            self.asked[question] = self.asked.get(question, -1) + 1
            answers.append(reply(question, self.asked[question]))
        return answers

    def loglikelihood(self, requests):  # type: ignore[no-untyped-def]
        return [(-1.0, False) for _ in requests]

    def loglikelihood_rolling(self, requests):  # type: ignore[no-untyped-def]
        raise NotImplementedError


def main() -> None:
    out = HERE / "lm_eval"
    shutil.rmtree(out, ignore_errors=True)
    rows = "".join(json.dumps({"problem": q, "answer": a}) + "\n" for _, q, a in PROBLEMS)
    (SCRATCH / "test.jsonl").write_text(rows, "utf-8")
    instruction = INSTRUCTION.replace("\n", "\\n").replace("\\boxed", "\\\\boxed")
    for name, text in (("tiny_math", TASK), ("tiny_choice", CHOICE)):
        text = text.replace("PLACE", str(SCRATCH)).replace("REPEATS", "2").replace("INSTRUCTION", instruction)
        (SCRATCH / f"{name}.yaml").write_text(text, "utf-8")
    sys.argv = ["lm_eval", "run", "--model", "scripted", "--model_args", "pretrained=tiny/Tiny-1B-gptq-w4g128"]
    sys.argv += ["--tasks", "tiny_math,tiny_choice", "--include_path", str(SCRATCH), "--output_path", str(out)]
    sys.argv += ["--log_samples", "--seed", "43"]
    cli_evaluate()
    for path in out.rglob("results_*.json"):  # the sample files hold no path
        told = json.loads(path.read_text("utf-8"))
        # What the tool writes about the machine: 10 kB of processor flags and versions, which nothing reads.
        for key in ("pretty_env_info", "git_hash", "upper_git_hash", "transformers_version"):
            told.pop(key, None)
        path.write_text(json.dumps(told, indent=2).replace(str(SCRATCH), "(scratch)"), "utf-8")
    for path in out.rglob("*.json*"):
        found = re.search(r".*/(home|root|tmp|work|Users)/.*", path.read_text("utf-8"))
        assert not found, f"{path}: a machine path: {found[0]}"
    print({str(p.relative_to(out)): p.stat().st_size for p in out.rglob("*") if p.is_file()})
    shutil.rmtree(SCRATCH)


if __name__ == "__main__":
    main()
