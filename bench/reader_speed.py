"""Packing and opening: MB/s into the reader of responses, and milliseconds from a click to a readable trace.

    python bench/reader_speed.py RUN [--responses 3540]

RUN is copied until it has as many responses as the full grid of the paper's reasoning study, packed, rendered, and
opened in Chromium: the page as a whole, the longest response of the run, and four made ones of 160,000 characters
(about 32k tokens) beside each other, each with loops and formulas.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qrm_forensics.report.context import build_context
from qrm_forensics.report.data import load
from qrm_forensics.report.model import ReportContext
from qrm_forensics.report.reader.build import build_reader
from qrm_forensics.report.reader.entries import response_entry
from qrm_forensics.report.reader.model import Reader, ReaderCell, ReaderRow
from qrm_forensics.report.reader.packing import Packer
from qrm_forensics.report.render import render
from qrm_forensics.store import Store

LONG = 160_000


def replicated(run: Path, out: Path, copies: int) -> Store:
    """A run with every problem ``copies`` times, under names of their own; traces, verdicts and measures alike."""
    shutil.copytree(run, out, ignore=shutil.ignore_patterns("report", "analyses", "checkpoints", ".lock"))
    for path in sorted(out.rglob("*.parquet")):
        table = pq.read_table(path)
        name = "id" if "id" in table.column_names else "problem_id"
        at = table.column_names.index(name)
        parts = [table] + [
            table.set_column(at, table.field(at), pc.binary_join_element_wise(table[name], f"copy-{i}", "~"))
            for i in range(1, copies)
        ]
        rows = max(1, table.num_rows // 4)
        pq.write_table(
            pa.concat_tables(parts).replace_schema_metadata(_counted(table, copies)), path, row_group_size=rows
        )
    return Store(out)


def _counted(table: pa.Table, copies: int) -> dict[bytes, bytes]:
    """The metadata of a table, which says of how many traces a derived one was made."""
    found = dict(table.schema.metadata or {})
    key = b"qrm_forensics.traces"
    return found | ({key: str(int(found[key]) * copies).encode()} if key in found else {})


def with_long(context: ReportContext) -> ReportContext:
    """The context with one problem more, whose four responses are as long as 32k tokens."""
    reader = context.reader
    assert reader is not None
    made = ("long-0", "long-1", "long-2", "long-3")
    step = "Let me check \\(x_{i}^2 + \\frac{a}{b}\\) once more, step after step. Wait, that gives {i}. "
    texts = []
    for v in range(4):
        head = "".join(step.replace("{i}", str(i * (v + 1))) for i in range(LONG // 200))
        texts.append("<think>\n" + head + ("Wait, so the answer is 12. " * LONG)[: LONG - len(head) - 8])
    marks = {"loop": [(len(texts[0]) // 2, LONG)], "correct": [(i, i + 12) for i in range(900, LONG // 2, 900)]}
    entries = [
        response_entry(t, marks=marks, facts={}, known={"finish": "length", "surprisal": [30] * 240}) for t in texts
    ]
    packer = Packer()
    _, place = packer.add({"question": "What is 3 + 4?", "gold": "7", "responses": entries})
    status = tuple("wrong" for _ in reader.policies)
    first = len(reader.variants)
    row = ReaderRow(
        *("made", "long", 0, 0, "What is 3 + 4?", "7", None, None, len(reader.packs), place),
        tuple(ReaderCell(first + i, status, None, len(t.split()), len(t), True, None) for i, t in enumerate(texts)),
    )
    longer: Reader = replace(
        reader, variants=reader.variants + made, rows=(*reader.rows, row), packs=reader.packs + packer.finish()
    )
    return replace(context, reader=longer)


def browse(report: Path, problems: list[str], chromium: str) -> dict[str, Any]:
    """Milliseconds until the overview answers, and from the call that a click makes to the painted text."""
    from playwright.sync_api import sync_playwright

    found: dict[str, Any] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        begun = time.perf_counter()
        page.goto(report.as_uri(), wait_until="commit")
        page.wait_for_selector("html[data-ready]", state="attached", timeout=120_000)
        found["page, ready"] = 1000 * (time.perf_counter() - begun)
        page.wait_for_selector(".r-table tr[data-at]", state="attached", timeout=120_000)
        found["samples table, there"] = 1000 * (time.perf_counter() - begun)
        clicked = """(p) => new Promise((done) => {
          const begun = performance.now();
          const view = document.getElementById("reader-view");
          const seen = () => (view.querySelector(".r-piece .m, .r-piece")?.textContent
            ? requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun))) : requestAnimationFrame(seen));
          QRM.reader.open(p, { show: null });
          seen();
        })"""
        for problem in problems:
            for what in ("first", "again"):
                page.evaluate("QRM.state.update({ problem: null })")
                page.wait_for_timeout(400)
                found[f"{problem}, {what}"] = page.evaluate(clicked, problem)
        page.evaluate("QRM.state.update({ problem: null })")
        scroll = """() => new Promise((done) => {
          const rows = document.querySelector(".r-rows");
          rows.scrollIntoView();
          let worst = 0, n = 0, last = performance.now();
          const step = () => { const now = performance.now(); worst = Math.max(worst, now - last); last = now; rows.scrollTop += 900; if (++n < 60) requestAnimationFrame(step); else done(worst); };
          requestAnimationFrame(step);
        })"""
        found["table, longest frame while scrolling"] = page.evaluate(scroll)
        browser.close()
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("run", type=Path)
    options.add_argument("--responses", type=int, default=3540)
    options.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    options.add_argument("--only-packing", action="store_true", help="do not open it in a browser")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        n = Store(chosen.run).trace_count()
        store = replicated(chosen.run, Path(folder) / "run", max(1, -(-chosen.responses // n)))
        run = load(store)
        compared = {name: dict.fromkeys(data.variants, data.variants[0]) for name, data in run.benchmarks.items()}
        begun, used = time.perf_counter(), time.process_time()
        reader = build_reader(run, compared)
        spent, used = time.perf_counter() - begun, time.process_time() - used
        raw = sum(p.raw_bytes for p in reader.packs) / 1e6
        print(
            f"responses {store.trace_count():,}, packs {len(reader.packs)}, {raw:.1f} MB into {reader.packed_bytes / 1e6:.1f} MB"
        )
        print(f"packing {spent:.1f} s, of which on the processor {used:.1f} s ({raw / used:.0f} MB/s)")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB", flush=True)
        if chosen.only_packing:
            return
        context = replace(build_context(Store(chosen.run), responses=False), reader=reader)
        longest = max(reader.rows, key=lambda row: max((c.chars or 0) for c in row.cells))
        name = f"{longest.benchmark}/{longest.problem_id}/{longest.sample}/{longest.seed}"
        for label, budget in (("all in one", None), ("files beside", 0.0)):
            out = Path(folder) / label.replace(" ", "-")
            begun = time.perf_counter()
            render(with_long(context), ["en", "ko"], out, formats=["html"], trace_budget_mb=budget)
            size = (out / "report.html").stat().st_size / 1e6
            print(f"{label}: rendered in {time.perf_counter() - begun:.1f} s, report.html {size:.1f} MB")
            for what, ms in browse(out / "report.html", [name, "made/long/0/0"], chosen.chromium).items():
                print(f"  {what}: {ms:.0f} ms")


if __name__ == "__main__":
    main()
