"""The built-in reasoner: a real, tiny Qwen2 checkpoint that ships inside the package.

Called ``builtin`` wherever a model or a benchmark is named.  Weights, tokenizer and
model card are in ``weights/``; they were made by :mod:`qrm_forensics.builtin.train`
from the problems of :mod:`qrm_forensics.builtin.families`.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from qrm_forensics.builtin.families import FAMILIES, LEVELS, Worked
from qrm_forensics.records import Kind, Problem

NAME = "builtin"
MODEL_NAME = "qrm-tiny-reasoner"
BENCHMARK = "tiny-reasoning"
BENCHMARK_SIZE = 200
#: The longest response that the built-in study allows; the longest training chain has 640 tokens.
MAX_NEW_TOKENS = 768


def weights_dir() -> Path:
    """The Hugging Face folder of the built-in model."""
    return Path(__file__).parent / "weights"


def prompt_text(question: str) -> str:
    """The final prompt of one question, as the chat template in the tokenizer renders it."""
    return f"<|begin|><|user|>{question}<|assistant|><think>\n"


def draw(count: int, *, held_out: bool, seed: int) -> list[tuple[str, int, Worked]]:
    """``count`` different problems as (family, level, problem), families fastest, then levels.

    With ``held_out`` they are of the side of the split that training never sees.
    Any first n of a longer list are the list of n, so a limit keeps the mix.
    """
    rng = Random(f"{BENCHMARK}/{seed}/{held_out}")
    found: list[tuple[str, int, Worked]] = []
    seen: set[str] = set()
    cells = [(family, level) for level in LEVELS for family in FAMILIES]
    while len(found) < count:
        family, level = cells[len(found) % len(cells)]
        worked = FAMILIES[family](rng, level, False)
        if worked.held_out == held_out and worked.key not in seen:
            seen.add(worked.key)
            found.append((family, level, worked))
    return found


def problems(count: int) -> list[Problem]:
    """The first ``count`` problems of the benchmark: held out from training, the family as subject.

    Raises ValueError for more than BENCHMARK_SIZE: the families are finite, and what is held out of them runs out soon after.
    """
    if count > BENCHMARK_SIZE:
        raise ValueError(f"the built-in benchmark has {BENCHMARK_SIZE} problems, {count} were asked for")
    return _problems(BENCHMARK, draw(count, held_out=True, seed=0))


def calibration_problems(count: int) -> list[Problem]:
    """Problems of the training side, for self-generated calibration text: never those of the benchmark."""
    return _problems(f"{BENCHMARK}-calibration", draw(count, held_out=False, seed=1))


def _problems(benchmark: str, drawn: list[tuple[str, int, Worked]]) -> list[Problem]:
    return [
        Problem(
            benchmark=benchmark,
            id=f"{i:04d}-{family}",
            question=worked.question,
            prompt=prompt_text(worked.question),
            gold=worked.answer,
            kind=Kind.MATH,
            subject=family,
            level=str(level),
        )
        for i, (family, level, worked) in enumerate(drawn)
    ]
