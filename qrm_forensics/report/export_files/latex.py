"""Tables as LaTeX: booktabs, no wider than the line and no higher than a page, and a document that holds them all.

A narrow table is a plain ``tabular``.  A wide one is turned when that makes it narrow, else scaled down to the line
width; a long one is a ``longtable`` in small print.  The packages that they need are those of the document's preamble:
array, booktabs, graphicx, longtable.  The document is for LuaLaTeX or XeLaTeX; Korean and Chinese need a font of theirs.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Sequence

from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.tables import TableData, numeric_columns, printed, tex_escape

#: Letters in a line of the document, of a table at its natural size.
LINE = 105
#: Rows on a page.
PAGE = 34
#: Letters in a line of a title, and in one of a cell with text.
TITLE, CELL = 16, 44


def to_latex(table: TableData, texts: Texts) -> str:
    """One table in a language, ready for ``\\input``."""
    titles, rows = printed(table, texts)
    right = numeric_columns(table)
    if _width(titles, rows) > LINE and len(rows) + 1 < len(titles) and len(titles) <= 2 * PAGE:
        turned = list(zip(titles, *rows, strict=True))
        titles, rows = list(turned[0]), [list(cells) for cells in turned[1:]]
        right = [False, *([True] * (len(titles) - 1))]
    widths = _widths(titles, rows)
    spec = "".join(
        "r" if number else "l" if width <= CELL else rf">{{\raggedright\arraybackslash}}p{{{CELL // 2}em}}"
        for number, width in zip(right, widths, strict=True)
    )
    head = " & ".join(_title(title, number) for title, number in zip(titles, right, strict=True)) + r" \\"
    body = [" & ".join(map(tex_escape, row)) + r" \\" for row in rows]
    if len(rows) > PAGE:
        lines = [
            r"\begingroup\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\begin{{longtable}}{{{spec}}}",
            *(r"\toprule", head, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot"),
            *body,
            r"\end{longtable}",
            r"\endgroup",
        ]
    else:
        tabular = [
            rf"\begin{{tabular}}{{{spec}}}",
            *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
            r"\end{tabular}",
        ]
        wide = _width(titles, rows) > LINE
        lines = [r"\resizebox{\linewidth}{!}{%", *tabular[:-1], tabular[-1] + "}"] if wide else tabular
    return "\n".join(lines) + "\n"


def document(names: Sequence[str], contents: Sequence[str], texts: Texts) -> str:
    """A complete document with all tables of a language, each from the file ``<name>.<language>.tex`` beside it."""
    scripts = _scripts("".join(contents)) | {"ko": {"KR"}, "zh": {"SC"}}.get(texts.language, set())
    region = "KR" if texts.language == "ko" or scripts == {"KR"} else "SC"
    font = (
        [
            rf"\IfFontExistsTF{{Noto Sans CJK {region}}}{{\setmainfont{{Noto Sans CJK {region}}}}}",
            rf"  {{\errmessage{{This document needs the font Noto Sans CJK {region} (Debian: fonts-noto-cjk)}}}}",
        ]
        if scripts
        else []
    )
    lines = [
        "% Compile with LuaLaTeX or XeLaTeX, in this folder.",
        r"\documentclass[a4paper,10pt]{article}",
        r"\usepackage[landscape,margin=15mm]{geometry}",
        *(rf"\usepackage{{{name}}}" for name in ("array", "booktabs", "graphicx", "longtable", "fontspec")),
        *font,
        r"\setlength{\parindent}{0pt}",
        r"\begin{document}",
    ]
    for name in names:
        lines += [rf"\subsection*{{{tex_escape(name)}}}", rf"\input{{{name}.{texts.language}.tex}}", r"\par\bigskip"]
    return "\n".join([*lines, r"\end{document}"]) + "\n"


def _title(title: str, right: bool) -> str:
    """A title on several lines where it is longer than what stands below it may be."""
    lines = textwrap.wrap(title, TITLE, break_long_words=False) or [""]
    if len(lines) == 1:
        return tex_escape(title)
    side = "r" if right else "l"
    return rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}" + r"\\".join(map(tex_escape, lines)) + r"\end{tabular}"


def _widths(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [
        max(min(_letters(title), TITLE), *(_letters(row[i]) for row in rows)) if rows else _letters(title)
        for i, title in enumerate(titles)
    ]


def _width(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    return sum(min(width, CELL) + 2 for width in _widths(titles, rows))


def _letters(text: str) -> int:
    """Width in Latin letters; Hangul and Hanzi are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")
_HAN = re.compile("[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")


def _scripts(text: str) -> set[str]:
    """The scripts of a text that the default font has no letters of, by the region of their font."""
    return {region for region, pattern in (("KR", _HANGUL), ("SC", _HAN)) if pattern.search(text)}
