"""``score``: judge the responses of a run again, by this suite's rules or by lighteval's."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import click

from qrm_forensics.errors import InputError


@click.command()
@click.argument("run_folder", metavar="[RUN]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--lenient",
    required=True,
    type=click.Choice(["own", "lighteval"]),
    help="Whose rules the policy 'lenient' follows.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def score(run_folder: Path | None, lenient: str, as_json: bool) -> None:
    """Judge a run's responses again, the policy 'lenient' by lighteval's extractive match or by this suite's own rules.

    The choice is kept with the run, and every verdict names its rule and version. lighteval has an environment of its own:
    set QRM_FORENSICS_LIGHTEVAL to its Python (docs/lighteval.md).
    """
    from qrm_forensics.cli.progress import observer
    from qrm_forensics.derive import derive
    from qrm_forensics.importers import has_responses
    from qrm_forensics.lighteval_bridge import interpreter
    from qrm_forensics.score.lighteval_match import version_in
    from qrm_forensics.score.stamp import choose_lenient
    from qrm_forensics.store import Store, newest_run

    store = Store(run_folder) if run_folder else newest_run(Path("runs"))
    if not has_responses(store):
        raise InputError(f"{store.root}: is a table of scores without responses, so there is nothing to judge")
    if lenient == "lighteval":
        version_in(interpreter("--lenient lighteval"))  # before anything is changed
    with observer(f"qrm-forensics {' '.join(sys.argv[1:])}") as told, store.writing():
        choose_lenient(store, lenient)
        derive(store, told)
    counts = Counter(v["status"] for v in store.verdicts().to_pylist() if v["policy"] == "lenient")
    if as_json:
        click.echo(json.dumps({"run": str(store.root), "lenient": lenient, "verdicts": dict(sorted(counts.items()))}))
        return
    click.echo(f"{store.root}")
    click.echo(
        f"lenient, by the rules of {lenient}: " + ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
    )


COMMANDS = (score,)
