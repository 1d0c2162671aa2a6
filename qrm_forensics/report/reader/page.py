"""The reader as a page needs it: the index in few bytes, the words of each language, the packs inside or beside it."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from qrm_forensics.records import Finish, Status
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.reader.model import Pack, Reader, ReaderCell
from qrm_forensics.report.reader.packing import as_json, packed
from qrm_forensics.symptoms import OUTCOME_NAMES, SYMPTOMS

#: Megabytes of packs that a report holds inside; more go to files beside it.
TRACE_BUDGET_MB = 25
#: Folder of those files, beside the report.
FOLDER = "traces"

#: A file beside the report answers whoever frames it, with its text and nothing else.  Opened from a disk every file
#: is an origin of its own, so anybody is answered there (and only files can frame files); a server's file answers
#: pages of the same server alone.
_ANSWER = (
    'parent.postMessage({reader:location.hash.slice(1),id:document.body.id,data:document.getElementById("d").textContent},'
    'location.protocol==="file:"?"*":location.origin)'
)


@dataclass(frozen=True, slots=True)
class ReaderPage:
    """``index`` and ``packs`` are elements for the page, ``files`` what goes beside it: path in the report's folder -> content.

    ``megabytes``: what the packs take, wherever they are.
    """

    index: Markup
    packs: Markup
    files: Mapping[str, str]
    megabytes: float


def reader_page(reader: Reader, texts: Mapping[str, Texts], budget_bytes: float | None) -> ReaderPage:
    """Packs go inside the page where they fit into ``budget_bytes`` (None: always)."""
    inside = budget_bytes is None or reader.packed_bytes <= budget_bytes
    names = [f"{FOLDER}/{i:04d}.html" for i in range(1, len(reader.packs) + 1)]
    index = _index(reader) | {
        "packs": [[p.id, p.raw_bytes] for p in reader.packs],
        "files": [] if inside else names,
        "labels": {language: labels(reader, t) for language, t in texts.items()},
    }
    return ReaderPage(
        index=_element("reader-index", packed(as_json(index).encode("utf-8", "replace"))),
        packs=Markup("\n").join(_element(f"pack-{p.id}", p.data) for p in reader.packs) if inside else Markup(""),
        files={} if inside else {name: side_file(p) for name, p in zip(names, reader.packs, strict=True)},
        megabytes=reader.packed_bytes / 1e6,
    )


def _element(name: str, data: str) -> Markup:
    return Markup('<script type="text/plain" id="{}">{}</script>').format(name, data)


def side_file(pack: Pack) -> str:
    """A pack as a page of its own, which hands its text to the report that frames it."""
    digest = base64.b64encode(hashlib.sha256(_ANSWER.encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="referrer" content="no-referrer"><title>{html.escape(pack.id)}</title></head><body id="{pack.id}">'
        f'<script type="text/plain" id="d">{pack.data}</script><script>{_ANSWER}</script></body></html>\n'
    )


def _index(reader: Reader) -> dict[str, Any]:
    """The index with each repeated name once: what stands for it is its place in a list."""
    names: dict[str, dict[str | None, int]] = {
        k: {} for k in ("benchmarks", "subjects", "levels", "outcomes", "status")
    }

    def number(kind: str, name: str | None) -> int:
        return -1 if name is None else names[kind].setdefault(name, len(names[kind]))

    def cell(c: ReaderCell) -> list[Any]:
        status = [number("status", s) for s in c.status]
        loop = -1 if c.loop is None else int(c.loop)
        return [c.variant, status, number("outcomes", c.outcome), c.words, c.chars, loop, c.answer]

    for name in OUTCOME_NAMES:  # in their order, so that chips stand in it too
        if any(c.outcome == name for row in reader.rows for c in row.cells):
            number("outcomes", name)
    for level in sorted({row.level for row in reader.rows if row.level is not None}, key=_natural):
        number("levels", level)
    for subject in sorted({row.subject for row in reader.rows if row.subject is not None}):
        number("subjects", subject)
    for status in Status:
        number("status", str(status))
    rows = [
        [
            number("benchmarks", r.benchmark), r.problem_id, r.sample, r.seed, r.question, r.gold,
            number("subjects", r.subject), number("levels", r.level), r.pack, r.place, [cell(c) for c in r.cells],
        ]
        for r in reader.rows
    ]  # fmt: skip
    place = {v: i for i, v in enumerate(reader.variants)}
    return {
        "variants": list(reader.variants),
        "policies": list(reader.policies),
        "references": [[names["benchmarks"].get(b, -1), place[v], place[r]] for b, v, r in reader.references],
        "facts": list(reader.facts),
        "flags": list(reader.flags),
        "markers": list(reader.markers),
        **{kind: list(known) for kind, known in names.items()},
        "rows": rows,
    }


def _natural(name: str) -> tuple[bool, float, str]:
    """Numbers by their value, before words."""
    return (False, float(name), name) if name.isdecimal() else (True, 0.0, name)


def labels(reader: Reader, texts: Texts) -> dict[str, Any]:
    """The names that a reader prints, in one language: columns with their definition, outcomes, verdicts, and so on."""
    outcomes = {c.outcome for row in reader.rows for c in row.cells if c.outcome is not None}
    classes = [key for key in texts.messages if key.startswith("loop_class.")]
    return {
        "column": {c: texts.column(c) for c in reader.facts},
        "definition": {c: texts.definitions[c] for c in reader.facts if c in texts.definitions},
        "outcome": {o: _known(texts, f"outcome.{o}", o) for o in sorted(outcomes)},
        "outcome_definition": {o: _known(texts, f"outcome.{o}.definition", "") for o in sorted(outcomes)},
        "status": {s: texts.raw(f"status.{s}") for s in Status},
        "finish": {f: texts.raw(f"finish.{f}") for f in Finish},
        "policy": {p: _known(texts, f"policy.{p}", p) for p in reader.policies},
        "symptom": {s.name: _known(texts, f"symptom.{s.name}", s.name) for s in SYMPTOMS},
        "loop_class": {key: texts.raw(key) for key in classes},
    }


def _known(texts: Texts, key: str, name: str) -> str:
    """A text that a plug-in's rule or policy may not have."""
    return texts.raw(key) if texts.has(key) else name
