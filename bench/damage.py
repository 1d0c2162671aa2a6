"""Strict accuracy of the built-in model under recipes, as it is and with a huge key bias planted.

    python bench/damage.py --calibration RUN/calibration/qrm-tiny-reasoner.jsonl [--problems 100] [--recipes awq-w4g128,...]

The planted model (``plant_key_bias.py``) computes the same function, so that ``bf16`` must answer alike; what differs between the
columns is what rounding does to keys of that size.  Every variant answers the same problems with the same random numbers.
Prints right answers with Wilson's 95 % interval, and McNemar's exact p against bf16 of the same column.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from plant_key_bias import plant_checkpoint

from qrm_forensics import builtin
from qrm_forensics.compare import mcnemar_exact, wilson
from qrm_forensics.generate import get_generator
from qrm_forensics.quantize import load_calibration, needs_calibration, quantize
from qrm_forensics.recipes import Recipe, Sampling
from qrm_forensics.records import ModelRef, Problem, Request
from qrm_forensics.score import Grader

RECIPES = (
    "bf16,rtn-w4g128,rtn-w3g128,rtn-w2g128,awq-w4g128,awq-w3g128,awq-w2g128,gptq-w4g128,gptq-w3g128,gptq-w2g128,"
    "kvquant_star-kv4,kvquant_star-kv4+postbias,kvquant_star-kv3,quarot-kv4,quarot-kv3,smoothquant-w8a8kv8,"
    "quarot-w8a8kv8,quarot-w4a4kv4,flatquant-w8a8kv8,flatquant-w4a4kv4,mxfp4-w4a4kv4"
)


def right(model: ModelRef, recipe: str, problems: list[Problem], grader: Grader) -> list[bool]:
    sampling = Sampling(temperature=0.6, top_p=0.95, max_new_tokens=builtin.MAX_NEW_TOKENS)
    with get_generator("embedded").open(model) as session:
        traces = {t.problem_id: t for t in session.sample([Request(recipe, p, 0, 42) for p in problems], sampling)}
    verdicts = grader.grade([(p, traces[p.id]) for p in problems], ["strict"])
    return [verdict.status == "correct" for verdict in verdicts]


def said(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--recipes", default=RECIPES)
    args = parser.parse_args()
    problems = builtin.problems(args.problems)
    print(f"{len(problems)} problems\n\n| recipe | as it is | p | key bias planted | p |\n|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as scratch, Grader() as grader:
        sources = [builtin.weights_dir(), Path(scratch) / "planted"]
        plant_checkpoint(*sources, size=400.0)
        first: dict[Path, list[bool]] = {}
        for name in args.recipes.split(","):
            recipe, cells = Recipe.parse(name), []
            for number, source in enumerate(sources):
                text = load_calibration(args.calibration, source, preset=recipe.preset, samples=64, length=128)
                made = quantize(
                    source, recipe, Path(scratch) / f"{number}-{name}", text if needs_calibration(recipe) else None
                )
                found = right(made, name, problems, grader)
                reference = first.setdefault(source, found)
                lost = sum(a and not b for a, b in zip(reference, found, strict=True))
                gained = sum(b and not a for a, b in zip(reference, found, strict=True))
                interval = wilson(sum(found), len(found))
                p = "" if found is reference else said(mcnemar_exact(lost, gained))
                cells += [
                    f"{100 * sum(found) / len(found):.0f} % ({100 * interval.low:.0f}–{100 * interval.high:.0f})",
                    p,
                ]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
