"""A run, a problem and a response as HTML for notebooks: no scripts, no network, every foreign text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
from markupsafe import Markup

from qrm_forensics.notebook.case import Case
from qrm_forensics.notebook.courses import COURSES, Course
from qrm_forensics.notebook.facts import (
    GLYPHS,
    drawn_events,
    event_text,
    facts,
    foldable,
    folded_text,
    kinds_of,
    share,
)
from qrm_forensics.notebook.figures import title
from qrm_forensics.notebook.response import Response
from qrm_forensics.notebook.run import Run
from qrm_forensics.notebook.style import STYLE
from qrm_forensics.report.charts import DASHES, LINES
from qrm_forensics.report.folding import LoopSpan, Part, Segment, fold
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.model import Mark, Unit
from qrm_forensics.report.trace_html import pieces
from qrm_forensics.report.visible import clip, shown_text, visible

#: A beginning that all responses share is told in one line from so many characters on.
LEAST_SHARED = 80
#: Events of a timeline that are closer than this share of the response are drawn as one.
LEAST_APART = 0.012
_DASH = {"solid": "", "dash": "6 4", "dot": "2 3", "dashdot": "6 3 2 3", "longdash": "10 4", "longdashdot": "10 3 2 3"}


def _page(*parts: Markup | str) -> Markup:
    inner = Markup("").join(parts)
    return Markup('<div class="qrm"><style>{}</style>{}</div>').format(Markup(STYLE), inner)


def _join(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)


def case_html(case: Case) -> Markup:
    """The whole problem: question, verdicts, timeline, where the responses part, the responses, charts."""
    t = case.texts
    head = Markup(
        '<h3 class="name">{}</h3><p class="note">{}</p><div class="question">{}</div><p>{}: <b>{}</b></p>'
    ).format(visible(case.id), _about(case), visible(case.question), t.text("notebook.gold"), visible(case.gold))
    parts = [head, _facts(case), _timeline(case), _parting(case), _side_by_side(case), _charts(case.responses, t)]
    return _page(*parts)


def response_html(r: Response) -> Markup:
    """One response: its text with loops folded and marks drawn."""
    return _page(Markup('<h3 class="name">{}</h3>').format(visible(r.variant)), _text(r, r.segments, 0))


def run_html(run: Run) -> Markup:
    """What is in the run, and what to ask it next."""
    t = run.texts
    head = Markup('<h3 class="name">{}</h3><p class="note">{}</p>').format(
        visible(run.path.name), t.text("notebook.run.about", variants=len(run.variants), problems=run.answered)
    )
    return _page(head, frame_html(run.summary(), t), _next(run))


def frame_html(frame: pd.DataFrame, t: Texts) -> Markup:
    """A small table whose headings have translations (``notebook.head.<name>``), numbers to the right."""
    heads = _join(Markup("<th>{}</th>").format(head_text(str(c), t)) for c in frame.columns)
    rows = _join(
        Markup("<tr>{}</tr>").format(
            _join(
                Markup('<td class="n">{}</td>').format(t.numbers.value(int(v), Unit.COUNT))
                if isinstance(v, int)
                else Markup("<td>{}</td>").format(visible(v))
                for v in row
            )
        )
        for row in frame.astype(object).itertuples(index=False)
    )
    return Markup('<div class="scroll"><table><tr>{}</tr>{}</table></div>').format(heads, rows)


def head_text(name: str, t: Texts) -> str:
    """``right (strict)`` -> the words for it."""
    what, _, policy = name.partition(" (")
    if policy:
        return t.text("notebook.head.right", policy=policy.removesuffix(")"))
    return t.text(f"notebook.head.{what.replace(' ', '_')}")


def _next(run: Run) -> Markup:
    """Calls that work on this very run."""
    calls = next_calls(run)
    rows = _join(Markup("<div><code>{}</code></div>").format(call) for call in calls)
    return Markup("<h4>{}</h4>{}").format(run.texts.text("notebook.run.next"), rows)


def next_calls(run: Run) -> list[str]:
    """A problem to open (the first that a variant lost, else the first), a comparison, a table."""
    others = [v.id for v in run.variants if v.id != run.baseline]
    calls = []
    example: str | None = None
    if run.baseline is not None and others:
        worst = others[-1]
        calls.append(f"run.problems(variant={worst!r}, lost=True)")
        calls.append(f"run.compare({run.baseline!r}, {worst!r})")
        lost = run.problems(variant=worst, lost=True)
        example = None if lost.empty else str(lost["case"].iloc[0])
    if example is None:
        first = run.table("responses").iloc[0]
        example = f"{first['benchmark']}/{first['problem_id']}"
    return [f"run.case({example!r})", *calls, 'run.table("responses")']


def _about(case: Case) -> str:
    t = case.texts
    told = [
        x
        for x in (case.problem.subject, case.problem.level and t.text("notebook.level", level=case.problem.level))
        if x
    ]
    told.append(t.text("notebook.sample", sample=str(case.sample), seed=str(case.seed)))
    if case.others:
        told.append(t.text("notebook.others", n=len(case.others)))
    return " · ".join(told)


def _facts(case: Case) -> Markup:
    heads = _join(Markup('<th class="name">{}</th>').format(visible(v)) for v in case.variants)
    rows = _join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            label, _join(Markup("<td>{}</td>").format(visible(cell)) for cell in cells)
        )
        for label, cells in facts(case)
    )
    return Markup('<div class="scroll"><table><tr><th></th>{}</tr>{}</table></div>').format(heads, rows)


def _timeline(case: Case) -> Markup:
    t = case.texts
    longest = max((len(r.text) for r in case.responses), default=0)
    if not longest:
        return Markup("")
    rows = _join(
        Markup('<span class="name">{}</span><div class="axis"><div style="width:{:.2f}%">{}{}</div></div>').format(
            visible(r.variant), 100 * len(r.text) / longest, _loop_bars(r), _event_glyphs(r, t)
        )
        for r in case.responses
    )
    legend = _join(
        Markup('<span><b class="{}">{}</b> {}</span>').format(kind, GLYPHS[kind], event_text(kind, t))
        for kind in kinds_of(case.responses)
    )
    return Markup('<h4>{}</h4><div class="time">{}</div><div class="legend">{}</div>').format(
        t.text("notebook.timeline"), rows, legend
    )


def _loop_bars(r: Response) -> Markup:
    n = len(r.text)
    return _join(
        Markup('<span class="loop" title="{}" style="left:{:.2f}%;width:{:.2f}%"></span>').format(
            _loop_title(loop, r), 100 * loop.start / n, 100 * (loop.end - loop.start) / n
        )
        for loop in r.loops
    )


def _loop_title(loop: LoopSpan, r: Response) -> str:
    """What a loop repeats, for the title of its bar."""
    return r.texts.text(
        "notebook.loop_unit", unit=shown_text(clip(loop.unit or "", 120)), copies=round(loop.repeats or 0)
    )


def _event_glyphs(r: Response, t: Texts) -> Markup:
    return _join(
        Markup('<span class="event {}" title="{}" style="left:{:.2f}%">{}</span>').format(
            first.kind,
            "; ".join(f"{event_text(e.kind, t)} · {share(e.at, t)}" for e in told),
            100 * first.at,
            GLYPHS[first.kind],
        )
        for first, told in drawn_events(r, LEAST_APART)
    )


def _parting(case: Case) -> Markup:
    """Where each variant parts from the first, one line each with the words on both sides."""
    found = case.partings()
    if not found:
        return Markup("")
    t = case.texts
    rows = []
    for p in found:
        if p.position is None:
            rows.append(Markup("<p>{}</p>").format(t.html("notebook.same", variant=p.variant, reference=p.reference)))
            continue
        told = t.html(f"notebook.parts.{p.unit}", variant=p.variant, reference=p.reference, n=p.position)
        shown = [x or "" for x in (p.before, p.reference_goes_on, p.variant_goes_on)]
        before, one, other = (visible(x.replace("\n", " ⏎ ")) for x in shown)
        rows.append(
            Markup(
                '<p>{}</p><div class="scroll"><table class="parting"><tr><th scope="row" class="name">{}</th><td><span class="note">{}</span>'
                '<b>{}</b></td></tr><tr><th scope="row" class="name">{}</th><td><span class="note">{}</span><b>{}</b></td></tr>'
                "</table></div>"
            ).format(told, visible(p.reference), before, one, visible(p.variant), before, other)
        )
    return Markup("<h4>{}</h4>{}").format(t.text("notebook.parting"), _join(rows))


def _side_by_side(case: Case) -> Markup:
    t = case.texts
    common = foldable(case)
    if common < LEAST_SHARED:
        common = 0
    shared = Markup("")
    if common:
        shared = Markup('<details class="shared"><summary>{}</summary><div class="text">{}</div></details>').format(
            t.text("notebook.shared", n=common), visible(case.responses[0].text[:common])
        )
    columns = _join(
        Markup("<section><h5>{}</h5>{}</section>").format(visible(r.variant), _text(r, after(r, common), common))
        for r in case.responses
    )
    return Markup('<h4>{}</h4>{}<div class="side">{}</div>').format(t.text("notebook.responses"), shared, columns)


def after(r: Response, position: int) -> tuple[Segment, ...]:
    """The segments of a response from a character on; their ``start`` counts from there."""
    if not position:
        return r.segments
    moved = [LoopSpan(s.start - position, s.end - position, s.unit, s.repeats) for s in r.loops]
    return fold(r.text[position:], moved)


def _text(r: Response, segments: Sequence[Segment], offset: int) -> Markup:
    if not r.text:
        told = r.texts.text("notebook.no_text", reason=r.trace.error or r.texts.text(f"finish.{r.finish}"))
        return Markup('<p class="note">{}</p>').format(visible(told))
    marks = [m for m in r.marks if m.kind != "loop"]
    drawn = []
    for s in segments:
        inner = _marked(s.text, s.start + offset, marks, r.texts)
        if s.part is Part.TEXT:
            drawn.append(inner)
        elif s.part is Part.LOOP or s.loop is None:
            drawn.append(Markup('<mark class="loop">{}</mark>').format(inner))
        else:
            label = folded_text(r, s.loop, len(s.text))
            drawn.append(
                Markup('<details><summary>{}</summary><mark class="loop">{}</mark></details>').format(label, inner)
            )
    return Markup('<div class="text">{}</div>').format(_join(drawn))


def _marked(text: str, start: int, marks: Sequence[Mark], t: Texts) -> Markup:
    return _join(
        visible(piece)
        if kind is None
        else Markup('<mark class="{}" title="{}">{}</mark>').format(kind, t.text(f"mark.{kind}"), visible(piece))
        for piece, kind, _ in pieces(text, start, marks)
    )


def _charts(responses: Sequence[Response], t: Texts) -> Markup:
    drawn = [(name, make(responses)) for name, make in COURSES.items()]
    figures = _join(_chart(name, courses, responses, t) for name, courses in drawn if courses)
    return (
        Markup('<h4>{}</h4><div class="charts">{}</div>').format(t.text("notebook.charts"), figures)
        if figures
        else figures
    )


def _chart(name: str, courses: Sequence[Course], responses: Sequence[Response], t: Texts) -> Markup:
    """A line per response, drawn as it is; the figures of ``Case.figures`` can be looked into."""
    top = max(float(c.values.max()) for c in courses) or 1.0
    order = [r.variant for r in responses]
    lines, keys = [], []
    for c in courses:
        i = order.index(c.variant)
        colour, dash = LINES[i % len(LINES)], _DASH[DASHES[i % len(DASHES)]]
        points = " ".join(f"{300 * x:.1f},{100 - 100 * y / top:.1f}" for x, y in zip(c.at, c.values, strict=True))
        lines.append(
            Markup(
                '<polyline points="{}" fill="none" stroke="{}" stroke-width="1.6" stroke-dasharray="{}" '
                'vector-effect="non-scaling-stroke"/>'
            ).format(points, colour, dash)
        )
        keys.append(
            Markup('<span><i class="swatch" style="color:{};border-top-style:{}"></i>{}</span>').format(
                colour, "solid" if not dash else "dashed", visible(c.variant)
            )
        )
    return Markup(
        '<figure><figcaption>{} (0–{})</figcaption><svg class="chart" viewBox="0 0 300 100" preserveAspectRatio="none" '
        'role="img" aria-label="{}">{}</svg><div class="legend">{}</div></figure>'
    ).format(
        title(name, courses, t),
        t.numbers.value(round(top, 2), Unit.PLAIN),
        title(name, courses, t),
        _join(lines),
        _join(keys),
    )
