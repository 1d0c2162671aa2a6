"""One problem and every variant's response to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from qrm_forensics.benchmarks.code_tests import shown_gold
from qrm_forensics.errors import InputError
from qrm_forensics.notebook import tables
from qrm_forensics.notebook.response import Response
from qrm_forensics.records import TRACE_KEY, Problem
from qrm_forensics.report.folding import shared_start
from qrm_forensics.report.i18n import Texts


@dataclass(frozen=True)
class Case:
    """One sample of one problem: what each variant wrote, side by side.

    ``responses`` are in the order of the run, the baseline first where there is one; every table has one row (or column)
    per variant in that order.  Display it in a notebook to read it.
    """

    problem: Problem
    sample: int
    seed: int
    baseline: str | None
    policies: tuple[str, ...]
    responses: tuple[Response, ...]
    texts: Texts
    #: Other samples of the problem that the run has, as (sample, seed).
    others: tuple[tuple[int, int], ...] = ()

    @property
    def id(self) -> str:
        """``<benchmark>/<problem id>``, which ``Run.case`` takes."""
        return f"{self.problem.benchmark}/{self.problem.id}"

    @property
    def question(self) -> str:
        return self.problem.question

    @property
    def gold(self) -> str:
        return shown_gold(self.problem)

    @property
    def variants(self) -> tuple[str, ...]:
        return tuple(r.variant for r in self.responses)

    def trace(self, variant: str) -> Response:
        """One variant's response: ``.text``, ``.trace`` (tokens, log-probabilities), ``.marks``, ``.events``, ``.segments``.

        Raises InputError for a variant that did not answer the problem, or was not asked for.
        """
        found = next((r for r in self.responses if r.variant == variant), None)
        if found is None:
            raise InputError(f"{self.id}: no response of {variant!r} here; there are {', '.join(self.variants)}")
        return found

    def shared(self) -> int:
        """Number of characters that all responses begin with."""
        return shared_start([r.text for r in self.responses])

    # ------------------------------------------------------------------ tables
    def tokens(self, variant: str | None = None) -> pd.DataFrame:
        """One row per token, see ``tables.token_table``; of one variant, or of all."""
        return tables.token_table(self.responses if variant is None else [self.trace(variant)])

    def top_tokens(self, n: int = 20, *, variants: Sequence[str] | None = None) -> pd.DataFrame:
        """The most frequent tokens of each variant, and how far their shares are from the first variant's."""
        return tables.top_token_table(self._picked(variants), n)

    def divergence(self) -> pd.DataFrame:
        """Where each response parts from the first one, with the words around: one row per other variant."""
        return tables.divergence_table(self.responses)

    def partings(self) -> list[tables.Parting]:
        """The same as objects."""
        return tables.partings(self.responses)

    def loops(self) -> pd.DataFrame:
        """Episodes of repetition: what is repeated, how often, from where to where."""
        return tables.loop_table(self.responses)

    def equations(self) -> pd.DataFrame:
        """The arithmetic that the responses write out: each equation, whether it holds, what its sides come to."""
        return tables.equation_table(self.responses)

    def measures(self) -> pd.DataFrame:
        """Every measured column (index), with verdicts and counts, by variant (columns)."""
        rows = [name for name in self.responses[0].figures if name not in TRACE_KEY]
        return pd.DataFrame(
            {r.variant: [r.figures.get(name) for name in rows] for r in self.responses},
            index=pd.Index(rows, name="column"),
            dtype=object,
        )

    def answers(self) -> pd.DataFrame:
        """The answers that the responses state on their way: boxed, or called the answer."""
        rows = [(r.variant, s.answer, s.start, s.changed) for r in self.responses for s in r.stated]
        return pd.DataFrame(rows, columns=["variant", "answer", "start", "changed"])

    # ------------------------------------------------------------------ display
    def figures(self) -> dict[str, Any]:
        """Plotly figures over the position in the response: ``diversity``, ``markers`` and ``surprisal`` (those that the
        responses are long enough for, and have log-probabilities for).
        """
        from qrm_forensics.notebook.figures import figures

        return figures(self.responses, self.texts)

    def _picked(self, variants: Sequence[str] | None) -> Sequence[Response]:
        return self.responses if variants is None else [self.trace(v) for v in variants]

    def __repr__(self) -> str:
        from qrm_forensics.notebook.terminal import case_view, plain

        return plain(case_view(self))

    def _repr_html_(self) -> str:
        from qrm_forensics.notebook.html import case_html

        return str(case_html(self))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self._repr_html_(), "text/plain": repr(self)}
