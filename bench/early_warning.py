"""The early warning on real responses: does the beginning of a response tell more than its length?

Prints, for both targets, AUC and alarms of the model and of "length so far", out of fold by problem; how
much the figures move with the folds; and the speed of reading::

    python bench/early_warning.py PATH...

PATH is the folder of a run, or one of response files (JSON arrays of {"full_prompt", "generated_text", ...}).
All lengths are in pseudo-tokens.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from qrm_forensics.answers import THINK_END
from qrm_forensics.early_warning import EarlyWarning, Predictor, evaluate
from qrm_forensics.early_warning.concordance import Range
from qrm_forensics.early_warning.features import default_step, prefixes
from qrm_forensics.metrics import get_metric
from qrm_forensics.records import TRACE_SCHEMA, Finish, Trace, to_table
from qrm_forensics.store import Store

SEEDS = range(5)


@dataclass
class Responses:
    texts: list[str]
    groups: list[str]
    correct: list[bool | None]


def of_run(folder: Path) -> Responses:
    store = Store(folder)
    verdicts = {
        tuple(v[name] for name in ("variant", "benchmark", "problem_id", "sample", "seed")): v["status"] == "correct"
        for v in store.verdicts().to_pylist()
        if v["policy"] == "strict"
    }
    found = Responses([], [], [])
    for row in store.traces().select([*TRACE_SCHEMA.names[:5], "text"]).to_pylist():
        if row["text"] is not None:
            key = tuple(row[name] for name in TRACE_SCHEMA.names[:5])
            found.texts.append(row["text"])
            found.groups.append(f"{row['benchmark']}/{row['problem_id']}")
            found.correct.append(verdicts.get(key))
    return found


def of_files(folder: Path) -> Responses:
    rows = [r for path in sorted(folder.rglob("*.jsonl")) for r in json.loads(path.read_text(encoding="utf-8"))]
    return Responses(
        [r["generated_text"] for r in rows],
        [r["full_prompt"] for r in rows],
        [r["metrics"]["extractive_match"] == 1 for r in rows],
    )


def onsets(texts: list[str]) -> list[int | None]:
    rows = [Trace("v", "b", str(i), 0, 0, "", text, Finish.UNKNOWN) for i, text in enumerate(texts)]
    batches = to_table(rows, TRACE_SCHEMA).to_batches(max_chunksize=256)
    loops = get_metric("loops")
    return [o for batch in batches for o in loops(pa.Table.from_batches([batch]))["loop_onset_token"].to_pylist()]


def between(value: float | None, interval: Range | None, percent: bool = False) -> str:
    if value is None:
        return "–"
    shown = "{:.0%}" if percent else "{:.3f}"
    limits = f" [{shown.format(interval[0])}, {shown.format(interval[1])}]" if interval else ""
    return shown.format(value) + limits


def print_predictor(p: Predictor) -> None:
    print(f"  {p.name:7} AUC {between(p.auc, p.auc_interval)}", end="")
    if p.auc_same_length is not None:
        print(f"; at equal length {between(p.auc_same_length, p.auc_same_length_interval)}", end="")
    print()
    if p.landmarks:
        print(
            "          " + "  ".join(f"{m.tokens}: {between(m.auc, None)} ({m.failed}/{m.others})" for m in p.landmarks)
        )
    for allowed, o in p.operations.items():
        if o is None:
            print(f"    {allowed:.0%} allowed: too few responses that did not fail")
            continue
        lead = f"{o.lead.low:.0f} / {o.lead.median:.0f} / {o.lead.high:.0f}" if o.lead else "–"
        ahead = "–"
        if o.lead_before_loop and o.before_loop:
            q = o.lead_before_loop
            ahead = (
                f"{q.low:.0f} / {q.median:.0f} / {q.high:.0f}, before it in {o.before_loop.count} of {o.before_loop.n}"
            )
        lost = f"{o.lost.count} of {o.lost.n} correct" if o.lost else "–"
        print(
            f"    {allowed:.0%} allowed: false alarms {o.false_alarms.count}/{o.false_alarms.n} "
            f"{between(o.false_alarms.value, o.false_alarms.interval, True)} ({lost}); "
            f"recall {o.recall.count}/{o.recall.n} {between(o.recall.value, o.recall.interval, True)}\n"
            f"        lead to the end {lead}; to the loop {ahead}\n"
            f"        saved {o.tokens_saved:,} = {o.tokens_saved / max(1, o.tokens_failed):.0%} of failed, "
            f"{o.tokens_saved / o.tokens_all:.0%} of all; cut from others {o.tokens_cut:,}"
        )


def print_warning(found: EarlyWarning) -> None:
    print(
        f"\ntarget {found.target}: {found.failed} of {found.n} failed, {found.problems} problems, "
        f"every {found.step} {found.unit}, {found.too_short} too short"
    )
    if found.shortage or not (found.model and found.length and found.auc_difference):
        print(f"  not judged: {found.shortage}")
        return
    print_predictor(found.model)
    print_predictor(found.length)
    print(f"  AUC difference {between(found.auc_difference.value, found.auc_difference.interval)}", end="")
    for allowed, d in found.saved_differences.items():
        print(f"; saved at {allowed:.0%}: {between(d.value, d.interval, True) if d else '–'} more", end="")
    print(f"\n  beats length: {found.beats_length}")
    print("  " + "  ".join(f"{name} {value:+.2f}" for name, value in found.coefficients.items()))


def main(path: Path) -> None:
    found = of_run(path) if (path / "study.json").is_file() else of_files(path)
    closed = [THINK_END in text for text in found.texts]
    begins = onsets(found.texts)
    print(
        f"{path}: {len(found.texts)} responses, {closed.count(False)} unclosed, {len(begins) - begins.count(None)} with a loop"
    )
    for target in ("unclosed", "loop"):
        print_warning(evaluate(found.texts, closed, found.groups, target=target, onset=begins, correct=found.correct))
    print("\nother folds (unclosed): seed, AUC, difference, recall and share saved at 5 %")
    for seed in SEEDS:
        again = evaluate(found.texts, closed, found.groups, seed=seed)
        if again.model and again.auc_difference and (o := again.model.operations[0.05]):
            print(
                f"  {seed}  {again.model.auc:.3f}  {between(again.auc_difference.value, again.auc_difference.interval)}"
                f"  {o.recall.count}/{o.recall.n}  {o.tokens_saved / o.tokens_failed:.0%}"
            )
    step = default_step(found.texts)
    began = time.process_time()
    for text in found.texts:
        prefixes(text, False, step)
    seconds = time.process_time() - began
    print(f"\nfeatures at {sum(len(t.encode()) for t in found.texts) / 1e6 / seconds:.0f} MB/s of CPU time, one core")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        main(Path(argument))
