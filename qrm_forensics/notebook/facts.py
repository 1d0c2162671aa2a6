"""What is said of each response to a problem, in words: the rows that HTML and terminal both show."""

from __future__ import annotations

from collections.abc import Sequence

from qrm_forensics.notebook.case import Case
from qrm_forensics.notebook.response import Response
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.model import Event, Unit
from qrm_forensics.report.numbers import ABSENT

#: What stands for an event on a timeline; each is told in words beside it.
GLYPHS = {
    "first_correct": "✓",
    "answer_change": "↷",
    "final_answer": "◆",
    "false_equation": "≠",
    "loop_onset": "∞",
    "gibberish": "※",
    "forced": "✎",
    "limit": "┃",
}
#: Characters of an answer that are shown.
ANSWER = 60
#: Texts written for the model that are listed.
FORCED = 4


def facts(case: Case) -> list[tuple[str, list[str]]]:
    """(label, one cell per response) for every row that any response has something for.  Plain text, not escaped."""
    t = case.texts
    rows = [(t.text("notebook.verdict", policy=p), [_status(r, p, t) for r in case.responses]) for p in case.policies]
    made = {
        "answer": [_answer(r) for r in case.responses],
        "outcome": [_outcome(r, t) for r in case.responses],
        "ended": [t.text(f"finish.{r.finish}") for r in case.responses],
        "length": [_length(r, t) for r in case.responses],
        "first_right": [_at(r, "first_correct_char", t) for r in case.responses],
        "forced": [_forced(r, t) for r in case.responses],
        "changes": [_count(r.figures.get("answer_changes"), t) for r in case.responses],
        "loop": [_loop(r, t) for r in case.responses],
        "equations": [_equations(r, t) for r in case.responses],
    }
    rows += [(t.text(f"notebook.{name}"), cells) for name, cells in made.items()]
    return [(label, cells) for label, cells in rows if any(cell != ABSENT for cell in cells)]


def foldable(case: Case) -> int:
    """Characters that all responses begin with, as far as every one of them is the model's own."""
    return min([case.shared(), *(start for r in case.responses for start, _ in r.forced or ())])


def event_text(kind: str, texts: Texts) -> str:
    return texts.text(f"notebook.event.{kind}")


def kinds_of(responses: Sequence[Response]) -> list[str]:
    """The kinds of events that any of the responses has, in the order of the legend."""
    there = {e.kind for r in responses for e in r.events}
    return [kind for kind in GLYPHS if kind in there]


def drawn_events(r: Response, apart: float) -> list[tuple[Event, list[Event]]]:
    """Events to be drawn, each with those that it stands for: within ``apart`` of each other (a share of the response)
    the first in the order of the legend is drawn.  In the order of the text.
    """
    rank = list(GLYPHS)
    drawn: list[tuple[Event, list[Event]]] = []
    for event in sorted(r.events, key=lambda e: (rank.index(e.kind), e.char)):
        near = next((told for first, told in drawn if abs(first.at - event.at) < apart), None)
        if near is None:
            drawn.append((event, [event]))
        else:
            near.append(event)
    return sorted(drawn, key=lambda pair: pair[0].char)


def folded_text(r: Response, loop: int, characters: int) -> str:
    """``this unit ×176, 20,125 characters more``."""
    repeats = r.loops[loop].repeats
    if repeats is None:
        return r.texts.text("notebook.folded_plain", characters=characters)
    return r.texts.text("notebook.folded", copies=round(repeats), characters=characters)


def share(value: float, texts: Texts) -> str:
    return texts.numbers.value(value, Unit.SHARE)


def _status(r: Response, policy: str, t: Texts) -> str:
    status = r.status(policy)
    return ABSENT if status is None else t.text(f"status.{status}")


def _answer(r: Response) -> str:
    answer = r.figures.get("answer")
    if not answer:
        return ABSENT
    text = str(answer)
    return text if len(text) <= ANSWER else text[:ANSWER] + "…"


def _outcome(r: Response, t: Texts) -> str:
    outcome = r.figures.get("outcome")
    return ABSENT if outcome is None else t.text(f"outcome.{outcome}.label")


def _length(r: Response, t: Texts) -> str:
    tokens, words = r.figures.get("n_tokens"), r.figures.get("n_words")
    told = [t.text(f"notebook.{unit}", n=int(n)) for unit, n in (("tokens", tokens), ("words", words)) if n is not None]
    return ", ".join(told) or ABSENT


def _at(r: Response, column: str, t: Texts) -> str:
    at = r.figures.get(column)
    return ABSENT if at is None or not r.text else t.text("notebook.at", share=share(at / len(r.text), t))


def _forced(r: Response, t: Texts) -> str:
    if r.forced is None:
        return t.text("notebook.forced_lost", place=r.forced_at) if r.text else ABSENT
    told = [
        t.text("notebook.forced_at", text=f"“{r.text[a:b].strip()}”", share=share(a / len(r.text), t))
        for a, b in r.forced[:FORCED]
    ]
    if len(r.forced) > FORCED:
        told.append(t.text("notebook.forced_more", n=len(r.forced) - FORCED))
    return ", ".join(told) or ABSENT


def _loop(r: Response, t: Texts) -> str:
    if not r.loops or not r.text:
        return ABSENT
    longest = max(r.loops, key=lambda e: e.end - e.start)
    onset = longest.start if longest.onset is None else longest.onset
    return t.text("notebook.loop_from", share=share(onset / len(r.text), t), copies=round(longest.repeats or 0))


def _equations(r: Response, t: Texts) -> str:
    written, false = r.figures.get("equations"), r.figures.get("false_equations")
    if not written or false is None:
        return ABSENT
    return t.text("notebook.false_of", false=int(false), n=int(written))


def _count(value: object, t: Texts) -> str:
    return ABSENT if not isinstance(value, int) else t.numbers.value(value, Unit.COUNT)
