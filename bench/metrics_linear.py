"""Time and growth of every metric: MB/s, and time at 4x the length over the time at 1x.

A linear metric has a ratio near 4; a ratio above 6 is marked.  Run it alone::

    python bench/metrics_linear.py [FOLDER]

FOLDER, if given, holds response files (JSON arrays of {"generated_text": ...}) to time on as well.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from qrm_forensics.metrics import Metric, all_metrics
from qrm_forensics.records import TRACE_SCHEMA, Finish, Trace, to_table

VOCABULARY = [
    "wait,",
    "so",
    "But",
    "\\frac{1}{2}",
    "therefore",
    "x",
    "12",
    "=",
    "345",
    "the",
    "sum",
    "Hmm.\n\n",
    "≤",
    "is",
]


def prose(n: int) -> str:
    rng = random.Random(5)
    return " ".join(
        rng.choice(VOCABULARY) + ("" if rng.random() < 0.7 else str(rng.randrange(999))) for _ in range(n // 5)
    )[:n]


SHAPES: dict[str, Callable[[int], str]] = {
    "prose": prose,
    "loop": lambda n: (prose(400) + "Wait, let me check that 12 is 13. " * (n // 30))[:n],
    "digits": lambda n: "4" * n,
    "digits apart": lambda n: "1     " * (n // 6),
    "open boxes": lambda n: "\\boxed{" * (n // 7),
    "runs": lambda n: "".join("a " * 200 + chr(0x4E00 + i) for i in range(n // 401)),
    "one word": lambda n: "a" * n,
}


def seconds(m: Metric, traces: pa.Table) -> float:
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        m(traces)
        best = min(best, time.process_time() - began)
    return best


def table_of(texts: list[str]) -> pa.Table:
    rows = [Trace("v", "b", str(i), 0, 42, "", t, Finish.UNKNOWN) for i, t in enumerate(texts)]
    return to_table(rows, TRACE_SCHEMA)


def main(folder: Path | None) -> None:
    metrics = [m for m in all_metrics() if m.grain == "trace"]
    print("ms at 400,000 characters, and its ratio to the time at 100,000 (linear: 4)")
    print(f"{'':14}" + "".join(f"{m.name:>16}" for m in metrics))
    for shape, make in SHAPES.items():
        small, large = table_of([make(100_000)]), table_of([make(400_000)])
        cells = [(seconds(m, small), seconds(m, large)) for m in metrics]
        print(f"{shape:14}" + "".join(f"{b * 1e3:9.1f} x{b / a:4.1f}{'!' if b > 6 * a else ' '}" for a, b in cells))
    if folder is None:
        return
    texts = [
        r["generated_text"] for f in sorted(folder.rglob("*.jsonl")) for r in json.loads(f.read_text(encoding="utf-8"))
    ]
    traces, megabytes = table_of(texts), sum(len(t.encode()) for t in texts) / 1e6
    times = [seconds(m, traces) for m in metrics]
    print(f"\nMB/s on {len(texts)} responses, {megabytes:.1f} MB")
    print("".join(f"{m.name:>16}" for m in metrics) + f"{'all':>16}")
    print("".join(f"{megabytes / t:16.1f}" for t in [*times, sum(times)]))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
