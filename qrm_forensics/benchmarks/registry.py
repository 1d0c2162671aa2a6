"""The named benchmarks: what each holds, where it comes from, how it is asked.

The paper (arXiv 2504.04823) and its repository say which data sets, prompts and folders; sizes are those of the data sets.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from qrm_forensics.benchmarks import gpqa, livecodebench, mathematics
from qrm_forensics.benchmarks.items import Item, Rows
from qrm_forensics.errors import InputError
from qrm_forensics.records import Kind


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark.

    ``size``: problems of all of it.  ``prompt``: name of a preset.  ``split``: what the data set calls the part that is
    asked.  ``folders``: what its folder may be called under ``datasets``, the paper's repository's name first.
    ``files``: patterns inside that folder beside the usual ones, the first that matches counts.  ``hub``: the data set's
    id.  ``parts``: the benchmarks that it is made of, and the share of each in its accuracy.
    """

    name: str
    size: int
    kind: Kind
    prompt: str
    read: Callable[[Rows], list[Item]]
    hub: str
    folders: tuple[str, ...]
    licence: str
    asks: str
    split: str = "test"
    files: tuple[str, ...] = ()
    gated: bool = False
    parts: tuple[tuple[str, float], ...] = ()


def _mathematics(
    name: str, size: int, hub: str, folders: tuple[str, ...], licence: str, asks: str, split: str, *files: str
) -> Benchmark:
    return Benchmark(name, size, Kind.MATH, "math", mathematics.read, hub, folders, licence, asks, split, files)


_ALL = (
    _mathematics(
        *("MATH-500", 500, "HuggingFaceH4/MATH-500", ("MATH-500",), "MIT (MATH, of PRM800K)"),
        *("500 problems of MATH by subject and level", "test"),
    ),
    _mathematics(
        *("AIME-90", 90, "xiaoyuanliu/AIME90", ("AIME90", "AIME90_hf"), "see its page; problems © MAA"),
        *("the AIME of 2022 to 2024", "train"),
    ),
    _mathematics(
        *("AIME-2024", 30, "Maxwell-Jia/AIME_2024", ("AIME_2024", "aime_2024"), "MIT (data set); problems © MAA"),
        *("the AIME of 2024", "train", "aime_2024_problems.parquet"),
    ),
    _mathematics(
        *("AIME-2025", 30, "yentinglin/aime_2025", ("aime_2025", "AIME_2025"), "see its page; problems © MAA"),
        *("the AIME of 2025", "train"),
    ),
    Benchmark(
        *("AIME-120", 120, Kind.MATH, "math", mathematics.read, "", (), "as its parts"),
        "AIME-90 and AIME-2025: 0.75 and 0.25 of its accuracy, which is every problem alike",
        parts=(("AIME-90", 0.75), ("AIME-2025", 0.25)),
    ),
    _mathematics(
        *("GSM8K", 1319, "openai/gsm8k", ("gsm8k",), "MIT", "grade school arithmetic in words", "test"),
        "main/test-*.parquet",
    ),
    Benchmark(
        *("GPQA-Diamond", 198, Kind.CHOICE, "choice", gpqa.read, "Idavidrein/gpqa", ("gpqa",)),
        *("CC BY 4.0, behind a gate: its authors ask that it is not shown in plain text on the internet",),
        *("graduate questions in physics, chemistry and biology, four options", "train"),
        files=("gpqa_diamond.csv", "gpqa_diamond/*.parquet"),
        gated=True,
    ),
    Benchmark(
        *("LiveCodeBench", livecodebench.size_of(livecodebench.DEFAULT), Kind.CODE, "code", livecodebench.read),
        *("livecodebench/code_generation_lite", ("code_generation_lite",), "CC (no version named)"),
        "programs against hidden tests; subset v4_v5 unless another is named",
    ),
)

BENCHMARKS: Final = MappingProxyType({b.name: b for b in _ALL})
#: Not problems but text: perplexity on the test part of WikiText-2.  The paper's repository calls it PPL.
PERPLEXITY: Final = "WikiText-2"
PERPLEXITY_NAMES: Final = (PERPLEXITY, "PPL", "ppl")


def find(name: str) -> Benchmark:
    """The benchmark called ``name``; raises InputError with the name that was probably meant."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    plain = {_plain(known): known for known in (*BENCHMARKS, *PERPLEXITY_NAMES)}
    near = difflib.get_close_matches(_plain(name), plain, 1)
    hint = f"did you mean {plain[near[0]]!r}?" if near else f"known: {', '.join((*BENCHMARKS, PERPLEXITY))}."
    raise InputError(f"unknown benchmark {name!r}; {hint} Your own needs a path to its file")


def expected_size(name: str) -> int | None:
    """How many problems the benchmark called ``name`` has; None where that is not known."""
    return BENCHMARKS[name].size if name in BENCHMARKS else None


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
