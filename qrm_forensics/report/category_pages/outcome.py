"""How often each variant's responses end in one way, beside its reference on the problems that both answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from qrm_forensics.compare import PairedCounts, holm
from qrm_forensics.records import Coverage
from qrm_forensics.report.category_pages.members import OUTCOME, Members
from qrm_forensics.report.claims import Ledger, Source, count, share, tally, where, with_interval
from qrm_forensics.report.data import BenchmarkData, Floats, RunData
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.pairs import compare, pair_coverage
from qrm_forensics.report.sections.model import Column, Table, Value
from qrm_forensics.report.significance import ALPHA

_HEADS = (
    Column("variant", Sentence("ui.variant")),
    Column("responses", Sentence("ui.n"), "fraction"),
    Column("share", Sentence("ui.share"), "ci"),
    Column("difference", Sentence("ui.difference"), "ci"),
    Column("holm_p", Sentence("page.holm_p")),
    Column("only_variant", Sentence("page.only_variant")),
    Column("only_reference", Sentence("page.only_reference")),
    Column("right", Sentence("page.right"), "fraction"),
)


@dataclass(frozen=True)
class _Tested:
    """A variant beside its reference: how often an outcome came up in each, and Holm's p over all outcomes and variants."""

    reference: str
    result: PairedCounts
    source: Source
    selected: bool
    adjusted: float | None = None


Tests = dict[tuple[str, str], _Tested]


def compare_outcomes(
    run: RunData, data: BenchmarkData, outcomes: tuple[str, ...], references: Mapping[str, str]
) -> Tests:
    """(outcome, variant) -> its test; one family over all outcomes and variants of the benchmark."""
    made: Tests = {}
    for outcome in outcomes:
        for variant in data.variants:
            reference = references.get(variant)
            if reference is None or reference == variant:
                continue
            result = compare(data, _had(data, reference, outcome), _had(data, variant, outcome))
            if result is None or not result.lost + result.gained + result.both:
                continue
            source: Source = {
                "table": run.tables[OUTCOME],
                "filter": where(benchmark=data.name, variant=[reference, variant]),
            }
            selected = pair_coverage(data, (reference, variant)) is Coverage.SELECTED
            made[outcome, variant] = _Tested(reference, result, source, selected)
    tested = [key for key, one in made.items() if not one.selected]
    for key, value in zip(tested, holm([made[key].result.p_value for key in tested]), strict=True):
        made[key] = replace(made[key], adjusted=value)
    return made


def _had(data: BenchmarkData, variant: str, outcome: str) -> Floats:
    """1 where the variant's response had the outcome, 0 where it had another one, NaN without one; [rows]."""
    values = np.full(len(data.keys), np.nan)
    frame = data.of(variant)
    values[frame["row"].to_numpy()] = np.where(frame[OUTCOME].isna(), np.nan, frame[OUTCOME] == outcome)
    return values


def outcome_table(
    run: RunData, data: BenchmarkData, members: Members, tests: Tests, ledger: Ledger
) -> tuple[Table, tuple[Sentence, ...]]:
    """The numbers of every variant, and what they say: more, fewer, or nothing told apart."""
    outcome = members.name
    rows: list[tuple[Value, ...]] = []
    said: list[Sentence] = []
    for variant in data.variants:
        frame = data.of(variant)
        judged = frame[frame[OUTCOME].notna()]
        if judged.empty:
            continue
        own = judged[OUTCOME] == outcome
        at = where(variant=variant, benchmark=data.name)
        here = f"{at} and {members.query}"
        place = members.place(data, variant)
        number = count(
            f"outcome/{data.name}/{variant}/{outcome}",
            int(own.sum()),
            "definition.outcome",
            of=len(judged),
            table=run.tables[OUTCOME],
            filter=here,
        )
        part = share(
            f"category/share/{place}",
            np.asarray(own, dtype=np.float64),
            judged["problem"].to_numpy(np.int64),
            "definition.outcome_share",
            selected=data.is_selected(variant),
            table=run.tables[OUTCOME],
            filter=at,
        )
        right = judged.loc[own, f"right:{run.policy}"].dropna()
        correct = count(
            *(f"category/correct/{place}", int(right.sum()), "definition.correct"),
            of=len(right),
            table=f"verdicts{members.joined}",
            filter=f"{here} and {where(policy=run.policy)}",
        )
        values: list[Value] = [variant, ledger.add(number), ledger.add(part)]
        one = tests.get((outcome, variant))
        if one is None:
            values += [None, None, None, None]
        else:
            told = _claims(data, members, variant, one, tests, ledger)
            values += [told["difference"], told.get("p"), told["only_variant"], told["only_reference"]]
            if one.adjusted is not None and one.adjusted <= ALPHA and one.result.difference:
                key = "page.outcome.more" if one.result.difference > 0 else "page.outcome.fewer"
                named = {"variant": variant, "reference": one.reference, "category": outcome}
                said.append(Sentence(key, {**named, **told}))
        rows.append((*values, ledger.add(correct)))
    mine = [t for (o, _), t in tests.items() if o == outcome and t.adjusted is not None]
    if mine and not said:
        slots: dict[str, Claim | str] = {
            "category": outcome,
            "comparisons": ledger.add(
                tally(
                    *(f"category/comparisons/{data.name}/{OUTCOME}={outcome}", len(mine), "definition.comparisons"),
                    starts=f"category/difference/{data.name}/{OUTCOME}={outcome}/",
                )
            ),
        }
        said.append(Sentence("page.outcome.no_difference", slots))
    return Table("category_endings", _HEADS, tuple(rows)), tuple(said)


def _claims(
    data: BenchmarkData, members: Members, variant: str, one: _Tested, tests: Tests, ledger: Ledger
) -> dict[str, Claim]:
    place, result = members.place(data, variant), one.result
    found = {
        "n": count(f"category/paired_n/{place}", result.n, "definition.paired_n", **one.source),
        "only_variant": count(
            f"category/only_variant/{place}", result.gained, "definition.outcome_only", of=result.n, **one.source
        ),
        "only_reference": count(
            f"category/only_reference/{place}", result.lost, "definition.outcome_only", of=result.n, **one.source
        ),
    }
    difference = Claim(
        f"category/difference/{place}",
        None,
        Unit.POINTS,
        "definition.outcome_difference",
        denominator=result.n,
        **one.source,
    )
    if one.selected:
        found["difference"] = replace(difference, note="claim.selected")
    else:
        known = replace(difference, value=result.difference)
        found["difference"] = with_interval(known, result.interval, result.interval_method)
        found["p"] = Claim(f"category/holm_p/{place}", one.adjusted, Unit.P_VALUE, "definition.holm_p", **one.source)
        found["family"] = tally(
            *(
                f"family/category/{data.name}/{OUTCOME}",
                sum(t.adjusted is not None for t in tests.values()),
                "definition.family",
            ),
            starts=f"category/holm_p/{data.name}/{OUTCOME}=",
        )
    return {name: ledger.add(claim) for name, claim in found.items()}
