"""A response as HTML: gaps counted, loops marked and folded, hostile text made visible."""

from __future__ import annotations

import re
from collections.abc import Iterator

from markupsafe import Markup

from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.model import Excerpt
from qrm_forensics.report.visible import visible

#: Copies of a loop that stay visible before the rest is folded.
SHOWN_COPIES = 2
#: Fewer copies than this in one excerpt part are not marked.
MIN_COPIES = 3


def runs(text: str, unit: str | None) -> Iterator[tuple[str, int]]:
    """Split ``text`` into (piece, copies): copies is 0 outside loops, else how often ``unit`` follows itself there."""
    core = (unit or "").strip()
    if not core:
        yield text, 0
        return
    position = 0
    # Each copy starts with a fixed string and whitespace cannot start one, so the match is linear in the text.
    for match in re.finditer(rf"(?:{re.escape(core)}\s*){{{MIN_COPIES},}}", text):
        if match.start() > position:
            yield text[position : match.start()], 0
        yield match[0], match[0].count(core)
        position = match.end()
    if position < len(text):
        yield text[position:], 0


def trace_html(excerpt: Excerpt, texts: Texts) -> Markup:
    """The parts of a response: gaps counted, repeated units marked, all but the first copies folded."""
    pieces: list[Markup] = []
    end = 0
    for offset, text in excerpt.parts:
        if offset > end:
            pieces.append(_gap(offset - end, texts))
        for piece, copies in runs(text, excerpt.loop_unit):
            pieces.append(
                visible(piece) if copies == 0 else _loop(piece, copies, (excerpt.loop_unit or "").strip(), texts)
            )
        end = offset + len(text)
    if excerpt.n_chars is not None and excerpt.n_chars > end:
        pieces.append(_gap(excerpt.n_chars - end, texts))
    return Markup("").join(pieces)


def _gap(characters: int, texts: Texts) -> Markup:
    return Markup('<span class="gap">{}</span>').format(texts.html("ui.left_out", n=characters))


def _loop(piece: str, copies: int, core: str, texts: Texts) -> Markup:
    cut = 0
    for _ in range(SHOWN_COPIES):
        cut = piece.index(core, cut) + len(core)
    label = texts.html("ui.loop_folded", n=copies - SHOWN_COPIES)
    return Markup(
        '<mark class="loop">{}</mark> <details class="loop"><summary>{}</summary><mark class="loop">{}</mark></details>'
    ).format(visible(piece[:cut]), label, visible(piece[cut:]))
