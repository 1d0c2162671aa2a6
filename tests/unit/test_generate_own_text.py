"""The response file that a model writes for its calibration: resumed, never mixed, read by load_calibration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from qrm_forensics.cli import cli
from qrm_forensics.errors import InputError
from qrm_forensics.generate.own_text import write_responses
from qrm_forensics.generate.traces import error_trace, text_trace
from qrm_forensics.observing import Silent
from qrm_forensics.quantize.calibration import read_responses
from qrm_forensics.records import Kind, Problem, Request, Trace

IDENTITY = {"model": ["a", "b"], "seed": 1}


def asked(count: int) -> list[Request]:
    problems = [Problem("c", f"idx-{i}", f"q{i}", f"<bos>q{i}", "", Kind.MATH, None, None) for i in range(count)]
    return [Request("calibration", problem, 0, 42) for problem in problems]


class Killed(BaseException):
    """As a signal: nothing after it is run."""


def answers(requests: list[Request], *, stop_after: int = 10**9, log: list[str] | None = None) -> Iterator[Trace]:
    for number, request in enumerate(reversed(requests)):
        if number == stop_after:
            raise Killed
        if log is not None:
            log.append(request.problem.id)
        yield text_trace(request, f"answer {request.problem.id} \u2028 \ud800")


def test_goes_on_after_a_kill_at_any_response(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    write_responses(whole, IDENTITY, asked(5), answers, Silent())
    for stop in range(5):
        target = tmp_path / f"r{stop}.jsonl"
        with pytest.raises(Killed):
            write_responses(target, IDENTITY, asked(5), lambda r, n=stop: answers(r, stop_after=n), Silent())
        assert not target.exists()
        partial = tmp_path / f"r{stop}.jsonl.partial"
        with partial.open("ab") as handle:
            handle.write(b'{"problem_id": "idx-0", "full_pro')  # the line that was being written
        log: list[str] = []
        written = write_responses(target, IDENTITY, asked(5), lambda r, told=log: answers(r, log=told), Silent())
        assert target.read_bytes() == whole.read_bytes() and not partial.exists()
        assert (written.responses, written.made, len(log)) == (5, 5 - stop, 5 - stop)
    rows = read_responses(whole)
    assert [prompt for _, prompt, _ in rows] == [f"<bos>q{i}" for i in range(5)]
    assert rows[2][2] == "answer idx-2 \u2028 \ud800"


def test_a_finished_file_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "r.jsonl"
    write_responses(target, IDENTITY, asked(3), answers, Silent())

    def never(_requests: list[Request]) -> Iterator[Trace]:
        raise AssertionError("nothing is missing")

    assert write_responses(target, IDENTITY, asked(3), never, Silent()).made == 0
    with pytest.raises(InputError, match="--fresh"):
        write_responses(target, {"model": "other"}, asked(3), never, Silent())
    target.write_text("edited", encoding="utf-8")
    with pytest.raises(InputError, match="not made by this request"):
        write_responses(target, IDENTITY, asked(3), never, Silent())
    assert target.read_text("utf-8") == "edited"
    assert write_responses(target, IDENTITY, asked(2), answers, Silent(), fresh=True).responses == 2


def test_an_unfinished_file_of_another_request_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "r.jsonl"
    with pytest.raises(Killed):
        write_responses(target, IDENTITY, asked(3), lambda r: answers(r, stop_after=1), Silent())
    with pytest.raises(InputError, match="another model, problems or sampling"):
        write_responses(target, {"model": "other"}, asked(3), answers, Silent())


def test_failures_are_left_out_and_counted(tmp_path: Path) -> None:
    def some(requests: list[Request]) -> Iterator[Trace]:
        for request in requests:
            yield error_trace(request, "too long") if request.problem.id == "idx-1" else text_trace(request, "a")

    target = tmp_path / "r.jsonl"
    written = write_responses(target, IDENTITY, asked(3), some, Silent())
    assert (written.responses, written.failed) == (2, 1) and len(read_responses(target)) == 2
    with pytest.raises(InputError, match="first error: idx-0: too long"):
        write_responses(
            tmp_path / "none.jsonl", IDENTITY, asked(2), lambda r: (error_trace(q, "too long") for q in r), Silent()
        )


def test_command_writes_what_quantizers_read(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    problems = tmp_path / "p.jsonl"
    problems.write_text("".join(json.dumps({"problem": f"{i} + 1?"}) + "\n" for i in range(3)), encoding="utf-8")
    out = tmp_path / "r.jsonl"
    line = ["gen-calib", "builtin", "--problems", str(problems), "--out", str(out), "--samples", "2"]
    line += ["--max-new-tokens", "6", "--json"]
    first = CliRunner().invoke(cli, line, catch_exceptions=False)
    told = json.loads(first.stdout)
    assert (told["responses"], told["made"]) == (2, 2)
    rows = read_responses(out)
    assert [("0 + 1?" in rows[0][1]), ("1 + 1?" in rows[1][1])] == [True, True]
    again = json.loads(CliRunner().invoke(cli, line, catch_exceptions=False).stdout)
    assert again["made"] == 0
