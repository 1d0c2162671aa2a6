"""The sanity check: what it finds in a model that works, in one that does not, and in backends that cannot do everything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from qrm_forensics import builtin
from qrm_forensics.cli import cli
from qrm_forensics.errors import InputError
from qrm_forensics.generate import GENERATORS
from qrm_forensics.generate.traces import error_trace, trace_of
from qrm_forensics.pipeline.smoke import Report, smoke
from qrm_forensics.pipeline.smoke_texts import PAGE, QUESTIONS
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import Finish, ModelRef, Request, Trace

Respond = Callable[[Request], Trace]


class Fake:
    """A backend whose responses a test decides; it cannot read."""

    name = "fake"
    respond: Respond

    @contextmanager
    def open(self, model: ModelRef) -> Iterator[Fake]:
        yield self

    def sample(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Trace]:
        assert sampling.temperature == 0
        return (Fake.respond(r) for r in requests)


def look(monkeypatch: pytest.MonkeyPatch, respond: Respond) -> Report:
    monkeypatch.setitem(GENERATORS, "fake", f"{__name__}:Fake")
    monkeypatch.setattr(Fake, "respond", staticmethod(respond), raising=False)
    return smoke("builtin", "fake")


def said(text: str, finish: Finish = Finish.STOP) -> Respond:
    return lambda r: trace_of(r, text.replace("GOLD", r.problem.gold), finish)


def test_a_backend_that_cannot_read_is_judged_by_its_answers_and_the_rest_is_said_to_be_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = look(monkeypatch, said("a\n</think>\n\\boxed{GOLD}"))
    assert report.ok and all(a.right and not a.loop and not a.gibberish for a in report.asked)
    assert report.read is None and report.twin is None and set(report.left_out) == {"perplexity", "twin"}


@pytest.mark.parametrize(
    ("respond", "problem"),
    [
        (said("so 3 + 4 = 7, wait, " * 120, Finish.LENGTH), "6 of 6 responses loop"),
        (said("31415926535897932384" * 20, Finish.LENGTH), "6 of 6 responses are no language"),
        (said("\N{REPLACEMENT CHARACTER}" * 9, Finish.LENGTH), "6 of 6 responses are no language"),
        (said("</think>\\boxed{-1}"), "none of 6 simple questions was answered correctly"),
        (said(" "), "6 of 6 responses are empty"),
        (lambda r: error_trace(r, "NaN at token 0"), "6 of 6 questions could not be answered: NaN at token 0"),
    ],
)
def test_broken_answers_are_found(monkeypatch: pytest.MonkeyPatch, respond: Respond, problem: str) -> None:
    report = look(monkeypatch, respond)
    assert not report.ok and problem in report.problems


def test_a_response_that_is_cut_off_while_thinking_is_not_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    report = look(monkeypatch, said("Let me see. First,", Finish.LENGTH))
    assert report.ok and {a.right for a in report.asked} == {None}


def test_the_built_in_model_is_sound_and_its_own_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(
        cli, ["smoke", "builtin", "--twin", "builtin", "--tokens", "90", "--json"], standalone_mode=False
    )
    found = json.loads(done.output[done.output.index("{") :])
    assert done.return_value == 0 and found["ok"] is True and found["problems"] == []
    assert 1 < found["read"]["perplexity"] < 1.1 and found["read"]["tokens"] > 400
    assert found["twin"]["same"] and found["twin"]["largest"] < 1e-3
    assert all(alike == said for alike, said in found["twin"]["prefixes"])
    assert sum(a["right"] is True for a in found["asked"]) >= 2


def test_a_checkpoint_with_a_layer_in_disorder_is_found(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(builtin.weights_dir(), broken)
    weights = load_file(broken / "model.safetensors")
    for layer in range(3):  # as if packed columns were read in another order
        name = f"model.layers.{layer}.mlp.down_proj.weight"
        weights[name] = weights[name].flip(1).contiguous()
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    report = smoke(str(broken), twin="builtin", max_new_tokens=40)
    assert not report.ok and report.read is not None and report.twin is not None
    assert report.read.perplexity > report.read.limit and not report.twin.same
    assert "perplexity" in report.problems[0] and "is not the model" in report.problems[-1]
    done = CliRunner().invoke(cli, ["smoke", str(broken), "--tokens", "16"], standalone_mode=False)
    assert done.return_value == 1 and "looks broken" in done.output and "perplexity" in done.output


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(InputError, match="api=chat"):
        smoke("some-model", "server", {"base_url": "http://127.0.0.1:9/v1"})
    with pytest.raises(InputError, match="neither 'builtin'"):
        smoke("some-model")
    done = CliRunner().invoke(cli, ["smoke", "builtin", "--option", "dtype"], standalone_mode=False)
    assert isinstance(done.exception, InputError) and "KEY=VALUE" in str(done.exception)


def test_the_questions_know_their_answers() -> None:
    import re

    rights: list[Any] = ["It is 42.", "Paris", "seven", "1, 2, 3, 4, 5, 6, 7, 8", "9.9 is larger."]
    wrongs = ["It is 421.", "Parisian?", "17", "1, 2, 4, 3, 5, 6, 7, 8", "9.11"]
    for question, right, wrong in zip(QUESTIONS, rights, wrongs, strict=True):
        assert re.search(question.answer, right) and not re.search(question.answer, wrong)
    assert 300 < len(PAGE.split()) < 600
