"""The table of what each format provides, as Markdown: what the documentation shows."""

from __future__ import annotations

from qrm_forensics.importers import FORMATS, load_format
from qrm_forensics.importers.provides import FACTS, WITHOUT, Said

_MARKS = {Said.YES: "yes", Said.SOMETIMES: "(yes)", Said.NO: "–"}


def table() -> list[str]:
    """Lines: one row per fact, one column per format."""
    formats = {name: load_format(name) for name in FORMATS}
    lines = [f"| | {' | '.join(f'`{name}`' for name in formats)} |", "|---" * (len(formats) + 1) + "|"]
    for fact, called in FACTS.items():
        marks = (_MARKS[getattr(module.PROVIDES, fact)] for module in formats.values())
        lines.append(f"| {called} | {' | '.join(marks)} |")
    return lines


def page() -> str:
    """The generated part of ``docs/importers.md``: the formats, the table, and what is missing without each fact."""
    lines = ["| `--format` | files |", "|---|---|"]
    for name in FORMATS:
        title = load_format(name).TITLE.replace("|", "\\|")
        lines.append(f"| `{name}` | {title} |")
    lines += ["", *table(), ""]
    lines += ["(yes): where the tool or whoever ran it stored it, file by file.", "", "| without | |", "|---|---|"]
    lines += [f"| {FACTS[fact]} | {said} |" for fact, said in WITHOUT.items()]
    return "\n".join(lines)
