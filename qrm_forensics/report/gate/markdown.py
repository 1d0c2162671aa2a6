"""The comment of a gate on a pull request: verdict and reasons first, what they rest on folded below."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from qrm_forensics import __version__
from qrm_forensics.compare.comparability import Severity
from qrm_forensics.compare.comparison import Comparison
from qrm_forensics.compare.drift import Drift
from qrm_forensics.compare.items import Facts
from qrm_forensics.compare.verdict import Verdict
from qrm_forensics.report.gate.escape import md_cell, md_code, md_text
from qrm_forensics.report.gate.links import ReportLinks
from qrm_forensics.report.gate.texts import GateTexts
from qrm_forensics.report.model import Unit
from qrm_forensics.report.numbers import ABSENT

#: First line of the comment, by which a workflow finds the one to replace; ``{name}`` says which gate it is.
MARKER = "<!-- qrm-forensics gate: {name} -->"

#: Rows of a list of problems; what is more is in the JSON file.
MOST_ROWS = 50
#: GitHub takes comments of up to 65,536 characters.
LONGEST_PAGE = 60_000

SIGNS = {
    Verdict.REGRESSION: "❌",
    Verdict.NOT_COMPARABLE: "🚫",
    Verdict.INSUFFICIENT_DATA: "❔",
    Verdict.UNRELIABLE_BASELINE: "❔",
    Verdict.EQUIVALENT: "✅",
    Verdict.IMPROVEMENT: "✅",
    Verdict.NO_DIFFERENCE_SEEN: "✅",
}

Rows = Iterable[Sequence[str]]


def marker(candidate: Facts) -> str:
    """The marker of this gate; it stays the same from one push to the next."""
    # Letters, digits and single dashes only: two dashes or an angle bracket would end the comment.
    return MARKER.format(name=re.sub(r"-+", "-", re.sub(r"[^\w.+-]", "-", candidate.name)).strip("-")[:80])


def to_markdown(comparison: Comparison, texts: GateTexts, links: ReportLinks | None = None) -> str:
    """GitHub-flavoured Markdown, its first line the marker; ``links`` leads from problems into a report.

    Lists of problems are cut where the whole would be longer than a comment may be.
    """
    for most in (MOST_ROWS, 20, 5, 0):
        page = _page(comparison, texts, links, most)
        if len(page) <= LONGEST_PAGE:
            break
    return page


def _page(c: Comparison, t: GateTexts, links: ReportLinks | None, most: int) -> str:
    title = t.say("title", candidate=md_code(c.candidate.name), baseline=md_code(c.baseline.name))
    parts = [
        marker(c.candidate),
        f"## {SIGNS[c.verdict]} {t.told(t.named('verdict', c.verdict), title)}",
        _reasons(c, t),
    ]
    if c.results:
        parts.append(f"**{t.say('section.accuracy')}**\n\n" + _accuracy(c, t))
    if c.gates:
        parts.append(f"**{t.say('section.gates')}**\n\n" + _gates(c, t))
    parts += _problems(c, t, links, most)
    parts += [part for part in (_drift(c, t), _slices(c, t), _checks(c, t)) if part]
    parts.append(_how(c, t))
    if links is not None:
        parts.append(t.say("report", url=_target(links.url)))
    return "\n\n".join(parts) + "\n"


def _table(heads: Sequence[str], rows: Rows, left: int = 1) -> str:
    """Cells are Markdown already; the first ``left`` columns are text, the others numbers."""
    rule = "|".join("---" if i < left else "---:" for i in range(len(heads)))
    body = ["| " + " | ".join(map(md_cell, row)) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(heads) + " |", f"|{rule}|", *body])


def _heads(t: GateTexts, *names: str) -> list[str]:
    return [md_text(t.say(f"col.{name}")) for name in names]


def _folded(title: str, body: str, *, opened: bool = False) -> str:
    # GitHub reads Markdown inside <details> only after an empty line.
    return f"<details{' open' if opened else ''}><summary>{escape(title)}</summary>\n\n{body}\n\n</details>"


def _target(url: str) -> str:
    return "<" + url.replace("<", "%3C").replace(">", "%3E").replace("\n", "") + ">"


def _reasons(c: Comparison, t: GateTexts) -> str:
    first, *rest = [md_text(t.reason(r, c.comparability.checks)) for r in c.decision.reasons]
    return "\n".join([f"**{first}**", *([""] if rest else []), *(f"- {line}" for line in rest)])


def _accuracy(c: Comparison, t: GateTexts) -> str:
    heads = _heads(
        t, "benchmark", "scorer", "n", "baseline", "candidate", "difference", "lost_gained", "flips", "p", "detectable"
    )
    rows = [
        (
            md_code(r.benchmark),
            md_text(t.policy(r.scorer)),
            t.count(r.n),
            md_text(t.share(r.change.baseline)),
            md_text(t.share(r.change.candidate)),
            md_text(t.change(r.change.difference, r.change.interval)),
            f"{t.count(r.lost)} / {t.count(r.gained)}",
            md_text(t.share(r.flips.rate)),
            md_text(t.p_value(r.change.p_value(c.rules))),
            md_text(t.numbers.magnitude(r.detectable, Unit.POINTS)),
        )
        for r in c.results or ()
    ]
    return _table(heads, rows, left=2)


def _gates(c: Comparison, t: GateTexts) -> str:
    heads = _heads(t, "gate", "benchmark", "status", "baseline", "candidate", "change", "margin", "p_adjusted")
    rows = []
    for g in c.gates or ():
        name = t.aside(md_text(t.gate_name(g)), md_text(t.policy(g.scorer)) if g.scorer else "")
        status = t.gate_status(g)
        shown = (
            f"**{status}**"
            if g.status == "worse"
            else t.told(status, t.named("why", g.why))
            if g.status == "unknown"
            else status
        )
        figures = (
            t.gate_side(g, "baseline"),
            t.gate_side(g, "candidate"),
            t.gate_change(g),
            t.gate_margin(g),
            t.p_value(g.p_adjusted),
        )
        rows.append((name, md_code(g.benchmark), shown, *map(md_text, figures)))
    return _table(heads, rows, left=3)


# ------------------------------------------------------------------------- problems
Row = dict[str, Any]


def _problems(c: Comparison, t: GateTexts, links: ReportLinks | None, most: int) -> list[str]:
    moved = moved_problems(c)
    found = []
    for direction in ("lost", "gained"):
        rows = [row for row in moved if row["direction"] == direction]
        if not rows:
            continue
        heads = _heads(t, "problem", "scorer", "subject", "was", "is", "length", "outcome")
        body = []
        if most:
            body.append(_table(*_used(heads, [_flip_row(row, t, links) for row in rows[:most]]), left=len(heads)))
        if len(rows) > most:
            body.append(t.say("more_rows", n=len(rows) - most))
        if links is None and direction == "lost":
            body.append(t.say("no_report"))
        found.append(_folded(t.say(f"section.{direction}", n=len(rows)), "\n\n".join(body)))
    return found


def _used(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Without the columns in which no row says anything."""
    keep = [i for i in range(len(heads)) if any(row[i] != ABSENT for row in rows)]
    return [heads[i] for i in keep], [[row[i] for i in keep] for row in rows]


def moved_problems(c: Comparison) -> list[Row]:
    """The problems that moved, one row each with ``scorers``, the policies under which it did; the gravest first.

    Responses that never end come before those without an answer, and these before wrong ones.
    """
    flips = c.flips().astype(object)
    found: dict[tuple[str, str, str], Row] = {}
    for row in flips.where(flips.notna(), None).to_dict("records"):
        made: Row = {str(k): v for k, v in row.items()}
        first = found.setdefault((made["benchmark"], made["problem_id"], made["direction"]), made | {"scorers": []})
        first["scorers"].append(made["scorer"])
    return sorted(found.values(), key=_gravity)


def _gravity(row: Row) -> tuple[Any, ...]:
    shares = [row[f"{side}_right"] / row[f"{side}_samples"] for side in ("baseline", "candidate")]
    signs = (row["candidate_loop"], row["candidate_truncated"], row["candidate_status"] == "missing")
    return (*(-int(bool(s)) for s in signs), -abs(shares[0] - shares[1]), row["benchmark"], _natural(row["problem_id"]))


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which idx-9 comes before idx-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", name)]


def _flip_row(row: Row, t: GateTexts, links: ReportLinks | None) -> tuple[str, ...]:
    problem = md_code(row["problem_id"])
    key = (row["benchmark"], row["problem_id"], int(row["candidate_sample"]), int(row["candidate_seed"]))
    target = None if links is None else links.case(t.language, *key)
    unit = "tokens" if row["baseline_n_tokens"] and row["candidate_n_tokens"] else "words"
    lengths = [row[f"{side}_n_{unit}"] for side in ("baseline", "candidate")]
    length = ABSENT
    if None not in lengths:
        was, now = (t.count(int(n)) for n in lengths)
        length = t.say("length_of", baseline=was, candidate=now, unit=t.say(f"unit.{unit}"))
    return (
        f"[{problem}]({_target(target)})" if target else problem,
        md_text(t.listed(t.policy(scorer) for scorer in row["scorers"])),
        " · ".join(md_code(row[k]) for k in ("subject", "level") if row[k] is not None) or ABSENT,
        md_text(_side(row, "baseline", t)),
        md_text(_side(row, "candidate", t)),
        md_text(length),
        md_text(t.outcome(row["candidate_outcome"])),
    )


def _side(row: Row, side: str, t: GateTexts) -> str:
    status = t.status(row[f"{side}_status"])
    right, samples = int(row[f"{side}_right"]), int(row[f"{side}_samples"])
    return status if samples == 1 else t.say("right_of", status=status, right=right, samples=samples)


# ------------------------------------------------------------------------- what else
def _drift(c: Comparison, t: GateTexts) -> str:
    parts = []
    for benchmark, drift in (c.drifts or {}).items():
        told = t.say(
            "drift.note",
            benchmark=md_code(benchmark),
            distance=md_text(t.share(drift.distance)),
            chance=md_text(t.share(drift.by_chance)),
            p=md_text(t.p_statement(drift.p_value)),
        )
        parts.append(told + "\n\n" + _outcomes(drift, t))
    return _folded(t.say("section.drift"), "\n\n".join(parts)) if parts else ""


def _outcomes(drift: Drift, t: GateTexts) -> str:
    heads = _heads(t, "outcome", "baseline", "candidate", "change", "p_adjusted")
    rows = [
        (
            md_text(t.outcome(k.category)),
            md_text(t.share(k.change.baseline)),
            md_text(t.share(k.change.candidate)),
            md_text(t.change(k.change.difference, k.change.interval)),
            md_text(t.p_value(k.p_adjusted)),
        )
        for k in drift.categories
        if k.change.baseline or k.change.candidate
    ]
    return _table(heads, rows)


def _slices(c: Comparison, t: GateTexts) -> str:
    columns = c.slices or ()
    if not columns:
        return ""
    heads = _heads(t, "slice", "benchmark", "n", "baseline", "candidate", "difference", "p_adjusted", "tier")
    rows = []
    for column in columns:
        tiers = {name: i for i, tier in enumerate(column.ranking.tiers, 1) for name in tier}
        for s in column.slices:
            rows.append(
                (
                    t.told(md_text(t.named("column", column.column)), md_code(s.value)),
                    md_code(s.benchmark),
                    t.count(s.n),
                    md_text(t.share(s.change.baseline)),
                    md_text(t.share(s.change.candidate)),
                    md_text(t.change(s.change.difference, s.change.interval)),
                    md_text(t.p_value(s.p_adjusted)),
                    t.say("tier", tier=tiers[s.value], tiers=len(column.ranking.tiers)),
                )
            )
    family = columns[0].slices[0].family
    notes = [t.say("slices.note", family=family)]
    notes += [
        t.say("slices.not_blind", column=name) for name in dict.fromkeys(k.column for k in columns if not k.blind)
    ]
    return _folded(t.say("section.slices"), _table(heads, rows, left=2) + "\n\n" + "\n".join(f"- {n}" for n in notes))


def _checks(c: Comparison, t: GateTexts) -> str:
    checks = c.comparability.checks
    blocks = [k for k in checks if k.severity is Severity.BLOCKS]
    warns = [k for k in checks if k.severity is Severity.WARNS]
    heads = _heads(t, "check", "benchmark", "baseline", "candidate", "note")
    rows = []
    for k in (*blocks, *warns, *(k for k in checks if k.severity is Severity.INFO)):
        grade = t.named("severity", k.severity) if k.severity is not Severity.INFO else ""
        name = t.aside(md_text(t.named("check", k.name)), f"**{md_text(grade)}**" if grade else "")
        rows.append(
            (
                name,
                md_code(k.benchmark) if k.benchmark else "",
                *(md_text(x) for x in (t.value(k.baseline), t.value(k.candidate), t.note(k))),
            )
        )
    title = t.say("section.checks", blocks=len(blocks), warns=len(warns))
    return _folded(title, _table(heads, rows, left=len(heads)), opened=bool(blocks))


def _how(c: Comparison, t: GateTexts) -> str:
    rules = c.rules
    fixed = [
        t.say(
            "how.plan_benchmark",
            benchmark=md_code(name),
            problems=t.count(n),
            samples=_or_any(rules.planned_samples, t),
        )
        for name, n in (rules.planned or {}).items()
    ]
    if not fixed and rules.planned_samples is not None:
        fixed = [
            t.say(
                "how.plan_benchmark",
                benchmark=t.say("how.any"),
                problems=t.say("how.any"),
                samples=_or_any(rules.planned_samples, t),
            )
        ]
    if rules.planned_seeds is not None:
        fixed.append(t.say("how.seeds", seeds=", ".join(map(str, rules.planned_seeds))))
    lines = [t.say("how.plan", plan="; ".join(fixed)) if fixed else t.say("how.no_plan")]
    if c.gates:
        told = t.say(
            "how.errors",
            alpha=t.share(rules.alpha),
            family=max(g.family for g in c.gates),
            confidence=t.share(1 - rules.alpha),
            seed=str(rules.seed),
        )
        lines.append(told)
    lines += [_made(f"how.{side}", facts, t) for side, facts in (("baseline", c.baseline), ("candidate", c.candidate))]
    if c.second_baseline is not None:
        lines.append(_made("how.second", c.second_baseline, t))
    lines.append(t.say("how.version", version=__version__))
    return _folded(t.say("section.how"), "\n".join(f"- {line}" for line in lines))


def _or_any(number: int | None, t: GateTexts) -> str:
    return t.say("how.any") if number is None else t.count(number)


def _made(key: str, facts: Facts, t: GateTexts) -> str:
    when = facts.created or t.say("unknown_date")
    if facts.blessed:
        when += ", " + t.say("how.blessed", date=facts.blessed)
    slots = {"name": md_code(facts.name), "source": md_code(facts.source), "hash": md_code(facts.content_hash[:12])}
    return t.say(key, created=md_text(when), **slots) if key != "how.second" else t.say(key, **slots)
