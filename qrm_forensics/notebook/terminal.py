"""A run, a problem and a response on a terminal, with rich: columns side by side, loops folded, the timeline as a bar.

Every foreign text goes through ``shown_text`` (control characters become visible) and into ``rich.text.Text``, which
knows no markup.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from qrm_forensics.notebook.facts import GLYPHS, event_text, facts, foldable, folded_text, kinds_of
from qrm_forensics.report.folding import Part, Segment
from qrm_forensics.report.visible import clip, shown_text

if TYPE_CHECKING:
    from qrm_forensics.notebook.case import Case
    from qrm_forensics.notebook.response import Response
    from qrm_forensics.notebook.run import Run

#: Columns of a terminal that a response needs beside another one; with less they stand under each other.
LEAST_COLUMN = 36
#: Characters of each response that are shown before and after what is left out, unless all of it is asked for.
HEAD, TAIL = 1500, 800
_STYLES = {
    "forced": "bold reverse",
    "correct": "green",
    "false_equation": "yellow underline",
    "gibberish": "magenta",
    "loop": "red",
}
_EVENT_STYLES = {"first_correct": "green", "limit": "red", "loop_onset": "red", "false_equation": "yellow"}
_FILL, _LOOP = "─", "═"
_WIDTH = 100


def plain(view: RenderableType, width: int = _WIDTH) -> str:
    """A view as text without colours, for ``repr``."""
    out = io.StringIO()
    Console(file=out, width=width, color_system=None, force_terminal=False, legacy_windows=False).print(view)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def case_view(case: Case, *, width: int = _WIDTH, whole: bool = False) -> RenderableType:
    """The problem on a terminal of ``width`` columns; ``whole``: every response in full, but for its folded loops."""
    t = case.texts
    parts: list[RenderableType] = [
        Text(shown_text(case.id), style="bold"),
        Text(shown_text(case.question)),
        Text.assemble(f"{t.text('notebook.gold')}: ", (shown_text(case.gold), "bold green")),
        Text(""),
        _facts(case),
        Text(""),
        *_timeline(case, width),
        *_parting(case),
        Text(""),
        *_responses(case, width, whole),
    ]
    return Group(*parts)


def response_view(r: Response) -> RenderableType:
    """One response, shortened."""
    return Group(Text(shown_text(r.variant), style="bold"), _text(r, r.segments, 0, whole=False))


def run_view(run: Run) -> RenderableType:
    """What is in the run."""
    from qrm_forensics.notebook.html import head_text, next_calls

    t = run.texts
    summary = run.summary()
    table = _table(len(summary.columns))
    for name in summary.columns:
        numeric = pd.api.types.is_numeric_dtype(summary[name])
        table.add_column(head_text(str(name), t), justify="right" if numeric else "left")
    for row in summary.astype(object).itertuples(index=False):
        table.add_row(*(Text(shown_text(v)) for v in row))
    about = t.text("notebook.run.about", variants=len(run.variants), problems=run.answered)
    calls = [Text("  " + shown_text(call)) for call in next_calls(run)]
    return Group(
        Text(shown_text(run.path.name), style="bold"), Text(about), Text(""), table, Text(""),
        Text(t.text("notebook.run.next")), *calls,
    )  # fmt: skip


def _table(columns: int) -> Table:
    return Table(box=None, pad_edge=False, show_header=True, header_style="bold", padding=(0, 2, 0, 0))


def _facts(case: Case) -> Table:
    table = _table(len(case.responses) + 1)
    table.add_column("")
    for r in case.responses:
        table.add_column(Text(shown_text(r.variant)))
    for label, cells in facts(case):
        table.add_row(Text(label, style="dim"), *(Text(shown_text(cell)) for cell in cells))
    return table


def _timeline(case: Case, width: int) -> list[RenderableType]:
    longest = max((len(r.text) for r in case.responses), default=0)
    if not longest:
        return []
    t = case.texts
    names = max(len(shown_text(r.variant)) for r in case.responses)
    room = max(20, width - names - 2)
    grid = Table.grid(padding=(0, 2, 0, 0))
    for r in case.responses:
        grid.add_row(Text(shown_text(r.variant), style="dim"), bar(r, round(room * len(r.text) / longest)))
    legend = Text("  ").join(
        Text.assemble((GLYPHS[kind], _EVENT_STYLES.get(kind, "bold")), f" {event_text(kind, t)}")
        for kind in kinds_of(case.responses)
    )
    return [Text(t.text("notebook.timeline"), style="bold"), grid, legend]


def bar(r: Response, cells: int) -> Text:
    """The timeline of a response in ``cells`` characters: loops doubled, events as their glyphs (of several in one
    place the first of the legend)."""
    cells = max(1, cells)
    n = max(1, len(r.text))
    line = [(_FILL, "dim")] * cells
    for loop in r.loops:
        first, last = cells * loop.start // n, cells * loop.end // n
        for i in range(first, min(cells, max(last, first + 1))):
            line[i] = (_LOOP, "red")
    rank = list(GLYPHS)
    for event in sorted(r.events, key=lambda e: -rank.index(e.kind)):
        line[min(cells - 1, int(cells * event.at))] = (GLYPHS[event.kind], _EVENT_STYLES.get(event.kind, "bold"))
    drawn = Text()
    for character, style in line:
        drawn.append(character, style=style)
    return drawn


def _parting(case: Case) -> list[RenderableType]:
    found = case.partings()
    if not found:
        return []
    t = case.texts
    made: list[RenderableType] = [Text(""), Text(t.text("notebook.parting"), style="bold")]
    for p in found:
        names = {"variant": shown_text(p.variant), "reference": shown_text(p.reference)}
        if p.position is None:
            made.append(Text(t.text("notebook.same", **names)))
            continue
        made.append(Text(t.text(f"notebook.parts.{p.unit}", n=p.position, **names)))
        before = _one_line(p.before or "")[-40:]
        for words, style in ((p.reference_goes_on, "green"), (p.variant_goes_on, "red")):
            made.append(Text.assemble("  …", (before, "dim"), (_one_line(words or "")[:40], style), "…"))
    return made


def _one_line(text: str) -> str:
    return shown_text(text.replace("\n", "⏎"))


def _responses(case: Case, width: int, whole: bool) -> list[RenderableType]:
    from qrm_forensics.notebook.html import LEAST_SHARED, after

    t = case.texts
    common = foldable(case)
    made: list[RenderableType] = [Text(t.text("notebook.responses"), style="bold")]
    if common >= LEAST_SHARED:
        made.append(Text(t.text("notebook.shared", n=common), style="dim"))
        made.append(Padding(Text(shown_text(clip(case.responses[0].text[:common], HEAD)), style="dim"), (0, 0, 0, 2)))
    else:
        common = 0
    texts = [_text(r, after(r, common), common, whole) for r in case.responses]
    heads = [Text(shown_text(r.variant), style="bold") for r in case.responses]
    if width >= LEAST_COLUMN * len(texts):
        grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
        for _ in texts:
            grid.add_column(ratio=1, overflow="fold")
        grid.add_row(*heads)
        grid.add_row(*texts)
        return [*made, grid]
    for head, text in zip(heads, texts, strict=True):
        made += [head, text, Text("")]
    return made


def _text(r: Response, segments: Sequence[Segment], offset: int, whole: bool) -> Text:
    if not r.text:
        reason = r.trace.error or r.texts.text(f"finish.{r.finish}")
        return Text(shown_text(r.texts.text("notebook.no_text", reason=reason)), style="dim")
    from qrm_forensics.report.trace_html import pieces

    marks = [m for m in r.marks if m.kind != "loop"]
    drawn = Text()
    for s in segments if whole else _shortened(segments):
        if isinstance(s, int):
            drawn.append(f"\n[{r.texts.text('notebook.left_out', n=s)}]\n", style="dim italic")
        elif s.part is Part.FOLDED and s.loop is not None:
            drawn.append(f" [{folded_text(r, s.loop, len(s.text))}] ", style="red reverse")
        else:
            for piece, kind, _ in pieces(s.text, s.start + offset, marks):
                style = _STYLES.get(kind or "", _STYLES["loop"] if s.part is Part.LOOP else "")
                # told apart without colours too, as it is not the model's
                told = f"{GLYPHS['forced']}⟦{shown_text(piece)}⟧" if kind == "forced" else shown_text(piece)
                drawn.append(told, style=style)
    return drawn


def _shortened(segments: Sequence[Segment]) -> list[Segment | int]:
    """HEAD and TAIL characters of the response, and its longest loop, folded; what lies between as a number of characters."""
    folded = [s for s in segments if s.part is Part.FOLDED]
    kept = max(folded, key=lambda s: len(s.text)).loop if folded else None
    told = [s for s in segments if s.part is not Part.FOLDED and (kept is None or s.loop != kept)]
    first, last = HEAD, sum(len(s.text) for s in told) - TAIL
    if last <= first:
        return list(segments)
    made: list[Segment | int] = []
    position = left_out = 0

    def show(s: Segment) -> None:
        nonlocal left_out
        if left_out:
            made.append(left_out)
            left_out = 0
        if s.text:
            made.append(s)

    for s in segments:
        if kept is not None and s.loop == kept:
            show(s)
        elif s.part is Part.FOLDED:
            if first <= position < last:
                left_out += len(s.text)
            else:
                show(s)
        else:
            a = max(0, min(len(s.text), first - position))
            b = max(a, min(len(s.text), last - position))
            if a:
                show(Segment(s.part, s.start, s.text[:a], s.loop))
            left_out += b - a
            if b < len(s.text):
                show(Segment(s.part, s.start + b, s.text[b:], s.loop))
            position += len(s.text)
    show(Segment(Part.TEXT, 0, ""))
    return made
