"""A run folder as a notebook sees it: its tables, its problems, its comparisons, its claims."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from qrm_forensics.errors import InputError, InsufficientDataError, StoreError
from qrm_forensics.export import export_table
from qrm_forensics.notebook.case import Case
from qrm_forensics.notebook.find import find_problems
from qrm_forensics.notebook.response import Response
from qrm_forensics.notebook.vocabulary import Vocabulary, vocabulary_of
from qrm_forensics.records import TRACE_SCHEMA, Problem, Trace, Variant, from_row
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.thinking import forced_texts
from qrm_forensics.store import Store, newest_run, read_row_group

if TYPE_CHECKING:
    from qrm_forensics.compare.comparison import Comparison
    from qrm_forensics.compare.items import Side
    from qrm_forensics.compare.rules import Rules
    from qrm_forensics.report.model import Claim

RUNS = Path("runs")
#: Columns of traces that ``table("traces")`` leaves out unless they are asked for.
HEAVY = ("prompt", "text", "token_ids", "logprobs", "entropies")
_MEASURE = re.compile(r"(?P<name>.+)\.v(?P<version>\d+)")


def open_run(path: str | Path | None = None, *, language: str = "en") -> Run:
    """Open a run folder; without a path the newest one under ``runs/``.  ``language`` is that of displays.

    Raises StoreError for a folder that is no run, InputError for a language that there is not.
    """
    store = newest_run(RUNS) if path is None else Store(Path(path))
    return Run(store, language=language)


class Run:
    """What a run has.  Tables are read when they are first asked for and kept; open the run again to see new results."""

    def __init__(self, store: Store, *, language: str = "en") -> None:
        self.store = store
        self.texts = Texts.of(language)

    # ------------------------------------------------------------------ what there is
    @property
    def path(self) -> Path:
        return self.store.root

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """The variants that have responses, in the order of the study: the baseline first where there is one."""
        there = {variant for variant, _ in self.store.cells()}
        return tuple(v for v in self.store.variants if v.id in there)

    @property
    def baseline(self) -> str | None:
        return self.store.baseline

    @cached_property
    def benchmarks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(benchmark for _, benchmark in self.store.cells()))

    @cached_property
    def policies(self) -> tuple[str, ...]:
        """Scoring policies that judged anything, ``strict`` first; the first is the one that problems are chosen by."""
        found = set(pc.unique(self.store.verdicts()["policy"]).to_pylist())
        return tuple([p for p in ("strict", "lenient") if p in found] + sorted(found - {"strict", "lenient"}))

    @cached_property
    def problem_set(self) -> dict[tuple[str, str], Problem]:
        """(benchmark, id) -> problem, of the benchmarks that have responses."""
        return {key: p for key, p in self.store.problems().items() if key[0] in self.benchmarks}

    @property
    def answered(self) -> int:
        """Number of problems to which any variant has a response."""
        return len(self._asked)

    @cached_property
    def _asked(self) -> dict[tuple[str, str], None]:
        """(benchmark, id) of the problems to which any variant has a response, in the order of the run."""
        columns = [self._wide[c].to_pylist() for c in ("benchmark", "problem_id")]
        return dict.fromkeys(zip(*columns, strict=True))

    # ------------------------------------------------------------------ tables
    def tables(self) -> list[str]:
        """Names that ``table`` takes."""
        return ["responses", "traces", "verdicts", "problems", *(f"measures/{name}" for name in self._measures)]

    def table(self, name: str = "responses", *, text: bool = False) -> pd.DataFrame:
        """A table of the run.

        ``responses``: one row per response with verdicts, measured columns, subject and level; ``traces``: as they are
        stored (with ``text``: prompts, texts and what is per token too); ``verdicts``: one row per response and policy;
        ``problems``; ``measures/<metric>``: what one metric measured, the newest version.  Yes/no and whole numbers that
        can be absent have pandas' nullable types.  Raises InputError for another name.
        """
        if name == "responses":
            return _frame(self._wide)
        if name == "traces":
            return _frame(self.store.traces([c for c in TRACE_SCHEMA.names if text or c not in HEAVY]))
        if name == "verdicts":
            return _frame(self.store.verdicts())
        if name == "problems":
            return _frame(self.store.problem_table())
        metric = name.removeprefix("measures/")
        for stored in (self._measures.get(metric), metric):
            table = self.store.measures().get(stored) if stored is not None else None
            if table is not None:
                return _frame(table)
        near = difflib.get_close_matches(name, self.tables(), 1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self.tables())}"
        raise InputError(f"{self.path}: has no table {name!r}; {hint}")

    @cached_property
    def _measures(self) -> dict[str, str]:
        """Metric -> the name under which its newest version is stored."""
        found: dict[str, int] = {}
        for name in self.store.measures():
            if match := _MEASURE.fullmatch(name):
                found[match["name"]] = max(found.get(match["name"], 0), int(match["version"]))
        return {name: f"{name}.v{version}" for name, version in sorted(found.items())}

    @cached_property
    def _wide(self) -> pa.Table:
        return export_table(self.store)

    # ------------------------------------------------------------------ problems
    def problems(
        self,
        *,
        variant: str | None = None,
        benchmark: str | None = None,
        outcome: str | None = None,
        status: str | None = None,
        lost: bool | None = None,
        gained: bool | None = None,
        loop: bool | None = None,
        subject: str | None = None,
        level: str | int | None = None,
        policy: str | None = None,
    ) -> pd.DataFrame:
        """Responses that are like this, one row each; ``case`` is what ``case()`` takes.

        ``lost``: the baseline is right and the variant is not; ``gained``: the other way round.  ``status`` and these go
        by ``policy`` (the first of the run's).  Raises InputError for a name that the run does not have, and for ``lost``
        or ``gained`` in a run without a baseline.
        """
        return find_problems(
            self,
            self.table("responses"),
            variant=variant,
            benchmark=benchmark,
            outcome=outcome,
            status=status,
            lost=lost,
            gained=gained,
            loop=loop,
            subject=subject,
            level=None if level is None else str(level),
            policy=policy,
        )

    def case(
        self,
        problem: str,
        *,
        variants: Sequence[str] | None = None,
        sample: int | None = None,
        seed: int | None = None,
    ) -> Case:
        """Every variant's response to a problem: ``<benchmark>/<problem id>``, or the id alone where it is only one's.

        A part of an id is enough where it is part of one alone: ``MATH-500/211`` finds ``idx-211``.  ``variants``: only
        those, in that order.  Without ``sample`` or ``seed`` the first that there is.  Raises InputError with the nearest
        ids, or with the samples that there are.
        """
        found = self._problem(problem)
        mask = pc.and_(pc.equal(self._wide["benchmark"], found.benchmark), pc.equal(self._wide["problem_id"], found.id))
        rows = self._wide.filter(mask).to_pylist()
        there = list(dict.fromkeys((r["sample"], r["seed"]) for r in rows))
        if not there:
            near = self._near(f"{found.benchmark}/{found.id}", [f"{b}/{i}" for b, i in self._asked])
            raise InputError(
                f"{found.benchmark}/{found.id}: no variant of {self.path} has a response to it; try {near}"
            )
        chosen = [k for k in there if (sample is None or k[0] == sample) and (seed is None or k[1] == seed)]
        if not chosen:
            told = ", ".join(f"sample {s}, seed {e}" for s, e in there)
            raise InputError(f"{found.benchmark}/{found.id}: no such sample; there are {told}")
        key = chosen[0]
        by_variant = {r["variant"]: r for r in rows if (r["sample"], r["seed"]) == key}
        wanted = self._variants(variants, by_variant, f"{found.benchmark}/{found.id}")
        return Case(
            problem=found,
            sample=key[0],
            seed=key[1],
            baseline=self.baseline if self.baseline in wanted else None,
            policies=self.policies,
            responses=tuple(self._response(found, v, key, by_variant[v]) for v in wanted),
            texts=self.texts,
            others=tuple(k for k in there if k != key),
        )

    def _problem(self, wanted: str) -> Problem:
        everything = {f"{b}/{i}": p for (b, i), p in self.problem_set.items()}
        if wanted in everything:
            return everything[wanted]
        # a benchmark may have more problems than the run has asked
        names = {name: p for name, p in everything.items() if (p.benchmark, p.id) in self._asked}
        among = {name: p for name, p in names.items() if p.id == wanted}
        if not among:
            benchmark, _, part = wanted.rpartition("/")
            among = {
                name: p
                for name, p in names.items()
                if benchmark in ("", p.benchmark) and part and part in re.split(r"[^0-9A-Za-z]+", p.id)
            }
        if len(among) == 1:
            return next(iter(among.values()))
        what = "is more than one problem" if among else "no such problem"
        near = ", ".join(map(repr, list(among)[:8])) or self._near(wanted, list(names))
        raise InputError(f"{wanted!r}: {what} in {self.path}; try {near}")

    @staticmethod
    def _near(wanted: str, names: Sequence[str]) -> str:
        return ", ".join(map(repr, difflib.get_close_matches(wanted, names, 5, cutoff=0.3) or names[:5]))

    def _variants(self, wanted: Sequence[str] | None, there: dict[str, Any], where: str) -> list[str]:
        if wanted is None:
            return [v.id for v in self.variants if v.id in there]
        for variant in wanted:
            if variant not in there:
                raise InputError(f"{where}: no response of {variant!r}; there are {', '.join(there)}")
        if not wanted:
            raise InputError(f"{where}: name at least one variant, of {', '.join(there)}")
        return list(dict.fromkeys(wanted))

    def _response(self, problem: Problem, variant: str, key: tuple[int, int], figures: dict[str, Any]) -> Response:
        trace = self._trace(variant, problem, key)
        written = forced_texts(self.store, variant, problem.benchmark)
        forced = written.spans(trace.key, trace.text or "")
        place = written.place(trace.key) if forced is None else ""
        return Response(trace, problem, figures, self._vocabulary(variant), self.texts, forced, place)

    def _trace(self, variant: str, problem: Problem, key: tuple[int, int]) -> Trace:
        """One stored trace; only the row group that holds it is read whole."""
        for group in self.store.row_groups(variant, problem.benchmark):
            keys = read_row_group(group, ["problem_id", "sample", "seed"])
            same = pc.and_(pc.equal(keys["sample"], key[0]), pc.equal(keys["seed"], key[1]))
            row = pc.index(pc.and_(pc.equal(keys["problem_id"], problem.id), same), True).as_py()
            if row >= 0:
                return from_row(Trace, read_row_group(group, TRACE_SCHEMA.names).slice(row, 1).to_pylist()[0])
        raise StoreError(f"{self.path}: {variant} has lost its response to {problem.id}; open the run again")

    def _vocabulary(self, variant: str) -> Vocabulary:
        if variant not in self._vocabularies:
            self._vocabularies[variant] = vocabulary_of(self.store, variant)
        return self._vocabularies[variant]

    @cached_property
    def _vocabularies(self) -> dict[str, Vocabulary]:
        return {}

    # ------------------------------------------------------------------ comparing
    def compare(
        self,
        baseline: str | None = None,
        candidate: str | None = None,
        *,
        benchmark: str | None = None,
        policy: str | None = None,
        rules: Rules | None = None,
    ) -> Comparison:
        """Compare two variants on the problems that both answered: difference, interval, flips, lost and gained problems.

        ``baseline`` left out is the run's; ``candidate`` left out, its only other variant.  ``policy`` is a scoring policy,
        ``rules`` how it is judged (see ``compare.Rules``).  Raises InputError for what the run does not have.
        """
        from qrm_forensics.compare.comparison import compare
        from qrm_forensics.compare.rules import DEFAULT
        from qrm_forensics.compare.sides import run_side

        names = [v.id for v in self.variants]
        first = baseline or self.baseline
        if first is None:
            raise InputError(f"{self.path}: has no baseline; name one of {', '.join(names)}")
        if candidate is None:
            others = [name for name in names if name != first]
            if len(others) != 1:
                raise InputError(f"{self.path}: name the candidate, one of {', '.join(others)}")
            candidate = others[0]
        sides = [run_side(self.store, name) for name in (first, candidate)]
        if benchmark is not None:
            if benchmark not in self.benchmarks:
                raise InputError(f"{self.path}: has no benchmark {benchmark!r}; there are {', '.join(self.benchmarks)}")
            sides = [_only(side, benchmark) for side in sides]
        chosen = rules or DEFAULT
        if policy is not None:
            chosen = replace(chosen, scorers=(policy,))
        return compare(*sides, policy=chosen)

    # ------------------------------------------------------------------ claims
    @cached_property
    def claims(self) -> dict[str, Claim]:
        """Every number of the run's report, by id."""
        from qrm_forensics.report.context import build_context

        return {c.id: c for c in build_context(self.store).claims}

    def claim(self, claim_id: str) -> Claim:
        """A number of the report, such as ``accuracy/MATH-500/awq-w3g128/strict``.  Raises InputError with the nearest ids."""
        if claim_id not in self.claims:
            near = difflib.get_close_matches(claim_id, self.claims, 3, cutoff=0.4)
            hint = f"the nearest are {', '.join(map(repr, near))}" if near else f"there are {len(self.claims)} claims"
            raise InputError(f"{self.path}: has no claim {claim_id!r}; {hint}")
        return self.claims[claim_id]

    def evidence(self, claim_id: str) -> pd.DataFrame:
        """The stored rows that a claim was made from.  Raises InputError for an unknown claim, or one without rows."""
        from qrm_forensics.report.evidence import evidence

        return evidence(self.store, self.claim(claim_id), tuple(self.claims.values()))

    # ------------------------------------------------------------------ display
    def summary(self) -> pd.DataFrame:
        """What is in the run: one row per variant and benchmark, counts only."""
        wide = self.table("responses")
        if wide.empty:
            raise InsufficientDataError(f"{self.path}: has no responses yet; make them with 'qrm-forensics run'")
        groups = wide.groupby(["variant", "benchmark"], sort=False, observed=True)
        made = {"responses": groups.size(), "problems": groups["problem_id"].nunique()}
        for policy in self.policies:
            made[f"right ({policy})"] = groups[f"{policy}_status"].agg(lambda s: int((s == "correct").sum()))
        if "loop" in wide:
            made["loops"] = groups["loop"].agg(lambda s: int((s == True).sum()))  # noqa: E712  null is not true
        made["cut off"] = groups["finish"].agg(lambda s: int(s.isin(["length", "loop-stopped"]).sum()))
        return pd.DataFrame(made).reset_index()

    def __repr__(self) -> str:
        from qrm_forensics.notebook.terminal import plain, run_view

        return plain(run_view(self))

    def _repr_html_(self) -> str:
        from qrm_forensics.notebook.html import run_html

        return str(run_html(self))


def _only(side: Side, benchmark: str) -> Side:
    """A side with the responses to one benchmark alone."""
    from qrm_forensics.compare.items import content_hash

    items = side.items[side.items["benchmark"] == benchmark].reset_index(drop=True)
    return replace(side, items=items, facts=replace(side.facts, content_hash=content_hash(items)))


_PANDAS = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype(), pa.bool_(): pd.BooleanDtype()}


def _frame(table: pa.Table) -> pd.DataFrame:
    """With nullable types where something is null, so that a count never becomes a float for its neighbour's sake."""
    nulls = {f.type for f in table.schema if table[f.name].null_count}
    frame: pd.DataFrame = table.to_pandas(types_mapper=lambda kind: _PANDAS.get(kind) if kind in nulls else None)
    return frame
