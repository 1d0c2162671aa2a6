"""The two figures as pages of plotly: one HTML file that needs nothing else, and the numbers beside it as JSON."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: Okabe and Ito's colours; corpora and parts of a window differ in dash or symbol as well.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9")
SYMBOLS = ("circle", "diamond", "cross", "square", "triangle-up", "x")
DASHES = ("solid", "dash", "dot", "dashdot")
KINDS = {"before_bias": "before the bias", "before_rope": "before RoPE", "after_rope": "behind RoPE, as cached"}


def domain_gap_figures(modules: Sequence[dict[str, Any]]) -> list[tuple[str, Any]]:
    """(title, figure) per module: t-SNE, PCA and the mean |x| per channel, sorted."""
    from plotly.subplots import make_subplots

    made = []
    for row in modules:
        explained = sum(row["explained"])
        titles = ("t-SNE", f"PCA ({explained:.0%} of the variance)", "mean |x|, channels sorted")
        figure = make_subplots(1, 3, subplot_titles=titles)
        for number, (corpus, seen) in enumerate(row["corpora"].items()):
            colour, symbol = COLOURS[number % len(COLOURS)], SYMBOLS[number % len(SYMBOLS)]
            named = {"name": html.escape(corpus), "legendgroup": str(number)}
            for column, points in ((1, seen["tsne"]), (2, seen["pca"])):
                marker = {"color": colour, "symbol": symbol, "size": 5, "opacity": 0.7}
                xs, ys = zip(*points, strict=True) if points else ((), ())
                figure.add_scatter(
                    x=xs, y=ys, mode="markers", marker=marker, showlegend=column == 2, row=1, col=column, **named
                )
            curve = sorted(seen["mean_abs"], reverse=True)
            line = {"color": colour, "dash": DASHES[number % len(DASHES)]}
            figure.add_scatter(y=curve, mode="lines", line=line, showlegend=False, row=1, col=3, **named)
        figure.update_yaxes(type="log", row=1, col=3)
        figure.update_layout(height=380, margin={"t": 40, "b": 40, "l": 50, "r": 20}, template="plotly_white")
        gaps = "; ".join(
            f"{' and '.join(pair['corpora'])}: cosine distance {pair['cosine_distance']:.3g}" for pair in row["gap"]
        )
        made.append((f"{row['module']} ({gaps})" if gaps else row["module"], figure))
    return made


def key_cache_figures(layers: Sequence[dict[str, Any]]) -> list[tuple[str, Any]]:
    """(title, figure) per layer: |K| over tokens and channels, before the bias and behind RoPE, and mean |K| per part of the window."""
    from plotly.subplots import make_subplots

    made = []
    for row in layers:
        kinds = row["kinds"]
        first = "before_bias" if "before_bias" in kinds else "before_rope"
        shown = (first, "after_rope")
        specs = [[{"type": "surface"}, {"type": "surface"}], [{}, {}]]
        curves = ("before_rope", "after_rope")
        titles = (*(f"|K| {KINDS[kind]}" for kind in shown), *(f"mean |K| {KINDS[kind]}" for kind in curves))
        figure = make_subplots(2, 2, specs=specs, subplot_titles=titles, vertical_spacing=0.08)
        for column, kind in enumerate(shown, 1):
            figure.add_surface(z=kinds[kind]["surface"], colorscale="Viridis", showscale=False, row=1, col=column)
        scene = {"xaxis_title": "channel", "yaxis_title": "token", "zaxis_title": "|K|"}
        figure.update_layout(scene=scene, scene2=scene)
        for column, kind in enumerate(curves, 1):
            for number, (part, (start, end)) in enumerate(zip(kinds[kind]["parts"], row["positions"], strict=True)):
                line = {"color": COLOURS[number % len(COLOURS)], "dash": DASHES[number % len(DASHES)]}
                figure.add_scatter(
                    y=part,
                    mode="lines",
                    line=line,
                    name=f"tokens {start}-{end - 1}",
                    legendgroup=str(number),
                    showlegend=column == 1,
                    row=2,
                    col=column,
                )
            figure.update_xaxes(title="channel", row=2, col=column)
        figure.update_layout(height=900, margin={"t": 40, "b": 40, "l": 50, "r": 20}, template="plotly_white")
        bias = row["bias"]
        said = f"largest |bias| {max(abs(b) for b in bias):.4g}" if bias else "no bias"
        made.append((f"layer {row['layer']} ({said})", figure))
    return made


def write_page(out: Path, title: str, about: str, data: dict[str, Any], figures: Sequence[tuple[str, Any]]) -> None:
    """``out`` (HTML) and the data beside it (``.json``).  All texts are escaped."""
    from qrm_forensics.store import write_text

    parts = []
    for number, (heading, figure) in enumerate(figures):
        drawn = figure.to_html(full_html=False, include_plotlyjs=number == 0)
        parts.append(f"<h2>{html.escape(heading)}</h2>\n{drawn}")
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title>"
        "<style>body{font-family:system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem}"
        "h2{font-size:1rem;margin:2rem 0 0;overflow-wrap:anywhere}</style></head><body>"
        f"<h1>{html.escape(title)}</h1><p>{html.escape(about)}</p>\n" + "\n".join(parts) + "</body></html>\n"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, page)
    write_text(out.with_suffix(".json"), json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n")
