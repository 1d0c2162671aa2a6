"""Memory and speed of measuring a large run: a trace table of N gigabytes, all cores, all metrics.

    python bench/measure_memory.py [--gigabytes 2] [--out FOLDER] [--from FOLDER]

Builds a run folder (the responses of ``--from``, or text of the built-in problem families, each
with a line of its own so that no two are alike), then measures it.  Prints MB/s and the largest
sum, over all processes, of the memory that they do not share (PSS, read every 0.2 s).
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import tempfile
import threading
import time
from pathlib import Path

from scan_speed import built_in_text

from qrm_forensics.measure import make_corpora, measure_groups
from qrm_forensics.metrics import all_metrics
from qrm_forensics.records import Finish, Kind, Problem, Trace, Variant
from qrm_forensics.store import Store

PER_CELL = 500


def build(root: Path, texts: list[str], gigabytes: float) -> Store:
    problems = [Problem("b", f"p{i}", f"What is {i}?", "", str(i), Kind.MATH, None, None) for i in range(PER_CELL)]
    size, cells = 0, []
    endless = itertools.cycle(texts)
    while size < gigabytes * 1e9:
        rows = [
            Trace(f"v{len(cells)}", "b", p.id, 0, 42, "", f"Row {len(cells)}-{p.id}.\n{next(endless)}", Finish.UNKNOWN)
            for p in problems
        ]
        size += sum(len((r.text or "").encode()) for r in rows)
        if not cells:
            variants = [Variant(f"v{i}", "m", "bf16", 1) for i in range(int(gigabytes * 1e9 / size) + 2)]
            store = Store.create(root, request={"kind": "bench"}, variants=variants, baseline="v0")
            store.write_problems(problems)
        store.append_traces(rows[0].variant, "b", rows)
        cells.append(rows[0].variant)
    return store


def pss_of_tree() -> int:
    """Bytes of this process and its descendants, shared pages divided among those that share them."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            parents[int(stat.parent.name)] = int(fields[1])
        except OSError:
            continue
    import os

    wanted, total = {os.getpid()}, 0
    for _ in range(8):
        wanted |= {child for child, parent in parents.items() if parent in wanted}
    for pid in wanted:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--from", dest="source", type=Path)
    parser.add_argument("--workers", type=int)
    args = parser.parse_args()
    texts = (
        [
            row["generated_text"]
            for file in sorted(args.source.rglob("*.jsonl"))
            for row in json.loads(file.read_text(encoding="utf-8"))
        ]
        if args.source
        else built_in_text(8)
    )
    root = args.out or Path(tempfile.mkdtemp(prefix="qrm-bench-")) / "run"
    store = Store(root) if (root / "study.json").exists() else build(root, texts, args.gigabytes)
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            peak[0] = max(peak[0], pss_of_tree())

    watcher = threading.Thread(target=watch)
    watcher.start()
    metrics = [m for m in all_metrics() if m.grain == "trace"]
    groups = [group for cell in store.cells() for group in store.row_groups(*cell)]
    start = time.perf_counter()
    corpora = make_corpora(store, metrics)
    learned = time.perf_counter()
    rows = 0
    for i, _ in measure_groups(store, [(g, metrics) for g in groups], corpora=corpora, workers=args.workers):
        rows += groups[i].rows
    end = time.perf_counter()
    done.set()
    watcher.join()
    size = sum(g.bytes for g in groups)
    print(f"{rows} responses, {size / 1e9:.2f} GB in {len(groups)} row groups")
    print(
        f"reference of the run {learned - start:.1f} s, metrics {end - learned:.1f} s ({size / 1e6 / (end - learned):.1f} MB/s)"
    )
    print(f"peak memory of all processes {peak[0] / 1e6:.0f} MB")
    if args.out is None:
        shutil.rmtree(root.parent)


if __name__ == "__main__":
    main()
