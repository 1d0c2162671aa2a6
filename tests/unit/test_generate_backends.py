"""The backend table, ``scripted``, ``replay`` and the noise floor: all of it without torch."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from qrm_forensics.errors import EnvironmentMissing, InputError
from qrm_forensics.generate import _class_of, get_generator, noise_floor
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import TRACE_SCHEMA, Finish, Kind, ModelRef, Problem, Request, Trace, to_table

MODEL = ModelRef("nowhere", None, "bf16", None, "original")


def request(identifier: str, sample: int = 0, prompt: str = "Q: ") -> Request:
    problem = Problem("bench", identifier, "Q", prompt + identifier, "1", Kind.MATH, None, None)
    return Request("bf16", problem, sample, 42)


def run(generator_name: str, requests: list[Request], **options: object) -> list[Trace]:
    with get_generator(generator_name, **options).open(MODEL) as session:
        return list(session.sample(requests, Sampling()))


def trace(identifier: str, ids: list[int] | None, finish: Finish = Finish.STOP, text: str | None = None) -> Trace:
    return Trace("bf16", "bench", identifier, 0, 42, "Q: " + identifier, text, finish, token_ids=ids)


def test_the_package_and_the_light_backends_do_not_import_torch() -> None:
    code = (
        "import sys; from qrm_forensics.generate import get_generator; "
        "get_generator('scripted', function=str); get_generator('replay', traces=[]); get_generator('embedded'); "
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_torch_names_the_extra_and_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        EnvironmentMissing, match=r'generation with transformers.*pip install "qrm-forensics\[models\]"'
    ):
        run("embedded", [])


def test_unknown_backends_and_options_are_refused_with_a_hint() -> None:
    with pytest.raises(InputError, match="did you mean 'embedded'"):
        get_generator("embeded")
    with pytest.raises(InputError, match=r"batchsize.*options are: batch_size, dtype, device"):
        get_generator("embedded", batchsize=3)
    with pytest.raises(InputError, match="batch_size must be 1 or more"):
        get_generator("embedded", batch_size=0)
    with pytest.raises(InputError, match="dtype must be one of"):
        get_generator("embedded", dtype="int8")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("server", {"base_url": 3}, "base_url must be a text or keys with values; found 3"),
        ("server", {"base_url": {"bf16": 3}}, "base_url must be"),
        ("server", {"base_url": "http://h/v1", "retries": "2"}, "retries must be a whole number; found '2'"),
        ("server", {"base_url": "http://h/v1", "timeout": True}, "timeout must be a number; found true"),
        ("server", {"base_url": "http://h/v1", "logprobs": "no"}, "logprobs must be true or false; found 'no'"),
        ("server", {"base_url": "http://h/v1", "extra": "x"}, "extra must be keys with values; found 'x'"),
        ("embedded", {"dtype": 16}, "dtype must be a text; found 16"),
        ("vllm", {"max_model_len": "1k"}, "max_model_len must be a whole number; found '1k'"),
    ],
)
def test_an_option_of_another_type_is_refused(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"^backend '{name}': {said}"):
        get_generator(name, **options)


def test_a_whole_number_is_a_number_and_every_default_has_the_type_of_its_option() -> None:
    get_generator("server", base_url={"bf16": "http://h/v1"}, timeout=5, extra={"min_p": 0.1})
    for name in ("embedded", "vllm", "server"):
        given = {
            k: p.default for k, p in inspect.signature(_class_of(name)).parameters.items() if p.default is not p.empty
        }
        get_generator(name, **given, **({"base_url": "http://h/v1"} if name == "server" else {}))


def test_scripted_text_becomes_a_stopped_trace_and_a_trace_is_taken_as_it_is() -> None:
    own = trace("b", [1, 2], Finish.LENGTH, "loop")
    made = run("scripted", [request("a"), request("b")], function=lambda r: "hi" if r.problem.id == "a" else own)
    assert made[0] == trace("a", None, Finish.STOP, "hi")
    assert made[1] is own


def test_scripted_turns_what_the_function_raises_into_that_requests_error() -> None:
    def function(r: Request) -> str:
        if r.problem.id == "a":
            raise ZeroDivisionError("oh")
        return "fine"

    bad, good = run("scripted", [request("a"), request("b")], function=function)
    assert bad.finish is Finish.ERROR and bad.text is None
    assert bad.error == "the scripted function raised ZeroDivisionError: oh"
    assert good.text == "fine"


def test_scripted_refuses_a_trace_of_another_request() -> None:
    with pytest.raises(InputError, match="was asked for"):
        run("scripted", [request("a")], function=lambda r: trace("b", [1]))


@pytest.mark.parametrize("as_table", [False, True])
def test_replay_finds_traces_by_key_and_says_what_is_missing(as_table: bool) -> None:
    recorded = [trace("a", [1, 2], text="x"), replace(trace("b", [3]), sample=1)]
    source = to_table(recorded, TRACE_SCHEMA) if as_table else iter(recorded)
    wanted = [request("b", 1), request("a"), request("b", 0), request("a", prompt="other ")]
    found, first, missing, changed = run(
        "replay", [wanted[0], wanted[1], wanted[2], replace(wanted[3], seed=42)], traces=source
    )
    assert (found, first) == (recorded[1], recorded[0])
    assert missing.finish is Finish.ERROR and missing.key == ("b", 0, 42) and "no trace" in str(missing.error)
    assert changed.finish is Finish.ERROR and "another prompt" in str(changed.error)


def test_replay_refuses_a_key_that_was_recorded_twice() -> None:
    with pytest.raises(InputError, match="recorded twice"):
        get_generator("replay", traces=[trace("a", [1]), trace("a", [2])])


def test_noise_floor_counts_by_key_and_finds_where_traces_part() -> None:
    a = [
        trace("same", [1, 2, 3]),
        trace("differs", [1, 2, 3]),
        trace("prefix", [1, 2]),
        trace("finish", [1, 2], Finish.STOP),
        trace("text", None, text="abcd"),
        trace("failed", None, Finish.ERROR),
        trace("only a", [1]),
    ]
    b = [
        trace("failed", None, Finish.ERROR),
        trace("text", None, text="abXd"),
        trace("finish", [1, 2], Finish.LENGTH),
        trace("prefix", [1, 2, 3]),
        trace("differs", [1, 9, 3]),
        trace("same", [1, 2, 3]),
    ]
    floor = noise_floor(a, b)
    assert (floor.n, floor.identical, floor.incomparable, floor.only_a, floor.only_b) == (5, 1, 1, 1, 0)
    assert floor.share == pytest.approx(0.2)
    assert [(d.key[2], d.position, d.unit) for d in floor.divergences] == [
        ("differs", 1, "token"),
        ("prefix", 2, "token"),
        ("finish", 2, "token"),
        ("text", 2, "character"),
    ]


def test_noise_floor_of_nothing_is_unknown_and_a_double_key_is_refused() -> None:
    assert noise_floor([], []).share is None
    with pytest.raises(InputError, match="second run has the trace"):
        noise_floor([], [trace("a", [1]), trace("a", [1])])
