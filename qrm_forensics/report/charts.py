"""Charts of a report as Plotly figures in plain data: traces and layout, no theme, nothing drawn.

Each figure repeats a table of the report, so nothing is known from a chart alone.
Colours (Okabe and Ito, 2008) can be told apart by readers with colour-vision
deficiency and by lightness; text and grid colours are set by the page, which knows
whether it is light or dark.  Figures are written as the dicts that Plotly reads, which is much faster
than its classes; tests hold every one against those classes.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from qrm_forensics.records import Coverage
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.model import BenchmarkReport, Cell, Claim, Distribution, Overlap, Unit
from qrm_forensics.report.numbers import ABSENT

Figure = dict[str, Any]

BLUE, VERMILION, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#e69f00", "#009e73", "#8a919e"
ROW = 34  #: height of one variant's row, px
#: An overlap has up to 2^k cells; the chart draws the largest of them and the table has all.
OVERLAP_COLUMNS = 24


def figures(benchmark: BenchmarkReport, texts: Texts) -> dict[str, Figure]:
    """Chart id (``<benchmark>/<what>``) to figure, only those that have something to show."""
    drawn: dict[str, Figure | None] = {
        "accuracy": accuracy(benchmark, texts),
        "outcomes": outcomes(benchmark, texts),
        "causes": causes(benchmark, texts),
        "onset_curve": onset_curves(benchmark, texts),
    }
    for i, overlap in enumerate(benchmark.overlaps):
        drawn[f"overlap/{i}"] = upset(overlap, benchmark.reference, texts)
    for distribution in benchmark.distributions:
        label = texts.column(distribution.column)
        drawn[f"distribution/{distribution.column}"] = ridges(distribution, benchmark.reference, label, texts)
    return {f"{benchmark.name}/{name}": figure for name, figure in drawn.items() if figure is not None}


def accuracy(benchmark: BenchmarkReport, texts: Texts) -> Figure | None:
    """Accuracy with its 95 % interval, one row per variant, one marker per policy."""
    traces = []
    used = dict.fromkeys(policy for c in benchmark.cells for policy in c.accuracy)
    looks = ((BLUE, "circle", 0.13), (VERMILION, "diamond-open", -0.13))
    styles = [(policy, *look) for policy, look in zip(used, looks, strict=False)]
    estimated = [c for c in benchmark.cells if any(_known(c.accuracy.get(policy)) for policy, *_ in styles)]
    order = [c.variant for c in estimated][::-1]
    for policy, colour, symbol, offset in styles:
        pairs = [(c.variant, claim) for c in estimated if (claim := _known(c.accuracy.get(policy))) is not None]
        if not pairs:
            continue
        traces.append(
            scatter(
                name=texts.text(f"policy.{policy}"),
                x=[100 * _number(claim) for _, claim in pairs],
                y=[order.index(name) + offset for name, _ in pairs],
                customdata=[
                    [axis_label(name), texts.numbers.claim(claim), texts.numbers.interval(claim)]
                    for name, claim in pairs
                ],
                hovertemplate="%{customdata[0]}<br><b>%{customdata[1]}</b> (%{customdata[2]})<extra>%{fullData.name}</extra>",
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 9, "line": {"width": 1.8, "color": colour}},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [
                        100 * max(0.0, (c.ci_high if c.ci_high is not None else _number(c)) - _number(c))
                        for _, c in pairs
                    ],
                    "arrayminus": [
                        100 * max(0.0, _number(c) - (c.ci_low if c.ci_low is not None else _number(c)))
                        for _, c in pairs
                    ],
                    "color": colour,
                    "thickness": 1.6,
                    "width": 4,
                },
            )
        )
    if not traces:
        return None
    layout = base_layout(len(order), legend=True)
    layout["xaxis"] |= {"range": [0, 100.5], "ticksuffix": "%", "dtick": 20}
    layout["yaxis"] |= {
        "tickvals": list(range(len(order))),
        "ticktext": [axis_label(name) for name in order],
        "range": [-0.6, len(order) - 0.4],
        "showgrid": False,
    }
    return {"data": traces, "layout": layout}


def outcomes(benchmark: BenchmarkReport, texts: Texts) -> Figure | None:
    """Share of responses that were right, wrong, without an answer, or not judged (by the first policy).

    A subset that somebody selected is left out: its shares describe the selection.
    """
    cells = [c for c in benchmark.cells if c.coverage is not Coverage.SELECTED and _counts(c) is not None][::-1]
    if not cells:
        return None
    counts = [_counts(c) or {} for c in cells]
    names = [axis_label(c.variant) for c in cells]
    styles = {"correct": (BLUE, ""), "wrong": (VERMILION, "/"), "missing": (ORANGE, "."), "unscored": (GREY, "x")}
    traces = []
    for status, (colour, pattern) in styles.items():
        values = [row[status] for row in counts]
        if not any(values):
            continue
        traces.append(
            bar(
                name=texts.text(f"status.{status}"),
                y=names,
                x=[100 * v / sum(row.values()) for v, row in zip(values, counts, strict=True)],
                orientation="h",
                customdata=[
                    [texts.numbers.value(v, Unit.COUNT), texts.numbers.value(sum(row.values()), Unit.COUNT)]
                    for v, row in zip(values, counts, strict=True)
                ],
                hovertemplate="%{y}<br><b>%{customdata[0]}</b>/%{customdata[1]}<extra>%{fullData.name}</extra>",
                marker={
                    "color": colour,
                    "pattern": {
                        "shape": pattern,
                        "fillmode": "overlay",
                        "fgcolor": "rgba(255,255,255,0.35)",
                        "size": 5,
                    },
                    "line": {"width": 0},
                },
            )
        )
    layout = base_layout(len(cells), legend=True) | {"barmode": "stack", "bargap": 0.45}
    layout["xaxis"] |= {"range": [0, 100], "ticksuffix": "%", "dtick": 20}
    layout["yaxis"] |= {"showgrid": False, "type": "category"}
    return {"data": traces, "layout": layout}


#: Colour and pattern of every outcome, good ones blue, failures by kind.
_OUTCOME_STYLES = {
    "correct": (BLUE, ""),
    "correct_after_recovered_loop": ("#56b4e9", "/"),
    "right_answer_wrong_format": (GREEN, "."),
    "reached_right_then_lost": ("#f0e442", "/"),
    "wrong_false_equation": (ORANGE, ""),
    "wrong_no_visible_slip": (ORANGE, "/"),
    "closed_no_answer": ("#cc79a7", ""),
    "ran_out_without_loop": ("#cc79a7", "/"),
    "looped_to_limit": (VERMILION, ""),
    "gibberish_collapse": (VERMILION, "x"),
    "empty_or_error": ("#5b6472", "x"),
    "unassigned": (GREY, "."),
}


def causes(benchmark: BenchmarkReport, texts: Texts) -> Figure | None:
    """Outcomes of each variant, stacked to 100 %; sets that somebody selected are left out."""
    selected = {c.variant for c in benchmark.cells if c.coverage is Coverage.SELECTED}
    rows = [r for r in benchmark.outcomes if r.variant not in selected and _count(r.total)][::-1]
    if not rows:
        return None
    names = [axis_label(r.variant) for r in rows]
    totals = [_number(r.total) for r in rows]
    traces = []
    for outcome, (colour, pattern) in _OUTCOME_STYLES.items():
        claims = [r.counts[outcome] for r in rows]
        if not any(c.value for c in claims):
            continue
        traces.append(
            bar(
                name=texts.text(f"outcome.{outcome}.label"),
                y=names,
                x=[100 * _number(c) / n for c, n in zip(claims, totals, strict=True)],
                orientation="h",
                customdata=[
                    [texts.numbers.claim(c), texts.numbers.value(n, Unit.COUNT)]
                    for c, n in zip(claims, totals, strict=True)
                ],
                hovertemplate="%{y}<br><b>%{customdata[0]}</b>/%{customdata[1]}<extra>%{fullData.name}</extra>",
                marker={
                    "color": colour,
                    "pattern": {"shape": pattern, "fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.4)", "size": 5},
                    "line": {"width": 0},
                },
            )
        )
    layout = base_layout(len(rows), legend=True) | {"barmode": "stack", "bargap": 0.45}
    layout["height"] += 22 * (len(traces) // 4)
    layout["margin"]["t"] += 22 * (len(traces) // 4)
    layout["xaxis"] |= {"range": [0, 100], "ticksuffix": "%", "dtick": 20}
    layout["yaxis"] |= {"showgrid": False, "type": "category"}
    return {"data": traces, "layout": layout}


LINES = (BLUE, VERMILION, GREEN, ORANGE, "#cc79a7", "#56b4e9", GREY, "#f0e442")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def onset_curves(benchmark: BenchmarkReport, texts: Texts) -> Figure | None:
    """Share of responses that have begun to loop by a number of tokens, one line per variant with a loop."""
    shown = [o for o in benchmark.onsets if o.loops and o.looped]
    if not shown:
        return None
    traces = []
    for i, onset in enumerate(shown):
        points = [(0, 0.0), *onset.looped]
        traces.append(
            scatter(
                name=axis_label(onset.variant),
                x=[t for t, _ in points],
                y=[100 * y for _, y in points],
                mode="lines",
                line={"shape": "hv", "width": 2, "color": LINES[i % len(LINES)], "dash": DASHES[i % len(DASHES)]},
                hovertemplate="%{x:,} "
                + texts.text("chart.tokens")
                + "<br><b>%{y:.1f}%</b><extra>%{fullData.name}</extra>",
            )
        )
    layout = base_layout(6, legend=True)
    layout["xaxis"] |= {"rangemode": "tozero", "title": {"text": texts.text("chart.tokens"), "font": {"size": 12}}}
    layout["yaxis"] |= {"rangemode": "tozero", "ticksuffix": "%"}
    return {"data": traces, "layout": layout}


def upset(overlap: Overlap, reference: str | None, texts: Texts) -> Figure | None:
    """Which variants are right together: bars over a matrix of dots (UpSet; Lex et al., 2014)."""
    rows = sorted((r for r in overlap.rows if r.count.value), key=lambda r: -_number(r.count))[:OVERLAP_COLUMNS]
    if not rows:
        return None
    variants = overlap.variants
    at = variants.index(reference) if reference in variants else None
    kinds = [_kind(row.right, at) for row in rows]
    colours = {"all": BLUE, "none": GREY, "lost": VERMILION, "gained": GREEN, "some": ORANGE}
    traces = [
        bar(
            name=texts.text(f"chart.overlap.{kind}"),
            x=own,
            y=[rows[i].count.value for i in own],
            text=[texts.numbers.claim(rows[i].count) for i in own],
            textposition="outside",
            cliponaxis=False,
            marker={"color": colour},
            width=0.56,
            hovertext=[_right_names(variants, rows[i].right) for i in own],
            hovertemplate="%{hovertext}<br><b>%{y}</b><extra></extra>",
        )
        for kind, colour in colours.items()
        if (own := [i for i, k in enumerate(kinds) if k == kind])
    ]
    dots = {"mode": "markers", "xaxis": "x", "yaxis": "y2", "hoverinfo": "skip", "showlegend": False}
    lines = dots | {"mode": "lines", "line": {"color": GREY, "width": 2}}
    everywhere = [(x, y) for x in range(len(rows)) for y in range(len(variants))]
    right = [(x, y) for x, y in everywhere if rows[x].right[y]]
    spans = [(x, [y for y, yes in enumerate(row.right) if yes]) for x, row in enumerate(rows)]
    traces += [scatter(x=[x, x], y=[on[0], on[-1]], **lines) for x, on in spans if len(on) > 1]
    faint = {"color": "rgba(138,145,158,0.3)", "size": 9}
    traces.append(scatter(x=[x for x, _ in everywhere], y=[y for _, y in everywhere], marker=faint, **dots))
    strong = {"color": [colours[kinds[x]] for x, _ in right], "size": 10}
    traces.append(scatter(x=[x for x, _ in right], y=[y for _, y in right], marker=strong, **dots))
    layout = base_layout(len(variants), legend=True)
    bars, matrix = 170, 26 * len(variants)
    split = matrix / (bars + matrix)
    layout["height"] = bars + matrix + 70
    layout["xaxis"] |= {"showticklabels": False, "showgrid": False, "range": [-0.6, max(len(rows), 10) - 0.4]}
    layout["yaxis2"] = layout["yaxis"] | {
        "domain": [0, split - 0.02],
        "tickvals": list(range(len(variants))),
        "ticktext": [axis_label(v) for v in variants],
        "range": [len(variants) - 0.4, -0.6],
        "showgrid": False,
    }
    layout["yaxis"] |= {"domain": [split + 0.02, 1], "rangemode": "tozero", "nticks": 5}
    layout["xaxis"] |= {"anchor": "y2"}
    layout["margin"]["b"] = 8
    return {"data": traces, "layout": layout}


def ridges(distribution: Distribution, reference: str | None, label: str, texts: Texts) -> Figure | None:
    """One small histogram per variant, same bins and scale: shares of its responses; the reference in outline."""
    shown = [v for v, n in distribution.n.items() if n]
    if not shown:
        return None
    scale = 100.0 if distribution.unit is Unit.SHARE else 1.0
    edges = [scale * e for e in distribution.edges]
    bins = list(pairwise(edges))
    height = {v: [100 * c / distribution.n[v] for c in distribution.counts[v]] for v in shown}
    top = 1.08 * max(max(h) for h in height.values())
    spans = [" – ".join(texts.numbers.value(round(edge, 2), Unit.PLAIN) for edge in one) for one in bins]
    layout = base_layout(1)
    layout["height"] = 62 * len(shown) + 56
    axis = layout.pop("yaxis")
    layout["xaxis"] |= {
        "anchor": f"y{len(shown)}" if len(shown) > 1 else "y",
        "ticksuffix": "%" if scale == 100.0 else "",
        "range": [edges[0], edges[-1]],
        "title": {"text": axis_label(label), "font": {"size": 12}},
    }
    traces = []
    for i, variant in enumerate(shown):
        number = "" if i == 0 else str(i + 1)
        place = {"xaxis": "x", "yaxis": f"y{number}", "showlegend": False}
        n = texts.text("chart.n", n=distribution.n[variant])
        layout[f"yaxis{number}"] = axis | {
            "domain": [1 - (i + 0.88) / len(shown), 1 - i / len(shown)],
            "range": [0, top],
            "tickvals": [top / 2],
            "ticktext": [f"{axis_label(variant)}<br>{n}"],
            "showgrid": False,
        }
        traces.append(
            bar(
                x=[(a + b) / 2 for a, b in bins],
                width=[b - a for a, b in bins],
                y=height[variant],
                marker={"color": GREY if variant == reference else BLUE, "opacity": 0.8},
                customdata=[
                    [span, texts.numbers.value(c, Unit.COUNT)]
                    for span, c in zip(spans, distribution.counts[variant], strict=True)
                ],
                hovertemplate="%{customdata[0]}<br><b>%{y:.1f}%</b> (%{customdata[1]})"
                f"<extra>{axis_label(variant)}</extra>",
                **place,
            )
        )
        if reference in height and variant != reference:
            steps = height[reference]
            outline = {"shape": "hv", "width": 1.3, "color": "#5b6472"}
            points = {"x": [edges[0], *edges], "y": [0, *steps, steps[-1]]}
            traces.append(scatter(mode="lines", line=outline, hoverinfo="skip", **points, **place))
    layout |= {"bargap": 0, "barmode": "overlay"}
    return {"data": traces, "layout": layout}


def _kind(right: tuple[bool, ...], reference: int | None) -> str:
    if all(right):
        return "all"
    if not any(right):
        return "none"
    if reference is None:
        return "some"
    return "lost" if right[reference] else "gained"


def base_layout(rows: int, *, legend: bool = False) -> dict[str, Any]:
    return {
        "height": ROW * rows + (120 if legend else 70),
        "margin": {"l": 8, "r": 18, "t": 34 if legend else 8, "b": 34},
        "font": {"size": 12},
        "showlegend": legend,
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.0,
            "yanchor": "bottom",
            "traceorder": "normal",
        },
        "hoverlabel": {"align": "left"},
        "xaxis": {"automargin": True, "zeroline": False, "fixedrange": False, "tickformat": ",~r"},
        "yaxis": {"automargin": True, "zeroline": False, "ticks": "", "tickformat": ",~r"},
    }


def scatter(**options: Any) -> dict[str, Any]:
    return {"type": "scatter", **options}


def bar(**options: Any) -> dict[str, Any]:
    return {"type": "bar", **options}


def _right_names(variants: Sequence[str], right: Sequence[bool]) -> str:
    return ", ".join(axis_label(v) for v, yes in zip(variants, right, strict=True) if yes) or ABSENT


def _counts(cell: Cell) -> dict[str, int] | None:
    """Responses by status under the first policy; None where nothing was judged."""
    policy = next(iter(cell.correct), "")
    claims = {
        "n": cell.n,
        "correct": cell.correct.get(policy),
        "missing": cell.missing.get(policy),
        "unscored": cell.unscored.get(policy),
    }
    known = {name: _count(claim) for name, claim in claims.items()}
    n, correct, missing, unscored = (known[k] for k in ("n", "correct", "missing", "unscored"))
    if n is None or correct is None or missing is None or unscored is None or n == 0:
        return None
    return {"correct": correct, "wrong": n - correct - missing - unscored, "missing": missing, "unscored": unscored}


def _count(claim: Claim | None) -> int | None:
    """The count behind a claim that is a count or a share of responses."""
    if claim is None:
        return None
    if claim.unit is Unit.COUNT:
        return None if claim.value is None else int(claim.value)
    return claim.numerator


def _known(claim: Claim | None) -> Claim | None:
    return claim if claim is not None and claim.value is not None else None


def _number(claim: Claim) -> float:
    if claim.value is None:
        raise ValueError(f"claim {claim.id} has no value")
    return float(claim.value)


def axis_label(text: str) -> str:
    """Plotly reads a little HTML in labels; names come from folders, so they are escaped."""
    return html.escape("".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text), quote=False)
