"""What people copy works: example studies and policies can be read, the example workflow uses commands that exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
import yaml

from qrm_forensics.builtin import BENCHMARK
from qrm_forensics.cli import cli
from qrm_forensics.policy import load_policy
from qrm_forensics.study import load_study

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
POLICIES = sorted(EXAMPLES.glob("*policy.yaml"))
STUDIES = sorted(set(EXAMPLES.glob("*.yaml")) - set(POLICIES))
WORKFLOWS = [EXAMPLES / "github-actions-gate.yml", ROOT / ".github" / "workflows" / "ci.yml"]


@pytest.mark.parametrize("file", STUDIES, ids=lambda p: p.name)
def test_studies_can_be_read(file: Path) -> None:
    assert load_study(file).recipes


@pytest.mark.parametrize("file", POLICIES, ids=lambda p: p.name)
def test_policies_can_be_read(file: Path) -> None:
    load_policy(file).rules()


def test_the_gate_that_we_run_asks_both_sides_the_same() -> None:
    good, new = (load_study(EXAMPLES / f"gate-{side}.yaml") for side in ("baseline", "candidate"))
    policy = load_policy(EXAMPLES / "gate-policy.yaml")
    limits = {study.benchmarks[0].limit for study in (good, new)}
    assert policy.plan.problems == {BENCHMARK: limits.pop()} and not limits
    assert policy.plan.seeds == new.sampling.seeds != good.sampling.seeds
    assert good.sampling.model_copy(update={"seeds": new.sampling.seeds}) == new.sampling


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda p: p.name)
def test_workflows_use_commands_options_and_targets_that_exist(file: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    jobs = yaml.safe_load(file.read_text("utf-8"))["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    seen = 0
    for script in (step["run"].replace("\\\n", " ") for step in steps if "run" in step):
        for target in re.findall(r"^make (\S+)", script, re.M):
            assert target in targets
            seen += 1
        for name, rest in re.findall(r"^qrm-forensics (\w+)(.*)$", script, re.M):
            options = {o for p in cli.commands[name].params if isinstance(p, click.Option) for o in p.opts}
            assert set(re.findall(r"(?<!\S)(--[\w-]+)", rest)) <= options, name
            seen += 1
    assert seen >= 2
