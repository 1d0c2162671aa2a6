"""Where in a report a problem is shown, for links into it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from qrm_forensics.compare.items import Facts
from qrm_forensics.report.views import anchor_name

_ID = re.compile(r'id="([^"]*:case/[^"]*)"')


@dataclass(frozen=True, slots=True)
class ReportLinks:
    """A report at ``url``; ``anchors`` are those of the problems that it shows in full."""

    url: str
    anchors: frozenset[str]

    def case(self, language: str, benchmark: str, problem_id: str, sample: int, seed: int) -> str | None:
        """The link to a problem, in the language where the report has it; None where it is not shown."""
        case = f"{benchmark}/{problem_id}/{sample}/{seed}"
        wanted = anchor_name(language, "case", case)
        other = [a for a in sorted(self.anchors) if a.partition(":")[2] == wanted.partition(":")[2]]
        found = wanted if wanted in self.anchors else next(iter(other), None)
        return None if found is None else f"{self.url}#{quote(found, safe=':/=,.~-_')}"


def report_links(candidate: Facts, url: str | None = None, beside: Path | None = None) -> ReportLinks | None:
    """The report in the candidate's run folder; None where there is none.

    ``url`` is where it is published; without it links are relative to the folder ``beside`` (of the Markdown file).
    """
    file = Path(candidate.source) / "report" / "report.html"
    if candidate.kind == "baseline" or not file.is_file():
        return None if url is None else ReportLinks(url, frozenset())
    anchors = frozenset(_ID.findall(file.read_text("utf-8", errors="replace")))
    place = os.path.relpath(file, beside or Path.cwd())
    return ReportLinks(url or quote(Path(place).as_posix()), anchors)
