"""Every claim can be made again from the rows that it names."""

from __future__ import annotations

import pandas as pd
import pytest
from factories import small_run

from qrm_forensics.errors import InputError
from qrm_forensics.report.context import build_context
from qrm_forensics.report.evidence import evidence
from qrm_forensics.report.model import Claim, ReportContext
from qrm_forensics.store import Store

#: How many claims of each kind are made again.
SAMPLE = 6


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, ReportContext]:
    store = small_run(tmp_path_factory.mktemp("evidence") / "run")
    return store, build_context(store)


def _judged(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["status"] != "unscored"]


def _wide(rows: pd.DataFrame) -> pd.DataFrame:
    """Problem by variant: right or not, only problems judged for all."""
    judged = _judged(rows)
    table = judged.assign(right=judged["status"] == "correct").pivot(
        index="problem_id", columns="variant", values="right"
    )
    return table.dropna().astype(bool)


def again(claim: Claim, rows: pd.DataFrame) -> float | None:
    """The claim's value from its rows, written apart from the code that made it; None for kinds not covered here."""
    parts = claim.id.split("/")
    kind = parts[0] if parts[0] != "category" else f"category/{parts[1]}"
    last = parts[-1]
    if kind in ("n", "size", "category/n") or (claim.table == "claims" and kind == "family"):
        return len(rows)
    if kind in ("accuracy", "category/accuracy"):
        return float((_judged(rows)["status"] == "correct").mean())
    if kind in ("correct", "category/correct"):
        return float((rows["status"] == "correct").sum())
    if kind in ("missing", "unscored"):
        return float((rows["status"] == kind).sum())
    if kind == "rate":
        return float(rows[last].dropna().astype(float).mean())
    if kind in ("median", "mean"):
        return float(rows[last].dropna().agg(kind))
    if kind == "marker":
        marker = f"{parts[3]}_count"
        present = rows.dropna(subset=[marker, "n_words"])
        return float(1000 * present[marker].sum() / present["n_words"].sum())
    if kind == "overlap" and "=" in last:
        wanted = {v: r == "1" for v, r in (item.split("=") for item in last.split(","))}
        table = _wide(rows)
        return float((table[list(wanted)] == pd.Series(wanted)).all(axis=1).sum())
    if (
        kind in ("paired", "category/lost", "category/gained")
        and claim.table.startswith("verdicts")
        and "/missing/" not in claim.id
    ):
        variant = parts[2] if kind == "paired" else parts[4]
        table = _wide(rows)
        (reference,) = set(table.columns) - {variant}
        lost, gained = table[reference] & ~table[variant], ~table[reference] & table[variant]
        values = {
            "n": len(table),
            "lost": lost.sum(),
            "gained": gained.sum(),
            "both": (table[reference] & table[variant]).sum(),
            "neither": (~table[reference] & ~table[variant]).sum(),
            "difference": table[variant].mean() - table[reference].mean(),
            "flips": (lost | gained).mean(),
            "reference_accuracy": table[reference].mean(),
            "variant_accuracy": table[variant].mean(),
        }
        what = last if kind == "paired" else kind.removeprefix("category/")
        return float(values[what]) if what in values else None
    if kind == "scorer_gap" and len(parts) == 3:
        right = (
            _judged(rows).assign(right=lambda r: r["status"] == "correct").pivot_table("right", "problem_id", "policy")
        )
        return float((right["lenient"] - right["strict"]).dropna().mean())
    return None


def test_claims_are_made_again_from_their_rows(run: tuple[Store, ReportContext]) -> None:
    store, context = run
    done: dict[str, int] = {}
    for claim in context.claims[::3]:
        kind = claim.id.split("/")[0] + "/" + claim.id.split("/")[-1].split("=")[0] * (claim.id.startswith("paired"))
        if claim.value is None or done.get(kind, 0) >= SAMPLE:
            continue
        value = again(claim, evidence(store, claim, context.claims))
        if value is not None:
            assert claim.value == pytest.approx(value, abs=1e-9), claim.id
            done[kind] = done.get(kind, 0) + 1
    kinds = {k.split("/")[0] for k in done}
    assert {
        "n",
        "accuracy",
        "correct",
        "missing",
        "rate",
        "median",
        "mean",
        "marker",
        "overlap",
        "paired",
        "category",
    } <= kinds
    assert sum(done.values()) >= 60


def test_every_claim_with_a_value_names_rows_that_exist(run: tuple[Store, ReportContext]) -> None:
    store, context = run
    seen: set[tuple[str, str]] = set()
    for claim in context.claims:
        if claim.value is None:
            continue
        assert claim.table, claim.id
        kind = (claim.id.split("/")[0], claim.table)
        if kind not in seen:
            seen.add(kind)
            assert claim.filter or claim.table == "traces"
            rows = evidence(store, claim, context.claims)
            assert len(rows) or not claim.value, claim.id
    assert len(seen) > 20


def test_a_claim_without_rows_says_why(run: tuple[Store, ReportContext]) -> None:
    store, context = run
    claim = next(c for c in context.claims if not c.table)
    assert claim.value is None
    with pytest.raises(InputError, match=r"no rows behind it \(claim\.no_measure\)"):
        evidence(store, claim)
