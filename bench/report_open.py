"""How soon a report can be used: from opening the file to the overview table's answer to a click.

    python bench/report_open.py RUN [--responses 3540] [--languages ko,en,zh] [--repeats 5] [--keep FOLDER]
    python bench/report_open.py REPORT.html [--repeats 5]

A run folder is replicated under new problem ids until it has that many responses (its verdicts and measures with
it), and rendered.  The page is then opened from ``file://`` in headless Chromium, each time in a fresh context.
Printed: seconds to build and render, megabytes by part of the page, and medians of

- *shown*: the verdict is painted (first contentful paint);
- *interactive*: a click on a column head of the overview has reordered its rows, the click sent as soon as there is
  something to click;
- *card*: a click on a number to its evidence, which reads the ledger;
- *chart*: a jump to the first chart until it is drawn, which unpacks the chart library.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from playwright.sync_api import Browser, sync_playwright

from qrm_forensics.records import Verdict
from qrm_forensics.report.context import build_context
from qrm_forensics.report.render import render
from qrm_forensics.store import Store

_CLICK = """() => {
  const table = [...document.querySelectorAll('.overview table')].find((t) => t.offsetParent);
  const button = table?.querySelector('thead th:nth-child(3) button.sort');
  if (!button) return null;
  button.click();
  if (!table.querySelector('[aria-sort]')) return null;
  return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))));
}"""
_CARD = """async () => {
  const from = performance.now();
  [...document.querySelectorAll('.overview a.num')].find((a) => a.offsetParent).click();
  while (!document.querySelector('.evidence-card')) await new Promise((next) => setTimeout(next, 1));
  return performance.now() - from;
}"""
_CHART = """async () => {
  const from = performance.now();
  const plot = [...document.querySelectorAll('.plot')].find((p) => p.offsetParent);
  plot.scrollIntoView({ behavior: 'instant' });
  while (plot.dataset.state !== 'drawn') await new Promise((next) => setTimeout(next, 1));
  return performance.now() - from;
}"""
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"


def replicate(source: Store, root: Path, responses: int) -> Store:
    """A run with at least ``responses`` responses: those of ``source`` again and again under new problem ids."""
    copies = -(-responses // max(1, source.trace_count()))
    request = source.study["request"]
    made = Store.create(root, request=request, variants=source.variants, baseline=source.baseline)
    names = [f"~{k}" if k else "" for k in range(copies)]
    made.write_problems(dataclasses.replace(p, id=p.id + n) for n in names for p in source.problems().values())
    verdicts = source.verdicts().to_pylist()
    measures = source.measures()
    for variant, benchmark in source.cells():
        records = source.trace_records(variant, benchmark)
        for name in names:
            copy = [dataclasses.replace(t, problem_id=t.problem_id + name) for t in records]
            made.append_traces(variant, benchmark, copy)
        mine = [v for v in verdicts if (v["variant"], v["benchmark"]) == (variant, benchmark)]
        for policy in {v["policy"] for v in mine}:
            rows = [Verdict(**v) for v in mine if v["policy"] == policy]
            again = [dataclasses.replace(v, problem_id=v.problem_id + n) for n in names for v in rows]
            made.write_verdicts(policy, variant, benchmark, again, "replicated")
        for name, table in measures.items():
            cell = table.filter((pa.compute.field("variant") == variant) & (pa.compute.field("benchmark") == benchmark))
            told = {k.encode(): v.encode() for k, v in source.measure_metadata(name).items()}
            at = cell.schema.get_field_index("problem_id")
            parts = []
            for suffix in names:
                ids = pa.compute.binary_join_element_wise(cell["problem_id"].cast(pa.string()), suffix, "")
                parts.append(cell.set_column(at, cell.schema.field(at).with_type(pa.string()), ids))
            whole = pa.concat_tables(parts).replace_schema_metadata(told)
            made.write_measure(name, variant, benchmark, whole, "replicated")
        made.seal(variant, benchmark, made.trace_keys(variant, benchmark))
    for analysis in sorted((source.root / "analyses").glob("*.json")):
        shutil.copy2(analysis, _folder(made.root / "analyses"))
    return made


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def weights(html: str) -> dict[str, int]:
    """Bytes of the page by part."""
    found = {}
    left = html
    for match in re.finditer(r"<script[^>]*?(?: id=\"([\w:./-]+)\")?>(.*?)</script>", html, re.S):
        found[f"script {(match[1] or 'code').split(':')[0]}"] = found.get(f"script {match[1] or 'code'}", 0) + len(
            match[0].encode()
        )
        left = left.replace(match[0], "", 1)
    for match in re.finditer(r"<style>.*?</style>", left, re.S):
        found["style"] = len(match[0].encode())
    starts = [(m.start(), m[1]) for m in re.finditer(r'<div class="page" lang="(\w+)"', left)]
    for i, (start, language) in enumerate(starts):
        end = starts[i + 1][0] if i + 1 < len(starts) else left.index('<div id="live"', start)
        found[f"page {language}"] = len(left[start:end].encode())
    return found


def measure(browser: Browser, page: Path) -> dict[str, float]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    tab: Any = context.new_page()
    tab.goto(page.as_uri(), wait_until="commit")
    clicked = None
    while clicked is None:
        clicked = tab.evaluate(_CLICK)
    found = {"shown": tab.evaluate(_PAINT), "interactive": clicked, "card": tab.evaluate(_CARD)}
    tab.keyboard.press("Escape")
    found["chart"] = tab.evaluate(_CHART)
    context.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--responses", type=int, default=3540)
    parser.add_argument("--languages", default="ko,en,zh")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="keep the replicated run and its report here")
    args = parser.parse_args()
    page = args.source
    with tempfile.TemporaryDirectory() as scratch:
        if page.is_dir():
            root = args.keep or Path(scratch) / "run"
            store = Store(root) if (root / "study.json").exists() else replicate(Store(page), root, args.responses)
            start = time.perf_counter()
            context = build_context(store)
            built = time.perf_counter()
            page = render(context, args.languages.split(","), root / "report", formats=["html"])[0]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{store.trace_count()} responses, {len(context.claims)} claims")
            print(f"numbers {built - start:.1f} s, page {time.perf_counter() - built:.1f} s, peak {peak:,.0f} MB")
        html = page.read_text(encoding="utf-8")
        print(f"{page.name}: {len(html.encode()) / 1e6:.2f} MB")
        for part, size in sorted(weights(html).items(), key=lambda item: -item[1]):
            print(f"  {part:24} {size / 1e6:7.3f} MB")
        with sync_playwright() as playwright:
            chromium = shutil.which("chromium") or shutil.which("chromium-browser")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            runs = [measure(browser, page) for _ in range(args.repeats)]
            browser.close()
    for name in runs[0]:
        values = sorted(r[name] for r in runs if r[name] is not None)
        if values:
            print(f"{name:12} {statistics.median(values):7.0f} ms  ({values[0]:.0f} to {values[-1]:.0f})")


if __name__ == "__main__":
    main()
