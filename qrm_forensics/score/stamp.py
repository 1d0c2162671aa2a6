"""What the verdicts of a cell were made from, so that they are made again only where that changed."""

from __future__ import annotations

from collections.abc import Mapping

from qrm_forensics.answers import CHOICE_RULES_VERSION
from qrm_forensics.records import Kind, Problem
from qrm_forensics.score import scorer_version
from qrm_forensics.score.code_judge import CODE_RULES_VERSION
from qrm_forensics.store import Store, hash_of


def golds_hash(problems: Mapping[tuple[str, str], Problem]) -> str:
    """Hash of every right answer of a run: (benchmark, id) -> problem."""
    # Where there are no programs or options, the rules that they are judged by change nothing.
    rules = {Kind.CODE: [CODE_RULES_VERSION], Kind.CHOICE: [CHOICE_RULES_VERSION]}
    return hash_of([[b, i, p.gold, str(p.kind), *rules.get(p.kind, [])] for (b, i), p in problems.items()])


def verdict_stamp(store: Store, variant: str, benchmark: str, golds: str) -> str:
    """The stamp that this program's scorer gives the verdicts of a cell as it is now; ``golds`` is their ``golds_hash``."""
    return hash_of([store.cell_stamp(variant, benchmark), golds, scorer_version(lenient_of(store))])


_SCORING = "scoring"


def lenient_of(store: Store) -> str:
    """Whose rules the policy ``lenient`` follows in this run, one of ``score.LENIENT``."""
    kept = store.analysis(_SCORING, derived=False)
    return "own" if kept is None else str(kept[1]["lenient"])


def choose_lenient(store: Store, lenient: str) -> None:
    """Keep with the run whose rules the policy ``lenient`` follows; verdicts by other rules are stale then."""
    store.write_analysis(_SCORING, {"lenient": lenient}, hash_of(lenient))
