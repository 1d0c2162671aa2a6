"""The timed pass: one response in flight, kept after every response; and what the report says of it, and does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qrm_forensics import builtin, pipeline
from qrm_forensics.generate.scripted import ScriptedSession
from qrm_forensics.pipeline import latency
from qrm_forensics.recipes import Recipe, Sampling
from qrm_forensics.records import ModelRef, Request, Trace
from qrm_forensics.report.context import build_context
from qrm_forensics.report.evidence import evidence
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.latency import footprint_table, latency_table
from qrm_forensics.report.model import Sentence
from qrm_forensics.report.sections.model import Section
from qrm_forensics.store import Store
from qrm_forensics.study import BenchmarkSpec, LatencySpec, Study

PROBLEMS = 3


def study(timed: bool = True) -> Study:
    return Study(
        name="timed",
        models=("builtin",),
        recipes=(Recipe.parse("bf16"), Recipe.parse("rtn-w3g128")),
        benchmarks=(BenchmarkSpec(name="builtin", limit=5),),
        sampling=Sampling(max_new_tokens=40, seeds=(42, 43)),
        latency=LatencySpec(problems=PROBLEMS) if timed else None,
    )


class Counting:
    """A scripted backend that notes how many requests were handed over together, and dies at the chosen call."""

    name = "scripted"

    def __init__(self, dies_at: int | None = None) -> None:
        self.together: list[int] = []
        self.dies_at = dies_at

    @contextmanager
    def open(self, model: ModelRef) -> Iterator[Counting]:
        yield self

    def sample(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Trace]:
        asked = list(requests)
        self.together.append(len(asked))
        if len(self.together) == self.dies_at:
            raise KeyboardInterrupt
        yield from ScriptedSession(lambda r: f"</think>\\boxed{{{r.problem.gold}}}").sample(asked, sampling)


def test_each_request_is_alone_and_a_killed_pass_goes_on(tmp_path: Path) -> None:
    plan = pipeline.make_plan(study())
    backend = Counting(dies_at=4)  # the cell, the request that goes before, one that counts, and then
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(plan, tmp_path / "run", generator=backend)
    assert len(latency_table(Store(tmp_path / "run"))) == 1
    backend = Counting()
    store = pipeline.run(plan, tmp_path / "run", generator=backend)
    # bf16: only what is missing, after another request that goes before; then the whole of rtn-w3g128
    assert backend.together == [1, 1, 1, 10, 1, 1, 1, 1]
    table = latency_table(store)
    assert table.groupby("variant")["problem_id"].nunique().to_dict() == {"bf16": PROBLEMS, "rtn-w3g128": PROBLEMS}
    assert (table["seconds"] > 0).all()
    again = Counting()
    pipeline.run(plan, tmp_path / "run", generator=again)
    assert again.together == []


def test_the_pass_can_be_asked_for_later_and_is_no_other_run(tmp_path: Path) -> None:
    plan, timed = (pipeline.make_plan(study(timed)) for timed in (False, True))
    assert pipeline.request_of(plan) == pipeline.request_of(timed)
    pipeline.run(plan, tmp_path / "run", generator=Counting())
    assert latency_table(Store(tmp_path / "run")).empty
    pipeline.run(timed, tmp_path / "run", generator=Counting())
    assert len(latency_table(Store(tmp_path / "run"))) == 2 * PROBLEMS


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Store:
    pytest.importorskip("torch")
    return pipeline.run(pipeline.make_plan(study()), tmp_path_factory.mktemp("timed") / "run", generator=None)


def _section(store: Store) -> tuple[Section, dict[str, Any]]:
    context = build_context(store, responses=False)
    return next(s for s in context.sections if s.name == "tradeoff"), {c.id: c for c in context.claims}


def test_a_real_pass_measures_time_size_and_memory(real: Store) -> None:
    table, footprint = latency_table(real), footprint_table(real).set_index("variant")
    assert (table["tokens"] > 0).all() and (table["tokens"] <= 40).all()
    weights = sum(f.stat().st_size for f in builtin.weights_dir().glob("*.safetensors"))
    assert footprint.loc["bf16", "disk_bytes"] == weights
    # float32 in memory, half of that on disk; what rounds weights and keeps them in full precision is as large
    assert footprint.loc["bf16", "weights_bytes"] == pytest.approx(2 * weights, rel=0.05)
    assert footprint.loc["rtn-w3g128", "weights_bytes"] == footprint.loc["bf16", "weights_bytes"]
    assert footprint["realization"].to_dict() == {"bf16": "original", "rtn-w3g128": "simulated"}
    if footprint.loc["bf16", "peak_of"] is not None:
        assert footprint.loc["bf16", "peak_bytes"] > footprint.loc["bf16", "weights_bytes"]


def test_the_report_shows_simulated_times_and_draws_no_conclusion_from_them(real: Store) -> None:
    section, claims = _section(real)
    assert [t.name for t in section.tables] == ["tradeoff", "latency"]
    assert {c.name for c in section.charts} == {"bits", "megabytes"}, "time is drawn for what runs as it is used"
    refused = next(n for n in section.notes if n.key == "tradeoff.simulated")
    assert refused.slots == {"variants": "rtn-w3g128"} and refused.severity == "warning"
    claim = claims[f"tradeoff/{builtin.BENCHMARK}/bf16/latency"]
    rows = evidence(real, claim)
    assert len(rows) == PROBLEMS and rows["seconds"].mean() == pytest.approx(claim.value)
    assert evidence(real, claims["tradeoff/rtn-w3g128/disk"])["disk_bytes"].iloc[0] / 1e6 == pytest.approx(
        claims["tradeoff/rtn-w3g128/disk"].value
    )


def test_times_of_checkpoints_that_run_as_they_are_used_are_drawn(real: Store, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(real.root, tmp_path / "run"))
    store = Store(copy)
    kept = store.analysis(latency.ANALYSIS)
    assert kept is not None
    kept[1]["variants"]["rtn-w3g128"]["realization"] = "packed"
    store.write_analysis(latency.ANALYSIS, kept[1], kept[0])
    section, _ = _section(store)
    assert {c.name for c in section.charts} == {"bits", "megabytes", "latency"}
    assert "tradeoff.simulated" not in {n.key for n in section.notes}


def test_a_backend_that_does_not_tell_its_memory_is_named_and_leaves_no_empty_cell(tmp_path: Path) -> None:
    store = pipeline.run(pipeline.make_plan(study()), tmp_path / "run", generator=Counting())
    folder = store.checkpoint_dir("rtn-w3g128")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.bin").write_bytes(bytes(3_000_000))
    section, claims = _section(store)
    table = section.tables[1]
    sizes = [{c.name: v for c, v in zip(table.columns, row, strict=True)} for row in table.rows]
    for row in sizes:
        assert row["weights"] == row["peak"] == Sentence("tradeoff.not_measured")
    assert sizes[0]["disk"] == Sentence("tradeoff.not_measured")  # nothing is known of its files
    assert claims["tradeoff/rtn-w3g128/disk"].value == 3
    (note,) = (n for n in section.notes if n.key == "tradeoff.no_memory")
    assert note.slots == {"variants": "bf16, rtn-w3g128", "backend": "scripted"}
    for language, words in (("en", "run with scripted"), ("ko", "scripted 백엔드를 썼습니다"), ("zh", "scripted 后端")):
        assert words in Texts.of(language).sentence(note)
