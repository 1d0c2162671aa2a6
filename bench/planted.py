"""Loop detectors against planted truth: recall, false alarms, onset error, terminal flag, time.

    python bench/planted.py --half tuning --n 600 --seed 1 [--peers] [--json FILE]
    python bench/planted.py --unclosed [--json FILE]

The first form plants loops into clean correct responses (``planted_truth``) and prints one line
per detector.  ``--peers`` adds other people's rules.  ``--misses`` lists what the
project's detector missed and its false alarms.  The second form runs the detector on the real
responses that never closed their thinking, and lists each one without a loop with what a reader
said about it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

from planted_truth import HALVES, cases, clean
from planted_truth.bases import BORDERLINE, LOOPED, TRACES, Base, responses
from planted_truth.negatives import hard_negatives
from planted_truth.peers import OURS, PEERS, UNPLACED, Detector, ours
from planted_truth.scoring import LONG, Score, Share, score

LABELS = Path(__file__).parents[1] / "tests" / "labels"


def percent(share: Share, interval: bool = True) -> str:
    if share.value is None or share.interval is None:
        return "–"
    low, high = share.interval
    return f"{100 * share.value:.1f}" + (f" ({100 * low:.0f}–{100 * high:.0f})" if interval else "")


def number(x: float | None) -> str:
    return "–" if x is None else f"{x:,.0f}"


def table(scores: list[Score]) -> str:
    """A Markdown table: recall in % with Wilson intervals, errors in characters, time in ms."""
    groups = list(scores[0].recall)
    head = ["detector", *groups, "false alarms", "hard negatives", "onset error p50 / p90", "terminal right", "ms"]
    rows = [head, ["---"] * len(head)]
    for s in scores:
        placed = s.name not in UNPLACED
        rows.append(
            [
                f"**{s.name}**" if s.name == OURS else s.name,
                *(percent(s.recall[g], g == f">={LONG}") for g in groups),
                f"{s.false_alarms.k}/{s.false_alarms.n} = {percent(s.false_alarms)}",
                f"{s.negatives.k}/{s.negatives.n}",
                f"{number(s.onset(50))} / {number(s.onset(90))}" if placed else "–",
                percent(s.terminal) if placed else "–",
                f"{s.milliseconds:.1f}",
            ]
        )
    return "\n".join("| " + " | ".join(r) + " |" for r in rows)


def detectors(with_peers: bool) -> dict[str, Detector]:
    chosen: dict[str, Detector] = {}
    try:
        chosen[OURS] = ours()
    except ModuleNotFoundError as error:
        if error.name != "qrm_forensics.metrics.loop_detector":
            raise
        print("qrm_forensics.metrics.loop_detector is not there: peers only", file=sys.stderr)
        with_peers = True
    return chosen | PEERS if with_peers else chosen


def planted(args: argparse.Namespace) -> dict[str, object]:
    plants = [c for seed in args.seed for c in cases(args.half, args.n, seed, args.source)]
    quiet = clean(args.half, args.source)
    known = (
        [] if args.source == "builtin" else [b for b in responses() if b.half == args.half and b.closed and b.correct]
    )
    borderline = [b for b in known if b.sha in BORDERLINE]
    looped = [b for b in known if b.sha in LOOPED]
    negatives = hard_negatives(args.half, args.source)
    print(
        f"{args.half}, seed {' '.join(map(str, args.seed))}: {len(plants)} plants, {sum(c.truth.tokens >= LONG for c in plants)} of {LONG} "
        f"tokens or more, {sum(c.truth.terminal for c in plants)} terminal; {len(quiet)} clean responses "
        f"({quiet[0].name.split('/')[0]}, ...), {len(borderline)} borderline, {len(looped)} with a recovered loop; "
        f"{len(negatives)} hard negatives"
    )
    scores = []
    for name, detect in detectors(args.peers).items():
        scores.append(score(name, detect, plants, quiet, borderline, looped, negatives))
        print(f"  {name}: {scores[-1].milliseconds:.2f} ms per response", file=sys.stderr)
    print(table(scores))
    first = scores[0]
    if first.name == OURS:
        print(f"\n| class | found of {LONG} tokens or more | class named right |\n| --- | --- | --- |")
        for name, share in first.by_class.items():
            right = f"{first.classes[name].k}/{first.classes[name].n}" if name in first.classes else "–"
            print(f"| {name} | {share.k}/{share.n} | {right} |")
        print(f"\nrecall: {', '.join(f'{g} {percent(s)}' for g, s in first.recall.items())}")
        print(f"period within 10 %: {percent(first.period)}")
        print(f"end error p50 / p90: {number(first.end(50))} / {number(first.end(90))} characters")
        print(f"a loop found elsewhere as well: {percent(first.extra)}")
        print(f"borderline flagged {first.borderline.k}/{first.borderline.n}, looped {first.looped.k}/{first.looped.n}")
        print(f"hard negatives flagged: {', '.join(first.negatives_flagged) or 'none'}")
        if args.misses:
            misses(first, quiet)
    return {"half": args.half, "n": args.n, "seed": args.seed, "scores": [s.json() for s in scores]}


def misses(s: Score, quiet: list[Base]) -> None:
    detect = ours()
    print("\nmissed plants")
    for h in s.hits:
        t = h.case.truth
        if not h.found:
            first = h.case.text[t.body_start_char : t.onset_char][:70]
            print(
                f"  {h.case.name} {t.loop_class} {t.kind} period {t.period:.1f} noise {t.noise} {t.tokens} tokens {first!r}"
            )
    print("false alarms on clean responses")
    for b in quiet:
        for f in detect(b.text, b.closed):
            at = f.onset_char or 0
            print(f"  {b.name} {f.onset_char}-{f.end_char} {b.text[at : at + 70]!r}")


def read_labels() -> dict[str, tuple[str, str]]:
    """SHA-256 of a text -> (label, why) of the reader."""
    out = {}
    for path in sorted(LABELS.glob("real_loops*.json")):
        for row in json.loads(path.read_text(encoding="utf-8"))["labels"]:
            out[row["sha256"]] = (row["label"], row["why"])
    return out


def unclosed() -> dict[str, object]:
    found = [b for b in responses() if not b.closed]
    if not found:
        sys.exit(f"{TRACES}: no response files; put real responses there to run on them")
    labels, detect = read_labels(), ours()
    rows: list[dict[str, object]] = []
    for b in found:
        loops = detect(b.text, b.closed)
        sha = hashlib.sha256(b.text.encode("utf-8", "surrogatepass")).hexdigest()
        label, why = labels.get(sha, (None, "not read yet"))
        rows.append(
            {
                "name": b.name,
                "sha256": sha,
                "loops": len(loops),
                "terminal": any(f.terminal for f in loops),
                "label": label,
                "why": why,
            }
        )
    with_loop = sum(bool(r["loops"]) for r in rows)
    print(
        f"{len(rows)} unclosed real responses: {with_loop} with a loop, {sum(bool(r['terminal']) for r in rows)} terminal"
    )
    for r in rows:
        if not r["loops"]:
            print(f"  no loop: {r['name']}; a reader: {r['label'] or 'unlabelled'}: {r['why']}")
    return {"unclosed": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=HALVES, default="tuning")
    parser.add_argument("--n", type=int, default=600)
    parser.add_argument("--seed", type=int, nargs="+", default=[1], help="several: --n plants of each")
    parser.add_argument("--source", choices=("auto", "real", "builtin"), default="auto")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--misses", action="store_true")
    parser.add_argument("--unclosed", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    if args.n < 1:
        parser.error("--n must be at least 1")
    figures = unclosed() if args.unclosed else planted(args)
    if args.json:
        temporary = args.json.with_suffix(args.json.suffix + ".part")
        temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        temporary.replace(args.json)


if __name__ == "__main__":
    main()
