"""``gen-calib``: a model's own reasoning, as text for its calibration."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from qrm_forensics.records import Problem, Trace


@click.command("gen-calib")
@click.argument("model")
@click.option(
    "--problems",
    required=True,
    metavar="FILE|builtin",
    help="Problems to answer: a file with 'problem' or 'question', a folder with NuminaMath-1.5 in it, or builtin.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Response file to write.")
@click.option("--samples", default=256, show_default=True, type=click.IntRange(min=1), help="Problems to answer.")
@click.option("--draw-seed", type=int, help="Draw the problems at random with this seed (default: the first ones).")
@click.option("--seed", default=42, show_default=True, type=click.IntRange(min=0), help="Seed of the sampling.")
@click.option("--temperature", default=0.6, show_default=True, type=float)
@click.option("--top-p", default=0.95, show_default=True, type=float)
@click.option("--max-new-tokens", type=click.IntRange(min=1), help="Default: 32768, and 768 for the built-in model.")
@click.option("--batch-size", default=64, show_default=True, type=click.IntRange(min=1), help="Sequences in flight.")
@click.option("--device", default="auto", show_default=True)
@click.option("--backend", default="embedded", show_default=True, help="What generates.")
@click.option("--fresh", is_flag=True, help="Throw away what is there and begin again.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def gen_calib(
    model: str,
    problems: str,
    out: Path,
    samples: int,
    draw_seed: int | None,
    seed: int,
    temperature: float,
    top_p: float,
    max_new_tokens: int | None,
    batch_size: int,
    device: str,
    backend: str,
    fresh: bool,
    as_json: bool,
) -> None:
    """Let MODEL ('builtin' or a Hugging Face folder) answer problems, for its own calibration.

    The responses are what quantizers are calibrated on best: the model's own reasoning. Goes on where an earlier call
    stopped, however it stopped. Give the file to 'quantize --calibration' or to a study.
    """
    from qrm_forensics import builtin
    from qrm_forensics.cli.progress import observer
    from qrm_forensics.generate import get_generator
    from qrm_forensics.generate.own_text import write_responses
    from qrm_forensics.pipeline import model_folder
    from qrm_forensics.recipes import Sampling
    from qrm_forensics.records import ModelRef, Request
    from qrm_forensics.store import hash_of
    from qrm_forensics.weights import content_hash, side_files_hash

    source = model_folder(model)
    limit = max_new_tokens or (builtin.MAX_NEW_TOKENS if model == builtin.NAME else 32768)
    sampling = Sampling(temperature=temperature, top_p=top_p, max_new_tokens=limit, seeds=(seed,))
    asked = _problems(model, source, problems, samples, draw_seed)
    identity = {
        "model": [content_hash(source), side_files_hash(source)],
        "problems": hash_of([(p.id, p.prompt) for p in asked]),
        "sampling": sampling.model_dump(mode="json"),
    }
    generator = get_generator(backend, batch_size=batch_size, device=device)
    requests = [Request("calibration", problem, 0, seed) for problem in asked]
    with observer(f"qrm-forensics {' '.join(sys.argv[1:])}") as told:

        def sample(missing: list[Request]) -> Iterator[Trace]:
            # opened when something is missing: a finished file loads no model
            with generator.open(ModelRef(str(source), None, "bf16", None, "original")) as session:
                yield from session.sample(missing, sampling)

        written = write_responses(out, identity, requests, sample, told, fresh=fresh)
    if as_json:
        facts = {"responses": written.responses, "truncated": written.truncated, "failed": written.failed}
        click.echo(json.dumps({"file": str(out), **facts, "made": written.made}, ensure_ascii=False))
        return
    click.echo(str(out))
    if written.truncated or written.failed:
        told_of = f"{written.truncated} of {written.responses} reached the token limit, {written.failed} failed"
        click.echo(f"{click.style('note:', fg='yellow')} {told_of}", err=True)
    click.echo(click.style(f"next: qrm-forensics quantize {model} RECIPE --calibration {out} --out FOLDER", dim=True))


def _problems(model: str, source: Path, problems: str, count: int, draw_seed: int | None) -> list[Problem]:
    """The problems with their final prompts, as the model's chat template makes them."""
    import random

    from qrm_forensics import builtin
    from qrm_forensics.generate.prompts import math_prompts
    from qrm_forensics.quantize.corpora import read_problems
    from qrm_forensics.records import Kind, Problem

    if problems == builtin.NAME:
        own = builtin.calibration_problems(count)
        if model == builtin.NAME:
            return own
        questions = [problem.question for problem in own]
        numbers = list(range(len(questions)))
    else:
        questions = read_problems(Path(problems))
        numbers = list(range(len(questions)))
        if draw_seed is not None:
            numbers = random.Random(draw_seed).sample(numbers, len(numbers))
        numbers = numbers[:count]
        questions = [questions[i] for i in numbers]
    prompts = math_prompts([source], questions)
    return [
        Problem("calibration", f"idx-{i}", question, prompt, "", Kind.MATH, None, None)
        for i, question, prompt in zip(numbers, questions, prompts, strict=True)
    ]


COMMANDS = (gen_calib,)
