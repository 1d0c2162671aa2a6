"""Perplexity of every checkpoint on one text, and how far it is from the unquantized one window by window."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from qrm_forensics.compare import Interval, mean_interval
from qrm_forensics.report.claims import count, where, with_interval
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.perplexity import ANALYSIS, perplexity_table, told_of
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Column, Part, Section, Table, Value

_METHOD = "bootstrap-windows"


def build(material: Material) -> Iterable[Section]:
    """One section where perplexity was measured."""
    store = material.run.store
    table = perplexity_table(store)
    means = {v: own["nll"].to_numpy(np.float64) for v, own in table.groupby("variant", sort=False)}
    shown = [v for v in material.run.variants if v in means]
    if not shown:
        return
    figures = {v: _figure(material, v, means[v]) for v in shown}
    rows: list[tuple[Value, ...]] = []
    for variant in shown:
        base = store.baseline
        same_model = base in figures and material.run.variants[base].model == material.run.variants[variant].model
        change = (
            _change(material, variant, base, means) if base is not None and base != variant and same_model else None
        )
        number = count(
            *(f"perplexity/{variant}/windows", len(means[variant]), "definition.perplexity_windows"),
            table=ANALYSIS,
            filter=where(variant=variant),
        )
        rows.append((variant, figures[variant], change, material.add(number)))
    low, high = (pick(shown, key=lambda v: float(figures[v].value or 0)) for pick in (min, max))
    kept = store.analysis(ANALYSIS, derived=False)
    lengths = {int(told["length"]) for told in told_of(store).values() if told.get("length")}
    words = {"corpus": str(kept[1]["corpus"]) if kept else "", "length": ", ".join(map(str, sorted(lengths)))}
    slots: dict[str, Claim | str] = {
        "variant": low,
        "perplexity": figures[low],
        "other": high,
        "highest": figures[high],
    }
    yield Section(
        name="perplexity",
        part=Part.EXECUTIVE,
        benchmark=None,
        title=Sentence("perplexity.title", {"corpus": words["corpus"]}),
        answer=(
            Sentence("perplexity.answer", slots)
            if len(shown) > 1
            else Sentence("perplexity.answer_one", {"variant": low, "perplexity": figures[low]}),
        ),
        tables=(
            Table(
                "perplexity",
                (
                    Column("variant", Sentence("ui.variant")),
                    Column("perplexity", Sentence("perplexity.column"), "ci"),
                    Column("change", Sentence("perplexity.change"), "ci"),
                    Column("windows", Sentence("perplexity.windows")),
                ),
                tuple(rows),
                Sentence("perplexity.caption", dict(words)),
            ),
        ),
        notes=(Sentence("perplexity.note"),),
    )


def _figure(material: Material, variant: str, means: np.ndarray[Any, np.dtype[np.float64]]) -> Claim:
    made = Claim(
        *(f"perplexity/{variant}", math.exp(float(means.mean())), Unit.PLAIN, "definition.perplexity"),
        denominator=len(means),
        table=ANALYSIS,
        filter=where(variant=variant),
    )
    found = mean_interval(means)
    interval = None if found is None else Interval(math.exp(found.low), math.exp(found.high))
    return material.add(with_interval(made, interval, _METHOD))


def _change(
    material: Material, variant: str, base: str, means: dict[Any, np.ndarray[Any, np.dtype[np.float64]]]
) -> Claim | None:
    """Mean difference of the negative log-likelihood, window by window; None where the windows are not the same."""
    if len(means[variant]) != len(means[base]):
        return None
    apart = means[variant] - means[base]
    made = Claim(
        *(f"perplexity/{variant}/change", float(apart.mean()), Unit.PLAIN, "definition.perplexity_change"),
        denominator=len(apart),
        table=ANALYSIS,
        filter=where(variant=[variant, base]),
    )
    return material.add(with_interval(made, mean_interval(apart), _METHOD))
