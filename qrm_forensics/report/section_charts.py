"""Charts of sections as Plotly figures: one drawing per look, whatever the section."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qrm_forensics.report.charts import DASHES, LINES, Figure, axis_label, bar, base_layout, scatter
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.nouns import Sentence, Unit
from qrm_forensics.report.sections.model import Chart, Look, Section, Series

#: Units that are stored as 0..1 and read in percent.
_PERCENT = (Unit.SHARE, Unit.POINTS)
#: Patterns tell bars apart without colour.
_PATTERNS = ("", "/", ".", "x", "-", "\\", "+", "|")
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "cross", "star", "hexagon")


def chart_id(section: Section, chart: Chart) -> str:
    """``<benchmark or nothing>/section/<section>/<chart>``."""
    return f"{section.benchmark or ''}/section/{section.name}/{chart.name}"


def section_figures(sections: Sequence[Section], texts: Texts) -> dict[str, Figure]:
    """Chart id to figure, for every chart of the sections."""
    return {chart_id(section, chart): draw(chart, texts) for section in sections for chart in section.charts}


def draw(chart: Chart, texts: Texts) -> Figure:
    """A figure in percent where the unit is a share, with texts in the language and names escaped."""
    make: Callable[[Chart, Texts, int, Series], dict[str, Any]] = {
        Look.BARS: _bars,
        Look.STACKED: _bars,
        Look.LINES: _line,
        Look.STEPS: _line,
        Look.POINTS: _points,
    }[chart.look]
    traces = [make(chart, texts, i, series) for i, series in enumerate(chart.series)]
    legend = len(chart.series) > 1
    # one row per name in horizontal bars, else a picture of a fixed height
    rows = len(dict.fromkeys(map(str, chart.series[0].x))) if chart.horizontal and chart.series else 7
    grouped = len(chart.series) if chart.look is Look.BARS and chart.horizontal else 1
    made = base_layout(max(2, rows * (grouped + 1) // 2), legend=legend)
    if chart.look in (Look.BARS, Look.STACKED):
        made |= {"barmode": "stack" if chart.look is Look.STACKED else "group", "bargap": 0.35}
    horizontal = chart.horizontal
    for axis, unit, title in (("x", chart.x_unit, chart.x_title), ("y", chart.y_unit, chart.y_title)):
        name = f"{'y' if (axis == 'x') == horizontal else 'x'}axis"
        if title is not None:
            made[name]["title"] = {"text": axis_label(texts.sentence(title)), "font": {"size": 12}}
        if unit in _PERCENT:
            made[name]["ticksuffix"] = "%"
    values = made["xaxis" if horizontal else "yaxis"]
    if chart.look is not Look.POINTS:
        values["rangemode"] = "tozero"
    names = made["yaxis" if horizontal else "xaxis"]
    if any(isinstance(x, str | Sentence) for series in chart.series for x in series.x):
        names |= {"type": "category", "showgrid": False} | ({"autorange": "reversed"} if horizontal else {})
    elif chart.log_x:
        names["type"] = "log"
    return {"data": traces, "layout": made}


def _name(value: str | Sentence, texts: Texts) -> str:
    return axis_label(texts.sentence(value) if isinstance(value, Sentence) else value)


def _scaled(values: Sequence[float | None], unit: Unit) -> list[float | None]:
    by = 100.0 if unit in _PERCENT else 1.0
    return [None if v is None else by * v for v in values]


def _x(chart: Chart, texts: Texts, series: Series) -> list[str | float]:
    by = 100.0 if chart.x_unit in _PERCENT else 1.0
    return [by * x if isinstance(x, int | float) else _name(x, texts) for x in series.x]


def _printed(chart: Chart, texts: Texts, series: Series) -> list[list[str]]:
    """For the hover text: name of the point, its value, its interval."""
    rows = []
    for i, y in enumerate(series.y):
        x = series.x[i]
        named = series.labels[i] if series.labels else None
        at = axis_label(named) if named else (
            texts.numbers.value(x, chart.x_unit) if isinstance(x, int | float) else _name(x, texts)
        )  # fmt: skip
        low, high = (v[i] if v else None for v in (series.low, series.high))
        span = (
            ""
            if low is None or high is None
            else f" ({texts.numbers.value(low, chart.y_unit)} … {texts.numbers.value(high, chart.y_unit)})"
        )
        rows.append([at, texts.numbers.value(y, chart.y_unit), span])
    return rows


_HOVER = "%{customdata[0]}<br><b>%{customdata[1]}</b>%{customdata[2]}<extra>%{fullData.name}</extra>"


def _errors(chart: Chart, series: Series, colour: str) -> dict[str, Any]:
    if not series.low or not series.high:
        return {}
    y, low, high = (_scaled(v, chart.y_unit) for v in (series.y, series.low, series.high))
    above = [0.0 if a is None or b is None else max(0.0, b - a) for a, b in zip(y, high, strict=True)]
    below = [0.0 if a is None or b is None else max(0.0, a - b) for a, b in zip(y, low, strict=True)]
    bars = {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": colour, "thickness": 1.3}
    return {"error_x" if chart.horizontal else "error_y": bars | {"width": 3}}


def _bars(chart: Chart, texts: Texts, i: int, series: Series) -> dict[str, Any]:
    x, y = _x(chart, texts, series), _scaled(series.y, chart.y_unit)
    colour = LINES[i % len(LINES)]
    pattern = {"shape": _PATTERNS[i % len(_PATTERNS)], "fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.35)"}
    return bar(
        name=_name(series.name, texts),
        x=y if chart.horizontal else x,
        y=x if chart.horizontal else y,
        orientation="h" if chart.horizontal else "v",
        marker={"color": colour, "pattern": pattern | {"size": 5}, "line": {"width": 0}},
        customdata=_printed(chart, texts, series),
        hovertemplate=_HOVER,
        **_errors(chart, series, "#5b6472"),
    )


def _line(chart: Chart, texts: Texts, i: int, series: Series) -> dict[str, Any]:
    colour = LINES[i % len(LINES)]
    shape = "hv" if chart.look is Look.STEPS else "linear"
    return scatter(
        name=_name(series.name, texts),
        x=_x(chart, texts, series),
        y=_scaled(series.y, chart.y_unit),
        mode="lines" if len(series.x) > 12 or chart.look is Look.STEPS else "lines+markers",
        line={"shape": shape, "width": 2, "color": colour, "dash": DASHES[i % len(DASHES)]},
        customdata=_printed(chart, texts, series),
        hovertemplate=_HOVER,
        **_errors(chart, series, colour),
    )


def _points(chart: Chart, texts: Texts, i: int, series: Series) -> dict[str, Any]:
    colour = LINES[i % len(LINES)]
    x, y = _x(chart, texts, series), _scaled(series.y, chart.y_unit)
    labels = {"text": [axis_label(t) for t in series.labels], "textposition": "top center"} if series.labels else {}
    return scatter(
        name=_name(series.name, texts),
        x=y if chart.horizontal else x,
        y=x if chart.horizontal else y,
        mode="markers+text" if series.labels else "markers",
        marker={"color": colour, "size": 9, "symbol": _SYMBOLS[i % len(_SYMBOLS)]},
        customdata=_printed(chart, texts, series),
        hovertemplate=_HOVER,
        **labels,
        **_errors(chart, series, colour),
    )
