"""``compare``, ``check`` and ``bless``: is the new checkpoint worse?"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qrm_forensics.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    from qrm_forensics.compare.comparison import Comparison
    from qrm_forensics.compare.items import Side
    from qrm_forensics.report.gate import GateTexts

_SIDES = """\b
  RUN::VARIANT           a variant of a run folder
  RUN                    its only variant, or its baseline
  baseline.parquet       what 'bless' wrote
  scores.csv[::MODEL]    a table with model, dataset, idx, is_correct
  VARIANT                a variant of --run, or of the newest run
"""

#: What an exit code means here, for the help of both commands.
_CODES = """\b
Exit codes: 0 no regression was seen (equivalent, improved, or no difference seen) · 1 regression ·
2 bad usage or input · 3 not comparable · 4 insufficient data or an unreliable baseline.
"""

_run_option = click.option(
    "--run", "run_folder", type=click.Path(path_type=Path), help="Run folder for sides given as a bare VARIANT."
)
_policy_option = click.option(
    "--policy", "policy_file", type=click.Path(path_type=Path), help="Policy file (YAML); see examples/policy.yaml."
)
_second_option = click.option(
    "--second-baseline", "second", metavar="SIDE", help="Another run of the baseline: tells flips from noise."
)
_lang_option = click.option("--lang", "language", default="en", show_default=True, help="Language: en, ko or zh.")


def _file_option(name: str, target: str, text: str) -> Callable[[F], F]:
    return click.option(name, target, type=click.Path(path_type=Path, dir_okay=False), help=text)


@click.command(
    help=f"""Compare two checkpoints on the problems that both answered.

{_SIDES}
Everything is paired by problem; what one side lacks is left out and said. With --policy the rules are those of
'check', where nothing may be left out.

{_CODES}"""
)
@click.argument("baseline")
@click.argument("candidate")
@_run_option
@_policy_option
@_second_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@_lang_option
def compare(
    baseline: str,
    candidate: str,
    run_folder: Path | None,
    policy_file: Path | None,
    second: str | None,
    as_json: bool,
    language: str,
) -> int:
    from qrm_forensics.compare.comparison import compare as compare_sides
    from qrm_forensics.compare.rules import DEFAULT
    from qrm_forensics.policy import load_policy
    from qrm_forensics.report.gate import GateTexts

    texts = GateTexts.of(language)
    first, other, again = _sides(run_folder, baseline, candidate, second)
    rules = load_policy(policy_file).rules(first) if policy_file else DEFAULT
    found = compare_sides(first, other, policy=rules, second_baseline=again)
    if as_json:
        click.echo(_json(found))
    else:
        _print(found, texts)
    return found.exit_code


@click.command(
    help=f"""Gate a new checkpoint: is it worse than the baseline allows?

{_SIDES}
What counts as worse is fixed beforehand in the policy file. So are the number of problems and of samples per
problem, which are those of the baseline unless the policy says otherwise: a candidate with more, fewer or other
problems is not comparable, and running again replaces nothing.

In GitHub Actions the Markdown is also added to the summary of the job ($GITHUB_STEP_SUMMARY).

{_CODES}"""
)
@click.option("--baseline", required=True, metavar="SIDE", help="What was good, usually a baseline file.")
@click.option("--candidate", required=True, metavar="SIDE", help="What is asked about.")
@_run_option
@_policy_option
@_second_option
@_file_option("--markdown", "markdown_file", "Write a comment for a pull request.")
@_file_option("--junit", "junit_file", "Write JUnit XML.")
@_file_option("--json", "json_file", "Write everything as JSON.")
@click.option("--report-url", help="Where the candidate's report.html is published, for links from problems.")
@_lang_option
def check(
    baseline: str,
    candidate: str,
    run_folder: Path | None,
    policy_file: Path | None,
    second: str | None,
    markdown_file: Path | None,
    junit_file: Path | None,
    json_file: Path | None,
    report_url: str | None,
    language: str,
) -> int:
    from qrm_forensics.compare.comparison import compare as compare_sides
    from qrm_forensics.policy import load_policy
    from qrm_forensics.report.gate import GateTexts, report_links, to_junit, to_markdown
    from qrm_forensics.store import write_text

    texts = GateTexts.of(language)
    policy = load_policy(policy_file)
    first, other, again = _sides(run_folder, baseline, candidate, second)
    found = compare_sides(first, other, policy=policy.rules(first), second_baseline=again)
    if markdown_file:
        links = report_links(other.facts, report_url, markdown_file.absolute().parent)
        write_text(markdown_file, to_markdown(found, texts, links))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        # Other steps of the job write to the same file.
        with Path(summary).open("a", encoding="utf-8") as handle:
            handle.write(to_markdown(found, texts, report_links(other.facts, report_url)) + "\n")
    if junit_file:
        write_text(junit_file, to_junit(found, texts))
    if json_file:
        write_text(json_file, _json(found) + "\n")
    _print(found, texts)
    for file in (markdown_file, junit_file, json_file):
        if file:
            click.echo(click.style(str(file), dim=True))
    return found.exit_code


@click.command()
@click.argument("side", metavar="RUN[::VARIANT]")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Baseline file to write.")
@_run_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def bless(side: str, out: Path, run_folder: Path | None, as_json: bool) -> None:
    """Make a baseline file of a checkpoint whose results are good.

    A small Parquet file with one row per response: verdicts, figures, hashes of prompts and right answers, how and
    when it was made; no text of any response. Nothing else writes such a file, so that a baseline only ever changes
    because somebody said so. Keep it beside the code.
    """
    from qrm_forensics.compare.sides import load_side, write_baseline

    made = load_side(side, run=run_folder)
    _note_old_verdicts(made)
    if made.facts.kind == "baseline":
        raise InputError(f"{side}: is a baseline file already; copy it, or bless the run that it came from")
    _finished(made)
    write_baseline(made, out)
    counts = {str(name): int(n) for name, n in made.items.groupby("benchmark", sort=False).size().items()}
    if as_json:
        facts = {"file": str(out), "variant": made.facts.variant, "responses": counts, "hash": made.facts.content_hash}
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    click.echo(f"{out}: {made.facts.name}, {', '.join(f'{n} responses to {name}' for name, n in counts.items())}")
    click.echo(click.style(f"next: qrm-forensics check --baseline {out} --candidate RUN::VARIANT", dim=True))


def _finished(side: Side) -> None:
    """Raises InputError for a side that nobody should be measured against: unfinished, or not judged."""
    from qrm_forensics.store import Store

    facts = side.facts
    folder = Path(facts.source)
    if (folder / "study.json").is_file():
        store = Store(folder)
        unfinished = [b for v, b in store.cells() if v == facts.variant and not store.sealed(v, b)]
        if unfinished:
            raise InputError(f"{folder}: {facts.variant} on {unfinished[0]} is not finished; run it to its end first")
    if not side.policies:
        raise InputError(f"{facts.source}: no response of {facts.variant} has a verdict; score it first")


def _sides(run: Path | None, *specs: str | None) -> list[Any]:
    from qrm_forensics.compare.sides import load_side

    sides = [None if spec is None else load_side(spec, run=run) for spec in specs]
    for side in sides:
        if side is not None:
            _note_old_verdicts(side)
    return sides


def _note_old_verdicts(side: Side) -> None:
    """Say where verdicts are not those that this program would give; they are compared as they are."""
    if side.facts.kind in ("run", "import") and side.facts.scorer is None:
        again = "qrm-forensics run" if side.facts.kind == "run" else "qrm-forensics import"
        told = f"{side.facts.source}: some verdicts are not those of this version's scorer; make them with '{again}'"
        click.echo(f"{click.style('note:', fg='yellow')} {told}", err=True)


def _json(found: Comparison) -> str:
    return json.dumps(found.to_dict(), ensure_ascii=False, allow_nan=False, indent=1)


_COLOURS = {0: "green", 1: "red"}


def _print(found: Comparison, texts: GateTexts) -> None:
    from qrm_forensics.report.gate.terminal import to_terminal, verdict_line

    click.echo(to_terminal(found, texts))
    click.echo("")
    click.echo(click.style(verdict_line(found, texts), fg=_COLOURS.get(found.exit_code, "yellow"), bold=True))


COMMANDS = (compare, check, bless)
