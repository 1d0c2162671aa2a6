"""The appendix of sums and records: how much was written, and what stands out most."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from qrm_forensics.report.claims import count, where
from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Column, Part, Problem, Section, Table, Value
from qrm_forensics.report.sections.quantities import WAIT, WORDS, Quantity

#: Responses listed per record.
LISTED = 3
_TIMES = ["variant", "benchmark", "completion_tokens", "seconds"]
#: Sums: name, unit.
_SUMS = {"words": Unit.COUNT, "wait": Unit.COUNT, "markers": Unit.COUNT, "tokens": Unit.COUNT, "seconds": Unit.SECONDS}
_REPEATS = Quantity("repeats", ("loop_repeats",), Unit.PLAIN)
_SENTENCES = Quantity("sentence_repeats", ("sentence_repeats_max", "imported_max_sentence_repetition"), Unit.COUNT)
_RECORDS = (
    Quantity("words", WORDS.columns, Unit.WORDS),
    Quantity("wait", WAIT.columns, Unit.COUNT),
    _REPEATS,
    _SENTENCES,
)


def build(material: Material) -> Iterable[Section]:
    """Sums over the whole run, and the records."""
    yield _totals(material)
    rows = [row for data, _ in material.benchmarks() for row in _records(material, data)]
    if rows:
        columns = (
            Column("on_benchmark", Sentence("ui.benchmark")),
            Column("record", Sentence("records.record")),
            Column("place", Sentence("records.place")),
            Column("variant", Sentence("ui.variant")),
            Column("problem", Sentence("better.problem")),
            Column("value", Sentence("records.value")),
        )
        yield Section(
            name="records",
            part=Part.APPENDIX,
            benchmark=None,
            title=Sentence("records.title"),
            answer=(_record_answer(rows),),
            tables=(Table("records", columns, tuple(rows), Sentence("records.caption")),),
        )


def _totals(material: Material) -> Section:
    times = material.run.store.traces(_TIMES).to_pandas()
    rows: list[tuple[Value, ...]] = []
    for data, _ in material.benchmarks():
        rows += [(data.name, variant, *_sums(material, data, variant, times)) for variant in data.variants]
    kinds = ("responses", *_SUMS)
    used = [i for i in range(len(kinds)) if any(row[2 + i] is not None for row in rows)]
    total = [_total(material, kinds[i], [row[2 + i] for row in rows]) for i in used]
    columns = (
        Column("on_benchmark", Sentence("ui.benchmark")),
        Column("variant", Sentence("ui.variant")),
        *(Column(kinds[i], Sentence(f"totals.{kinds[i]}")) for i in used),
    )
    shown = tuple((*row[:2], *(row[2 + i] for i in used)) for row in rows)
    responses = next(t for t in total if isinstance(t, Claim))
    checked = all(
        abs(sum(float(c.value or 0) for r in shown if isinstance(c := r[2 + k], Claim)) - float(t.value or 0)) < 1e-6
        for k, t in enumerate(total)
        if isinstance(t, Claim)
    )
    return Section(
        name="totals",
        part=Part.APPENDIX,
        benchmark=None,
        title=Sentence("totals.title"),
        answer=(Sentence("totals.answer", {"responses": responses}),),
        tables=(
            Table(
                "totals",
                columns,
                shown,
                Sentence("totals.caption"),
                total=(Sentence("totals.total"), None, *total),
                checked=checked,
            ),
        ),
    )


def _sums(material: Material, data: BenchmarkData, variant: str, times: pd.DataFrame) -> list[Claim | None]:
    """Responses, words, "Wait", markers, tokens, seconds; None where the run does not have it."""
    run = material.run
    at = where(variant=variant, benchmark=data.name)
    name = f"totals/{data.name}/{variant}"
    frame = data.of(variant)
    made: list[Claim | None] = [
        material.add(count(f"{name}/responses", len(frame), "definition.n", table="traces", filter=at))
    ]
    for kind, columns in (("words", WORDS.columns), ("wait", WAIT.columns), ("markers", ("markers_total",))):
        column = next((c for c in columns if c in run.tables and frame[c].notna().any()), None)
        if column is None:
            made.append(None)
            continue
        value = int(frame[column].sum())
        rows = f"{at} and {column}.notna()"
        made.append(
            material.add(
                count(f"{name}/{kind}", value, f"definition.total_{kind}", table=run.tables[column], filter=rows)
            )
        )
    own = times[(times["variant"] == variant) & (times["benchmark"] == data.name)]
    for kind, column, unit in (("tokens", "completion_tokens", Unit.COUNT), ("seconds", "seconds", Unit.SECONDS)):
        known = own[column].dropna()
        claim = Claim(
            *(f"{name}/{kind}", float(known.sum()) if unit is Unit.SECONDS else int(known.sum()), unit),
            f"definition.total_{kind}",
            table="traces",
            filter=f"{at} and {column}.notna()",
        )
        made.append(material.add(claim) if len(known) else None)
    return made


def _total(material: Material, kind: str, values: list[Value]) -> Claim | None:
    """The sum of a column's claims, made again from them."""
    claims = [v for v in values if isinstance(v, Claim)]
    if not claims:
        return None
    whole = sum(float(c.value or 0) for c in claims)
    unit = claims[0].unit
    return material.add(
        Claim(
            *(f"totals/all/{kind}", whole if unit is Unit.SECONDS else round(whole), unit),
            "definition.total",
            denominator=len(claims),
            table="claims",
            filter=f"id in {[c.id for c in claims]!r}",
        )
    )


def _records(material: Material, data: BenchmarkData) -> list[tuple[Value, ...]]:
    """The responses with the largest values, of all variants together; equal ones in the order of the run."""
    run = material.run
    rows: list[tuple[Value, ...]] = []
    for quantity in _RECORDS:
        column = quantity.column(run, data)
        if column is None:
            continue
        top = data.frame[data.frame[column].notna()].nlargest(LISTED, column, keep="first")
        for i, (_, found) in enumerate(top.iterrows()):
            variant, problem = str(found["variant"]), str(found["problem_id"])
            key = f"sample == {int(found['sample'])} and seed == {int(found['seed'])}"
            value = float(found[column])
            claim = Claim(
                *(f"records/{data.name}/{quantity.name}/{i + 1}", value, quantity.unit),
                f"definition.record_{quantity.name}",
                table=run.tables[column],
                filter=f"{where(variant=variant, benchmark=data.name, problem_id=problem)} and {key}",
            )
            place = (data.name, Sentence(f"records.{quantity.name}"), str(i + 1), variant)
            rows.append((*place, Problem(data.name, problem), material.add(claim)))
    return rows


def _record_answer(rows: list[tuple[Value, ...]]) -> Sentence:
    """The first record, which is the longest response where words were counted."""
    benchmark, record, _, variant, problem, value = rows[0]
    assert isinstance(variant, str) and isinstance(problem, Problem) and isinstance(value, Claim)
    slots: dict[str, Claim | str] = {"variant": variant, "value": value, "problem": problem.problem_id}
    longest = isinstance(record, Sentence) and record.key == "records.words"
    return Sentence("records.answer" if longest else "records.answer_other", slots | {"benchmark": str(benchmark)})
