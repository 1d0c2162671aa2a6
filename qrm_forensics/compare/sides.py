"""Reading one side of a comparison: a checkpoint in a run folder, a baseline file, or a table of scores.

======================== ==================================================================
``RUN``                  a run folder with one variant, or its baseline where it has several
``RUN::VARIANT``         that variant of it
``baseline.parquet``     what ``bless`` wrote
``scores.csv``           a table of scores of one model
``scores.csv::MODEL``    that model of it
``VARIANT``              a variant of the run that is given beside it, else of the newest one
======================== ==================================================================
"""

from __future__ import annotations

from pathlib import Path

from qrm_forensics.compare.baseline_file import read_baseline, write_baseline
from qrm_forensics.compare.items import ITEM_KEY, ITEM_SCHEMA, Facts, Side, SideKind, listed
from qrm_forensics.compare.run_side import run_side
from qrm_forensics.compare.scores_side import scores_side
from qrm_forensics.errors import InputError
from qrm_forensics.store import Store, newest_run

__all__ = [
    "ITEM_KEY",
    "ITEM_SCHEMA",
    "Facts",
    "Side",
    "SideKind",
    "load_side",
    "read_baseline",
    "run_side",
    "scores_side",
    "write_baseline",
]

RUNS = Path("runs")


def load_side(spec: str | Path, *, run: Path | None = None, runs: Path = RUNS) -> Side:
    """The side that ``spec`` names, see the table above; ``runs`` is where the newest run is looked for.

    Raises InputError (StoreError for a run folder that cannot be read) with what there is to choose from.
    """
    text = str(spec)
    place, separator, name = text.rpartition("::")
    if separator:
        if not place or not name:
            raise InputError(f"{text}: write RUN::VARIANT, with both of them")
        return _in(Path(place), name)
    path = Path(text)
    if path.exists() or path.suffix in (".parquet", ".csv") or (path / "study.json").exists():
        return _in(path, None)
    if len(path.parts) > 1:
        raise InputError(f"{text}: no such run folder or file; check the path")
    try:
        store = Store(run) if run is not None else newest_run(runs)
    except InputError as error:
        raise InputError(f"{text}: is no folder or file, and taken for a variant: {error}") from None
    return run_side(store, text)


def _in(path: Path, name: str | None) -> Side:
    if path.is_dir() and not (path / "study.json").is_file() and any(path.glob("*.csv")):
        return scores_side(path, name)
    if path.is_dir():
        store = Store(path)
        return run_side(store, name if name is not None else _only(store))
    if path.suffix == ".csv":
        return scores_side(path, name)
    side = read_baseline(path)
    if name is not None and name != side.facts.variant:
        raise InputError(f"{path}: is a baseline file of {side.facts.variant!r}, not of {name!r}")
    return side


def _only(store: Store) -> str:
    """The variant that a run folder stands for: the only one that has responses, else its baseline."""
    found = list(dict.fromkeys(variant for variant, _ in store.cells()))
    if len(found) == 1:
        return found[0]
    if store.baseline in found:
        return str(store.baseline)
    if not found:
        raise InputError(f"{store.root}: has no responses yet; make them with 'qrm-forensics run'")
    raise InputError(
        f"{store.root}: has {len(found)} variants and no baseline; write {store.root}::VARIANT, of {listed(found)}"
    )
