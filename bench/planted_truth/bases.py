"""The texts that loops are planted into: correct, closed responses in which a reader sees no loop.

Two sources.  *real*: response files of the Quantized-Reasoning-Models layout, where they are
at hand.  *builtin*: worked solutions of the built-in problem generator strung together, so
that everything runs without them.  A text belongs to one half by a hash of its problem,
so that two responses to one problem never fall on both sides.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from qrm_forensics.builtin import families

Half = Literal["tuning", "holdout"]
HALVES: tuple[Half, Half] = ("tuning", "holdout")
Source = Literal["auto", "real", "builtin"]

TRACES = Path(__file__).parents[3] / "shared" / "traces"

#: Closed correct responses that are no clean base, by the first 16 hex digits of the SHA-256 of
#: their text: what two readers saw.  One read closely where comparing every lag showed the most
#: repetition, the other read a sample from start to end; no detector had been run.  Those that a
#: reader was unsure of are ``BORDERLINE``.  Neither kind counts in a headline figure.
LOOPED = {
    "9d1bdf5e8e9c8112": "'No, 7 times 8 is 56? Wait, 7 times 8 is 56?' dozens of times, then goes on",
    "22d2dee7891a2886": "'which is 0.464, which is 0.464' dozens of times, then goes on",
    "66bd3e0626cf0750": "'Multiply 1 by 1: 1. Add to next coefficient (0): 1.' dozens of times",
    "079979d12b224211": "'Wait, 1736 is 1736. Wait, no, 1736 is 1736.' dozens of times",
    "6e3c477086f6b73f": "'So, 4 sin10 -1= sin10*(4 - sec10).' again and again",
    "abe472ad5efc2f74": "'65,536 is 256 squared' restated dozens of times; another reader, sure: recovered",
    "dd3f2466796e3c93": "'Wait, no, 34 divided by 2 is 17, 100 divided by 2 is 50, so 17/50.' again and again",
}
BORDERLINE = {
    "f9d7ffe06026754b": "circles: '10^4 is 10,000, which is 10,000' restated with changing words",
    "706d9f3bd696e060": "circles: '0.09 is 9/100' restated with changing words",
    "9881e67efe1120cf": "circles: '49 is 7^2, which is (not) a divisor of 2009' restated with changing words",
    "67f571284bf6da65": "another reader, unsure: one base conversion redone with slips and remarks, then right",
    "da6e5076143c03fc": "another reader, unsure: one substitution redone about ten times, then another equation",
    "c6b6fd22a551a1a2": "runaway enumeration with constant results: 8^{125}=10, 8^{126}=10, ...",
}

_TOKEN = re.compile(r"\\[^\W\d_]+|[^\W\d_]+|\S")

_OPENINGS = (
    "Okay, let me work through this one carefully.",
    "Alright, so I have a few things to work out here.",
    "Let me see what is asked and do it step by step.",
    "First I should write down what is given.",
)
_LINKS = (
    "Now the next part. {q}",
    "Next comes this question: {q}",
    "There is another piece to settle. {q} I think I can do that directly.",
    "Moving on, I need this as well. {q}",
    "Before I finish, one more thing. {q}",
    "Good. With that out of the way: {q}",
)
_ENDS = (
    "That part is done, and the result {a} looks reasonable to me.",
    "So this one comes out as {a}, and I will keep that in mind.",
    "The answer here is {a}; nothing about it looks strange.",
    "Fine, {a} it is.",
)


@dataclass(frozen=True, slots=True)
class Base:
    """A response: ``problem`` decides its half, ``name`` says where it is from."""

    name: str
    problem: str
    text: str
    closed: bool
    correct: bool

    @property
    def half(self) -> Half:
        return half_of(self.problem)

    @property
    def sha(self) -> str:
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def half_of(problem: str) -> Half:
    return HALVES[zlib.crc32(problem.encode("utf-8", "surrogatepass")) & 1]


def tokens(text: str) -> list[tuple[int, int]]:
    r"""(start, end) in characters of ``\command | letters | one other character``; whitespace is dropped."""
    return [m.span() for m in _TOKEN.finditer(text)]


def responses(folder: Path = TRACES) -> list[Base]:
    """Every distinct response in the files under ``folder``, which is empty where there is none."""
    seen: dict[tuple[str, str], Base] = {}
    for path in sorted(folder.rglob("*.jsonl")):
        model = path.parent.name.removesuffix("-tp1-seed42").rsplit("-", 1)[-1]
        for i, row in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            text = row["generated_text"]
            correct = row["metrics"].get("extractive_match") == 1.0
            base = Base(f"{model}/{path.stem}/{i}", row["full_prompt"], text, "</think>" in text, correct)
            seen.setdefault((base.problem, text), base)
    return list(seen.values())


def clean(half: Half, source: Source = "auto", folder: Path = TRACES) -> list[Base]:
    """Correct closed responses of one half in which a reader sees no loop; ``builtin`` gives forty written ones.

    ``auto`` is ``real`` where response files are at hand and ``builtin`` elsewhere.
    """
    if source != "builtin":
        found = [b for b in responses(folder) if b.half == half and b.closed and b.correct]
        if found or source == "real":
            return [b for b in found if b.sha not in LOOPED and b.sha not in BORDERLINE]
    return list(_written(half, 40))


def bases(half: Half, source: Source = "auto", folder: Path = TRACES) -> list[Base]:
    """What loops are planted into: the clean responses with room for a loop in their thinking."""
    return [b for b in clean(half, source, folder) if len(tokens(b.text[: b.text.index("</think>")])) >= 300]


def _written(half: Half, n: int) -> Iterator[Base]:
    rng = Random(f"{half}/written")
    for i in range(n):
        parts = [rng.choice(_OPENINGS)]
        last = ""
        for _ in range(rng.randint(6, 24)):
            worked = _worked(rng, half)
            last = worked.answer
            parts += [
                rng.choice(_LINKS).format(q=worked.question),
                worked.chain,
                rng.choice(_ENDS).format(a=worked.answer),
            ]
        text = "\n\n".join(parts) + f"\n</think>\n\nThe answer is \\(\\boxed{{{last}}}\\)."
        # a stand-in problem text of the wanted half; the problems inside were drawn from that half too
        problem = next(p for k in range(64) if half_of(p := f"written/{half}/{i}/{k}") == half)
        yield Base(f"builtin/{half}/{i}", problem, text, closed=True, correct=True)


def _worked(rng: Random, half: Half) -> families.Worked:
    while True:
        family = rng.choice(list(families.FAMILIES.values()))
        worked = family(rng, rng.choice(families.LEVELS), rng.random() < 0.5)
        if half_of(worked.key) == half:
            return worked
