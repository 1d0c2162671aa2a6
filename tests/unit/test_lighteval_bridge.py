"""Where lighteval is not installed: what is said, and that the own scorer does not need it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qrm_forensics import lighteval_bridge
from qrm_forensics.errors import EnvironmentMissing, InputError
from qrm_forensics.lighteval_bridge import PYTHON, installed, interpreter, tasks
from qrm_forensics.score import Grader, scorer_version
from qrm_forensics.study import BenchmarkSpec, Study

ABSENT = pytest.mark.skipif(installed() is not None, reason="lighteval is installed in this environment")


@ABSENT
def test_without_lighteval_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(PYTHON, raising=False)
    with pytest.raises(EnvironmentMissing, match=rf"needs lighteval, whose pins clash .*set {PYTHON}="):
        tasks.load(BenchmarkSpec(name="M", lighteval="math_500|0"))
    with pytest.raises(EnvironmentMissing, match="the policy lenient by lighteval's rules needs lighteval"):
        Grader(lenient="lighteval")
    monkeypatch.setenv(PYTHON, str(tmp_path / "nothing"))
    with pytest.raises(EnvironmentMissing, match="there is no such program"):
        interpreter("x")


@ABSENT
def test_a_python_without_lighteval_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PYTHON, sys.executable)
    with pytest.raises(EnvironmentMissing, match="has no lighteval"):
        Grader(lenient="lighteval")
    with pytest.raises(EnvironmentMissing, match=r"\(lighteval: math_500\|0\)|a task of lighteval needs lighteval"):
        tasks.load(BenchmarkSpec(name="M", lighteval="math_500|0", path=__file__))


def test_the_own_rules_are_the_default_and_their_version_does_not_change() -> None:
    assert "lighteval" not in scorer_version()
    assert scorer_version("lighteval").startswith(scorer_version() + "/lenient:lighteval-")
    with pytest.raises(InputError, match=r"unknown rules 'theirs' .*known: own, lighteval"):
        Grader(lenient="theirs")


def test_a_study_without_the_key_is_the_study_that_it_was() -> None:
    asked = {"name": "s", "models": ["builtin"], "recipes": ["bf16"], "benchmarks": [{"name": "M", "path": "m.jsonl"}]}
    assert Study.model_validate(asked).model_dump(mode="json")["benchmarks"] == [
        {"name": "M", "path": "m.jsonl", "limit": None}
    ]
    asked["benchmarks"] = [{"name": "M", "lighteval": "math_500|0"}]
    assert Study.model_validate(asked).model_dump(mode="json")["benchmarks"][0]["lighteval"] == "math_500|0"


def test_the_file_for_lighteval_is_where_it_is_said() -> None:
    assert Path(lighteval_bridge.__file__).with_name("model.py").is_file()
