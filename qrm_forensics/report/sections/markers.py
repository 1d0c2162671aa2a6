"""Do failed responses use other words of hesitation?  Every marker in right responses and in those that are not."""

from __future__ import annotations

from collections.abc import Iterable

from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.groups import Split, centre, leading, ratio_claims, splits
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Chart, Column, Look, Part, Section, Series, Table, Value

SECTION = "markers"


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark where a variant has both right responses and others."""
    run = material.run
    if "n_words" not in run.tables or not run.markers:
        return
    for data, _ in material.benchmarks():
        found = [s for s in splits(material, data) if len(s.not_right.measured("n_words"))]
        if found:
            yield _section(material, data, found)


def _section(material: Material, data: BenchmarkData, found: list[Split]) -> Section:
    markers = [m for m in material.run.markers if data.frame[m].sum() > 0]
    ratios = {s.variant: ratio_claims(material, s, SECTION, markers, "n_words") for s in found}
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (
            split.variant,
            named(marker),
            *(
                material.ledger.get(f"marker/{data.name}/{split.variant}/{marker.removesuffix('_count')}/{kind}")
                for kind in ("right", "wrong")
            ),
            ratios[split.variant][marker],
            *(centre(material, group, SECTION, marker, "mean", Unit.PLAIN) for group in split.groups),
        )
        for split in found
        for marker in markers
        if any(group.frame[marker].sum() > 0 for group in split.groups)
    )
    heads = (
        Column("variant", Sentence("ui.variant")),
        Column("marker", Sentence("ui.marker")),
        Column("right_per_1000_words", Sentence("markers.right"), "ci"),
        Column("not_right_per_1000_words", Sentence("markers.not_right"), "ci"),
        Column("ratio", Sentence("markers.ratio"), "ci"),
        Column("right_per_response", Sentence("markers.right_mean"), "ci"),
        Column("not_right_per_response", Sentence("markers.not_right_mean"), "ci"),
    )
    worst = leading(found)
    assert worst is not None  # all of them have a response that is not right
    mine = {m: c for m, c in ratios[worst.variant].items() if c.value is not None}
    chart = Chart(
        name="markers",
        look=Look.POINTS,
        title=Sentence("markers.chart", {"variant": worst.variant}),
        x_title=None,
        y_title=Sentence("markers.ratio"),
        series=(
            Series(
                worst.variant,
                tuple(named(m) for m in mine),
                tuple(float(c.value or 0) for c in mine.values()),
                tuple(c.ci_low for c in mine.values()),
                tuple(c.ci_high for c in mine.values()),
            ),
        ),
        y_unit=Unit.RATIO,
        note=Sentence("markers.chart_note"),
        horizontal=True,
    )
    return Section(
        name=SECTION,
        part=Part.FAILURES,
        benchmark=data.name,
        title=Sentence("markers.title"),
        answer=(_answer(material, worst, ratios[worst.variant]),),
        charts=(chart,) if mine else (),
        tables=(Table("marker_ratios", heads, rows, Sentence("markers.caption")),) if rows else (),
        notes=(Sentence("markers.note"),),
    )


def named(column: str) -> str:
    """The marker that a column counts."""
    return column.removesuffix("_count").replace("_", " ")


def _answer(material: Material, split: Split, ratios: dict[str, Claim]) -> Sentence:
    """How many ratios are told apart from 1; counts of claims."""
    slots: dict[str, Claim | str] = {"variant": split.variant}
    if split.selected or not any(c.ci_low is not None for c in ratios.values()):
        return Sentence("markers.described", slots)
    starts = f"{SECTION}/{split.right.benchmark}/{split.variant}/"
    at = f"id.str.startswith({starts!r}) and id.str.endswith('/ratio')"
    for kind, number, rows in (
        ("compared", sum(c.ci_low is not None for c in ratios.values()), "ci_low.notna()"),
        ("more", sum(c.ci_low is not None and c.ci_low > 1 for c in ratios.values()), "ci_low > 1"),
        ("less", sum(c.ci_high is not None and c.ci_high < 1 for c in ratios.values()), "ci_high < 1"),
    ):
        claim = Claim(
            *(f"{starts}{kind}", number, Unit.COUNT, f"definition.markers_{kind}"),
            table="claims",
            filter=f"{at} and {rows}",
        )
        slots[kind] = material.add(claim)
    return Sentence("markers.answer", slots)
