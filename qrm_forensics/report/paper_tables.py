"""The two tables that the paper's repository prints (``make_stats_table.py``): accuracy, and steps, over seeds.

A row is a checkpoint, a column a benchmark.  The value of a seed is the share of right responses in percent, or the mean
number of steps; a cell is the mean over the seeds of the run, and the second half of each table their sample standard
deviation.  It is empty ("-") where the checkpoint lacks a seed.  AIME-120 is .75 AIME-90 + .25 AIME-2025, by seed, and takes their
place; the average is over the columns, by seed, and empty where one is, or where somebody selected the problems.  Drop, which
the paper's tables have and the script has not, is the average minus that of the baseline of the same model on the same problems.
Responses that could not be judged are left out, as are failed requests; the script counts the former as wrong.

A step is what the script calls so: one more than the number of times that two line feeds follow each other.  The suite's own
``n_steps`` counts blocks between blank lines, and a run of blank lines once.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from qrm_forensics.records import Coverage, Status, Variant
from qrm_forensics.report.data import RunData, load
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.tables import md_escape, tex_escape
from qrm_forensics.report.thinking import is_free
from qrm_forensics.store import Store, read_row_group, write_text

PARTS = {"AIME-90": 0.75, "AIME-2025": 0.25}
WHOLE = "AIME-120"
NONE = "-"
_JUDGED = (Status.CORRECT, Status.WRONG, Status.MISSING)

#: Seed -> value.
BySeed = dict[int, float]


@dataclass(frozen=True, slots=True)
class PaperTable:
    """One table: ``rows`` are (checkpoint, one cell per column), null where there is nothing; ``seeds`` are those of the run.

    ``partial``: (checkpoint, benchmark, coverage) of cells that are not of the whole benchmark.  ``unjudged``: (checkpoint, benchmark,
    responses that were not judged under the policy, of how many).  ``judged``: whether the run has an accuracy table at all.
    """

    name: str
    policy: str | None
    columns: tuple[str, ...]
    mean: tuple[tuple[str, tuple[float | None, ...]], ...]
    sd: tuple[tuple[str, tuple[float | None, ...]], ...]
    seeds: tuple[int, ...]
    partial: tuple[tuple[str, str, Coverage], ...]
    unjudged: tuple[tuple[str, str, int, int], ...] = ()
    judged: bool = True


def paper_tables(store: Store) -> tuple[PaperTable, ...]:
    """Accuracy under every policy of the run, the lenient one first (it is what the paper's repository grades by), and steps."""
    run = load(store)
    seeds = tuple(sorted({int(s) for data in run.benchmarks.values() for s in data.frame["seed"].unique()}))
    by_policy = sorted(run.policies, key=lambda p: p != "lenient")
    found = [_table(run, f"accuracy-{policy}", policy, seeds, partial(_accuracy, run, policy)) for policy in by_policy]
    accuracy = [replace(t, unjudged=_unjudged(run, str(t.policy))) for t in found if _told(t)]
    steps = replace(_table(run, "steps", None, seeds, partial(_steps, store)), judged=bool(accuracy))
    return (*accuracy, *((steps,) if _told(steps) else ()))


def _told(table: PaperTable) -> bool:
    return any(value is not None for _, row in table.mean for value in row)


def _unjudged(run: RunData, policy: str) -> tuple[tuple[str, str, int, int], ...]:
    """Cells with responses that the policy did not judge: unscored ones, and those without a verdict (failed requests)."""
    counts = [
        (v, data.name, int((~frame[f"status:{policy}"].isin(_JUDGED)).sum()), len(frame))
        for data in run.benchmarks.values()
        for v in data.variants
        for frame in [data.of(v)]
    ]
    return tuple(cell for cell in counts if cell[2])


def _accuracy(run: RunData, policy: str, variant: str, benchmark: str) -> BySeed:
    frame = run.benchmarks[benchmark].of(variant)
    judged = frame[frame[f"status:{policy}"].isin(_JUDGED)]
    by_seed = judged.groupby("seed")[f"right:{policy}"].mean()
    return {int(seed): 100 * float(share) for seed, share in zip(by_seed.index, by_seed, strict=True)}


def _steps(store: Store, variant: str, benchmark: str) -> BySeed:
    counts: dict[int, list[int]] = {}
    for group in store.row_groups(variant, benchmark):
        table = read_row_group(group, ["seed", "text"])
        for seed, text in zip(table["seed"].to_pylist(), table["text"].to_pylist(), strict=True):
            if text is not None:
                counts.setdefault(seed, []).append(text.count("\n\n") + 1)
    return {seed: fmean(n) for seed, n in counts.items()}


def _table(
    run: RunData, name: str, policy: str | None, seeds: tuple[int, ...], value: Callable[[str, str], BySeed]
) -> PaperTable:
    there = {(v, data.name) for data in run.benchmarks.values() for v in data.variants}
    cells = {cell: value(*cell) for cell in there}
    benchmarks = list(run.benchmarks)
    rows: dict[str, list[BySeed]] = {}
    merged = all(part in benchmarks for part in PARTS)
    shown = [WHOLE] if merged else []
    shown += [b for b in benchmarks if not (merged and (b in PARTS or b == WHOLE))]
    for variant in run.variants:
        own = {b: cells.get((variant, b), {}) for b in benchmarks}
        if merged:
            both = [own[part] for part in PARTS]
            own[WHOLE] = {s: _weighted([b[s] for b in both]) for s in seeds if all(s in b for b in both)}
        columns = [own[b] for b in shown]
        average = {s: fmean(c[s] for c in columns) for s in seeds if all(s in c for c in columns)}
        if any(data.is_selected(variant) for data in run.benchmarks.values() if variant in data.variants):
            average = {}
        rows[variant] = [*columns, average]
    last = len(shown)
    mean = {v: [_over(seeds, column, fmean) for column in columns] for v, columns in rows.items()}
    drops: dict[str, float | None] = {}
    for variant, values in mean.items():
        base = _baseline(run, run.variants[variant])
        of, own_average = (None if base is None else mean[base][last]), values[last]
        told = base not in (None, variant) and of is not None and own_average is not None
        drops[variant] = (own_average or 0) - (of or 0) if told and _same_problems(run, variant, str(base)) else None
    some = tuple(
        (v, data.name, data.coverage[v])
        for data in run.benchmarks.values()
        for v in data.variants
        if data.coverage[v] is not Coverage.FULL
    )
    return PaperTable(
        name=name,
        policy=policy,
        columns=(*shown, "Avg.", "Drop"),
        mean=tuple((v, (*values, drops[v])) for v, values in mean.items()),
        sd=tuple((v, tuple(_over(seeds, c, stdev) for c in columns)) for v, columns in rows.items()),
        seeds=seeds,
        partial=some,
    )


def _same_problems(run: RunData, variant: str, base: str) -> bool:
    """Whether both answered the same problems, so that the difference of their averages is that of the checkpoints."""
    sets = [
        {v: frozenset(data.of(v)["problem_id"]) if v in data.variants else frozenset() for v in (variant, base)}
        for data in run.benchmarks.values()
    ]
    return all(found[variant] == found[base] for found in sets)


def _weighted(values: Sequence[float]) -> float:
    return sum(w * x for w, x in zip(PARTS.values(), values, strict=True))


def _over(seeds: tuple[int, ...], values: BySeed, what: Callable[[list[float]], float]) -> float | None:
    """Over all seeds, or nothing; one seed has no deviation."""
    if what is stdev and len(seeds) < 2:
        return None
    return what([values[s] for s in seeds]) if all(s in values for s in seeds) else None


def _baseline(run: RunData, variant: Variant) -> str | None:
    """The study's baseline where it is of the same model, else the model's unquantized checkpoint, thinking freely."""
    mine = [v.id for v in run.variants.values() if v.model == variant.model]
    if run.store.baseline in mine:
        return run.store.baseline
    return next((v for v in mine if not run.quantized(v) and is_free(v)), None)


# --- written -----------------------------------------------------------------------------------


def title(table: PaperTable, texts: Texts, *, sd: bool = False) -> str:
    """What a table is called, in words."""
    name = texts.text(f"paper.{'steps' if table.policy is None else 'accuracy'}")
    key = f"policy.{table.policy}"
    policy = "" if table.policy is None else f" ({texts.text(key) if texts.has(key) else table.policy})"
    return f"{name}{policy}, {texts.text('paper.sd' if sd else 'paper.mean')}"


def notes(table: PaperTable, texts: Texts) -> list[str]:
    """What has to be known to read a table."""
    found = [texts.text("paper.note", seeds=", ".join(map(str, table.seeds)))]
    if table.policy is None:
        found.append(texts.text("paper.note_steps"))
    if len(table.seeds) < 2:
        found.append(texts.text("paper.note_one_seed"))
    if table.partial:
        named = ", ".join(f"{v} · {b} ({texts.text(f'coverage.{c}')})" for v, b, c in table.partial)
        found.append(texts.text("paper.note_partial", cells=named))
    if table.unjudged:
        named = ", ".join(f"{v} · {b}: {n}/{of}" for v, b, n, of in table.unjudged)
        lost, asked = sum(n for _, _, n, _ in table.unjudged), sum(of for *_, of in table.unjudged)
        found.append(texts.text("paper.note_unjudged", n=lost, of=asked, cells=named))
    nothing = ", ".join(f"{v} · {b}" for v, b, n, of in table.unjudged if n == of)
    if nothing:
        found.append(texts.text("paper.note_no_accuracy", cells=nothing))
    if not table.judged:
        found.append(texts.text("paper.note_no_verdicts"))
    return found


def cell(value: float | None, *, drop: bool = False) -> str:
    """A value as the script prints it: two decimals, "-" for none; a drop with its sign."""
    if value is None:
        return NONE
    return f"{value:+.2f}" if drop else f"{value:.2f}"


def printed(table: PaperTable, texts: Texts, *, sd: bool) -> tuple[list[str], list[list[str]]]:
    """Titles and rows as text."""
    columns = table.columns[:-1] if sd else table.columns
    titles = [
        texts.text("ui.variant"),
        *(
            texts.text("paper.drop") if c == "Drop" else texts.text("paper.average") if c == "Avg." else c
            for c in columns
        ),
    ]
    rows = [
        [name, *(cell(v, drop=c == "Drop") for c, v in zip(columns, values, strict=True))]
        for name, values in (table.sd if sd else table.mean)
    ]
    return titles, rows


def write_tables(tables: Sequence[PaperTable], folder: Path, languages: dict[str, Texts]) -> list[Path]:
    """``paper-<name>.csv`` (full precision), and per language ``.md`` and ``.tex`` with both halves; the files."""
    files: dict[Path, str] = {}
    for table in tables:
        files[folder / f"paper-{table.name}.csv"] = _csv(table)
        for language, texts in languages.items():
            files[folder / f"paper-{table.name}.{language}.md"] = _markdown(table, texts)
            files[folder / f"paper-{table.name}.{language}.tex"] = _latex(table, texts)
    for path, content in files.items():
        write_text(path, content.encode("utf-8", "replace").decode("utf-8"))
    return list(files)


def _csv(table: PaperTable) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(
        ["variant", *(f"{c} {half}" for c in table.columns for half in ("mean", "sd") if (c, half) != ("Drop", "sd"))]
    )
    deviations = dict(table.sd)
    for name, means in table.mean:
        row: list[Any] = [name]
        for i, (column, mean) in enumerate(zip(table.columns, means, strict=True)):
            row += [mean] if column == "Drop" else [mean, deviations[name][i]]
        writer.writerow(["" if v is None else v for v in row])
    return out.getvalue()


def _markdown(table: PaperTable, texts: Texts) -> str:
    def lines() -> Iterator[str]:
        for sd in (False, True):
            titles, rows = printed(table, texts, sd=sd)
            yield f"**{md_escape(title(table, texts, sd=sd))}**\n"
            yield "| " + " | ".join(map(md_escape, titles)) + " |"
            yield "|---|" + "---:|" * (len(titles) - 1)
            yield from ("| " + " | ".join(map(md_escape, row)) + " |" for row in rows)
            yield ""
        yield from (f"- {md_escape(note)}" for note in notes(table, texts))

    return "\n".join(lines()) + "\n"


def _latex(table: PaperTable, texts: Texts) -> str:
    def lines() -> Iterator[str]:
        for sd in (False, True):
            titles, rows = printed(table, texts, sd=sd)
            yield f"% {title(table, texts, sd=sd)}"
            yield rf"\begin{{tabular}}{{l{'r' * (len(titles) - 1)}}}"
            yield r"\toprule"
            yield " & ".join(map(tex_escape, titles)) + r" \\"
            yield r"\midrule"
            yield from (" & ".join(map(tex_escape, row)) + r" \\" for row in rows)
            yield r"\bottomrule"
            yield r"\end{tabular}"
            yield ""

    return "\n".join(lines())
