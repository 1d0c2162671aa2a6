"""JUnit XML: a test case per check and gate, so that a CI server lists what failed like any other test.

A gate that is worse and a check that blocks *fail*; a gate that cannot be told is *skipped*, with why.  The case
``verdict`` fails exactly where the exit code is not 0, so that no server shows green where the gate is red.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from qrm_forensics.compare.comparability import Check, Severity
from qrm_forensics.compare.comparison import Comparison
from qrm_forensics.compare.gates import Gate
from qrm_forensics.report.gate.escape import xml_text
from qrm_forensics.report.gate.texts import GateTexts

SUITE = "qrm-forensics"


def to_junit(comparison: Comparison, texts: GateTexts) -> str:
    """One ``testsuite`` in a ``testsuites``."""
    cases = [_verdict(comparison, texts)]
    cases += [_check(check, texts) for check in comparison.comparability.checks]
    cases += [_gate(gate, comparison, texts) for gate in comparison.gates or ()]
    title = texts.say("title", candidate=comparison.candidate.name, baseline=comparison.baseline.name)
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
    }
    root = ET.Element("testsuites", {"name": SUITE} | {k: v for k, v in counts.items() if k != "skipped"})
    suite = ET.SubElement(root, "testsuite", {"name": xml_text(title)} | counts)
    suite.extend(cases)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(name: str, group: str) -> ET.Element:
    return ET.Element("testcase", name=xml_text(name), classname=xml_text(f"{SUITE}.{group}"), time="0")


def _told(case: ET.Element, kind: str, message: str | None, lines: Sequence[str] = ()) -> None:
    attributes = {} if message is None else {"message": xml_text(message)}
    ET.SubElement(case, kind, attributes).text = "\n".join(map(xml_text, lines)) or None


def _verdict(comparison: Comparison, texts: GateTexts) -> ET.Element:
    case = _case("verdict", "verdict")
    name = texts.named("verdict", comparison.verdict)
    reasons = [texts.reason(r, comparison.comparability.checks) for r in comparison.decision.reasons]
    if comparison.exit_code:
        _told(case, "failure", name, reasons)
    else:
        _told(case, "system-out", None, [name, *reasons])
    return case


def _check(check: Check, texts: GateTexts) -> ET.Element:
    case = _case(texts.named("check", check.name), f"comparability.{check.benchmark or 'all'}")
    values = (
        f" [{texts.value(check.baseline)} / {texts.value(check.candidate)}]"
        if check.baseline or check.candidate
        else ""
    )
    told = texts.note(check) + values
    if check.severity is Severity.BLOCKS:
        _told(case, "failure", texts.note(check), [told])
    elif check.severity is Severity.WARNS:
        _told(case, "system-out", None, [told])
    return case


def _gate(gate: Gate, comparison: Comparison, texts: GateTexts) -> ET.Element:
    name = texts.aside(texts.gate_name(gate), texts.policy(gate.scorer) if gate.scorer else "")
    case = _case(name, f"gate.{gate.benchmark}")
    told = (
        f"{texts.gate_side(gate, 'baseline')} → {texts.gate_side(gate, 'candidate')}, {texts.gate_change(gate)}, "
        f"{texts.say('col.margin')} {texts.gate_margin(gate)}, {texts.say('col.p_adjusted')} {texts.p_value(gate.p_adjusted)}"
    )
    if gate.status == "worse":
        message = texts.gate_change(gate)
        _told(case, "failure", message, [told, *_lost(comparison, gate)])
    elif gate.status == "unknown":
        _told(case, "skipped", texts.named("why", gate.why))
    else:
        _told(case, "system-out", None, [told])
    return case


def _lost(comparison: Comparison, gate: Gate) -> list[str]:
    """Ids of the problems that an accuracy lost; other gates do not name problems."""
    rows = comparison.flips()
    if gate.name != "accuracy" or not len(rows):
        return []
    mine = (rows["benchmark"] == gate.benchmark) & (rows["scorer"] == gate.scorer) & (rows["direction"] == "lost")
    return [str(name) for name in rows.loc[mine.fillna(False).astype(bool), "problem_id"]]
