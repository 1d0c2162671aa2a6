"""How each variant performs on a benchmark: accuracy, words, "Wait", diversity of words, as in the reference report."""

from __future__ import annotations

from collections.abc import Iterable

from qrm_forensics.report.claims import where
from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.model import BenchmarkReport, Cell
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Chart, Column, Look, Part, Section, Series, Table, Value
from qrm_forensics.report.sections.quantities import DIVERSITY, WAIT, WINDOWED, WORDS, Quantity, centre

#: Columns of the table: name, quantity, median or mean.
_MEASURED: tuple[tuple[str, Quantity, bool], ...] = (
    ("mean_words", WORDS, False),
    ("median_words", WORDS, True),
    ("mean_wait", WAIT, False),
    ("mean_diversity", DIVERSITY, False),
    ("mean_windowed_diversity", WINDOWED, False),
)


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark."""
    for data, report in material.benchmarks():
        yield _section(material, data, report)


def _section(material: Material, data: BenchmarkData, report: BenchmarkReport) -> Section:
    policy = material.run.policy
    measured = [(name, quantity, median) for name, quantity, median in _MEASURED if quantity.column(material.run, data)]
    columns = (
        Column("variant", Sentence("ui.variant")),
        Column("accuracy", Sentence("performance.accuracy"), "ci"),
        Column("correct", Sentence("performance.correct"), "fraction"),
        *(Column(name, Sentence(f"performance.{name}"), "ci") for name, _, _ in measured),
    )
    rows: list[tuple[Value, ...]] = []
    for cell in report.cells:
        values = [_measured(material, data, cell.variant, name, q, median) for name, q, median in measured]
        rows.append((cell.variant, cell.accuracy[policy], cell.correct[policy], *values))
    shown = {c.variant: a for c in report.cells if (a := c.accuracy[policy]) is not None and a.value is not None}
    return Section(
        name="performance",
        part=Part.RESULTS,
        benchmark=data.name,
        title=Sentence("performance.title"),
        answer=(_answer(data, report, policy, shown),),
        charts=(_bars(shown),) if shown else (),
        tables=(Table("performance", columns, tuple(rows), Sentence("performance.caption", {"policy": policy})),),
        notes=(Sentence("performance.diversity"),) if DIVERSITY.column(material.run, data) else (),
    )


def _measured(
    material: Material, data: BenchmarkData, variant: str, name: str, quantity: Quantity, median: bool
) -> Claim | None:
    found = centre(
        *(material.run, data, data.of(variant), quantity, f"performance/{data.name}/{variant}/{name}"),
        where(variant=variant, benchmark=data.name),
        median=median,
        selected=data.is_selected(variant),
    )
    return material.add(found) if found is not None else None


def _answer(data: BenchmarkData, report: BenchmarkReport, policy: str, shown: dict[str, Claim]) -> Sentence:
    """The range of the accuracies; of one the value; without any, how many are right of those that were selected."""
    if not shown:
        cell: Cell = report.cells[0]
        slots: dict[str, Claim | str] = {"variant": cell.variant, "correct": cell.correct[policy], "policy": policy}
        return Sentence("performance.answer_none", slots, "warning")
    order = sorted(shown, key=lambda v: float(shown[v].value or 0))
    common: dict[str, Claim | str] = {"benchmark": data.name, "policy": policy}
    if len(order) == 1:
        return Sentence("performance.answer_one", common | {"variant": order[0], "accuracy": shown[order[0]]})
    ends: dict[str, Claim | str] = {
        "variant": order[-1],
        "accuracy": shown[order[-1]],
        "other": order[0],
        "other_accuracy": shown[order[0]],
    }
    return Sentence("performance.answer", common | ends)


def _bars(shown: dict[str, Claim]) -> Chart:
    claims = tuple(shown.values())
    return Chart(
        name="accuracy",
        look=Look.BARS,
        title=Sentence("performance.chart"),
        x_title=None,
        y_title=Sentence("performance.accuracy"),
        series=(
            Series(
                Sentence("performance.accuracy"),
                tuple(shown),
                tuple(claim.value for claim in claims),
                tuple(claim.ci_low for claim in claims),
                tuple(claim.ci_high for claim in claims),
            ),
        ),
        y_unit=Unit.SHARE,
        horizontal=True,
    )
