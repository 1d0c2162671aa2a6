"""Where the data of this report is, and what this run does not have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow.compute as pc

from qrm_forensics.records import Finish
from qrm_forensics.report.checkpoints import token_table
from qrm_forensics.report.claims import count, where
from qrm_forensics.report.nouns import Claim, Sentence
from qrm_forensics.report.sections.calibrations import calibrations
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Column, Part, Section, Table, Value

#: The benchmarks of the paper's tables (arXiv 2504.04823), by what a name here has to begin with.
PAPER_BENCHMARKS = {
    "AIME": ("aime",),
    "MATH-500": ("math-500", "math500"),
    "GSM8K": ("gsm8k",),
    "GPQA-Diamond": ("gpqa",),
    "LiveCodeBench": ("livecodebench", "lcb"),
}


def build(material: Material) -> Iterable[Section]:
    """One section: files, and a row for each thing that is not there or only for some responses."""
    lacking = tuple(_lacking(material))
    rows = tuple((Sentence(f"availability.{name}"), path) for name, path in _files(material))
    columns = (Column("what", Sentence("availability.what")), Column("file", Sentence("availability.file")))
    lacks = (
        Column("lacking", Sentence("availability.lacking")),
        Column("known", Sentence("availability.known"), "fraction"),
        Column("consequence", Sentence("availability.consequence")),
    )
    yield Section(
        name="availability",
        part=Part.APPENDIX,
        benchmark=None,
        title=Sentence("availability.title"),
        answer=(Sentence("availability.answer" if lacking else "availability.answer_all"),),
        tables=(
            Table("data_files", columns, rows, Sentence("availability.files_caption")),
            *((Table("data_lacking", lacks, lacking, Sentence("availability.lacking_caption")),) if lacking else ()),
        ),
    )


def _files(material: Material) -> Iterator[tuple[str, str]]:
    """Kinds of data that are there and their place, relative to the run's folder (reports: to the report's)."""
    run = material.run
    yield "claims", "report/claims.jsonl"
    yield "tables", "report/tables/"
    yield "study", "study.json"
    yield "problems", "problems.parquet"
    yield "traces", "traces/<variant>/<benchmark>/part-*.parquet"
    if run.store.verdicts().num_rows:
        yield "verdicts", "verdicts/<policy>/<variant>/<benchmark>.parquet"
    if run.metrics:
        names = ",".join(f"{metric}.v{version}" for metric, version in run.metrics)
        yield "measures", f"measures/{{{names}}}/<variant>/<benchmark>.parquet"
    if (run.store.root / "analyses").is_dir():
        yield "analyses", "analyses/<name>.json"
    if (run.store.root / "checkpoints").is_dir():
        yield "checkpoints", "checkpoints/<variant>/recipe.json"


def _lacking(material: Material) -> Iterator[tuple[Value, ...]]:
    run, store = material.run, material.run.store
    table = store.traces(["variant", "finish", "completion_tokens", "seconds"])
    n = table.num_rows
    known = pc.sum(pc.not_equal(table["finish"], str(Finish.UNKNOWN))).as_py() or 0
    yield from _partial(material, "finish", int(known), n, "finish != 'unknown'")
    yield from _partial(material, "token_ids", len(token_table(store)), n, where(variant=list(run.variants)), "tokens")
    for column in ("completion_tokens", "seconds"):
        yield from _partial(material, column, n - table[column].null_count, n, f"{column}.notna()")
    # what a measure of the whole run tells without reading every token again
    for name, column in (("text", "n_words"), ("logprobs", "mean_surprisal")):
        if column in run.tables:
            frames = [data.frame[column] for data in run.benchmarks.values()]
            found = sum(int(f.notna().sum()) for f in frames)
            yield from _partial(material, name, found, n, f"{column}.notna()", run.tables[column])
        else:
            yield _absent(name)
    if store.baseline is None:
        yield _absent("baseline")
    if len(run.policies) < 2:
        yield _absent("policies")
    if all(data.samples == 1 for data in run.benchmarks.values()):
        yield _absent("samples")
    for dimension in ("subject", "level"):
        for data in run.benchmarks.values():
            if data.frame[dimension].isna().all():
                yield _absent(dimension, benchmark=data.name)
    tokens = calibrations(store, list(run.variants))
    if len({(c.rest, c.tokens) for c in tokens}) == len({c.rest for c in tokens}):
        yield _absent("calibrations")
    there = [b.casefold() for b in run.benchmarks]
    missing = [name for name, starts in PAPER_BENCHMARKS.items() if not any(b.startswith(starts) for b in there)]
    if missing:
        yield _absent("benchmarks", benchmarks=", ".join(missing))


def _partial(
    material: Material, name: str, known: int, n: int, query: str, table: str = "traces"
) -> Iterator[tuple[Value, ...]]:
    """A row where something is not known of every response."""
    if known < n:
        claim = count(f"availability/{name}", known, "definition.known_responses", of=n, table=table, filter=query)
        yield (Sentence(f"availability.lacks_{name}"), material.add(claim), Sentence(f"availability.then_{name}"))


def _absent(name: str, **slots: str) -> tuple[Value, ...]:
    named: dict[str, Claim | str] = dict(slots)
    return (Sentence(f"availability.lacks_{name}", named), None, Sentence(f"availability.then_{name}", named))
