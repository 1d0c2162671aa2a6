"""The built-in model under every recipe, in vLLM on the CPU and in transformers: the same greedy responses, the same accuracy?

    .venv-vllm/bin/python bench/engine_agreement.py --calibration RUN/calibration/qrm-tiny-reasoner.jsonl [--problems 100] [--greedy 24]

Both engines compute in float32.  Greedy responses are compared token by token.  Sampled ones draw other random numbers in the two engines, so
that accuracy is compared by McNemar's exact test on the same problems.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

# Before torch is imported, see docs/backends.md.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

from damage import RECIPES, said

from qrm_forensics import builtin
from qrm_forensics.compare import mcnemar_exact
from qrm_forensics.generate import get_generator
from qrm_forensics.quantize import load_calibration, needs_calibration, quantize
from qrm_forensics.recipes import Recipe, Sampling
from qrm_forensics.records import ModelRef, Problem, Request, Trace
from qrm_forensics.score import Grader

ENGINES = {
    "transformers": ("embedded", {"dtype": "float32"}),
    "vllm": ("vllm", {"dtype": "float32", "batch_size": 64, "kv_cache_memory_bytes": 256 * 2**20}),
}


def ask(
    engine: str, model: ModelRef, greedy: list[Problem], sampled: list[Problem]
) -> tuple[dict[str, Trace], dict[str, Trace]]:
    name, options = ENGINES[engine]
    limit = builtin.MAX_NEW_TOKENS
    with get_generator(name, **options).open(model) as session:
        first = session.sample([Request("v", p, 0, 42) for p in greedy], Sampling(temperature=0, max_new_tokens=limit))
        found = {t.problem_id: t for t in first}
        return found, {
            t.problem_id: t
            for t in session.sample([Request("v", p, 0, 42) for p in sampled], Sampling(max_new_tokens=limit))
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--greedy", type=int, default=24)
    parser.add_argument("--recipes", default=RECIPES)
    args = parser.parse_args()
    problems = builtin.problems(args.problems)
    print(f"{args.greedy} greedy, {args.problems} sampled\n")
    print(
        "| recipe | same greedy responses | tokens before the first difference | right in transformers | right in vLLM | p |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as scratch, Grader() as grader:
        for name in args.recipes.split(","):
            recipe = Recipe.parse(name)
            text = load_calibration(
                args.calibration, builtin.weights_dir(), preset=recipe.preset, samples=64, length=128
            )
            made = quantize(
                builtin.weights_dir(), recipe, Path(scratch) / name, text if needs_calibration(recipe) else None
            )
            right: dict[str, list[bool]] = {}
            greedy: dict[str, dict[str, Trace]] = {}
            for engine in ENGINES:
                greedy[engine], sampled = ask(engine, made, problems[: args.greedy], problems)
                verdicts = grader.grade([(p, sampled[p.id]) for p in problems], ["strict"])
                right[engine] = [verdict.status == "correct" for verdict in verdicts]
            same = tokens = total = 0
            for key, ours in greedy["transformers"].items():
                a, b = ours.token_ids or [], greedy["vllm"][key].token_ids or []
                agreed = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
                same, tokens, total = same + (a == b), tokens + agreed, total + max(len(a), len(b))
            lost = sum(a and not b for a, b in zip(*right.values(), strict=True))
            gained = sum(b and not a for a, b in zip(*right.values(), strict=True))
            print(
                f"| {name} | {same} of {args.greedy} | {100 * tokens / total:.1f} % | {sum(right['transformers'])} | "
                f"{sum(right['vllm'])} | {said(mcnemar_exact(lost, gained))} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
