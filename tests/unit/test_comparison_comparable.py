"""What may be compared, what blocks, and that nothing is computed where it does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from comparison_helpers import make_side

from qrm_forensics.compare.comparability import CheckStatus, Severity, check
from qrm_forensics.compare.comparison import compare
from qrm_forensics.compare.items import Side
from qrm_forensics.compare.rules import DEFAULT, GATE, Rules
from qrm_forensics.errors import InputError

RIGHT = [1, 0, 1, 1, 0, 1]


def with_facts(side: Side, **facts: Any) -> Side:
    return Side(replace(side.facts, **facts), side.items)


def blockers(baseline: Side, candidate: Side, rules: Rules = GATE) -> set[str]:
    return {c.name for c in check(baseline, candidate, rules).blockers}


BASE = make_side(RIGHT)
CAND = make_side(RIGHT[::-1], "cand", seed=7)


def test_the_same_settings_and_other_seeds_are_comparable() -> None:
    found = check(BASE, CAND, GATE)
    assert found.comparable and not found.identical
    seeds = next(c for c in found.checks if c.name == "seeds")
    assert (seeds.status, seeds.severity) == (CheckStatus.INFO, Severity.INFO)


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("sampling", {"sampling": {"temperature": "0.0"}}),
        ("max_new_tokens", {"max_new_tokens": 8192}),
        ("scorer", {"scorer": "scorer 2"}),
    ],
)
def test_another_setting_blocks_unless_it_is_allowed(name: str, facts: dict[str, Any]) -> None:
    other = with_facts(CAND, **facts)
    assert blockers(BASE, other) == {name}
    allowed = check(BASE, other, replace(GATE, allow=frozenset({name})))
    assert allowed.comparable and name in {c.name for c in allowed.warnings}
    unknown = with_facts(CAND, **dict.fromkeys(facts))
    assert blockers(BASE, unknown) == set()
    assert name in {c.name for c in check(BASE, unknown, GATE).warnings}
    assert blockers(BASE, unknown, replace(GATE, require_known=True)) == {name}


def test_another_reference_answer_or_prompt_blocks() -> None:
    items = CAND.items.copy()
    items.loc[2, "gold_hash"] = "other"
    assert blockers(BASE, Side(CAND.facts, items)) == {"gold"}
    items.loc[2, ["gold_hash", "prompt_hash"]] = [None, "other"]
    assert blockers(BASE, Side(CAND.facts, items)) == {"prompts"}
    assert blockers(BASE, Side(CAND.facts, items), replace(GATE, allow=frozenset({"prompts"}))) == set()


def test_other_engines_and_models_only_warn() -> None:
    found = check(BASE, with_facts(CAND, engine="vllm", model="n", versions={}), GATE)
    assert found.comparable
    assert {c.name for c in found.warnings} >= {"engine", "model"}


def test_another_set_of_problems_is_intersected_and_said_and_blocks_a_gate() -> None:
    fewer = make_side(RIGHT[:3], "cand")
    assert blockers(BASE, fewer) == {"problems"}
    found = compare(BASE, fewer, policy=DEFAULT)
    assert found.results is not None and found.results[0].n == 3
    note = next(c for c in found.comparability.warnings if c.name == "problems")
    assert "3 problems" in note.note and (note.baseline, note.candidate) == ("6", "3")
    assert blockers(BASE, fewer, replace(GATE, min_overlap=0.5)) == set()
    elsewhere = make_side(RIGHT, "cand", benchmark="other")
    assert blockers(BASE, elsewhere, DEFAULT) == {"benchmarks"}


def test_the_number_of_problems_and_samples_is_fixed_beforehand() -> None:
    assert blockers(BASE, CAND, replace(GATE, planned={"b": 6}, planned_samples=1)) == set()
    assert blockers(BASE, CAND, replace(GATE, planned={"b": 7})) == {"planned"}
    more = make_side([[r, r] for r in RIGHT], "cand")
    assert blockers(BASE, more, replace(GATE, planned_samples=1)) == {"planned"}
    assert blockers(BASE, CAND, replace(GATE, planned_seeds=(8,))) == {"planned"}


def test_no_policy_that_judged_both_blocks() -> None:
    other = Side(CAND.facts, CAND.items.rename(columns={"status_strict": "status_imported"}))
    assert blockers(BASE, other) == {"policies"}
    with pytest.raises(InputError, match="lenient"):
        compare(BASE, CAND, policy=replace(DEFAULT, scorers=("lenient",)))


def test_an_old_baseline_warns() -> None:
    later = with_facts(CAND, created="2027-01-01")
    age = next(c for c in check(BASE, later, GATE).warnings if c.name == "age")
    assert "365 days" in age.note
    assert "age" not in {c.name for c in check(later, BASE, GATE).warnings}


def test_nothing_about_the_responses_is_computed_where_a_check_blocks() -> None:
    found = compare(BASE, with_facts(CAND, scorer="scorer 2"), policy=GATE)
    assert (found.verdict, found.exit_code) == ("not_comparable", 3)
    for name in ("results", "gates", "slices", "lengths", "drifts", "sensitivity"):
        assert getattr(found, name) is None
    assert found.aligned == ()
    assert found.flips().empty
    for name in ("accuracy", "gates", "slices", "outcomes"):
        assert found.table(name).empty
    assert not found.table("checks").empty
    written = found.to_dict()
    assert written["figures"] is None and written["flips"] is None and written["gates"] is None
    assert "scorer" in found.decision.reason.text
    json.dumps(written, allow_nan=False)
    assert "not comparable" in found._repr_html_()


def test_items_that_cannot_be_compared_are_refused() -> None:
    twice = Side(BASE.facts, pd.concat([BASE.items, BASE.items.iloc[:1]], ignore_index=True))
    with pytest.raises(InputError, match="there twice"):
        compare(twice, CAND)
    with pytest.raises(InputError, match="lack the column"):
        compare(Side(BASE.facts, BASE.items.drop(columns="seed")), CAND)
    odd = Side(CAND.facts, CAND.items.assign(status_strict="right"))
    with pytest.raises(InputError, match='"right"'):
        compare(BASE, odd)


def test_rules_refuse_what_means_nothing() -> None:
    for wrong in (
        {"margins": {"speed": 2.0}},
        {"margins": {"accuracy": 0.0}},
        {"alpha": 0.7},
        {"resamples": 10},
        {"allow": frozenset({"gold"})},
        {"min_overlap": 2.0},
    ):
        with pytest.raises(ValueError):
            replace(GATE, **wrong)


def test_a_gate_does_not_let_the_candidate_drop_a_benchmark() -> None:
    both = Side(BASE.facts, pd.concat([BASE.items, BASE.items.assign(benchmark="second")], ignore_index=True))
    assert blockers(both, CAND) == {"benchmarks"}
    assert blockers(both, CAND, DEFAULT) == set()
    assert blockers(BASE, Side(CAND.facts, both.items)) == set()
