"""What a reader has to know before reading a number: subsets, gaps, failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qrm_forensics.benchmarks.registry import expected_size
from qrm_forensics.records import Coverage, Finish
from qrm_forensics.report.claims import Ledger, count, where
from qrm_forensics.report.data import BenchmarkData, RunData
from qrm_forensics.report.findings import Evidence
from qrm_forensics.report.model import Cell, Claim, Sentence


def benchmark_notes(
    run: RunData,
    data: BenchmarkData,
    cells: Sequence[Cell],
    compared: Mapping[str, str],
    unshared: Mapping[str, str],
    left_out: Sequence[str],
    ledger: Ledger,
) -> tuple[Sentence, ...]:
    """Notes on one benchmark: its reference, then each variant, in a fixed order.

    ``compared``: variant -> reference; ``unshared``: those without a shared judged
    problem; ``left_out``: variants that are in no overlap table.
    """
    notes = [*_about_reference(run, data, compared)]
    if not {"strict", "lenient"} & set(run.policies):
        notes.append(Sentence("note.imported", {"benchmark": data.name}))
    if data.samples > 1:
        samples = count(
            f"samples/{data.name}",
            data.samples,
            "definition.samples",
            table="traces",
            filter=where(benchmark=data.name),
        )
        notes.append(Sentence("note.samples", {"benchmark": data.name, "samples": ledger.add(samples)}))
    for cell in cells:
        notes += _about_cell(run, data, cell, ledger)
    for variant, reference in unshared.items():
        slots: dict[str, Claim | str] = {"variant": variant, "reference": reference, "benchmark": data.name}
        notes.append(Sentence("note.no_shared", slots, "warning"))
    guessed = _in_pseudo_tokens(data)
    if guessed:
        notes.append(Sentence("note.pseudo_tokens", {"variants": ", ".join(guessed), "benchmark": data.name}))
    if left_out:
        notes.append(Sentence("note.overlap_left_out", {"variants": ", ".join(left_out), "benchmark": data.name}))
    return tuple(notes)


def _in_pseudo_tokens(data: BenchmarkData) -> list[str]:
    """Variants with loops whose positions could not be counted in the model's tokens."""
    if "loop_onset_source" not in data.frame:
        return []
    return [v for v in data.variants if (data.of(v)["loop_onset_source"] == "pseudo").any()]


def _about_reference(run: RunData, data: BenchmarkData, compared: Mapping[str, str]) -> list[Sentence]:
    if not compared:
        return [Sentence("note.no_reference", {"benchmark": data.name})]
    stand_ins = [r for r in dict.fromkeys(compared.values()) if r != run.store.baseline and run.quantized(r)]
    return [Sentence("note.no_baseline", {"benchmark": data.name, "reference": r}, "warning") for r in stand_ins]


def _about_cell(run: RunData, data: BenchmarkData, cell: Cell, ledger: Ledger) -> list[Sentence]:
    frame = data.of(cell.variant)
    place: dict[str, Claim | str] = {"variant": cell.variant, "benchmark": data.name}
    at = where(variant=cell.variant, benchmark=data.name)
    notes = []
    kind = {Coverage.SELECTED: "selected", Coverage.PREFIX: "prefix", Coverage.UNKNOWN: "unknown_size"}.get(
        cell.coverage
    )
    if kind is not None:
        answered = count(
            *(f"problems/{data.name}/{cell.variant}", int(frame["problem_id"].nunique()), "definition.problems"),
            table="traces",
            filter=at,
        )
        slots = place | {"n": ledger.add(answered)}
        if kind != "unknown_size" and data.size is not None:
            whole = where(benchmark=data.name)
            size = count(f"size/{data.name}", data.size, "definition.benchmark_size", table="problems", filter=whole)
            slots["size"] = ledger.add(size)
        elif kind == "prefix":  # of a benchmark whose size is known by its name only
            slots["size"] = str(expected_size(data.name))
        key = f"note.{kind}" if "size" in slots or kind == "unknown_size" else "note.selected_unknown_size"
        notes.append(Sentence(key, slots, "warning" if cell.coverage is Coverage.SELECTED else "info"))
    if not run.store.sealed(cell.variant, data.name):
        notes.append(Sentence("note.incomplete", place | {"n": cell.n}, "warning"))
    finishes = {"errors": Finish.ERROR, "finish_unknown": Finish.UNKNOWN}
    for note, finish in finishes.items():
        number = int((frame["finish"] == finish).sum())
        if number:
            rows = f"{at} and {where(finish=str(finish))}"
            claim = count(
                *(f"health/{data.name}/{cell.variant}/{note}", number, f"definition.{note}"),
                of=len(frame),
                table="traces",
                filter=rows,
            )
            slot = "errors" if note == "errors" else "unknown"
            slots = place | {slot: ledger.add(claim), "n": cell.n}
            told = f"note.{note}_all" if note == "finish_unknown" and number == len(frame) else f"note.{note}"
            if told.endswith("_all"):
                slots = place | {"n": claim}
            notes.append(Sentence(told, slots, "warning" if note == "errors" else "info"))
    if not any(frame[f"status:{p}"].notna().any() for p in run.policies):
        notes.append(Sentence("note.no_verdicts", place, "warning"))
    for policy in run.policies:
        if cell.unscored[policy].value:
            slots = place | {"policy": policy, "unscored": cell.unscored[policy], "n": cell.n}
            notes.append(Sentence("note.unscored", slots, "warning"))
    measured = [c for c in run.tables if frame[c].notna().any()]
    if not measured:
        notes.append(Sentence("note.no_measures", place, "warning"))
    return notes


def report_notes(evidence: Evidence) -> tuple[Sentence, ...]:
    """How many comparisons were adjusted together, per policy."""
    return tuple(
        Sentence("note.adjusted", {"policy": policy, "family": next(iter(tested.values())).family})
        for policy, tested in evidence.pairs.items()
        if tested
    )
