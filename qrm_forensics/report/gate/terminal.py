"""A comparison in a few lines of plain text; colours are the terminal's business, not this module's."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from qrm_forensics.compare.comparability import Severity
from qrm_forensics.compare.comparison import Comparison
from qrm_forensics.report.gate.texts import GateTexts
from qrm_forensics.report.visible import shown_text

WIDTH = 100
_NAME = 28
_CELL = 48
#: What a line is not broken within: a Hanzi or a run of other letters, with the marks that open before and close after it.
_PIECE = re.compile(r"[（“《]*(?:[\u4e00-\u9fff]|[^\u4e00-\u9fff（“《]+|$)[，。；：、！？）”》]*")


def to_terminal(comparison: Comparison, texts: GateTexts) -> str:
    """A table of accuracies, one of gates, the checks that matter, and the reasons in plain language; no verdict line."""
    c, t = comparison, texts
    parts = []
    if c.results:
        heads = ["benchmark", "scorer", "n", "baseline", "candidate", "difference", "lost_gained", "flips", "p"]
        rows = [
            [
                _name(r.benchmark),
                t.policy(r.scorer),
                t.count(r.n),
                t.share(r.change.baseline),
                t.share(r.change.candidate),
                t.change(r.change.difference, r.change.interval),
                f"{t.count(r.lost)} / {t.count(r.gained)}",
                t.share(r.flips.rate),
                t.p_value(r.change.p_value(c.rules)),
            ]
            for r in c.results
        ]
        parts.append(columns([[t.say(f"col.{h}") for h in heads], *rows], left=2))
    if c.gates:
        heads = ["gate", "benchmark", "baseline", "candidate", "change", "margin", "status"]
        rows = [
            [
                t.aside(t.gate_name(g), t.policy(g.scorer) if g.scorer else ""),
                _name(g.benchmark),
                t.gate_side(g, "baseline"),
                t.gate_side(g, "candidate"),
                t.gate_change(g),
                t.gate_margin(g),
                t.gate_status(g),
            ]
            for g in c.gates
        ]
        parts.append(columns([[t.say(f"col.{h}") for h in heads], *rows], left=2))
    parts += [_checks(c, t), "\n".join(_wrapped(t.reason(r, c.comparability.checks)) for r in c.decision.reasons)]
    return "\n\n".join(part for part in parts if part)


def verdict_line(comparison: Comparison, texts: GateTexts) -> str:
    """``Regression: awq-w3g128 against bf16``."""
    names = {side: _name(getattr(comparison, side).name, 60) for side in ("candidate", "baseline")}
    title = texts.say("title", **names)
    return texts.told(texts.named("verdict", comparison.verdict), title)


def _name(text: str, most: int = _NAME) -> str:
    """A name that fits; of a long one its ends, as the recipe often comes last."""
    shown = shown_text(text)
    half = (most - 1) // 2
    return shown if len(shown) <= most else f"{shown[:half]}…{shown[-half:]}"


def _checks(c: Comparison, t: GateTexts) -> str:
    """What blocks and what differs, one line each; what is merely not known, in one line together."""
    lines, unknown = [], []
    for check in c.comparability.checks:
        name = t.aside(t.named("check", check.name), _name(check.benchmark) if check.benchmark else "")
        if check.severity is Severity.BLOCKS or (check.severity is Severity.WARNS and check.status != "unknown"):
            values = (
                f" [{t.value(check.baseline)} / {t.value(check.candidate)}]"
                if check.baseline or check.candidate
                else ""
            )
            lines.append(
                _wrapped(t.told(t.named("severity", check.severity), t.told(name, f"{t.note(check)}{values}")))
            )
        elif check.severity is Severity.WARNS:
            unknown.append(name)
    if unknown:
        lines.append(_wrapped(t.say("unchecked", names=t.listed(unknown))))
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    """A list item whose lines are at most ``WIDTH`` columns wide, broken between words, and between Hanzi."""
    lines = ["-"]
    for word in shown_text(" ".join(text.split())).split(" "):
        for i, piece in enumerate(_PIECE.findall(word)):
            space = "" if i else " "
            if len(lines[-1]) > 2 and width(f"{lines[-1]}{space}{piece}") > WIDTH:
                lines.append(" ")
                space = " "
            lines[-1] += space + piece
    return "\n".join(lines)


def width(text: str) -> int:
    """Columns of a terminal that a text takes; Korean and Chinese letters take two."""
    return sum(0 if unicodedata.combining(ch) else 1 + (unicodedata.east_asian_width(ch) in "WF") for ch in text)


def columns(rows: Sequence[Sequence[str]], left: int) -> str:
    """Rows under each other, the first ``left`` columns to the left and the others to the right."""
    shown = [[_name(" ".join(cell.split()), _CELL) for cell in row] for row in rows]
    widths = [max(width(row[i]) for row in shown) for i in range(len(shown[0]))]
    lines = []
    for row in shown:
        cells = [
            cell + " " * (w - width(cell)) if i < left else " " * (w - width(cell)) + cell
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
