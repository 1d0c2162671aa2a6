"""``case``: one problem on the terminal, or as a notebook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qrm_forensics.errors import InputError

if TYPE_CHECKING:
    from qrm_forensics.notebook import Case


@click.command()
@click.argument("where", metavar="[RUN] PROBLEM", nargs=-1, required=True)
@click.option("--variant", "variants", multiple=True, help="Only this variant; may be repeated (default: all of them).")
@click.option("--sample", type=int, help="Which sample, where there are several.")
@click.option("--seed", type=int, help="Which seed, where there are several.")
@click.option("--lang", "language", default="en", show_default=True, help="Language of the display.")
@click.option("--whole", is_flag=True, help="Show every response in full (loops stay folded).")
@click.option(
    "--notebook", type=click.Path(path_type=Path, dir_okay=False), help="Write a Jupyter notebook for the problem."
)
@click.option("--force", is_flag=True, help="Write over a notebook that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def case(
    where: tuple[str, ...],
    variants: tuple[str, ...],
    sample: int | None,
    seed: int | None,
    language: str,
    whole: bool,
    notebook: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Show what every variant wrote to one problem, side by side.

    PROBLEM is BENCHMARK/ID, or the id alone where only one problem has it. RUN left out means the newest run under
    runs/. Loops are folded, and the timeline of each response shows where it first gave the right answer, changed its
    answer, and began to loop.
    """
    from qrm_forensics.notebook import open_run

    if len(where) > 2:
        raise InputError(f"case takes a run folder and one problem, got {len(where)} names: {', '.join(where)}")
    run = open_run(where[0] if len(where) == 2 else None, language=language)
    found = run.case(where[-1], variants=list(variants) or None, sample=sample, seed=seed)
    if notebook is not None:
        from qrm_forensics.notebook.written import write_notebook

        write_notebook(run, found, notebook, overwrite=force)
    if as_json:
        told = as_dict(found) | ({} if notebook is None else {"notebook": str(notebook)})
        click.echo(json.dumps(told, ensure_ascii=False))
    elif notebook is not None:
        click.echo(str(notebook))
        click.echo(click.style(f"next: jupyter lab {notebook}", dim=True))
    else:
        _show(found, whole)


def _show(found: Case, whole: bool) -> None:
    from qrm_forensics.cli.console import PipedConsole
    from qrm_forensics.notebook.terminal import case_view

    console = PipedConsole(highlight=False, markup=False, emoji=False)
    console.print(case_view(found, width=console.width, whole=whole))


def as_dict(found: Case) -> dict[str, Any]:
    """The problem as plain JSON values; positions are code points of the texts."""
    return {
        "case": found.id,
        "sample": found.sample,
        "seed": found.seed,
        "question": found.question,
        "gold": found.gold,
        "divergence": json.loads(found.divergence().to_json(orient="records", force_ascii=False)),
        "responses": [
            {
                "variant": r.variant,
                "finish": str(r.finish),
                "status": {policy: r.status(policy) for policy in found.policies},
                "answer": r.figures.get("answer"),
                "outcome": r.figures.get("outcome"),
                "events": [{"kind": e.kind, "char": e.char} for e in r.events],
                "forced": None if r.forced is None else [{"start": a, "end": b} for a, b in r.forced],
                "loops": [{"start": s.start, "end": s.end, "unit": s.unit, "repeats": s.repeats} for s in r.loops],
                "text": r.trace.text,
            }
            for r in found.responses
        ],
    }


COMMANDS = (case,)
