"""Policy files: every key is written down in the example, a mistake is named, and the plan is read off the baseline."""

from __future__ import annotations

import typing
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from pydantic import BaseModel

from qrm_forensics.compare.items import Facts, Side
from qrm_forensics.compare.rules import ALLOWABLE, GATE, GATES
from qrm_forensics.errors import InputError
from qrm_forensics.policy import Differences, Margins, Policy, load_policy

EXAMPLE = Path(__file__).parents[2] / "examples" / "policy.yaml"


def side(problems: dict[str, int], samples: int = 1) -> Side:
    rows = [(b, f"idx-{i}", s, 42) for b, n in problems.items() for i in range(n) for s in range(samples)]
    facts = Facts("b", "b.parquet", "baseline", "b", None, None, None, None, None, None, None, None, {}, "")
    return Side(facts, pd.DataFrame(rows, columns=["benchmark", "problem_id", "sample", "seed"]))


def test_the_example_has_every_key_and_its_default() -> None:
    assert load_policy(EXAMPLE) == Policy() == load_policy(None)

    def keys(model: type[BaseModel]) -> dict[str, object]:
        inner = {n: f.annotation for n, f in model.model_fields.items()}
        return {n: keys(a) if isinstance(a, type) and issubclass(a, BaseModel) else None for n, a in inner.items()}

    def written(value: object) -> object:
        return {k: written(v) for k, v in value.items()} if isinstance(value, dict) else None

    assert written(yaml.safe_load(EXAMPLE.read_text("utf-8"))) == keys(Policy)


def test_every_key_is_described() -> None:
    def walk(model: type[BaseModel]) -> None:
        for name, field in model.model_fields.items():
            assert field.description and len(field.description) > 20, name
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                walk(field.annotation)

    walk(Policy)


def test_the_default_policy_is_the_default_rules_with_the_plan_of_the_baseline() -> None:
    assert tuple(Margins.model_fields) == GATES
    (allowed,) = [a for a in typing.get_args(Differences.model_fields["allow"].annotation) if a is not Ellipsis]
    assert set(typing.get_args(allowed)) == ALLOWABLE
    assert Policy().rules() == GATE
    planned = Policy().rules(side({"A": 3, "B": 2}, samples=4))
    assert planned == replace(GATE, planned={"A": 3, "B": 2}, planned_samples=4)


def test_what_a_file_says_becomes_the_rules(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(
        "margins: {accuracy: 1.5, flips: null}\nrequired: [loop]\nscorers: [strict]\n"
        "plan: {problems: {A: 3}, samples: any, seeds: [42, 43]}\ndifferences: {allow: [scorer]}\n"
    )
    rules = load_policy(file).rules(side({"A": 3}))
    assert rules.margin("accuracy") == 0.015 and rules.margin("flips") is None and rules.margin("loop") == 0.02
    assert rules.required == {"loop"} and rules.scorers == ("strict",) and rules.allow == {"scorer"}
    assert (rules.planned, rules.planned_samples, rules.planned_seeds) == ({"A": 3}, None, (42, 43))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("margin: {accuracy: 2}", "unknown key 'margin'; did you mean 'margins'?"),
        ("margins: {acuracy: 2}", "unknown key 'margins.acuracy'; did you mean 'accuracy'?"),
        ("differences: {alow: [scorer]}", "unknown key 'differences.alow'; did you mean 'allow'?"),
        ("margins: {accuracy: 0}", "margins.accuracy: Input should be greater than 0"),
        ("alpha: 0.9", "alpha: "),
        ("alpha: 0.05\nalpha: 0.1", "the key 'alpha' is there twice, on lines 1 and 2"),
        ("alpha: '0.05'", "alpha: expected a number; found '0.05', a text; write it without quotes"),
        ("plan: {samples: true}", "plan.samples: expected a whole number or 'baseline' or 'any'; found true"),
        ("plan: {problems: {A: '3'}}", "plan.problems.A: expected a whole number; found '3'"),
        ("differences: {require_known: 1}", "differences.require_known: expected true or false; found 1"),
        ("differences: {allow: [gold]}", "differences.allow.0: "),
        ("margins: {loop: null}\nrequired: [loop]", "loop has no margin"),
        ("plan: {problems: {A: 0}}", "plan.problems"),
        ("- 1", "expected keys such as margins"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        load_policy(file)
    assert str(caught.value).startswith(f"{file}: ") and said in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_policy_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such policy file"):
        load_policy(tmp_path / "none.yaml")


def test_a_plan_that_the_baseline_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match=r"fixes A: 4.*has A: 3"):
        Policy.model_validate({"plan": {"problems": {"A": 4}}}).rules(side({"A": 3}))
    uneven = side({"A": 3}, samples=2)
    with pytest.raises(InputError, match="1 to 2 responses per problem"):
        Policy().rules(Side(uneven.facts, uneven.items.iloc[1:]))
