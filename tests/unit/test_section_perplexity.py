"""The section on perplexity: its numbers, the windows behind them, and nothing where nothing was measured."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from factories import AWQ3, BF16, GPTQ3, small_run

from qrm_forensics.report.context import build_context
from qrm_forensics.report.evidence import evidence
from qrm_forensics.report.i18n import Texts, languages
from qrm_forensics.report.model import Claim
from qrm_forensics.report.sections.model import Section
from qrm_forensics.store import Store

WINDOWS = {BF16: [2.0, 2.5, 3.0], AWQ3: [2.5, 3.1, 3.4], GPTQ3: [2.4, 2.9]}


def told(nll: list[float]) -> dict[str, object]:
    mean = float(np.mean(nll))
    return {"perplexity": math.exp(mean), "nll": mean, "length": 2048, "windows": nll}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = small_run(tmp_path_factory.mktemp("perplexity") / "run")
    variants = {v: told(nll) for v, nll in WINDOWS.items()} | {"lost": {"perplexity": None, "why": "no"}}
    made.write_analysis("perplexity", {"variants": variants, "corpus": "WikiText-2", "sha256": "0"}, "s")
    return made


@pytest.fixture(scope="module")
def found(store: Store) -> Section:
    (section,) = (s for s in build_context(store, responses=False).sections if s.name == "perplexity")
    return section


def test_numbers_are_those_of_the_windows(store: Store, found: Section) -> None:
    rows = {row[0]: row for row in found.tables[0].rows}
    assert set(rows) == set(WINDOWS)
    for variant, nll in WINDOWS.items():
        claim = rows[variant][1]
        assert isinstance(claim, Claim) and claim.value == pytest.approx(math.exp(np.mean(nll)))
        assert claim.ci_low is not None and claim.ci_low <= float(claim.value) <= float(claim.ci_high or 0)
        assert evidence(store, claim)["nll"].tolist() == nll
    change = rows[AWQ3][2]
    assert isinstance(change, Claim) and change.value == pytest.approx(0.5)
    assert len(evidence(store, change)) == 6
    assert rows[BF16][2] is None and rows[GPTQ3][2] is None  # nothing to compare with; other windows


def test_it_is_said_in_every_language(found: Section) -> None:
    for language in languages():
        texts = Texts.of(language)
        said = [texts.sentence(s) for s in (found.title, *found.answer, *found.notes)]
        assert "WikiText-2" in said[0] and "12.2" in said[1] and all(said)
        assert texts.text("ci.bootstrap-windows")


def test_there_is_no_section_where_nothing_was_measured(tmp_path: Path) -> None:
    made = small_run(tmp_path / "run")
    assert not any(s.name == "perplexity" for s in build_context(made, responses=False).sections)
    made.write_analysis("perplexity", {"variants": {BF16: {"perplexity": None, "why": "no"}}, "corpus": "W"}, "s")
    assert not any(s.name == "perplexity" for s in build_context(made, responses=False).sections)
