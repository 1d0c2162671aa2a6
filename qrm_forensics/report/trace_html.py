"""A response as HTML: gaps counted, what the metrics point at marked, loops folded, hostile text made visible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from markupsafe import Markup

from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.model import Excerpt, Mark
from qrm_forensics.report.visible import visible

#: Characters of a loop that stay visible before the rest is folded: two copies, within these bounds.
LEAST_SHOWN, MOST_SHOWN = 160, 400
#: What would be folded is shown where it is shorter.
LEAST_FOLDED = 120
#: Kinds of marks, the one that is drawn where several cover the same character first.
KINDS = ("forced", "false_equation", "correct", "gibberish")


def pieces(text: str, offset: int, marks: Sequence[Mark]) -> Iterator[tuple[str, str | None, int | None]]:
    """Split a part of a response that begins at ``offset``: (piece, kind or None, start of the loop it lies in or None).

    ``marks`` may overlap and may reach beyond the part.
    """
    end = offset + len(text)
    inside = [m for m in marks if m.start < end and m.end > offset and m.start < m.end]
    cuts = sorted({offset, end, *(min(max(x, offset), end) for m in inside for x in (m.start, m.end))})
    for start, stop in pairwise(cuts):
        over = [m for m in inside if m.start <= start and m.end >= stop]
        kind = next((k for k in KINDS if any(m.kind == k for m in over)), None)
        loop = next((m.start for m in over if m.kind == "loop"), None)
        yield text[start - offset : stop - offset], kind, loop


def trace_html(excerpt: Excerpt, texts: Texts) -> Markup:
    """The parts of a response: gaps counted, marks drawn, all but the beginning of a loop folded."""
    made: list[Markup] = []
    end = 0
    for offset, text in excerpt.parts:
        if offset > end:
            made.append(_gap(offset - end, texts))
        run: list[tuple[str, str | None]] = []
        within: int | None = None
        for piece, kind, loop in pieces(text, offset, excerpt.marks):
            if loop != within:
                made.append(_drawn(run, within is not None, excerpt, texts))
                run, within = [], loop
            run.append((piece, kind))
        made.append(_drawn(run, within is not None, excerpt, texts))
        end = offset + len(text)
    if excerpt.n_chars is not None and excerpt.n_chars > end:
        made.append(_gap(excerpt.n_chars - end, texts))
    return Markup("").join(made)


def _gap(characters: int, texts: Texts) -> Markup:
    return Markup('<span class="gap">{}</span>').format(texts.html("ui.left_out", n=characters))


def _drawn(run: list[tuple[str, str | None]], loop: bool, excerpt: Excerpt, texts: Texts) -> Markup:
    if not loop:
        return _marked(run, texts)
    unit = len(excerpt.loop_unit or "")
    shown = min(max(2 * unit, LEAST_SHOWN), MOST_SHOWN)
    length = sum(len(piece) for piece, _ in run)
    if length - shown < LEAST_FOLDED:
        return Markup('<mark class="loop">{}</mark>').format(_marked(run, texts))
    first: list[tuple[str, str | None]] = []
    rest: list[tuple[str, str | None]] = []
    for piece, kind in run:
        room = max(0, shown - sum(len(p) for p, _ in first))
        first.append((piece[:room], kind))
        rest.append((piece[room:], kind))
    label = texts.html("ui.loop_folded", n=length - shown)
    return Markup(
        '<mark class="loop">{}</mark> <details class="loop"><summary>{}</summary><mark class="loop">{}</mark></details>'
    ).format(_marked(first, texts), label, _marked(rest, texts))


def _marked(run: list[tuple[str, str | None]], texts: Texts) -> Markup:
    drawn = [
        visible(piece)
        if kind is None
        else Markup('<mark class="{}" title="{}">{}</mark>').format(kind, texts.text(f"mark.{kind}"), visible(piece))
        for piece, kind in run
        if piece
    ]
    return Markup("").join(drawn)
