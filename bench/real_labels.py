"""How the loop detector agrees with people who read real responses.

    python bench/real_labels.py [FOLDER of response files] [--json]

Labels are in ``tests/labels`` (hashes of the texts only).  FOLDER defaults to ``../shared/traces``.
A label is one of none, enumeration, circling, recovered, terminal; the detector says terminal
(a loop to the end), recovered (a loop that was left), enumeration (tier 3 only) or none.  Circling is
repetition of meaning without repetition of text: a detector of text is right about it if it finds no loop.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from qrm_forensics.compare import wilson
from qrm_forensics.metrics.loop_detector import find_loops

ROOT = Path(__file__).parents[1]
LABELS = ("terminal", "recovered", "enumeration", "circling", "none")
FOUND = ("terminal", "recovered", "enumeration", "none")


def labelled() -> list[dict[str, Any]]:
    rows = []
    for file in sorted((ROOT / "tests" / "labels").glob("real_loops_*.json")):
        rows += json.loads(file.read_text(encoding="utf-8"))["labels"]
    return rows


def texts(folder: Path) -> dict[str, str]:
    """SHA-256 of the text -> text."""
    found = {}
    for file in sorted(folder.rglob("*.jsonl")):
        for row in json.loads(file.read_text(encoding="utf-8")):
            said = row["generated_text"]
            found[hashlib.sha256(said.encode()).hexdigest()] = said
    return found


def kappa(pairs: list[tuple[bool, bool]]) -> float:
    """Cohen's (1960) kappa of two yes/no judgements."""
    n = len(pairs)
    agree = sum(a == b for a, b in pairs) / n
    a, b = sum(x for x, _ in pairs) / n, sum(y for _, y in pairs) / n
    chance = a * b + (1 - a) * (1 - b)
    return 1.0 if chance == 1 else (agree - chance) / (1 - chance)


def judged(folder: Path) -> dict[str, Any]:
    said = texts(folder)
    confusion: Counter[tuple[str, str]] = Counter()
    loops: list[tuple[bool, bool]] = []
    sure_loops: list[tuple[bool, bool]] = []
    ends: list[bool] = []
    onsets: list[tuple[float, int, float]] = []  # in periods, in characters, as a share of the text
    differ: list[str] = []
    lost = 0
    for row in labelled():
        text = said.get(row["sha256"])
        if text is None:
            lost += 1
            continue
        told = find_loops(text, closed="</think>" in text)
        found = (
            "terminal"
            if told.terminal
            else "recovered"
            if told.loop
            else "enumeration"
            if any(e.tier == 3 for e in told.episodes)
            else "none"
        )
        confusion[row["label"], found] += 1
        pair = (row["label"] in ("terminal", "recovered"), told.loop)
        loops.append(pair)
        if row["sure"] == "yes":
            sure_loops.append(pair)
        if all(pair):
            ends.append((row["label"] == "terminal") == told.terminal)
        if row["label"] == "terminal" and row.get("response_onset_sure", row["sure"]) == "yes" and told.loop:
            period = max((x["period_chars"] for x in row["loops"]), default=1)
            error = abs((told.onset_char or 0) - row["response_onset_char"])
            onsets.append((error / period, error, error / len(text)))
        if pair[0] != pair[1]:
            name = row["variant"].removeprefix("DeepSeek-R1-Distill-Qwen-1.5B-").removesuffix("-tp1-seed42")
            differ.append(
                f"{name} {row['dataset']} {row['index']}: read as {row['label']} ({row['sure']}), found {found}"
            )
    hits = sum(a and b for a, b in loops)
    return {
        "traces": len(loops),
        "not_there": lost,
        "confusion": {f"{label}/{found}": confusion[label, found] for label in LABELS for found in FOUND},
        "loop_recall": [hits, sum(a for a, _ in loops)],
        "loop_precision": [hits, sum(b for _, b in loops)],
        "kappa": kappa(loops),
        "kappa_sure": kappa(sure_loops),
        "sure": len(sure_loops),
        "terminal_right": [sum(ends), len(ends)],
        "onset_within_a_period": [sum(x[0] <= 1 for x in onsets), len(onsets)],
        "onset_error_median": [median(x[i] for x in onsets) for i in range(3)] if onsets else None,
        "differences": differ,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT.parent / "shared" / "traces")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = judged(args.folder)
    if args.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{result['traces']} labelled responses ({result['not_there']} not found), loop against no loop:")
    for name in ("loop_recall", "loop_precision", "terminal_right", "onset_within_a_period"):
        k, n = result[name]
        low, high = wilson(k, n) if n else (float("nan"), float("nan"))
        print(f"  {name.replace('_', ' '):26}{k:4} of {n:3}  ({100 * low:.0f}-{100 * high:.0f} %)")
    print(f"  kappa {result['kappa']:.2f} over all, {result['kappa_sure']:.2f} over the {result['sure']} sure labels")
    if result["onset_error_median"] is not None:
        periods, chars, share = result["onset_error_median"]
        print(
            f"  onset: median error {periods:.2f} periods, {chars:.0f} characters, {100 * share:.1f} % of the response"
        )
    print(f"\n{'label':14}" + "".join(f"{f:>13}" for f in FOUND))
    for label in LABELS:
        print(f"{label:14}" + "".join(f"{result['confusion'][f'{label}/{f}']:13}" for f in FOUND))
    print("\nWhere they differ:")
    for line in result["differences"]:
        print(f"  {line}")


if __name__ == "__main__":
    main()
