"""Grading: verdicts per second of the grader and of math-verify on whole responses, and whether they agree.

    python bench/grading.py --traces ../shared/traces --datasets ../shared/datasets [--passes 3] [--json PATH]

Three ways to judge the same responses, each in a process of its own:

``math-verify``      parse the whole response and verify it, as lighteval's extractive match does, timeouts included
``lenient``          ``Grader`` with one worker, the policy that reproduces it
``strict + lenient`` ``Grader`` with one worker, both policies

*cold* is the first pass of a fresh process: imports, the grammar's tables and the
start of the worker are in it.  *warm* is the fastest of the later passes; before each
of them the grader forgets its verdicts, so that every response is judged again.  CPU
time is that of the process and of its worker; the ratios are of rates in one run.
``stored`` is the score that the responses came with (lighteval's).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from qrm_forensics.records import Finish, Kind, Problem, Status, Trace

WAYS = ("math-verify", "lenient", "strict + lenient")


class Response(NamedTuple):
    problem: Problem
    trace: Trace
    credited: bool


def responses(traces: Path, datasets: Path) -> list[Response]:
    found = []
    for path in sorted(traces.rglob("*.jsonl")):
        lines = (datasets / path.stem / "test.jsonl").read_text(encoding="utf-8").splitlines()
        problems = [json.loads(line) for line in lines]
        for position, row in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            index = row.get("idx", position)
            source = problems[index]
            problem = Problem(path.stem, str(index), source["problem"], "", source["answer"], Kind.MATH, None, None)
            trace = Trace(path.parent.name, path.stem, str(index), 0, 42, "", row["generated_text"], Finish.UNKNOWN)
            found.append(Response(problem, trace, row["metrics"]["extractive_match"] == 1.0))
    return found


# --------------------------------------------------------------------------- the ways to judge

Pass = Callable[[], list[bool]]


def whole_text(rows: list[Response]) -> Pass:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    targets = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]

    def judge() -> list[bool]:
        credited = []
        for problem, trace, _ in rows:
            gold = parse(f"\\boxed{{{problem.gold}}}", targets)
            credited.append(verify(gold, parse(trace.text, targets), float_rounding=5))
        return credited

    return judge


def graded(rows: list[Response], policies: list[str]) -> tuple[Pass, Callable[[], None]]:
    """A pass, and what makes the grader forget before the next one."""
    from qrm_forensics.score import Grader

    grader = Grader()

    def judge() -> list[bool]:
        verdicts = list(grader.grade(((row.problem, row.trace) for row in rows), policies))
        return [verdict.status == Status.CORRECT for verdict in verdicts if verdict.policy == "lenient"]

    return judge, grader.forget


def measure(way: str, rows: list[Response], passes: int, reply: Any) -> None:
    """Send (wall seconds, CPU seconds) of each pass, and what was credited."""
    started, cpu = time.perf_counter(), cpu_seconds()
    judge, forget = (whole_text(rows), None) if way == "math-verify" else graded(rows, way.split(" + "))
    figures: list[tuple[float, float]] = []
    for _ in range(1 + passes):
        credited = judge()
        figures.append((time.perf_counter() - started, cpu_seconds() - cpu))
        if forget is not None:
            forget()
        started, cpu = time.perf_counter(), cpu_seconds()
    reply.send((figures, credited))
    reply.close()


def cpu_seconds() -> float:
    """CPU time of this process and of its children, which are still running (Linux)."""
    total = time.process_time()
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            total += int(Path(f"/proc/{child}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9
    return total


# --------------------------------------------------------------------------- the table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, required=True)
    parser.add_argument("--datasets", type=Path, required=True)
    parser.add_argument("--passes", type=int, default=3, help="warm passes (default 3)")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    rows = responses(args.traces, args.datasets)
    if not rows:
        raise SystemExit(f"no responses under {args.traces}")

    context = multiprocessing.get_context("fork")
    report: dict[str, Any] = {"responses": len(rows), "characters": sum(len(row.trace.text or "") for row in rows)}
    credited: dict[str, list[bool]] = {"stored": [row.credited for row in rows]}
    for way in WAYS:
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=measure, args=(way, rows, args.passes, send))
        process.start()
        send.close()
        figures, credited[way] = receive.recv()
        process.join()
        cold, warm = figures[0], [min(figure[i] for figure in figures[1:]) for i in (0, 1)]
        report[way] = {
            f"{name}_{clock}_per_second": len(rows) / seconds[i]
            for name, seconds in (("cold", cold), ("warm", warm))
            for i, clock in enumerate(("wall", "cpu"))
        }
    base = report["math-verify"]
    print(f"{len(rows)} responses, {report['characters'] / 1e6:.2f} million characters; responses per second")
    print(
        f"{'':18}{'cold wall':>11}{'cold CPU':>11}{'warm wall':>11}{'warm CPU':>11}{'warm CPU ratio':>16}{'agree':>14}"
    )
    for way in WAYS:
        rates = report[way]
        agree = sum(a == b for a, b in zip(credited[way], credited["stored"], strict=True))
        rates["ratio_warm_cpu"] = rates["warm_cpu_per_second"] / base["warm_cpu_per_second"]
        rates["ratio_warm_wall"] = rates["warm_wall_per_second"] / base["warm_wall_per_second"]
        rates["agree_with_stored"] = agree
        columns = [rates[f"{name}_{clock}_per_second"] for name in ("cold", "warm") for clock in ("wall", "cpu")]
        print(f"{way:18}" + "".join(f"{rate:11.1f}" for rate in columns), end="")
        print(f"{rates['ratio_warm_cpu']:16.1f}{agree:10}/{len(rows)}")
    report["differences"] = [
        {"problem": f"{row.problem.benchmark} {row.problem.id}", "variant": row.trace.variant}
        | {way: credited[way][i] for way in ("stored", *WAYS)}
        for i, row in enumerate(rows)
        if len({credited[way][i] for way in ("stored", *WAYS)}) > 1
    ]
    print(f"differing verdicts: {len(report['differences'])}")
    for difference in report["differences"]:
        print(f"  {difference}")
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
