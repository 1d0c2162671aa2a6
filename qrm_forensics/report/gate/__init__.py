"""What a gate prints: Markdown for a pull request, JUnit XML for a CI server, a few lines for a terminal.

Everything that comes from a file (names of models, benchmarks, problems) is text from outside: escaped for
where it goes, never markup, a mention or a control character.
"""

from qrm_forensics.report.gate.junit import to_junit
from qrm_forensics.report.gate.links import ReportLinks, report_links
from qrm_forensics.report.gate.markdown import MARKER, to_markdown
from qrm_forensics.report.gate.terminal import to_terminal
from qrm_forensics.report.gate.texts import GateTexts

__all__ = ["MARKER", "GateTexts", "ReportLinks", "report_links", "to_junit", "to_markdown", "to_terminal"]
