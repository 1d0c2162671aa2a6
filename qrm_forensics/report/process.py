"""What happened in the responses: outcomes that add up, kinds of loops and when they begin, what was reached and lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from qrm_forensics.compare import Interval
from qrm_forensics.compare.survival import MARKS, Ending, TimeToLoop, time_to_loop
from qrm_forensics.errors import StoreError
from qrm_forensics.metrics.loop_classes import CLASSES
from qrm_forensics.records import Finish, Status
from qrm_forensics.report.cells import finite
from qrm_forensics.report.claims import Ledger, Source, count, share, where, with_interval
from qrm_forensics.report.data import BenchmarkData, RunData
from qrm_forensics.report.model import Claim, LoopKinds, Onset, OutcomeRow, ReachedRow, Sentence, Unit
from qrm_forensics.symptoms import OUTCOME_NAMES

#: The analysis of the early warning, as ``derive`` keeps it.
EARLY_WARNING = "early_warning"


def build_outcomes(run: RunData, data: BenchmarkData, ledger: Ledger) -> tuple[OutcomeRow, ...]:
    """One row per variant: how many responses had each outcome, and their sum."""
    if "outcome" not in run.tables:
        return ()
    found = []
    for variant in data.variants:
        values = data.of(variant)["outcome"].dropna()
        source: Source = {"table": run.tables["outcome"], "filter": where(variant=variant, benchmark=data.name)}
        name = f"outcome/{data.name}/{variant}"
        counts = {}
        for outcome in OUTCOME_NAMES:
            counts[outcome] = ledger.add(
                count(
                    f"{name}/{outcome}",
                    int((values == outcome).sum()),
                    "definition.outcome",
                    of=len(values),
                    table=source["table"],
                    filter=f"{source['filter']} and {where(outcome=outcome)}",
                )
            )
        total = ledger.add(count(f"{name}/total", len(values), "definition.outcome_total", **source))
        found.append(OutcomeRow(variant, counts, total))
    return tuple(found)


def build_loop_kinds(run: RunData, data: BenchmarkData, ledger: Ledger) -> tuple[LoopKinds, ...]:
    """One row per variant: its loops by class, how many reach the end, how many were left, and pure enumerations."""
    if "loop" not in run.tables or "loop_class" not in run.tables:
        return ()
    found = []
    for variant in data.variants:
        frame = data.of(variant)
        at = where(variant=variant, benchmark=data.name)
        looping = frame[frame["loop"] == 1]
        name = f"loop_kind/{data.name}/{variant}"
        table = run.tables["loop_class"]

        def counted(
            what: str, value: int, of: int, extra: str, name: str = name, at: str = at, table: str = table
        ) -> Claim:
            return ledger.add(
                count(
                    f"{name}/{what}",
                    value,
                    f"definition.loop_{what.split('/')[0]}",
                    of=of,
                    table=table,
                    filter=at + extra,
                )
            )

        kinds = {
            kind: counted(
                f"class/{kind}",
                int((looping["loop_class"] == kind).sum()),
                len(looping),
                f" and loop == True and {where(loop_class=kind)}",
            )
            for kind in CLASSES
            if (looping["loop_class"] == kind).any()
        }
        measured = int(frame["loop"].notna().sum())
        found.append(
            LoopKinds(
                variant=variant,
                loops=counted("responses", len(looping), measured, " and loop == True"),
                terminal=counted(
                    "terminal",
                    int((looping["loop_terminal"] == 1).sum()),
                    len(looping),
                    " and loop == True and loop_terminal == True",
                ),
                recovered=counted(
                    "recovered",
                    int((looping["loop_recovered"] == 1).sum()),
                    len(looping),
                    " and loop == True and loop_recovered == True",
                ),
                enumerations=counted(
                    "enumeration", int((frame["loop_tier"] == 3).sum()), measured, " and loop_tier == 3"
                ),
                kinds=kinds,
            )
        )
    return tuple(found)


def build_onsets(run: RunData, data: BenchmarkData, ledger: Ledger) -> tuple[Onset, ...]:
    """When loops begin, in tokens: cumulative incidence beside answering, with its median; selected sets left out."""
    if "loop_onset_token" not in run.tables:
        return ()
    found = []
    for variant in data.variants:
        frame = watched(data, variant)
        if data.is_selected(variant) or not len(frame):
            continue
        told = onset_times(data, variant)
        onset = frame["loop_onset_token"].to_numpy(np.float64)
        source = onset_source(run, data, variant)
        name = f"onset/{data.name}/{variant}"
        last = told.looped.steps[-1] if told.looped.steps else None
        incidence = Claim(
            f"{name}/incidence", None, Unit.SHARE, "definition.onset_incidence", note="claim.no_data", **source
        )
        if last is not None and last.estimate is not None:
            incidence = replace(incidence, value=last.estimate, numerator=told.loops, denominator=told.n, note=None)
            incidence = with_interval(incidence, last.interval, "aalen-johansen")
        median = Claim(
            f"{name}/median", told.looped.median, Unit.TOKENS, "definition.onset_median", denominator=told.n, **source
        )
        if told.looped.median is None:
            median = replace(median, note="claim.median_not_reached")
        else:
            limits = told.looped.median_interval
            known = Interval(limits.low, limits.high) if limits.low is not None and limits.high is not None else None
            median = with_interval(median, known, "brookmeyer-crowley")
        among = np.sort(onset[np.isfinite(onset)])
        typical = Claim(
            f"{name}/typical", None, Unit.TOKENS, "definition.onset_typical", note="claim.no_data", **source
        )
        if len(among):
            typical = replace(typical, value=float(np.median(among)), denominator=len(among), note="claim.looping_only")
        found.append(
            Onset(
                variant=variant,
                loops=told.loops,
                answered=told.answered,
                censored=told.censored,
                incidence=ledger.add(incidence),
                median=ledger.add(median),
                typical=ledger.add(typical),
                looped=tuple((p.tokens, p.estimate) for p in told.looped.steps if p.estimate is not None),
                answering=tuple((p.tokens, p.estimate) for p in told.answering.steps if p.estimate is not None),
            )
        )
    return tuple(found)


def onset_times(data: BenchmarkData, variant: str, marks: Sequence[int] = MARKS) -> TimeToLoop:
    """The curves of onset of a variant, over its responses whose loops were looked for; raises ValueError for none."""
    frame = watched(data, variant)
    onset = frame["loop_onset_token"].to_numpy(np.float64)
    # an onset that was scaled to model tokens may be rounded to the length itself
    length = np.maximum(_lengths(frame), np.where(np.isfinite(onset), onset + 1, 0))
    return time_to_loop(
        [None if not np.isfinite(x) else int(x) for x in onset],
        length.astype(np.int64),
        _endings(frame),
        frame["problem"].to_numpy(np.int64),
        marks=marks,
    )


def onset_source(run: RunData, data: BenchmarkData, variant: str) -> Source:
    """The rows behind the curves of onset of a variant."""
    return {
        "table": "+".join(dict.fromkeys(["traces", run.tables["loop_onset_token"], run.tables["n_words"]])),
        "filter": where(variant=variant, benchmark=data.name),
    }


def watched(data: BenchmarkData, variant: str) -> pd.DataFrame:
    """Responses that have a length and whose loops were looked for."""
    frame = data.of(variant)
    frame = frame[frame["loop"].notna()]
    seen: pd.DataFrame = frame[_lengths(frame) > 0]
    return seen


def _lengths(frame: pd.DataFrame) -> Any:
    """Lengths in the tokens that onsets are counted in: the model's where they are known, else pseudo-tokens from the onset's share."""
    tokens = frame["n_tokens"].to_numpy(np.float64) if "n_tokens" in frame else np.full(len(frame), np.nan)
    pseudo = (
        frame["n_pseudo_tokens"].to_numpy(np.float64) if "n_pseudo_tokens" in frame else np.full(len(frame), np.nan)
    )
    return np.where(np.isfinite(tokens), tokens, np.nan_to_num(pseudo))


def _endings(frame: pd.DataFrame) -> list[str]:
    """Closed: answered; else cut off where the finish says so or nothing says why an unclosed response ended."""
    closed = (frame["closed"] == 1).to_numpy() if "closed" in frame else np.zeros(len(frame), dtype=bool)
    cut = frame["finish"].isin([Finish.LENGTH, Finish.LOOP_STOPPED]).to_numpy()
    stopped = frame["finish"].eq(Finish.STOP).to_numpy()
    return [
        Ending.TRUNCATED if c else Ending.ANSWERED if done or s else Ending.TRUNCATED
        for c, done, s in zip(cut, closed, stopped, strict=True)
    ]


def build_reached(run: RunData, data: BenchmarkData, ledger: Ledger) -> tuple[ReachedRow, ...]:
    """Among the responses that are not right: what had been reached, and what was visibly wrong."""
    columns = {
        "had_correct": "had_correct",
        "false_equation": "symptom_false_equation",
        "gibberish": "symptom_gibberish",
        "low_diversity": "symptom_low_diversity",
    }
    known = {what: column for what, column in columns.items() if column in run.tables}
    if not known:
        return ()
    found = []
    for variant in data.variants:
        frame = data.of(variant)
        at = f"{where(variant=variant, benchmark=data.name)} and {where(policy=run.policy)}"
        rows: dict[str, dict[str, Claim]] = {}
        for group, value, statuses in (("wrong", 0, [Status.WRONG, Status.MISSING]), ("right", 1, [Status.CORRECT])):
            part = frame[frame[f"right:{run.policy}"] == value]
            rows[group] = {}
            for what, column in known.items():
                values, problems = finite(part, column)
                rows[group][what] = ledger.add(
                    share(
                        f"{group}/{data.name}/{variant}/{what}",
                        values,
                        problems,
                        f"definition.{group}_{what}",
                        selected=data.is_selected(variant),
                        of=len(part),
                        table=f"verdicts+{run.tables[column]}",
                        filter=f"{at} and {where(status=[str(s) for s in statuses])}",
                    )
                )
        found.append(ReachedRow(variant, rows["wrong"], rows["right"]))
    return tuple(found)


def build_early_warning(run: RunData, data: BenchmarkData, ledger: Ledger) -> tuple[Sentence, ...]:
    """What the early warning is worth on this benchmark, beside length so far, in sentences."""
    kept = run.store.analysis(EARLY_WARNING)
    if kept is None:
        return ()
    try:
        told = kept[1].get(data.name)
        if told is None:
            return ()
        told_of = [s for t in ("unclosed", "loop") for s in _warned(told[t], t, data, ledger)]
        picked = [v for v in data.variants if data.is_selected(v)]
        if picked and any(told[t]["shortage"] is None for t in ("unclosed", "loop")):
            told_of.insert(0, _selected(picked, data, ledger))
        return tuple(told_of)
    except (AttributeError, KeyError, TypeError) as error:
        path = run.store.root / "analyses" / f"{EARLY_WARNING}.json"
        raise StoreError(f"{path}: is not as this program writes it; delete it and run or import again") from error


def _selected(picked: list[str], data: BenchmarkData, ledger: Ledger) -> Sentence:
    """That responses to selected problems are among those that the early warning is judged on."""
    number = count(
        f"early_warning/{data.name}/selected",
        sum(len(data.of(v)) for v in picked),
        "definition.early_selected",
        of=len(data.frame),
        table="traces",
        filter=where(variant=picked, benchmark=data.name),
    )
    return Sentence("early.selected", {"benchmark": data.name, "selected": ledger.add(number)}, "warning")


def _warned(result: dict[str, Any], target: str, data: BenchmarkData, ledger: Ledger) -> list[Sentence]:
    benchmark = data.name
    name = f"early_warning/{benchmark}/{target}"
    source: Source = {"table": f"analyses/{EARLY_WARNING}", "filter": where(benchmark=benchmark, target=target)}

    def number(what: str, value: float | int, unit: Unit, **more: Any) -> Claim:
        return ledger.add(
            Claim(f"{name}/{what}", value, unit, f"definition.early_{what.split('/')[-1]}", **more, **source)
        )

    def interval(pair: list[float] | None) -> dict[str, Any]:
        return {} if pair is None else {"ci_low": pair[0], "ci_high": pair[1], "ci_method": "bootstrap-problems"}

    slots: dict[str, Claim | str] = {"benchmark": benchmark}
    short = result["shortage"]
    if short is not None:
        # of the failed only those count here that are long enough for a score
        what = "failed_scored" if short["what"] == "failed" else short["what"]
        slots["found"] = number(f"shortage/{what}", short["found"], Unit.COUNT)
        slots["needed"] = number("needed", short["needed"], Unit.COUNT)
        return [Sentence(f"early.{target}.shortage.{short['what']}", slots)]
    model, plain = result["model"], result["length"]
    slots["n"] = number("n", result["n"], Unit.COUNT)
    slots["failed"] = number("failed", result["failed"], Unit.COUNT)
    slots["auc"] = number("auc", model["auc"], Unit.PLAIN, **interval(model["auc_interval"]))
    slots["plain"] = number("length/auc", plain["auc"], Unit.PLAIN, **interval(plain["auc_interval"]))
    beats = result["beats_length"]
    key = "unknown" if beats is None else "beats" if beats else "not"
    sentences = [Sentence(f"early.{target}.{key}", slots, "info")]
    for allowed in ("0.01", "0.05"):
        op, base = model["operations"].get(allowed), plain["operations"].get(allowed)
        at = f"at_{allowed[2:]}"
        made: dict[str, Claim | str] = {"allowed": number(f"{at}/allowed", float(allowed), Unit.SHARE)}
        if op is None or base is None:
            sentences.append(Sentence(f"early.{target}.unset", made, "info"))
            continue
        spent = op["tokens_failed"]
        made |= {
            "caught": number(
                f"{at}/recall",
                op["recall"]["count"] / op["recall"]["n"],
                Unit.SHARE,
                numerator=op["recall"]["count"],
                denominator=op["recall"]["n"],
                **interval(op["recall"]["interval"]),
            ),
            "alarms": number(
                f"{at}/false_alarms",
                op["false_alarms"]["count"] / op["false_alarms"]["n"],
                Unit.SHARE,
                numerator=op["false_alarms"]["count"],
                denominator=op["false_alarms"]["n"],
                **interval(op["false_alarms"]["interval"]),
            ),
            "plain_caught": number(
                f"{at}/length/recall",
                base["recall"]["count"] / base["recall"]["n"],
                Unit.SHARE,
                numerator=base["recall"]["count"],
                denominator=base["recall"]["n"],
                **interval(base["recall"]["interval"]),
            ),
        }
        if op["lead"] is None:  # nothing was caught, so there is nothing to be early by
            few = {"allowed": made["allowed"], "failed": slots["failed"], "alarms": made["alarms"]}
            few["plain_caught"] = made["plain_caught"]
            sentences.append(Sentence(f"early.{target}.nothing", few, "info"))
            continue
        made |= {
            "lead": number(f"{at}/lead", op["lead"]["median"], Unit.TOKENS, denominator=op["lead"]["n"]),
            "saved": number(f"{at}/saved", op["tokens_saved"] / spent if spent else 0.0, Unit.SHARE),
            "plain_saved": number(f"{at}/length/saved", base["tokens_saved"] / spent if spent else 0.0, Unit.SHARE),
        }
        sentences.append(Sentence(f"early.{target}.at", made, "info"))
    return sentences
