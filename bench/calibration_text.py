"""What GPTQ on the built-in model owes to its calibration text: its own reasoning against text of other sorts.

    python bench/calibration_text.py --calibration RUN/calibration/qrm-tiny-reasoner.jsonl [--problems 200] [--bits 3,2]

``own`` is the model's own responses; ``first characters`` the same file as the paper's public loader reads it (each response cut to its first
character, so prompts alone); ``English`` the licence and the documentation of this repository, which the model has never seen the like of;
``noise`` token ids drawn at random.  All have the same number of windows of the same length.  Every checkpoint answers the same problems
with the same random numbers.  Prints right answers with Wilson's 95 % interval, McNemar's exact p against ``own``, and the mean relative
output error that the quantizer itself saw on its text.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from damage import right, said

from qrm_forensics import builtin
from qrm_forensics.compare import mcnemar_exact, wilson
from qrm_forensics.quantize import load_calibration, quantize
from qrm_forensics.quantize.calibration import Calibration
from qrm_forensics.recipes import Recipe
from qrm_forensics.score import Grader
from qrm_forensics.tokenizer import load_tokenizer

ROOT = Path(__file__).resolve().parent.parent


def texts(file: Path, samples: int, length: int) -> dict[str, Calibration]:
    source = builtin.weights_dir()
    own = load_calibration(file, source, samples=samples, length=length)
    cut = load_calibration(file, source, preset="paper-code", samples=samples, length=length)
    # The preset stands for the text alone here, so that nothing else differs.
    found = {"own": own, "first characters": replace(cut, preset="fixed")}
    english = "\n\n".join(
        p.read_text(encoding="utf-8") for p in [ROOT / "LICENSE", *sorted((ROOT / "docs").glob("*.md"))]
    )
    ids = np.array(load_tokenizer(str(source)).encode(english, add_special_tokens=False), np.int32)
    shape = own.token_ids.shape
    generator = np.random.default_rng(0)
    starts = generator.integers(0, len(ids) - shape[1], shape[0])
    drawn = {
        "English": np.stack([ids[s : s + shape[1]] for s in starts]),
        "noise": generator.integers(0, int(own.token_ids.max()) + 1, shape).astype(np.int32),
    }
    for name, tokens in drawn.items():
        found[name] = replace(own, token_ids=tokens, sha256=hashlib.sha256(tokens.tobytes()).hexdigest(), file=name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--bits", default="3,2")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--length", type=int, default=128)
    args = parser.parse_args()
    problems = builtin.problems(args.problems)
    kinds = texts(args.calibration, args.samples, args.length)
    print(f"{len(problems)} problems, {args.samples} windows of at most {args.length} tokens\n")
    print(
        "| recipe | calibration text | tokens | right | p | output error on that text |\n|---|---|---:|---:|---:|---:|"
    )
    with tempfile.TemporaryDirectory() as scratch, Grader() as grader:
        for bits in args.bits.split(","):
            reference: list[bool] = []
            for number, (kind, text) in enumerate(kinds.items()):
                name = f"gptq-w{bits}g128"
                made = quantize(builtin.weights_dir(), Recipe.parse(name), Path(scratch) / f"{bits}-{number}", text)
                found = right(made, name, problems, grader)
                reference = reference or found
                lost = sum(a and not b for a, b in zip(reference, found, strict=True))
                gained = sum(b and not a for a, b in zip(reference, found, strict=True))
                p = "" if found is reference else said(mcnemar_exact(lost, gained))
                interval = wilson(sum(found), len(found))
                modules = json.loads((Path(made.path) / "recipe.json").read_text(encoding="utf-8"))["modules"]
                error = np.mean([m["relative_output_error"] for m in modules.values()])
                print(
                    f"| {name} | {kind} | {text.token_ids.size} | {100 * sum(found) / len(found):.1f} % "
                    f"({100 * interval.low:.0f}–{100 * interval.high:.0f}) | {p} | {error:.4f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
