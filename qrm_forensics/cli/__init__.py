"""The command line: parse, call, print the path that was made.

Exit codes: 0 ok · 1 regression found · 2 bad usage or input · 3 not comparable ·
4 insufficient data · 5 environment (missing extra, no device) · 130 interrupted ·
141 the reader of the output left.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qrm_forensics import __version__
from qrm_forensics.cli import case as cli_case
from qrm_forensics.cli import figures as cli_figures
from qrm_forensics.cli import gen_calib as cli_gen_calib
from qrm_forensics.cli import quantize as cli_quantize
from qrm_forensics.cli import report as cli_report
from qrm_forensics.cli import score as cli_score
from qrm_forensics.cli import smoke as cli_smoke
from qrm_forensics.cli.compare import COMMANDS
from qrm_forensics.errors import ForensicsError, InputError

if TYPE_CHECKING:
    from qrm_forensics.store import Store

RUNS = Path("runs")


class _ReaderLeft(Exception):
    """Whoever read our output has gone.  Click would end with 1, which here means a regression."""


class _Group(click.Group):
    """Suggests the command that was probably meant."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderLeft from error

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), 1) if args else []
            if near:
                raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", error.ctx) from None
            raise


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="qrm-forensics")
def cli() -> None:
    """Failure forensics for quantized reasoning models: where, how and why they break.

    Without a study file, 'run' quantizes a built-in tiny reasoning model and measures
    how it fails; 'report' then writes what was found. Nothing else is needed.
    """


_json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")


@cli.command()
@click.argument("study_file", metavar="[STUDY.yaml]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Run folder (default: runs/<study>-<hash of the request>)."
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N problems of each benchmark.")
@click.option("--only", metavar="STEP", help="Do one step: quantize, generate, score or measure.")
@click.option("--fresh", is_flag=True, help="Delete what the run folder holds and begin again.")
@click.option("--dry-run", is_flag=True, help="Only say what there is to do: responses, tokens, memory and disk.")
@click.option(
    "--external-python",
    metavar="PATH",
    envvar="QRM_EXTERNAL_PYTHON",
    help="Environments (folders or pythons, separated as in PATH) with the libraries of external: recipes.",
)
@_json_option
def run(
    study_file: Path | None,
    out: Path | None,
    limit: int | None,
    only: str | None,
    fresh: bool,
    dry_run: bool,
    external_python: str | None,
    as_json: bool,
) -> None:
    """Quantize, generate, score and measure.

    Goes on where an earlier run of the same study stopped, however it stopped.
    """
    from qrm_forensics import builtin, pipeline
    from qrm_forensics.cli.progress import observer
    from qrm_forensics.study import demo_study, load_study

    study = load_study(study_file) if study_file else demo_study(builtin.MAX_NEW_TOKENS)
    if limit is not None:
        cut = tuple(b.model_copy(update={"limit": limit}) for b in study.benchmarks)
        study = study.model_copy(update={"benchmarks": cut})
    if dry_run:
        from qrm_forensics.cli.dry_run import said
        from qrm_forensics.pipeline.estimate import estimate

        found = estimate(study)
        _say(as_json, found.as_dict(), *said(found))
        return
    plan = pipeline.make_plan(study)
    target = out or pipeline.default_out(RUNS, study, pipeline.request_of(plan))
    with observer(f"qrm-forensics {' '.join(sys.argv[1:])}") as told:
        store = pipeline.run(
            *(plan, target),
            observer=told,
            only=only,
            fresh=fresh,
            command=" ".join(sys.argv[1:]),
            external_python=external_python,
        )
    store.study_file.touch()  # the newest run is the one that 'report' takes
    _say(as_json, {"run": str(target), "traces": store.trace_count()}, f"{target}", _next_step("report", target))


@cli.command("import")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "fmt",
    default="auto",
    show_default=True,
    help="Format of the files: auto, lighteval, lm-eval, inspect, jsonl, qrm or scores.",
)
@click.option(
    "--problems", type=click.Path(path_type=Path), help="Dataset folder or file, for gold answers, subjects, levels."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Run folder (default: runs/import-<name of the first path>)."
)
@click.option("--fresh", is_flag=True, help="Delete what the run folder holds and begin again.")
@_json_option
def import_(
    paths: tuple[Path, ...], fmt: str, problems: Path | None, out: Path | None, fresh: bool, as_json: bool
) -> None:
    """Read response files that already exist, then score and measure them.

    A CSV with the columns model, dataset, idx, is_correct (format 'scores') has no responses: its verdicts are kept
    as they are, and whatever numbers stand beside them.
    """
    from qrm_forensics.cli.progress import observer
    from qrm_forensics.derive import derive
    from qrm_forensics.importers import has_responses, import_run, notices

    target = out or RUNS / f"import-{paths[0].resolve().name}"
    with observer(f"qrm-forensics {' '.join(sys.argv[1:])}") as told:
        told.begin("import", ", ".join(p.name for p in paths), 1)
        store = import_run(paths, target, problems=problems, format=fmt, fresh=fresh)
        told.advance()
        told.end()
        if has_responses(store):
            with store.writing():
                derive(store, told)
    store.study_file.touch()
    for notice in notices(store):
        click.echo(f"{click.style('note:', fg='yellow')} {notice}", err=True)
    _say(as_json, {"run": str(target), "traces": store.trace_count()}, f"{target}", _next_step("report", target))


@cli.command()
@click.argument("run_folder", metavar="[RUN]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--format", "fmt", type=click.Choice(["csv", "parquet", "json"]), help="Default: by the name of the file."
)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File to write.")
@_json_option
def export(run_folder: Path | None, fmt: str | None, out: Path, as_json: bool) -> None:
    """Write one wide row per response: keys, verdicts and every measured column."""
    from qrm_forensics.export import export_table, write_export

    chosen = fmt or out.suffix.removeprefix(".")
    if chosen not in ("csv", "parquet", "json"):
        raise InputError(f"{out}: cannot tell the format from its name; add --format csv, parquet or json")
    table = export_table(_run(run_folder))
    write_export(table, chosen, out)
    _say(as_json, {"file": str(out), "rows": table.num_rows, "columns": table.num_columns}, str(out))


@cli.command()
@_json_option
def doctor(as_json: bool) -> None:
    """Say what this machine can do: versions, devices, fonts, and which commands will work."""
    from qrm_forensics.cli.doctor import examine

    findings = examine()
    if as_json:
        shown = {f.name: {"ok": f.ok, "found": f.found, "remedy": f.remedy, "group": f.group} for f in findings}
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    width = max(len(f.name) for f in findings)
    group = ""
    for f in findings:
        if f.group != group:
            group = f.group
            click.echo(click.style(group, bold=True))
        mark = click.style("ok     ", fg="green") if f.ok else click.style("missing", fg="yellow")
        click.echo(f"  {f.name:<{width}}  {mark}  {f.found}" + (f"  ({f.remedy})" if f.remedy else ""))


for _command in (
    *COMMANDS,
    *cli_case.COMMANDS,
    *cli_figures.COMMANDS,
    *cli_gen_calib.COMMANDS,
    *cli_quantize.COMMANDS,
    *cli_report.COMMANDS,
    *cli_score.COMMANDS,
    *cli_smoke.COMMANDS,
):
    cli.add_command(_command)


def _run(folder: Path | None) -> Store:
    from qrm_forensics.store import Store, newest_run

    return Store(folder) if folder else newest_run(RUNS)


def _next_step(command: str, target: Path) -> str:
    return click.style(f"next: qrm-forensics {command} {target}", dim=True)


def _say(as_json: bool, result: dict[str, Any], *lines: str) -> None:
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
    else:
        for line in lines:
            click.echo(line)


def main() -> None:
    """Entry point: errors become one line on standard error and their exit code."""
    try:
        code = cli.main(standalone_mode=False)
    except ForensicsError as error:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        command = shlex.join(["qrm-forensics", *(a for a in sys.argv[1:] if a != "--fresh")])
        click.echo(f"\ninterrupted; what was finished is kept. Go on with: {command}", err=True)
        sys.exit(130)
    except _ReaderLeft:
        # As the shell reports it, 128 + SIGPIPE; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        remedy = (
            "free some space and run again" if error.errno == errno.ENOSPC else "check the path and its permissions"
        )
        click.echo(
            f"{click.style('error:', fg='red', bold=True)} {where}{error.strerror or error}; {remedy}; "
            "what was finished is kept",
            err=True,
        )
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
