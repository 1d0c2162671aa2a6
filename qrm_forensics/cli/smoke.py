"""``smoke``: a minute's sanity check of a checkpoint on a backend."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import yaml

from qrm_forensics.errors import InputError

if TYPE_CHECKING:
    from qrm_forensics.pipeline.smoke import Asked, Report


@click.command()
@click.argument("checkpoint")
@click.option("--backend", default="embedded", show_default=True, help="What opens it: embedded, vllm or server.")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the backend, such as dtype=bfloat16 or base_url=http://127.0.0.1:8000/v1; may be repeated.",
)
@click.option("--device", help="Device, for backends that run on one: cpu, cuda, npu, 0,1.")
@click.option("--twin", metavar="FOLDER", help="A checkpoint that should be the same model, opened with transformers.")
@click.option(
    "--tokens", default=384, type=click.IntRange(min=16), show_default=True, help="Longest response, in tokens."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def smoke(
    checkpoint: str,
    backend: str,
    options: tuple[str, ...],
    device: str | None,
    twin: str | None,
    tokens: int,
    as_json: bool,
) -> int:
    """Ask CHECKPOINT ('builtin', a folder, or the name of a served model) a few short questions and let it read a page.

    With a twin, or on another backend than transformers, it is also compared with what transformers computes. Ends
    with 0 where it looks sound and with 1 where it looks broken, with the evidence for it.
    """
    from qrm_forensics.pipeline.smoke import smoke as look

    given = dict(_option(text) for text in options)
    if device is not None:
        given["device"] = device
    report = look(checkpoint, backend, given, twin=twin, max_new_tokens=tokens)
    if as_json:
        click.echo(json.dumps(_plain(report.as_dict()), ensure_ascii=False, indent=1))
    else:
        for line in _said(report):
            click.echo(line)
    return 0 if report.ok else 1


def _option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"--option {text}: expected KEY=VALUE, for example dtype=bfloat16")
    try:
        return key, yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        return key, value


def _plain(value: Any) -> Any:
    """Without infinity, which is no JSON."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and value in (float("inf"), float("-inf")) else value


def _said(report: Report) -> Iterator[str]:
    for asked in report.asked:
        yield _line(asked)
    if report.read is not None:
        read = report.read
        yield f"perplexity  {read.perplexity:.4g} on {read.tokens} tokens (sound: below {read.limit:g})"
    if report.twin is not None:
        twin = report.twin
        whole = sum(alike == said for alike, said in twin.prefixes)
        yield (
            f"twin        {twin.against}: log-probabilities differ by {twin.mean:.2e} on average and {twin.largest:.2e} at "
            f"most ({twin.tokens} tokens); {whole} of {len(twin.prefixes)} greedy responses are the same to the last token"
        )
    for what, why in report.left_out.items():
        yield click.style(f"{what:<10}  left out: {why}", dim=True)
    for note in report.notes:
        yield f"{click.style('note:', fg='yellow')} {note}"
    if report.ok:
        yield f"{click.style('looks sound', fg='green')}  ({report.backend}, {report.seconds:.0f} s)"
    else:
        yield f"{click.style('looks broken', fg='red')}  ({report.backend}, {report.seconds:.0f} s)"
        for problem in report.problems:
            yield f"  - {problem}"


def _line(asked: Asked) -> str:
    from qrm_forensics.report.visible import clip, shown_text

    if asked.text is None:
        return f"{'failed':<10}  {clip(asked.question, 50)}  {shown_text(clip(asked.error, 120))}"
    signs = [name for name, sign in (("loop", asked.loop), ("no language", asked.gibberish)) if sign]
    judged = {True: "right", False: "wrong", None: "cut off"}[asked.right]
    tail = " ".join(asked.text.split())[-60:]
    return f"{', '.join([judged, *signs]):<10}  {clip(' '.join(asked.question.split()), 50)}  → {shown_text(tail)}"


COMMANDS = (smoke,)
