"""A batch that vLLM ran: ``python make_batch.py`` in an environment with vLLM and this project; no network.

The built-in model answers three of its own problems: one as it is asked, one twice, one cut off after eight tokens.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from qrm_forensics import builtin

HERE = Path(__file__).resolve().parent / "batch"
MODEL = "Tiny-reasoner-awq-w4g128"  # a name for the test; it is the model as it comes


def main() -> None:
    HERE.mkdir(exist_ok=True)
    requests, sets = [], []
    for problem, more in zip(
        builtin.problems(3), ({}, {"n": 2}, {"max_completion_tokens": 8, "logprobs": True}), strict=True
    ):
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": problem.question}],
            "max_completion_tokens": 120,
        }
        body |= {"temperature": 0.6, "seed": 42, **more}
        requests.append({"custom_id": problem.id, "method": "POST", "url": "/v1/chat/completions", "body": body})
        sets.append({"problem": problem.question, "answer": problem.gold, "unique_id": problem.id})
    for name, rows in (("requests.jsonl", requests), ("problems.jsonl", sets)):
        (HERE / name).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    command = [sys.executable, "-m", "vllm.entrypoints.openai.run_batch", "-i", str(HERE / "requests.jsonl")]
    command += ["-o", str(HERE / "output.jsonl"), "--model", str(builtin.weights_dir()), "--served-model-name", MODEL]
    subprocess.run([*command, "--enforce-eager", "--dtype", "float32", "--max-model-len", "256"], check=True)


if __name__ == "__main__":
    main()
