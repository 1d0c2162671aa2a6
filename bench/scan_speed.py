"""How fast the metrics are, as ratios to a straightforward implementation in the same process.

    python bench/scan_speed.py [FOLDER] [--json] [--repeats 3]

FOLDER holds response files (JSON arrays of {"generated_text": …}); without one, text made of the
built-in problem families is timed.  One core, CPU time, everything compiled beforehand.

- *baseline*: the figures of the reference study by regular expressions and ``Counter``;
- *six metrics*: loops, markers, diversity, gibberish, structure, length;
- *scan set*: these, and compression, copying, segments, sentences and the reference counts: all but what follows;
- *with the race*: the scan set, written arithmetic and the race for the answer.

Then the growth with length (bytes/s at 400 kB per response over that at 12 kB) and the inputs
that regular expressions choke on.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from qrm_forensics.builtin.families import FAMILIES, LEVELS
from qrm_forensics.measure import BATCH, make_corpus_of, with_problems
from qrm_forensics.metrics import Metric, all_metrics
from qrm_forensics.metrics.scan import forget
from qrm_forensics.records import TRACE_SCHEMA, Finish, Kind, Problem, Trace, to_table

SIX = ("loops", "markers", "diversity", "gibberish", "structure", "length")
SLOW_SET = ("arithmetic", "race")
NOT_TIMED = ("surprisal",)  # needs log-probabilities, which files of responses do not hold

_MARKERS = [re.compile(rf"\b{w}\b", re.IGNORECASE) for w in ("wait", "hmm", "but", "actually", "perhaps", "let me")]
_SO = re.compile(r"\bSo\b")
_RUN = re.compile(r"(.)\1{10,}")
_SENTENCE = re.compile(r"[.!?\n]+")
_WORD = re.compile(r"\b[a-zA-Z]{3,}\b")


def straightforward(text: str) -> dict[str, object]:
    """What the public scripts of the reference study compute for a response, without their two catastrophic patterns."""
    words = text.split()
    last = words[-2000:]
    sentences = Counter(s.strip() for s in _SENTENCE.split(text) if len(s.strip()) > 10)
    repeated = Counter(w.lower() for w in _WORD.findall(text))
    early, late = " ".join(words[:1000]), " ".join(words[-1000:])
    return {
        "words": len(words),
        "chars": len(text),
        "steps": len([b for b in text.split("\n\n") if b.strip()]),
        "ttr": len(set(words)) / max(len(words), 1),
        "ttr_last_2k": len(set(last)) / max(len(last), 1),
        "markers": [len(m.findall(text)) for m in _MARKERS] + [len(_SO.findall(text))],
        "deterioration": [len(m.findall(part)) for part in (early, late) for m in _MARKERS[:2]],
        "repeated_words": repeated.most_common(10),
        "repeated_sentences": [s for s, n in sentences.items() if n >= 5],
        "runs": [m.span() for m in _RUN.finditer(text)],
        "gibberish": sum(repeated[w] for w in ("vis", "hmm")),
        "boxed": "\\boxed" in text,
        "closed": "</think>" in text,
    }


def built_in_text(megabytes: float) -> list[str]:
    rng = random.Random(5)
    texts, size = [], 0
    while size < megabytes * 1e6:
        steps = []
        for _ in range(rng.randrange(20, 200)):
            steps.append(FAMILIES[rng.choice(list(FAMILIES))](rng, rng.choice(list(LEVELS)), False).chain)
        texts.append("\n\n".join(steps) + "\n</think>\n\n\\boxed{1}")
        size += len(texts[-1])
    return texts


def table_of(texts: Sequence[str]) -> tuple[pa.Table, dict[tuple[str, str], Problem]]:
    rows = [Trace("v", "b", f"p{i}", 0, 42, "", t, Finish.UNKNOWN) for i, t in enumerate(texts)]
    problems = {
        ("b", f"p{i}"): Problem("b", f"p{i}", "What is 6 times 7?", "", "42", Kind.MATH, None, None)
        for i in range(len(texts))
    }
    return to_table(rows, TRACE_SCHEMA), problems


def measured(texts: Sequence[str], metrics: Sequence[Metric], repeats: int) -> tuple[float, dict[str, float]]:
    """CPU seconds to measure the texts in batches, the scan included: of all the metrics, and of each."""
    traces, problems = table_of(texts)
    corpora = {m.name: make_corpus_of(m, traces) for m in metrics if m.corpus is not None}
    table = with_problems(traces, problems)
    starts = range(0, table.num_rows, BATCH)
    # The least of each batch on its own, as a machine is seldom undisturbed for all of them.
    least = {(m.name, start): float("inf") for m in metrics for start in starts}
    for _ in range(repeats + 1):
        forget()
        for start in starts:
            batch = table.slice(start, BATCH)
            for m in metrics:
                began = time.process_time()
                m(batch, corpora.get(m.name))
                least[m.name, start] = min(least[m.name, start], time.process_time() - began)
    of_each = {m.name: sum(least[m.name, start] for start in starts) for m in metrics}
    return sum(of_each.values()), of_each


def timed(function: Callable[[str], object], texts: Sequence[str], repeats: int) -> float:
    """CPU seconds, the least of each text on its own."""
    least = [float("inf")] * len(texts)
    for _ in range(repeats):
        for i, text in enumerate(texts):
            began = time.process_time()
            function(text)
            least[i] = min(least[i], time.process_time() - began)
    return sum(least)


HOSTILE: dict[str, str] = {
    "61 characters, ten digits apart": ("1" + " " * 5) * 10 + "x",
    "1 MB of one digit": "4" * 1_000_000,
    "1 MB of one letter": "a" * 1_000_000,
    "100k \\boxed{": "\\boxed{" * 100_000,
    "1 MB without a space": "".join(f"x{i}," for i in range(160_000))[:1_000_000],
    "400 kB loop": "Wait, let me check that 12 is 13. " * 12_000,
    "1 MB of 1+1=": "1+1=" * 250_000,
    "1 MB of (": "(" * 1_000_000,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    texts = (
        [
            row["generated_text"]
            for file in sorted(args.folder.rglob("*.jsonl"))
            for row in json.loads(file.read_text(encoding="utf-8"))
        ]
        if args.folder
        else built_in_text(8)
    )
    everything = [m for m in all_metrics() if m.grain == "trace" and m.name not in NOT_TIMED]
    scan_set = [m for m in everything if m.name not in SLOW_SET]
    megabytes = sum(len(t.encode()) for t in texts) / 1e6
    plain = timed(straightforward, texts, args.repeats)
    six, _ = measured(texts, [m for m in everything if m.name in SIX], args.repeats)
    fast, each = measured(texts, scan_set, args.repeats)
    full, with_slow = measured(texts, everything, args.repeats)
    each |= {name: with_slow[name] for name in SLOW_SET if name in with_slow}
    result: dict[str, object] = {
        "responses": len(texts),
        "megabytes": megabytes,
        "baseline_mb_per_s": megabytes / plain,
        "six_metrics_mb_per_s": megabytes / six,
        "six_metrics_ratio": plain / six,
        "scan_set_mb_per_s": megabytes / fast,
        "scan_set_ratio": plain / fast,
        "with_race_mb_per_s": megabytes / full,
        "with_race_ratio": plain / full,
        "ns_per_byte": {name: 1e3 * s / megabytes for name, s in each.items()},
    }

    whole = "\n\n".join(texts)
    growth = {}
    for name, metrics in (("scan set", scan_set), ("with the race", everything)):
        rates = []
        for size in (12_000, 400_000):
            count = max(1, min(len(whole), 6_000_000) // size)
            pieces = [whole[i * size : (i + 1) * size] for i in range(count)]
            seconds, _ = measured(pieces, metrics, args.repeats)
            rates.append(sum(len(p.encode()) for p in pieces) / seconds)
        growth[name] = rates[1] / rates[0]
    result["bytes_per_s_at_400kB_over_12kB"] = growth
    hostile = {}
    for name, text in HOSTILE.items():
        total, of_each = measured([text], everything, args.repeats)
        hostile[name] = {"scan set": 1e3 * (total - sum(of_each[m] for m in SLOW_SET)), "with the race": 1e3 * total}
    result["hostile_ms"] = hostile

    if args.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{len(texts)} responses, {megabytes:.1f} MB, one core")
    print(f"{'baseline':32}{megabytes / plain:8.1f} MB/s")
    print(f"{'six metrics':32}{megabytes / six:8.1f} MB/s  {plain / six:5.1f} x")
    print(f"{'scan set':32}{megabytes / fast:8.1f} MB/s  {plain / fast:5.1f} x")
    print(f"{'with arithmetic and race':32}{megabytes / full:8.1f} MB/s  {plain / full:5.1f} x")
    print("\nns per byte (the first metric pays for the scan of words, the first that uses tokens for that of tokens)")
    for name, seconds in each.items():
        print(f"  {name:20}{1e3 * seconds / megabytes:8.2f}")
    print("\nbytes/s at 400 kB per response over that at 12 kB (linear: 1)")
    for name, ratio in growth.items():
        print(f"  {name:20}{ratio:8.2f}")
    print("\nhostile input, ms: scan set, with the race")
    for name, ms in hostile.items():
        print(f"  {name:34}{ms['scan set']:8.1f}{ms['with the race']:8.1f}")


if __name__ == "__main__":
    main()
