"""The problems that a study asks, with the prompts that its models get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qrm_forensics import builtin
from qrm_forensics.errors import InputError
from qrm_forensics.records import Problem
from qrm_forensics.study import BenchmarkSpec


def problems_of(
    spec: BenchmarkSpec, models: dict[str, Path], *, messages: bool = False
) -> tuple[list[Problem], int | None]:
    """All problems of one benchmark of a study, and how many the whole benchmark has (None: these are all).

    ``models``: name in the study -> folder.  ``messages``: a prompt is the user's turn alone, for a server that puts it into
    a chat template by itself.  Raises InputError before anything is computed.
    """
    if spec.name == builtin.NAME:
        asked = _builtin(spec, list(models))
        return [replace(problem, prompt=problem.question) for problem in asked] if messages else asked, None
    from qrm_forensics.benchmarks.load import load
    from qrm_forensics.generate.prompts import chat_prompts
    from qrm_forensics.lighteval_bridge import tasks

    loaded = load(spec) if spec.lighteval is None else tasks.load(spec)
    if messages and spec.system is not None:
        raise InputError(
            f"benchmarks: {spec.name} has a system prompt, which the server backend does not send with api: chat"
        )
    prompts = loaded.messages if messages else chat_prompts(list(models.values()), loaded.messages, spec.system)
    problems = [
        Problem(loaded.name, item.id, item.question, prompt, item.gold, loaded.kind, item.subject, item.level)
        for item, prompt in zip(loaded.items, prompts, strict=True)
    ]
    return problems, loaded.size


def _builtin(spec: BenchmarkSpec, models: Sequence[str]) -> list[Problem]:
    strangers = [name for name in models if name != builtin.NAME]
    if strangers:
        raise InputError(
            f"benchmarks: the prompts of 'builtin' are in the built-in model's own chat format, so {strangers[0]!r} "
            "cannot answer them; give that model a benchmark with a path"
        )
    if spec.path is not None:
        raise InputError("benchmarks: 'builtin' comes with the package and takes no path; give yours another name")
    said = spec.model_dump(exclude_defaults=True).keys() - {"name", "limit"}
    if said:
        raise InputError(f"benchmarks: 'builtin' is asked as it is and takes no {', '.join(sorted(said))}")
    return builtin.problems(builtin.BENCHMARK_SIZE)
