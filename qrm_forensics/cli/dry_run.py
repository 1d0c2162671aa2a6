"""``run --dry-run``: the plan of a study and what it will cost, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from qrm_forensics.pipeline.estimate import Estimate, ModelCost

#: What else stands before a line.
_LABELS = ("variants", "in all", "latency", "disk")


def said(found: Estimate) -> Iterator[str]:
    """The estimate, line by line."""
    from rich.cells import cell_len

    names = [*(cell.benchmark for cell in found.cells), *found.perplexity]
    width = max(map(cell_len, [*_LABELS, *names])) + 2

    def labelled(name: str) -> str:
        """In cells of a terminal, of which a Korean letter takes two."""
        return name + " " * (width - cell_len(name))

    yield (
        f"{found.study}: {_many(len(found.variants), 'variant')} × {_many(len(found.cells), 'benchmark')}, "
        f"backend {found.backend}"
    )
    yield f"{labelled('variants')}{', '.join(found.variants)}"
    for cell in found.cells:
        yield (
            f"{labelled(cell.benchmark)}{_count(cell.problems)} problems, {_count(cell.requests)} responses per variant, "
            f"{_count(cell.tokens_expected)} tokens expected, {_count(cell.tokens_at_most)} at most"
        )
    yield (
        f"{labelled('in all')}{_count(found.requests)} responses, {_count(found.tokens_expected)} tokens expected, "
        f"{_count(found.tokens_at_most)} at most"
    )
    for name in found.perplexity:
        yield f"{labelled(name)}its text is read once by every checkpoint, for perplexity; no responses"
    if found.timed != 0:
        yield f"{labelled('latency')}{_count(found.timed)} responses of every checkpoint once more, one at a time"
    for model in found.models:
        yield _memory(model)
    if found.models:
        yield click.style("every variant of a model needs its memory: quantized ones are stored dequantized", dim=True)
    yield f"{labelled('disk')}{_size(found.checkpoints)} of checkpoints, {_size(found.traces_at_most)} of responses at most"
    for reason in found.unknown:
        yield f"{click.style('unknown:', fg='yellow')} {reason}"
    yield click.style("nothing was computed or written", dim=True)


def _memory(model: ModelCost) -> str:
    by = {"weights": "", "config": " (by its config)", "name": " (by its name)", None: ""}[model.parameters_by]
    text = f"{model.model}: {_count(model.parameters)} parameters{by}, {_size(model.weights)} of weights in memory"
    if model.cache_per_sequence is None:
        return f"{text}, cache unknown"
    text += f", {_size(model.cache_per_sequence)} of cache per sequence of full length"
    return text if model.cache is None else f"{text} ({_size(model.cache)} for {model.batch} at a time)"


def _many(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _size(value: int | None) -> str:
    if value is None:
        return "unknown bytes"
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value} B"
