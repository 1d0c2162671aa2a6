"""Does the gate cry wolf? The built-in model against itself with other seeds, and against its 2-bit variant, many times.

    python bench/gate_repetitions.py [--repetitions 20] [--problems 100] [--out runs/gate-repetitions]

Repetition r takes seed r of the unquantized model as the baseline, and seed r + 1 of both variants as the
candidates: the first must stay green, the second turn red.  Judged by ``examples/gate-policy.yaml`` (but for its
seeds) and by the default policy, whose margin of 2 points so few problems cannot decide, which is then what it says.
The run is resumable; about a second per three responses on one core.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

from qrm_forensics import builtin, pipeline
from qrm_forensics.cli.progress import observer
from qrm_forensics.compare.comparison import compare
from qrm_forensics.compare.items import Side
from qrm_forensics.compare.rules import Rules
from qrm_forensics.compare.sides import run_side
from qrm_forensics.policy import Policy, load_policy
from qrm_forensics.recipes import Recipe, Sampling
from qrm_forensics.store import Store
from qrm_forensics.study import BenchmarkSpec, CalibrationSpec, Study

POLICY = Path(__file__).parents[1] / "examples" / "gate-policy.yaml"
BROKEN = "gptq-w2g128"


def study(problems: int, seeds: int) -> Study:
    return Study(
        name="gate-repetitions",
        models=("builtin",),
        recipes=(Recipe.parse("bf16"), Recipe.parse(BROKEN)),
        benchmarks=(BenchmarkSpec(name="builtin", limit=problems),),
        sampling=Sampling(max_new_tokens=builtin.MAX_NEW_TOKENS, seeds=tuple(range(1, seeds + 1))),
        calibration=CalibrationSpec(samples=64, length=128),
    )


def of_seed(side: Side, seed: int) -> Side:
    return Side(side.facts, side.items[(side.items["seed"] == seed).to_numpy(bool)].reset_index(drop=True))


def rules_of(policy: Policy) -> Rules:
    """The rules of a policy; every repetition has its own seed, and the number of problems is an argument here."""
    return replace(policy.rules(), planned=None, planned_seeds=None, resamples=2000)


def repeat(store: Store, repetitions: int) -> None:
    sides = {name: run_side(store, name) for name in ("bf16", BROKEN)}
    for policy, rules in (
        ("examples/gate-policy.yaml", rules_of(load_policy(POLICY))),
        ("default", rules_of(Policy())),
    ):
        print(f"\n{policy}: margin of accuracy {rules.margins['accuracy']:g} points")
        for name, side in sides.items():
            verdicts: Counter[str] = Counter()
            differences = []
            for r in range(1, repetitions + 1):
                found = compare(of_seed(sides["bf16"], r), of_seed(side, r + 1), policy=rules)
                verdicts[f"{found.verdict} (exit {found.exit_code})"] += 1
                differences += [100 * found.results[0].change.difference] if found.results else []
            told = ", ".join(f"{verdict}: {count}" for verdict, count in verdicts.most_common())
            print(f"  bf16 -> {name}: {told}; differences {min(differences):+.1f} to {max(differences):+.1f} points")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("runs/gate-repetitions"))
    options = parser.parse_args()
    with observer("gate repetitions") as told:
        plan = pipeline.make_plan(study(options.problems, options.repetitions + 1))
        store = pipeline.run(plan, options.out, observer=told)
    repeat(store, options.repetitions)


if __name__ == "__main__":
    main()
