"""``qrm-forensics case``: on the terminal, as JSON, as a notebook, and what it says when it cannot."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from factories import AWQ3, BF16, MATH, small_run

from qrm_forensics.cli import cli
from qrm_forensics.errors import ForensicsError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("case-command") / "run").root


def command(*words: str, **env: str) -> Result:
    return CliRunner(env={"COLUMNS": "120", **env}).invoke(cli, ["case", *words])


def test_a_problem_on_the_terminal(folder: Path) -> None:
    done = command(str(folder), f"{MATH}/8", "--variant", BF16, "--variant", AWQ3)
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    assert "What is 8 + 8?" in done.output and "×144" in done.output
    narrow = command(str(folder), f"{MATH}/8", "--variant", BF16, "--variant", AWQ3, COLUMNS="50")
    assert max(map(len, narrow.output.splitlines())) <= 50


def test_colours_only_where_they_are_wanted(folder: Path) -> None:
    wanted = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    assert "\x1b[3" in command(str(folder), f"{MATH}/8", **wanted).output
    plain = command(str(folder), f"{MATH}/8", **wanted, NO_COLOR="1").output
    assert not re.search(r"\x1b\[[0-9;]*(?:3|4|9|10)[0-7]m", plain)  # no foreground, no background


def test_control_characters_never_reach_the_terminal(folder: Path) -> None:
    done = command(str(folder), f"{MATH}/idx-1", "--whole")
    assert "[U+202E]" in done.output and "\u202e" not in done.output


def test_what_cannot_be_found_is_told(folder: Path, tmp_path: Path) -> None:
    for words, message in (
        ((str(folder), f"{MATH}/idx-400"), "try 'MATH-40/idx-"),
        ((str(tmp_path), f"{MATH}/idx-4"), "not a run folder"),
        ((str(folder), "a", "b"), "one problem, got 3 names"),
        ((str(folder), f"{MATH}/idx-4", "--variant", "nf4"), "no response of 'nf4'"),
    ):
        error = command(*words).exception
        assert isinstance(error, ForensicsError) and error.exit_code == 2
        assert message in str(error) and "\n" not in str(error)


def test_json_has_the_texts_and_where_they_part(folder: Path) -> None:
    done = CliRunner().invoke(cli, ["case", str(folder), f"{MATH}/8", "--variant", BF16, "--variant", AWQ3, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told["case"] == f"{MATH}/idx-8" and told["gold"] == "16"
    one, other = told["responses"]
    assert [one["variant"], other["variant"]] == [BF16, AWQ3]
    assert other["loops"][0]["repeats"] == pytest.approx(144, abs=1)
    (parting,) = told["divergence"]
    assert one["text"][: parting["char"]] == other["text"][: parting["char"]]
    assert other["status"] == {"strict": "missing", "lenient": "wrong"}


def test_the_newest_run_is_taken_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_run(tmp_path / "runs" / "one", measures=False)
    done = CliRunner().invoke(cli, ["case", f"{MATH}/idx-7", "--variant", BF16])
    assert done.exit_code == 0 and "What is 7 + 7?" in done.output
