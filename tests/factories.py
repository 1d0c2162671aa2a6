"""Small run folders from scripted responses, for tests of what reads a run.

``small_run`` is one whole study: five variants, two benchmarks, a variant that loops,
one that answered only the first problems, one with a subset picked by somebody,
missing answers, an answer that only the lenient policy credits, one that could not be
judged, one failed generation, and hostile text.  ``write_run`` makes any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from qrm_forensics.export import export_table
from qrm_forensics.records import KEY_FIELDS, Finish, Kind, Problem, Status, Trace, Variant, Verdict
from qrm_forensics.store import Store
from qrm_forensics.symptoms import calibrate, judge

BF16, AWQ4, AWQ3, GPTQ3, KV4 = VARIANTS = ("bf16", "awq-w4g128", "awq-w3g128", "gptq-w3g128", "kvquant_star-kv4")
MATH, AIME = "MATH-40", "AIME-12"
SUBJECTS = ("Algebra", "Geometry", "Number Theory")
HOSTILE = "</script><script>alert(1)</script> \u202edesrever\u202c <b>&amp; `x` | y"
LOOP_UNIT = "Wait, let me check that again. "
MARKERS = ("wait", "but", "hmm", "so")

#: What a scripted response is like -> (strict status, lenient status).
OUTCOMES: dict[str, tuple[Status, Status]] = {
    "right": (Status.CORRECT, Status.CORRECT),
    "wrong": (Status.WRONG, Status.WRONG),
    "unboxed": (Status.MISSING, Status.CORRECT),
    "missing": (Status.MISSING, Status.MISSING),
    "loop": (Status.MISSING, Status.WRONG),
    "unscored": (Status.UNSCORED, Status.UNSCORED),
    "error": (Status.UNSCORED, Status.UNSCORED),
}


@dataclass(frozen=True)
class Scripted:
    """One response: an outcome of ``OUTCOMES`` and how many sentences of thinking precede the answer."""

    outcome: str
    sentences: int = 6


def problem_set(benchmark: str, n: int, *, kind: Kind = Kind.MATH) -> list[Problem]:
    """``n`` problems; subjects go round, levels 1..3 come in runs, problem 1 has hostile text."""
    return [
        Problem(
            benchmark=benchmark,
            id=f"idx-{i}",
            question=f"What is {i} + {i}?" + (f" {HOSTILE}" if i == 1 else ""),
            prompt=f"<user>What is {i} + {i}?<assistant><think>\n",
            gold=str(2 * i),
            kind=kind,
            subject=SUBJECTS[i % len(SUBJECTS)] if benchmark != AIME else None,
            level=str(1 + (i * 3) // n) if benchmark != AIME else None,
        )
        for i in range(n)
    ]


def small_run(
    root: Path, *, measures: bool = True, baseline: str | None = BF16, leave_out: Sequence[str] = (), samples: int = 1
) -> Store:
    """The study of the module docstring; ``leave_out`` drops whole variants."""
    math, aime = problem_set(MATH, 40), problem_set(AIME, 12)

    def script(n: int, rules: Mapping[str, Sequence[int]], sentences: int = 6) -> dict[int, Scripted]:
        named = {i: outcome for outcome, indices in rules.items() for i in indices}
        return {i: Scripted(named.get(i, "right"), sentences + i % 5) for i in range(n)}

    cells: dict[tuple[str, str], dict[int, Scripted]] = {
        (BF16, MATH): script(40, {"wrong": [5, 17, 29, 33], "missing": [38], "unscored": [39]}),
        (AWQ4, MATH): script(40, {"wrong": [5, 7, 17, 30], "unboxed": [12], "missing": [38], "unscored": [39]}, 7),
        (AWQ3, MATH): script(
            40,
            {
                "loop": [0, 1, 2, 3, 8, 9, 10, 14, 20, 26, 32, 38],
                "wrong": [5, 7, 11, 17, 21, 33],
                "unboxed": [4, 12, 13, 22, 23, 31],
                "missing": [6, 15, 28],
                "error": [37],
            },
            12,
        ),
        (KV4, MATH): script(10, {"wrong": [2], "missing": [4]}, 6),
        (BF16, AIME): script(12, {"wrong": [1, 3, 5, 6, 8, 9, 11]}, 20),
        (AWQ4, AIME): script(12, {"wrong": [1, 3, 5, 6, 8, 9, 10]}, 22),
        (AWQ3, AIME): script(12, {"loop": [0, 1, 2, 3, 5, 6, 8], "wrong": [7, 9, 11]}, 30),
        # picked by somebody: problems that the baseline had right and this variant had wrong
        (GPTQ3, MATH): {i: Scripted("loop" if i % 2 else "wrong", 9) for i in (3, 8, 14, 20, 25, 27)},
    }
    return write_run(
        root,
        {MATH: math, AIME: aime},
        {cell: responses for cell, responses in cells.items() if cell[0] not in leave_out},
        measures=measures,
        baseline=baseline if baseline not in leave_out else None,
        samples=samples,
    )


def write_run(
    root: Path,
    problems: Mapping[str, Sequence[Problem]],
    cells: Mapping[tuple[str, str], Mapping[int, Scripted]],
    *,
    baseline: str | None = BF16,
    measures: bool = True,
    samples: int = 1,
) -> Store:
    """A sealed run folder: traces, verdicts of both policies and measures of the scripted responses."""
    names = list(dict.fromkeys(variant for variant, _ in cells))
    variants = [Variant(id=v, model="Tiny-R1-1.5B", recipe=v, tensor_parallel=1) for v in names]
    request = {"origin": "import", "variants": names, "samples": samples, "measures": measures}
    store = Store.create(root, request=request, variants=variants, baseline=baseline)
    store.write_problems(p for benchmark in problems.values() for p in benchmark)
    for (variant, benchmark), responses in cells.items():
        rows = [
            (problems[benchmark][i], sample, response)
            for i, response in sorted(responses.items())
            for sample in range(samples)
        ]
        traces = [_trace(variant, problem, sample, response, i) for i, (problem, sample, response) in enumerate(rows)]
        store.append_traces(variant, benchmark, traces)
        store.seal(variant, benchmark, [t.key for t in traces])
        stamp = store.cell_stamp(variant, benchmark)
        for position, policy in enumerate(("strict", "lenient")):
            verdicts = [
                Verdict(
                    *(variant, benchmark, t.problem_id, t.sample, t.seed, policy),
                    status=OUTCOMES[response.outcome][position],
                    answer=_answer(problem, response.outcome, policy),
                    rule="boxed" if policy == "strict" else "expression",
                    note="timeout" if response.outcome == "unscored" else None,
                )
                for t, (problem, _, response) in zip(traces, rows, strict=True)
            ]
            store.write_verdicts(policy, variant, benchmark, verdicts, stamp)
        if measures:
            for name, table in _measures(traces).items():
                store.write_measure(name, variant, benchmark, table, stamp)
    if measures:
        table = export_table(store)
        judged = judge(table, calibrate(table, baseline))
        for variant, benchmark in store.cells():
            own = pc.and_(pc.equal(judged["variant"], variant), pc.equal(judged["benchmark"], benchmark))
            store.write_measure("symptoms.v1", variant, benchmark, judged.filter(own), "stamp")
    store.add_run_info({"program_version": "0.0.test", "started": "2025-01-02T03:04:05+00:00", "traces": len(names)})
    return store


def _answer(problem: Problem, outcome: str, policy: str) -> str | None:
    if outcome == "right" or (outcome == "unboxed" and policy == "lenient"):
        return problem.gold
    if outcome == "wrong" or (outcome == "loop" and policy == "lenient"):
        return "-1"
    return None


def _text(problem: Problem, response: Scripted) -> str:
    body = " ".join(
        f"Step {k}: so we add {problem.gold} and look at it, but hmm, carefully number {k * 7}.\n\n"
        for k in range(response.sentences)
    )
    if problem.id == "idx-1":
        body += HOSTILE + "\n\n"
    if response.outcome == "loop":
        return body + LOOP_UNIT * (120 + 3 * int(problem.id.removeprefix("idx-")))
    if response.outcome == "missing":
        return body + "I am not sure.</think>\n\nThere is no answer that I can give."
    if response.outcome == "unboxed":
        return body + f"So the answer is {problem.gold}.</think>\n\nThe answer is {problem.gold}."
    shown = problem.gold if response.outcome in ("right", "unscored") else "-1"
    return body + f"So it is {shown}.</think>\n\nThe answer is $\\boxed{{{shown}}}$."


def _trace(variant: str, problem: Problem, sample: int, response: Scripted, index: int) -> Trace:
    failed = response.outcome == "error"
    text = None if failed else _text(problem, response)
    finish = Finish.ERROR if failed else Finish.LENGTH if response.outcome == "loop" else Finish.STOP
    return Trace(
        *(variant, problem.benchmark, problem.id, sample, 42, problem.prompt, text, finish),
        prompt_tokens=12,
        completion_tokens=None if text is None else len(text.split()),
        seconds=None if text is None else len(text) / 1000,
        error="out of memory" if failed else None,
        source_file=f"{variant}/{problem.benchmark}.jsonl",
        source_index=index,
    )


def _measures(traces: Sequence[Trace]) -> dict[str, pa.Table]:
    """Plain counts of the scripted text under the column names of the real metrics (nulls for a failed trace)."""
    rows = [_row(t.text, t.finish) for t in traces]
    groups: dict[str, dict[str, pa.DataType]] = {
        "length.v1": {c: pa.int64() for c in ("n_words", "n_chars", "n_tokens", "n_steps")},
        "structure.v1": {c: pa.bool_() for c in ("closed", "boxed", "truncated")},
        "markers.v2": {f"{m}_count": pa.int64() for m in MARKERS},
        "diversity.v2": {c: pa.float64() for c in ("ttr", "ttr_last_2k", "mattr_500", "worst_window_ttr")},
        "repetition.v1": {
            "loop": pa.bool_(),
            "loop_onset_token": pa.int64(),
            "loop_onset_fraction": pa.float64(),
            "loop_period": pa.int64(),
            "loop_repeats": pa.float64(),
            "loop_unit": pa.string(),
            "loop_onset_char": pa.int64(),
            "loop_coverage": pa.float64(),
            "loop_terminal": pa.bool_(),
            "loop_recovered": pa.bool_(),
            "loop_tier": pa.int64(),
            "loop_class": pa.string(),
        },
    }
    keys = {f.name: pa.array([getattr(t, f.name) for t in traces], f.type) for f in KEY_FIELDS}
    return {
        name: pa.table({**keys, **{c: pa.array([r.get(c) for r in rows], kind) for c, kind in columns.items()}})
        for name, columns in groups.items()
    }


def _row(text: str | None, finish: Finish) -> dict[str, Any]:
    if text is None:
        return {}
    words = text.split()
    lower = [w.strip(".,:;!?").lower() for w in words]
    distinct = len(set(lower)) / len(lower)
    row: dict[str, Any] = {
        "n_words": len(words),
        "n_chars": len(text),
        "n_tokens": len(words),
        "n_steps": len([s for s in text.split("\n\n") if s.strip()]),
        "closed": "</think>" in text,
        "boxed": "\\boxed{" in text,
        "truncated": finish is Finish.LENGTH,
        **{f"{m}_count": lower.count(m) for m in MARKERS},
        "ttr": distinct,
        "ttr_last_2k": len(set(lower[-2000:])) / len(lower[-2000:]),
        "mattr_500": distinct,
        "worst_window_ttr": distinct,
        "loop": LOOP_UNIT * 2 in text,
        "loop_terminal": False,
        "loop_recovered": False,
        "loop_coverage": 0.0,
    }
    if row["loop"]:
        unit = len(LOOP_UNIT.split())
        onset = len(text[: text.index(LOOP_UNIT)].split()) + unit
        row |= {
            "loop_onset_token": onset,
            "loop_onset_fraction": onset / len(words),
            "loop_period": unit,
            "loop_repeats": (len(words) - onset + unit) / unit,
            "loop_unit": LOOP_UNIT,
            "loop_onset_char": text.index(LOOP_UNIT) + len(LOOP_UNIT),
            "loop_coverage": 1 - (onset - unit) / len(words),
            "loop_terminal": True,
            "loop_tier": 1,
            "loop_class": "wait-loop",
        }
    return row
