"""Charts of a report as SVG and PNG, drawn by the page's own Plotly in a headless Chromium (kaleido).

A picture is that of the page in its light colours, with the fonts of this machine; on one machine the same report
gives the same bytes.
"""

from __future__ import annotations

import copy
import logging
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qrm_forensics.errors import EnvironmentMissing, missing_extra
from qrm_forensics.report.charts import Figure
from qrm_forensics.report.export_files.file_names import Names
from qrm_forensics.store import write_bytes

IMAGES = ("svg", "png")
WIDTH = 900  #: px
#: Pixels of a PNG per pixel of the drawing.
SCALE = 2
#: Seconds for one chart.
_PATIENCE = 60
_INK, _LINE = "#3d4654", "#d8dde5"
_FONTS = "Inter, 'Segoe UI', Roboto, 'Noto Sans', 'Noto Sans CJK KR', 'Noto Sans CJK SC', sans-serif"


def draw_images(
    charts: Mapping[str, Mapping[str, Figure]], kinds: Sequence[str], folder: Path, library: Path
) -> list[Path]:
    """Write ``<chart id>.<language>.<kind>`` into ``folder`` and return the files.

    ``charts``: language -> chart id -> figure.  ``library``: the file of Plotly to draw with.  Raises
    EnvironmentMissing where kaleido or a Chromium is missing, and InputError's sibling of it where drawing fails.
    """
    try:
        import kaleido
    except ImportError as error:
        raise missing_extra("drawing charts as SVG or PNG", "images", error) from None
    logging.getLogger("choreographer").setLevel(logging.ERROR)
    logging.getLogger("kaleido").setLevel(logging.ERROR)
    names = Names()
    with tempfile.TemporaryDirectory() as scratch:
        jobs: list[dict[str, Any]] = []
        targets: list[tuple[Path, Path]] = []
        for language, figures in charts.items():
            for chart, figure in figures.items():
                for kind in kinds:
                    made = Path(scratch) / f"{len(jobs)}.{kind}"
                    options = {"format": kind, "width": WIDTH, "height": figure["layout"]["height"]}
                    options |= {"scale": SCALE} if kind == "png" else {}
                    jobs.append({"fig": on_paper(figure), "path": str(made), "opts": options})
                    targets.append((made, folder / names.path(chart.split("/"), f".{language}.{kind}")))
        try:
            kaleido.write_fig_from_object_sync(
                jobs, kopts={"plotlyjs": str(library), "mathjax": False, "timeout": _PATIENCE}
            )
        except Exception as error:  # of kaleido, choreographer, the browser, or asyncio
            raise EnvironmentMissing(_remedy(error)) from error
        written = []
        for made, target in targets:
            content = made.read_bytes()
            target.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(target, stable_svg(content.decode("utf-8")).encode() if made.suffix == ".svg" else content)
            written.append(target)
    return written


def _remedy(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "ChromeNotFound" in type(error).__name__ or "chrome" in text.lower():
        return (
            "drawing charts as SVG or PNG needs a Chromium or Chrome; install one (Debian: apt-get install chromium) "
            f"or name it in BROWSER_PATH ({text[:200]})"
        )
    return f"the browser could not draw the charts: {type(error).__name__}: {text[:200]}"


def on_paper(figure: Figure) -> Figure:
    """The figure with the page's light colours, and with names for its traces, which Plotly would draw by lot."""
    made = copy.deepcopy(figure)
    layout = made["layout"]
    layout |= {"paper_bgcolor": "#ffffff", "plot_bgcolor": "#ffffff"}
    layout["font"] = layout.get("font", {}) | {"color": _INK, "family": _FONTS}
    for key, axis in layout.items():
        if re.fullmatch(r"[xy]axis\d*", key):
            axis |= {"gridcolor": _LINE, "linecolor": _LINE, "zerolinecolor": _LINE}
    for i, trace in enumerate(made["data"]):
        trace["uid"] = f"t{i:05d}"
    return made


#: Plotly names the parts of a drawing with six random hexadecimal digits.
_DRAWING = re.compile(r'id="defs-([0-9a-f]{6})"')
_PATTERN = re.compile(r'id="(p[0-9a-z]+-legend-[0-9a-z]+)"')


def stable_svg(svg: str) -> str:
    """The drawing with its random names replaced by ones that are the same every time."""
    for uid in dict.fromkeys(_DRAWING.findall(svg)):
        svg = svg.replace(uid, "drawing")
    for i, name in enumerate(dict.fromkeys(_PATTERN.findall(svg))):
        svg = svg.replace(name, f"pattern{i}")
    return svg
