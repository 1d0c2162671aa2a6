"""A study with thinking budgets, scripted: variants, resuming, what is kept about forced text, and what the report says of it."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qrm_forensics import builtin, pipeline
from qrm_forensics.cli.case import as_dict
from qrm_forensics.errors import InputError
from qrm_forensics.generate import get_generator
from qrm_forensics.generate.traces import text_trace
from qrm_forensics.notebook import open_run
from qrm_forensics.recipes import Recipe, Sampling, Thinking
from qrm_forensics.records import Finish, Request, Trace
from qrm_forensics.report.context import build_context
from qrm_forensics.report.evidence import evidence
from qrm_forensics.report.i18n import Texts
from qrm_forensics.report.model import Claim, ReportContext, Sentence
from qrm_forensics.report.sections.thinking import _answer, _Point
from qrm_forensics.store import Store
from qrm_forensics.study import BenchmarkSpec, Study

MODES = ("suppress-16", "extend-1")


def study(thinking: tuple[str, ...] = MODES) -> Study:
    return Study.model_validate(
        {
            "name": "thinking",
            "models": ("builtin",),
            "recipes": (Recipe.parse("bf16"), Recipe.parse("rtn-w3g128")),
            "benchmarks": (BenchmarkSpec(name="builtin", limit=6),),
            "sampling": Sampling(max_new_tokens=200),
            "thinking": thinking,
        }
    )


def answer(request: Request) -> Trace:
    """Free: right at bf16, wrong at 3 bits.  Cut off after 16 tokens: everything wrong."""
    written = request.problem.prompt.partition("<think>")[2]
    if "Wait" in written:
        return text_trace(request, f", yes.\n</think>\nIt is \\boxed{{{request.problem.gold}}}.")
    if "</think>" in written:
        return text_trace(request, "\nIt is \\boxed{no}.")
    if request.variant.endswith("@suppress-16"):
        return replace(text_trace(request, "Let me think about "), finish=Finish.LENGTH, completion_tokens=16)
    said = request.problem.gold if request.variant.startswith("bf16") else "no"
    return text_trace(request, f"Let me think about it.\n</think>\nIt is \\boxed{{{said}}}.")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Store:
    plan = pipeline.make_plan(study())
    return pipeline.run(
        plan, tmp_path_factory.mktemp("thinking") / "run", generator=get_generator("scripted", function=answer)
    )


def test_every_recipe_is_a_variant_for_every_mode_and_the_baseline_thinks_freely(run: Store) -> None:
    assert [v.id for v in run.variants] == [
        *("bf16", "rtn-w3g128", "bf16@suppress-16", "bf16@extend-1", "rtn-w3g128@suppress-16", "rtn-w3g128@extend-1"),
    ]
    assert run.baseline == "bf16"
    assert [v.recipe for v in run.variants if v.id.startswith("rtn")] == ["rtn-w3g128"] * 3


def forced_rows(store: Store, variant: str, benchmark: str) -> list[dict[str, Any]]:
    """Of the stored responses, in their order."""
    found = store.forced(variant, benchmark)
    assert found.damaged == ()
    return [found.rows[key] for key in store.trace_keys(variant, benchmark) if key in found.rows]


def test_what_was_forced_is_kept_beside_the_traces_and_is_where_it_says(run: Store) -> None:
    for mode, forced in (("suppress-16", "\n</think>"), ("extend-1", "Wait")):
        cell = (f"bf16@{mode}", builtin.BENCHMARK)
        rows = {row["problem_id"]: row for row in forced_rows(run, *cell)}
        traces = run.trace_records(*cell)
        assert len(rows) == len(traces) == 6
        for trace in traces:
            ((start, end),) = rows[trace.problem_id]["spans"]
            assert trace.text is not None and trace.text[start:end] == forced
            assert trace.seed == 42 and trace.finish is Finish.STOP
    assert forced_rows(run, "bf16", builtin.BENCHMARK) == []


def test_a_run_that_was_killed_goes_on_and_is_the_same(run: Store, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    left = 15

    def dying(request: Request) -> Trace:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed
        return answer(request)

    plan = pipeline.make_plan(study())
    with pytest.raises(Killed):
        pipeline.run(plan, tmp_path / "cut", generator=get_generator("scripted", function=dying))
    cut = pipeline.run(plan, tmp_path / "cut", generator=get_generator("scripted", function=dying))
    assert cut.cells() == run.cells()
    for cell in run.cells():
        assert cut.trace_records(*cell) == run.trace_records(*cell)
        assert forced_rows(cut, *cell) == forced_rows(run, *cell)


def test_the_report_is_about_free_thinking_and_has_one_section_on_budgets(run: Store) -> None:
    context = build_context(run)
    assert [v.id for v in context.variants] == ["bf16", "rtn-w3g128"]
    assert [c.variant for c in context.benchmarks[0].cells] == ["bf16", "rtn-w3g128"]
    (section,) = [s for s in context.sections if s.name == "thinking"]
    rows = {(row[0], row[1]): row for row in section.tables[0].rows}
    told = {key: (row[3].value, row[6].value if row[6] else None) for key, row in rows.items()}  # type: ignore[union-attr]
    assert told == {
        ("bf16", "free"): (1.0, None),
        ("bf16", "suppress-16"): (0.0, 6),
        ("bf16", "extend-1"): (1.0, 6),
        ("rtn-w3g128", "free"): (0.0, None),
        ("rtn-w3g128", "suppress-16"): (0.0, 6),
        ("rtn-w3g128", "extend-1"): (1.0, 6),
    }
    by_id = {c.id: c for c in context.claims}
    name = f"thinking/{builtin.BENCHMARK}/rtn-w3g128@extend-1"
    assert (by_id[f"{name}/from_free"].value, by_id[f"{name}/from_baseline"].value) == (1.0, 0.0)
    forced = evidence(run, by_id[f"{name}/forced"])
    assert len(forced) == 6 and (forced["forced"] == 1).all() and (forced["closed_by"] == "model").all()
    assert context.reader is not None and set(context.reader.variants) == {v.id for v in run.variants}


def responses_of(context: ReportContext, variant: str) -> list[dict[str, Any]]:
    """What the reader holds of a variant's responses, in the order of the problems."""
    reader = context.reader
    assert reader is not None
    packs = [json.loads(gzip.decompress(base64.b64decode(p.data))) for p in reader.packs]
    at = reader.variants.index(variant)
    return [
        packs[row.pack][row.place]["responses"][i]
        for row in reader.rows
        for i, cell in enumerate(row.cells)
        if cell.variant == at
    ]


def test_what_is_not_the_models_is_marked_where_responses_are_read(run: Store) -> None:
    context = build_context(run)
    for variant, forced in (("bf16@suppress-16", "\n</think>"), ("bf16@extend-1", "Wait")):
        for response in responses_of(context, variant):
            start, end = response["marks"]["forced"]
            assert response["text"][start:end] == forced
    assert not any("forced" in r.get("marks", {}) or "forced_lost" in r for r in responses_of(context, "bf16"))

    case = open_run(run.root, language="ko").case(f"{builtin.BENCHMARK}/{run.problem_table()['id'][0].as_py()}")
    extended = case.trace("bf16@extend-1")
    assert [(e.kind, extended.text[e.char : e.char + 4]) for e in extended.events if e.kind == "forced"] == [
        ("forced", "Wait")
    ]
    assert "✎⟦Wait⟧" in repr(case) and "“Wait”" in repr(case)
    assert '<mark class="forced" title="모델이 쓴 것이 아니라' in case._repr_html_()
    assert "✎" not in repr(case.trace("bf16"))
    assert as_dict(case)["responses"][0]["forced"] == []


@pytest.mark.parametrize(
    ("damage", "line", "lacking"),
    [
        (lambda lines: [*lines[:2], "{oops\n", *lines[3:]], 3, 1),
        (lambda lines: [*lines[:2], lines[2].replace('"spans"', '"span"'), *lines[3:]], 3, 1),
        (lambda lines: [*lines[:-1], lines[-1][:20]], 6, 1),
        (lambda lines: [], 1, 6),
    ],
)
def test_a_damaged_record_is_named_and_is_no_zero(
    run: Store, tmp_path: Path, damage: Any, line: int, lacking: int
) -> None:
    root = shutil.copytree(run.root, tmp_path / "run")
    store = Store(root)
    file = store.forced("bf16@extend-1", builtin.BENCHMARK).path
    file.write_text("".join(damage(file.read_text("utf-8").splitlines(keepends=True))), encoding="utf-8")
    context = build_context(store)
    (section,) = [s for s in context.sections if s.name == "thinking"]
    (notice,) = [n for n in section.notes if n.key == "thinking.damaged"]
    where = f"{file.relative_to(root).as_posix()}:{line}"
    assert notice.slots == {"n": str(lacking), "places": where} and notice.severity == "warning"
    for language in ("en", "ko", "zh"):
        assert where in Texts.of(language).sentence(notice)
    row = next(r for r in section.tables[0].rows if (r[0], r[1]) == ("bf16", "extend-1"))
    if lacking == 6:
        assert row[6] == Sentence("thinking.unknown")
    else:
        assert isinstance(row[6], Claim) and row[6].denominator == 6 - lacking
    lost = [r for r in responses_of(context, "bf16@extend-1") if "forced_lost" in r]
    assert [r["forced_lost"] for r in lost] == [where] * lacking and not any(
        "forced" in r.get("marks", {}) for r in lost
    )
    case = open_run(root).case(lost_problem(store), variants=["bf16@extend-1"])
    assert case.responses[0].forced is None and where in "".join(repr(case).split())


def lost_problem(store: Store) -> str:
    """The first problem whose response under extend-1 has no record."""
    found = store.forced("bf16@extend-1", builtin.BENCHMARK).rows
    return next(k[0] for k in store.trace_keys("bf16@extend-1", builtin.BENCHMARK) if k not in found)


def test_budgets_that_make_no_difference_are_no_range(run: Store) -> None:
    context = build_context(run)
    (section,) = [s for s in context.sections if s.name == "thinking"]
    assert [a.key for a in section.answer] == ["thinking.answer", "thinking.answer"]  # 0 % to 100 %
    rows = [r for r in section.tables[0].rows if r[0] == "bf16"]
    claims = {str(r[1]): r[3] for r in rows}

    def point(mode: str, like: str) -> _Point:
        claim = claims[like]
        assert isinstance(claim, Claim)
        return _Point(f"bf16@{mode}", "bf16", Thinking.parse(mode), claim, None, None, None, None)

    free = _Point("bf16", "bf16", Thinking(), point("extend-1", "free").accuracy, None, None, None, None)
    equal = _answer([free, point("suppress-16", "extend-1"), point("extend-1", "extend-1")])
    one = _answer([free, point("extend-1", "extend-1")])
    assert (equal.key, one.key) == ("thinking.answer_all_equal", "thinking.answer_one_budget")
    assert Texts.of("en").sentence(equal).endswith("and 100.0% under every budget.")
    assert Texts.of("ko").sentence(one).endswith("예산 extend-1에서는 100.0%입니다.")


def test_a_study_without_budgets_keeps_its_hash_and_one_with_them_has_another() -> None:
    assert "thinking" not in study(()).model_dump() and "thinking" not in study(("free",)).model_dump()
    requests = [pipeline.request_of(pipeline.make_plan(study(t))) for t in ((), ("free",), MODES)]
    assert requests[0] == requests[1] != requests[2]


def test_a_recorded_response_is_not_continued(run: Store, tmp_path: Path) -> None:
    plan = pipeline.make_plan(study())
    with pytest.raises(InputError, match="a recorded response cannot be continued"):
        pipeline.run(plan, tmp_path / "again", generator=get_generator("replay", traces=run.traces()))


def test_a_budget_that_leaves_no_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="suppress-200 leaves no token for the answer"):
        study(("suppress-200",))
    with pytest.raises(ValueError, match="thinking: extend-1 is there more than once"):
        study(("extend-1", "extend-1"))
