"""Bits by methods over the benchmarks: accuracy, average, drop, and the class of the drop.

The classes are those of "Quantization Hurts Reasoning?" (arXiv 2504.04823, section 3.2): a drop of the average of at
most one point is lossless, below three points fair, else risky.  Beside the class of the estimate stands what
the interval of the drop allows, which that paper does not give.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from qrm_forensics.compare import Interval, mean_interval
from qrm_forensics.compare.bootstrap import RESAMPLES, SEED
from qrm_forensics.compare.resampling import Floats, bootstrap_sums
from qrm_forensics.recipes import Recipe
from qrm_forensics.records import Coverage
from qrm_forensics.report.claims import with_interval
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.pairs import shared_rows
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Chart, Column, Look, Part, Section, Series, Table, Value

#: Upper ends of the drop (a share) of the first two classes; the first includes its end, the second does not.
LOSSLESS, FAIR = 0.01, 0.03
CLASSES = ("lossless", "fair", "risky")
#: Differences of counts over the number of problems are exact but for rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class _Row:
    variant: str
    accuracy: tuple[Claim | None, ...]
    average: Claim | None
    drop: Claim | None


def drop_class(difference: float) -> str:
    """The class of a difference to the reference (a share; a drop is negative)."""
    if difference >= -LOSSLESS - _ROUNDING:
        return "lossless"
    return "fair" if difference > -FAIR + _ROUNDING else "risky"


def allowed(claim: Claim) -> str:
    """The classes that the interval of a drop reaches into, ``fair`` or ``lossless_fair`` or ``lossless_risky``."""
    assert claim.ci_low is not None and claim.ci_high is not None
    best, worst = drop_class(claim.ci_high), drop_class(claim.ci_low)
    return best if best == worst else f"{best}_{worst}"


def build(material: Material) -> Iterable[Section]:
    """One section over all benchmarks, per model; none for a model without a variant beside its reference."""
    run = material.run
    models = list(dict.fromkeys(v.model for v in run.variants.values()))
    for i, model in enumerate(models):
        section = _section(material, model, "grid" if len(models) == 1 else f"grid-{i + 1}")
        if section is not None:
            yield section


def _section(material: Material, model: str, name: str) -> Section | None:
    run = material.run
    members = [v for v in run.variants if run.variants[v].model == model]
    compared = _compared(material, members)
    if not compared:
        return None
    # the benchmarks on which every variant that is compared anywhere is compared, with its own reference
    shared = tuple(b for b in run.benchmarks if all(b in benchmarks for benchmarks in compared.values()))
    references = {material.references[b][v] for v, benchmarks in compared.items() for b in benchmarks}
    shown = [v for v in members if v in compared or v in references]
    rows = [_row(material, variant, shown, shared, compared, references) for variant in shown]
    columns = (
        Column("bits", Sentence("grid.bits")),
        Column("method", Sentence("grid.method")),
        Column("variant", Sentence("ui.variant")),
        *(Column(f"accuracy_{b}", Sentence("grid.benchmark", {"benchmark": b}), "ci") for b in run.benchmarks),
        Column("average", Sentence("grid.average"), None),
        Column("drop", Sentence("grid.drop"), "ci"),
        Column("class", Sentence("grid.class")),
        Column("allowed", Sentence("grid.allowed")),
    )
    drops = {row.variant: row.drop for row in rows if row.drop is not None}
    return Section(
        name=name,
        part=Part.EXECUTIVE,
        benchmark=None,
        title=Sentence("grid.title_model", {"model": model}) if name != "grid" else Sentence("grid.title"),
        answer=_answer(material, name, drops, shared),
        charts=(_chart(drops),) if drops else (),
        tables=(
            Table(name, columns, tuple(_cells(run_recipe(material, row.variant), row) for row in rows), _caption()),
        ),
        notes=_notes(material, members, shown, shared),
    )


def run_recipe(material: Material, variant: str) -> Recipe:
    return Recipe.parse(material.run.variants[variant].recipe)


def _compared(material: Material, members: list[str]) -> dict[str, list[str]]:
    """Variant -> benchmarks on which it shares unselected judged problems with its reference."""
    policy = material.run.policy
    found: dict[str, list[str]] = {}
    for benchmark, variant in material.evidence.pairs.get(policy, {}):
        if variant in members:
            found.setdefault(variant, []).append(benchmark)
    return {v: found[v] for v in members if v in found}


def _row(
    material: Material,
    variant: str,
    shown: list[str],
    shared: tuple[str, ...],
    compared: dict[str, list[str]],
    references: set[str],
) -> _Row:
    policy = material.run.policy
    cells = {r.name: next((c for c in r.cells if c.variant == variant), None) for r in material.reports}
    accuracy = tuple(cell.accuracy[policy] if (cell := cells[r.name]) is not None else None for r in material.reports)
    drop = _drop(material, variant, shared) if variant in compared and variant not in references and shared else None
    return _Row(variant, accuracy, _average(material, variant, shown, shared), drop)


def _average(material: Material, variant: str, shown: list[str], shared: tuple[str, ...]) -> Claim | None:
    """Mean of the accuracies over the shared benchmarks, where all variants answered the same part of each."""
    policy = material.run.policy
    cells = [c for r in material.reports if r.name in shared for c in r.cells if c.variant == variant]
    values = [a.value for c in cells if (a := c.accuracy[policy]) is not None and a.value is not None]
    parts = [{material.run.benchmarks[b].coverage.get(v) for v in shown} for b in shared]
    if not shared or len(values) != len(shared) or any(len(part) > 1 for part in parts):
        return None
    ids = [a.id for c in cells if (a := c.accuracy[policy]) is not None]
    return material.add(
        Claim(
            *(f"grid/{variant}/average", float(np.mean(values)), Unit.SHARE, "definition.grid_average"),
            denominator=len(values),
            table="claims",
            filter=f"id in {ids!r}",
        )
    )


def _drop(material: Material, variant: str, shared: tuple[str, ...]) -> Claim:
    """Mean over the shared benchmarks of the paired difference; of one benchmark its own difference."""
    policy = material.run.policy
    pairs = [material.evidence.pairs[policy][benchmark, variant].pair for benchmark in shared]
    ids = [pair.difference.id for pair in pairs]
    claim = Claim(
        *(f"grid/{variant}/drop", None, Unit.POINTS, "definition.grid_drop"),
        denominator=len(pairs),
        table="claims",
        filter=f"id in {ids!r}",
    )
    value = float(np.mean([float(pair.difference.value or 0) for pair in pairs]))
    made = Claim(
        claim.id, value, claim.unit, claim.definition, denominator=len(pairs), table="claims", filter=claim.filter
    )
    if len(pairs) == 1:
        only = pairs[0].difference
        interval = None if only.ci_low is None or only.ci_high is None else Interval(only.ci_low, only.ci_high)
        return material.add(with_interval(made, interval, only.ci_method or ""))
    moved = []
    for pair in pairs:
        data = material.run.benchmarks[pair.benchmark]
        x, y = data.right(pair.reference, policy), data.right(variant, policy)
        rows = shared_rows(x, y)
        moved.append(data.by_problem(y, rows)[1] - data.by_problem(x, rows)[1])
    if any(np.ptp(column) == 0 for column in moved):
        # A bootstrap of problems that all moved alike has no width, however few they are.
        return material.add(with_interval(made, joined_interval([pair.difference for pair in pairs]), "mover"))
    return material.add(with_interval(made, mean_of_means_interval(moved), "bootstrap-problems"))


def joined_interval(differences: Sequence[Claim]) -> Interval | None:
    """95 % interval of the mean of independent differences, from the interval of each.

    The distances of the limits from the estimates are squared and added (MOVER: Zou and Donner, Statistics in Medicine 27, 2008).
    None where one has no interval, or one without width, which is that of a bootstrap of values that are all alike.
    """
    below, above = [], []
    for claim in differences:
        if claim.value is None or claim.ci_low is None or claim.ci_high is None or claim.ci_low == claim.ci_high:
            return None
        below.append(claim.value - claim.ci_low)
        above.append(claim.ci_high - claim.value)
    k = len(differences)
    mean = sum(float(claim.value or 0) for claim in differences) / k
    return Interval(mean - math.hypot(*below) / k, mean + math.hypot(*above) / k)


def mean_of_means_interval(values: list[Floats]) -> Interval | None:
    """95 % percentile interval of the mean of several means, resampling each set of problems on its own.

    ``values``: per benchmark the per-problem values, [n_i] each; None where one has fewer than two problems.
    """
    if len(values) == 1:
        return mean_interval(values[0])
    if min(map(len, values)) < 2:
        return None
    means = [
        bootstrap_sums(column[:, None], RESAMPLES, SEED + i)[:, 0] / len(column) for i, column in enumerate(values)
    ]
    low, high = np.percentile(np.mean(means, axis=0), [2.5, 97.5])
    return Interval(float(low), float(high))


def _cells(recipe: Recipe, row: _Row) -> tuple[Value, ...]:
    bits = "-".join(
        str(b or (32 if recipe.method == "fp32" else 16))
        for b in (recipe.weight_bits, recipe.activation_bits, recipe.kv_bits)
    )
    if row.drop is None or row.drop.value is None:
        kinds: tuple[Value, Value] = (None, None)
    else:
        known = row.drop.ci_low is not None
        kinds = (
            Sentence(f"grid.class_{drop_class(float(row.drop.value))}"),
            Sentence(f"grid.class_{allowed(row.drop)}") if known else None,
        )
    return (bits, recipe.method, row.variant, *row.accuracy, row.average, row.drop, *kinds)


def _answer(material: Material, name: str, drops: dict[str, Claim], shared: tuple[str, ...]) -> tuple[Sentence, ...]:
    if not drops:
        return (Sentence("grid.answer_none", severity="warning"),)
    ids = f"id in {[claim.id for claim in drops.values()]!r}"
    low, high = -LOSSLESS - _ROUNDING, -FAIR + _ROUNDING
    queries = {
        "lossless": f"{ids} and value >= {low!r}",
        "fair": f"{ids} and value < {low!r} and value > {high!r}",
        "risky": f"{ids} and value <= {high!r}",
        "settled": f"{ids} and (ci_low >= {low!r} or ci_high <= {high!r} or (ci_low > {high!r} and ci_high < {low!r}))",
        "compared": ids,
    }
    kinds = [drop_class(float(claim.value or 0)) for claim in drops.values()]
    numbers = {kind: kinds.count(kind) for kind in CLASSES}
    numbers["settled"] = sum(c.ci_low is not None and "_" not in allowed(c) for c in drops.values())
    numbers["compared"] = len(drops)
    slots: dict[str, Claim | str] = {
        kind: material.add(
            Claim(
                *(
                    f"{name}/number/{kind}",
                    numbers[kind],
                    Unit.COUNT,
                    f"definition.grid_{'compared' if kind == 'compared' else 'number'}",
                ),
                table="claims",
                filter=queries[kind],
            )
        )
        for kind in queries
    }
    tone = "warning" if numbers["settled"] < numbers["compared"] else "info"
    return (Sentence("grid.answer", slots | {"benchmarks": ", ".join(shared)}, tone),)


def _chart(drops: dict[str, Claim]) -> Chart:
    claims = tuple(drops.values())
    return Chart(
        name="drop",
        look=Look.POINTS,
        title=Sentence("grid.chart"),
        x_title=None,
        y_title=Sentence("grid.drop"),
        series=(
            Series(
                Sentence("grid.drop"),
                tuple(drops),
                tuple(claim.value for claim in claims),
                tuple(claim.ci_low for claim in claims),
                tuple(claim.ci_high for claim in claims),
            ),
        ),
        y_unit=Unit.POINTS,
        horizontal=True,
    )


def _caption() -> Sentence:
    return Sentence("grid.caption", {"lossless": f"{100 * LOSSLESS:g}", "fair": f"{100 * FAIR:g}"})


def _notes(material: Material, members: list[str], shown: list[str], shared: tuple[str, ...]) -> tuple[Sentence, ...]:
    run = material.run
    notes = []
    if not shared:
        notes.append(Sentence("grid.no_shared", severity="warning"))
    left = [v for v in members if v not in shown]
    if left:
        notes.append(Sentence("grid.left_out", {"variants": ", ".join(left)}))
    for b in shared:
        prefixes = [v for v in shown if run.benchmarks[b].coverage.get(v) is Coverage.PREFIX]
        if prefixes and len(prefixes) < len(shown):
            notes.append(Sentence("grid.prefix", {"variants": ", ".join(prefixes), "benchmark": b}, "warning"))
    return tuple(notes)
