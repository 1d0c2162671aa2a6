"""Apply every rule to a wide table, and count what came out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from qrm_forensics.errors import InputError
from qrm_forensics.records import KEY_FIELDS, TRACE_KEY
from qrm_forensics.symptoms.facts import Facts, as_table
from qrm_forensics.symptoms.flags import REFERENCE_CATEGORIES, SYMPTOMS
from qrm_forensics.symptoms.outcomes import OUTCOMES, UNASSIGNED
from qrm_forensics.symptoms.thresholds import Thresholds

#: Raised with every change that can alter an outcome or a flag.
RULES_VERSION = 2

#: Every value that ``outcome`` can have, in the order of the rules, ``unassigned`` last.
OUTCOME_NAMES: tuple[str, ...] = (*(rule.name for rule in OUTCOMES), UNASSIGNED)

JUDGED_SCHEMA = pa.schema(
    [
        *KEY_FIELDS,
        pa.field("outcome", pa.string(), False),
        pa.field("outcome_reason", pa.string()),
        *(pa.field(rule.column, pa.bool_()) for rule in (*SYMPTOMS, *REFERENCE_CATEGORIES)),
    ]
)


def judge(table: pa.Table | pd.DataFrame, thresholds: Thresholds) -> pa.Table:
    """One row per response of the wide table, in its order, with the columns of ``JUDGED_SCHEMA``.

    ``outcome`` is one of ``OUTCOME_NAMES``.  ``outcome_reason`` is null but for ``unassigned`` ones, where it
    names the rule that could not be decided and the columns that say nothing (``reason_text`` reads it).
    ``symptom_<name>`` and ``reference_<name>`` are yes, no, or null where the columns that the
    rule reads do not decide it; a column that the table lacks is null in every row.
    The metadata of the table's schema holds ``thresholds`` as JSON and ``rules_version``.

    Raises InputError where a key column is not there, a column is of another type, or a status or finish
    does not exist.
    """
    wide = as_table(table)
    lacking = [name for name in TRACE_KEY if name not in wide.column_names]
    if lacking:
        raise InputError(f"the table lacks the key column(s) {', '.join(lacking)}; give the wide table of a run")
    facts = Facts(wide, thresholds.values)
    outcome, reason = _outcomes(facts, wide.num_rows)
    flags = [rule(facts) for rule in (*SYMPTOMS, *REFERENCE_CATEGORIES)]
    keys = wide.select(TRACE_KEY).cast(pa.schema(KEY_FIELDS))
    noted = {"thresholds": thresholds.to_json(), "rules_version": str(RULES_VERSION)}
    return pa.table([*keys.columns, outcome, reason, *flags], schema=JUDGED_SCHEMA.with_metadata(noted))


def _outcomes(facts: Facts, height: int) -> tuple[pa.Array, pa.Array]:
    outcome = np.full(height, UNASSIGNED, dtype=object)
    reason = np.full(height, None, dtype=object)
    open_rows = np.ones(height, dtype=bool)
    for rule in OUTCOMES:
        held = rule(facts)
        known = np.asarray(held.is_valid())
        yes = np.asarray(held.fill_null(False))
        outcome[open_rows & yes] = rule.name
        stuck = np.flatnonzero(open_rows & ~known)
        if len(stuck):
            silent = {name: np.asarray(facts.unknown(name)) for name in rule.reads}
            for row in stuck:
                reason[row] = f"{rule.name}: {', '.join(name for name in rule.reads if silent[name][row])}"
        open_rows &= known & ~yes
    if open_rows.any():
        # Correct, wrong, missing and unscored verdicts each have a rule, and nulls stop the search before.
        raise AssertionError(f"{int(open_rows.sum())} responses are decided by no rule")
    return pa.array(outcome, pa.string()), pa.array(reason, pa.string())


def reason_text(reason: str, lang: str) -> str:
    """An ``outcome_reason`` as a sentence in ``en`` or ``ko``."""
    from qrm_forensics.symptoms.describe import catalogue

    rule, _, columns = reason.partition(": ")
    texts = catalogue(lang)
    return texts["symptoms.reason"].format(outcome=texts[f"outcome.{rule}.label"], columns=columns)


def outcome_shares(judged: pa.Table, by: Sequence[str] = ("variant", "benchmark")) -> pa.Table:
    """How often each outcome occurs in each group: columns ``by``, ``outcome``, ``count``, ``n``, ``share``.

    Every outcome has a row in every group, ``unassigned`` included, even where its count is 0, so that the counts
    of a group add up to ``n``, the number of its responses, and ``share`` = ``count`` / ``n`` to 1.  Groups
    are in the order in which they first appear, outcomes in the order of ``OUTCOME_NAMES``.
    """
    groups: dict[tuple[Any, ...], dict[str, int]] = {}
    columns = [judged.column(name).to_pylist() for name in by]
    keys = zip(*columns, strict=True) if columns else [()] * judged.num_rows
    for key, outcome in zip(keys, judged.column("outcome").to_pylist(), strict=True):
        groups.setdefault(key, dict.fromkeys(OUTCOME_NAMES, 0))[outcome] += 1
    rows = [
        {**dict(zip(by, key, strict=True)), "outcome": name, "count": count, "n": n, "share": count / n}
        for key, counts in groups.items()
        for n in [sum(counts.values())]
        for name, count in counts.items()
    ]
    fields = [judged.schema.field(name).remove_metadata() for name in by]
    counted = [("outcome", pa.string()), ("count", pa.int64()), ("n", pa.int64()), ("share", pa.float64())]
    return pa.Table.from_pylist(rows, schema=pa.schema([*fields, *(pa.field(*f) for f in counted)]))


def thresholds_of(judged: pa.Table) -> Thresholds:
    """The thresholds that a judged table was made with; raises InputError where it does not say."""
    noted = (judged.schema.metadata or {}).get(b"thresholds")
    if noted is None:
        raise InputError("the table does not say with which thresholds it was judged; judge it again")
    return Thresholds.from_dict(json.loads(noted))
