"""The courses of a problem's responses as Plotly figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qrm_forensics.notebook.courses import COURSES, Course
from qrm_forensics.notebook.response import Response
from qrm_forensics.report.charts import DASHES, LINES, axis_label
from qrm_forensics.report.i18n import Texts

_HEIGHT = 320


def figures(responses: Sequence[Response], texts: Texts) -> dict[str, Any]:
    """``diversity``, ``markers`` and ``surprisal``, those that have something to show, as ``plotly.graph_objects.Figure``."""
    import plotly.graph_objects as go

    drawn = {name: make(responses) for name, make in COURSES.items()}
    return {name: go.Figure(figure(name, courses, texts)) for name, courses in drawn.items() if courses}


def figure(name: str, courses: Sequence[Course], texts: Texts) -> dict[str, Any]:
    """One chart, as the dict that Plotly reads: a line per response over its length."""
    lines = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": axis_label(c.variant),
            "x": (100 * c.at).tolist(),
            "y": c.values.tolist(),
            "line": {"color": LINES[i % len(LINES)], "dash": DASHES[i % len(DASHES)], "width": 2},
            "hovertemplate": "%{x:.0f}%<br><b>%{y:.3g}</b><extra>%{fullData.name}</extra>",
        }
        for i, c in enumerate(courses)
    ]
    return {
        "data": lines,
        "layout": {
            "title": {"text": title(name, courses, texts), "font": {"size": 14}},
            "xaxis": {"title": {"text": texts.text("notebook.axis.position")}, "range": [0, 100], "ticksuffix": "%"},
            "yaxis": {"rangemode": "tozero"},
            "height": _HEIGHT,
            "margin": {"l": 56, "r": 16, "t": 48, "b": 48},
            "legend": {"orientation": "h", "y": 1.02, "x": 1, "xanchor": "right", "yanchor": "bottom"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"color": "#808793"},
        },
    }


def title(name: str, courses: Sequence[Course], texts: Texts) -> str:
    return texts.text(f"notebook.chart.{name}", n=courses[0].width)
