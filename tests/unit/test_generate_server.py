"""The server backend against a server that misbehaves on request."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from qrm_forensics.errors import EnvironmentMissing, InputError
from qrm_forensics.generate import server_http
from qrm_forensics.generate.server import Server
from qrm_forensics.generate.server_answers import Unusable, read_answer
from qrm_forensics.generate.server_session import request_seed
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import Finish, Kind, ModelRef, Problem, Request, Trace

pytest.importorskip("httpx", reason="the server backend needs httpx")

PLAIN = Sampling()
KEY = "sk-very-secret-0123456789"
MODEL = ModelRef("", None, "bf16", None, "original")
Reply = tuple[int, dict[str, str], bytes]
#: Seconds for what takes milliseconds, however busy the machine is.
PATIENCE = 60.0


def request(identifier: str, sample: int = 0) -> Request:
    return Request(
        "bf16", Problem("b", identifier, "Q", f"prompt {identifier}", "1", Kind.MATH, None, None), sample, 42
    )


def answer(**choice: Any) -> Reply:
    body = {
        "choices": [{"index": 0, "text": "fine", "finish_reason": "stop", **choice}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


def problem(status: int, message: str, **headers: str) -> Reply:
    return status, {"Content-Type": "application/json", **headers}, json.dumps({"error": {"message": message}}).encode()


class Fake:
    """A server on loopback whose answers a function decides; it keeps what it was sent."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.respond: Callable[[dict[str, Any], int], Reply | None] = lambda body, count: answer()
        self.models: Reply = (200, {"Content-Type": "application/json"}, b'{"data": [{"id": "m"}]}')
        self.running = self.most = 0
        lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.headers.append(dict(self.headers))
                self._send(fake.models)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    fake.seen.append(body)
                    fake.headers.append(dict(self.headers))
                    count = len(fake.seen)
                    fake.running += 1
                    fake.most = max(fake.most, fake.running)
                reply = fake.respond(body, count)
                with lock:
                    fake.running -= 1
                if reply is None:
                    self.close_connection = True
                    self.connection.close()
                else:
                    self._send(reply)

            def _send(self, reply: Reply) -> None:
                status, headers, data = reply
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:  # the client has left
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                return

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.httpd.block_on_close = False
        threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.httpd.server_port}/v1"

    def stop(self) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    monkeypatch.setattr(server_http, "FIRST_WAIT", 0.01)
    server = Fake()
    yield server
    server.stop()


def ask(fake: Fake, requests: list[Request], sampling: Sampling = PLAIN, **options: Any) -> list[Trace]:
    with Server(fake.url, **{"batch_size": 2, "timeout": PATIENCE, "retries": 2, **options}).open(MODEL) as session:
        return list(session.sample(requests, sampling))


def test_a_response_is_kept_with_all_that_the_server_says(fake: Fake) -> None:
    fake.respond = lambda body, count: answer(
        text="a b", finish_reason="length", token_ids=[5, 7], logprobs={"token_logprobs": [-0.5, 0.0]}
    )
    (made,) = ask(fake, [request("x")], Sampling(top_k=30, max_new_tokens=9))
    assert (made.text, made.finish, made.token_ids, made.logprobs) == ("a b", Finish.LENGTH, [5, 7], [-0.5, 0.0])
    assert (made.prompt, made.prompt_tokens, made.completion_tokens, made.error) == ("prompt x", 3, 2, None)
    sent = fake.seen[0]
    assert (sent["model"], sent["prompt"], sent["max_tokens"], sent["top_k"]) == ("m", "prompt x", 9, 30)
    assert (sent["temperature"], sent["top_p"], sent["add_special_tokens"]) == (0.6, 0.95, False)
    assert sent["seed"] == request_seed(request("x"))
    assert "n" not in sent and not sent["stream"]


def test_each_sample_of_a_problem_has_a_seed_of_its_own() -> None:
    seeds = [request_seed(request(str(i), sample)) for i in range(20) for sample in range(20)]
    assert len(set(seeds)) == len(seeds) and min(seeds) >= 0 and max(seeds) < 2**31


def test_failures_are_tried_again_and_no_response_comes_twice(fake: Fake) -> None:
    broken: list[Reply | None] = [
        problem(503, "busy"),
        None,
        (200, {"Content-Type": "application/json"}, b'{"choices": ['),
        problem(429, "slow down", **{"Retry-After": "0"}),
    ]

    def respond(body: dict[str, Any], count: int) -> Reply | None:
        return broken[count - 1] if count <= 4 else answer(text=body["prompt"])

    fake.respond = respond
    made = ask(fake, [request(str(i)) for i in range(6)], retries=4)
    assert sorted(t.problem_id for t in made) == [str(i) for i in range(6)]
    assert all(t.text == t.prompt and t.error is None for t in made)
    assert len(fake.seen) == 10


def test_retry_after_is_obeyed_and_bounded(fake: Fake) -> None:
    fake.respond = lambda body, count: problem(429, "wait", **{"Retry-After": "0.4"}) if count == 1 else answer()
    start = time.monotonic()
    ask(fake, [request("a")])
    assert time.monotonic() - start >= 0.4
    assert server_http._retry_after("1e99") == server_http._retry_after("inf") == server_http.LONGEST_WAIT
    assert server_http._retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert server_http._retry_after("nan") is server_http._retry_after("soon") is server_http._retry_after(None) is None


def test_one_request_that_fails_for_good_is_an_error_and_the_others_are_answered(fake: Fake) -> None:
    fake.respond = lambda body, count: problem(500, "oh no") if body["prompt"] == "prompt 3" else answer()
    made = ask(fake, [request(str(i)) for i in range(6)], retries=1)
    (failed,) = [t for t in made if t.finish is Finish.ERROR]
    assert (failed.problem_id, failed.text) == ("3", None)
    assert failed.error == "the server: answered 500: oh no (2 attempts)"
    assert len(made) == 6 and sum(b["prompt"] == "prompt 3" for b in fake.seen) == 2


def test_a_server_that_is_gone_ends_the_run_and_leaves_the_rest_to_be_asked_again(fake: Fake) -> None:
    kept: list[Trace] = []
    three = threading.Event()

    def respond(body: dict[str, Any], count: int) -> Reply:
        if body["prompt"] in ("prompt 0", "prompt 1", "prompt 2"):
            return answer()
        three.wait(PATIENCE)  # it dies once these were received, in whatever order the others come
        return problem(500, "engine dead")

    fake.respond = respond
    with (
        Server(fake.url, batch_size=2, retries=0).open(MODEL) as session,
        pytest.raises(EnvironmentMissing, match=r"does not answer any more.*engine dead.*run again"),
    ):
        for trace in session.sample((request(str(i)) for i in range(100)), Sampling()):
            kept.append(trace)
            if len(kept) == 3:
                three.set()
    assert len(kept) == 3 and all(t.finish is Finish.STOP for t in kept)
    assert len(fake.seen) < 12


def test_a_server_that_dies_before_the_last_responses(fake: Fake) -> None:
    def respond(body: dict[str, Any], count: int) -> Reply | None:
        if count == 1:
            return answer()
        fake.models = problem(500, "dead")
        return problem(500, "dead")

    fake.respond = respond
    with pytest.raises(EnvironmentMissing, match="does not answer any more"):
        ask(fake, [request("a"), request("b")], retries=0, batch_size=1)


def test_a_server_that_refuses_every_request_ends_the_run(fake: Fake) -> None:
    fake.respond = lambda body, count: problem(400, "max_tokens=32768 cannot be greater than max_model_len=1024")
    # Two are asked at a time, so one more may have failed by the time the fourth is looked at.
    with pytest.raises(InputError, match=r"the first [45] requests all failed.*max_model_len"):
        ask(fake, [request(str(i)) for i in range(50)])
    assert len(fake.seen) < 10


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (5, 3)])
def test_the_list_of_models_is_asked_for_as_often_as_is_said(fake: Fake, retries: int, attempts: int) -> None:
    fake.models = problem(503, "starting")
    said = f" ({attempts} attempts)" if attempts > 1 else ""
    with pytest.raises(EnvironmentMissing, match=re.escape(f"answered 503: starting{said}; start it")):
        ask(fake, [], retries=retries)
    assert len(fake.headers) == attempts


@pytest.mark.parametrize(
    ("status", "says"), [(401, "refuses access.*api_key_env"), (404, "check base_url and model"), (307, "redirects")]
)
def test_what_no_request_could_change_ends_the_run_at_once(fake: Fake, status: int, says: str) -> None:
    fake.respond = lambda body, count: problem(status, "no", Location="http://127.0.0.1:9/v1/completions")
    with pytest.raises(InputError, match=says):
        ask(fake, [request(str(i)) for i in range(20)])
    assert len(fake.seen) <= 2


def test_the_key_goes_to_the_server_and_nowhere_else(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    elsewhere = Fake()
    try:
        where = elsewhere.url + "/completions"
        fake.respond = lambda body, count: problem(307, "moved", Location=f"{where}?{KEY}")
        server = Server(fake.url, api_key_env="MY_KEY", retries=0)
        with server.open(MODEL) as session, pytest.raises(InputError) as redirected:
            list(session.sample([request("a")], Sampling()))
        assert elsewhere.headers == []
    finally:
        elsewhere.stop()
    assert {h["Authorization"] for h in fake.headers} == {f"Bearer {KEY}"}
    fake.respond = lambda body, count: problem(401, f"Incorrect API key provided: {KEY}")
    with server.open(MODEL) as session, pytest.raises(InputError) as refused:
        list(session.sample([request("a")], Sampling()))
    fake.respond = lambda body, count: problem(400, f"bad {KEY}") if count % 2 else answer(text=f"your key is {KEY}")
    with server.open(MODEL) as session:
        made = list(session.sample([request("a"), request("b")], Sampling()))
        shown = repr([server, session, vars(session), vars(session._connection)])
    for error in (redirected.value, refused.value):
        chain = [error, error.__cause__, error.__context__]
        assert not any(KEY in repr(e) for e in chain)
    assert "[API key]" in str(refused.value) and KEY not in repr(made) + shown


def test_a_key_that_is_missing_or_cannot_be_sent_is_refused_without_showing_it(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EnvironmentMissing, match="NO_SUCH_KEY is not set"):
        ask(fake, [], api_key_env="NO_SUCH_KEY")
    monkeypatch.setenv("MY_KEY", f"{KEY}\nX-Other: 1")
    with pytest.raises(InputError, match="MY_KEY holds no API key") as error:
        ask(fake, [], api_key_env="MY_KEY")
    assert KEY not in str(error.value)


@pytest.mark.parametrize(
    "url", ["http://user:pw@h/v1", "http://h/v1?key=1", "ftp://h/v1", "localhost:80", "http://h:99999/v1", "http:///v1"]
)
def test_addresses_that_hold_secrets_or_are_none_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="base_url") as error:
        Server(url)
    assert "pw" not in str(error.value)


def test_no_more_requests_run_than_were_asked_for_and_requests_are_read_as_they_fit(fake: Fake) -> None:
    read = 0
    three = threading.Barrier(3)

    def requests() -> Iterator[Request]:
        nonlocal read
        for i in range(30):
            read += 1
            yield request(str(i))

    def respond(body: dict[str, Any], count: int) -> Reply:
        if count <= 3:
            three.wait(PATIENCE)  # so many do run at a time
        return answer()

    fake.respond = respond
    with Server(fake.url, batch_size=3).open(MODEL) as session:
        for made, _ in enumerate(session.sample(requests(), Sampling()), 1):
            assert read <= made + 6
    assert fake.most == 3 and read == 30


def test_closing_the_generator_cancels_what_runs(fake: Fake) -> None:
    release = threading.Event()

    def respond(body: dict[str, Any], count: int) -> Reply:
        if count > 1:
            release.wait(PATIENCE)
        return answer()

    fake.respond = respond
    start = time.monotonic()
    with Server(fake.url, batch_size=4).open(MODEL) as session:
        responses = session.sample((request(str(i)) for i in range(9)), Sampling())
        next(responses)
        responses.close()  # type: ignore[attr-defined]
    assert time.monotonic() - start < PATIENCE / 2
    assert len(fake.seen) <= 5
    assert not any(t.name == "server backend" for t in threading.enumerate())
    release.set()


def test_a_server_that_hangs_is_left_after_the_timeout(fake: Fake) -> None:
    release = threading.Event()

    def respond(body: dict[str, Any], count: int) -> Reply:
        if body["prompt"] == "prompt slow":
            release.wait(PATIENCE)
        return answer()

    fake.respond = respond
    made = ask(fake, [request("a"), request("slow"), request("b")], timeout=3.0, retries=0)
    release.set()
    assert {t.problem_id: t.error for t in made} == {
        "a": None,
        "b": None,
        "slow": "the server: no whole answer within 3 s",
    }


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((200, {"Content-Type": "text/html"}, b"<html>log in</html>"), "'text/html' where JSON was expected"),
        ((200, {"Content-Type": "application/json"}, b"[" * 200_000), "not JSON"),
        ((200, {"Content-Type": "application/json"}, b"\xff\xfe"), "not JSON"),
        ((200, {"Content-Type": "application/json", "Content-Encoding": "gzip"}, b"\x1f\x8b"), "encoding 'gzip'"),
        ((200, {"Content-Type": "application/json"}, b" " * 3000), "more than"),
        ((200, {}, b"[1]"), "answered list"),
        ((200, {}, b'{"choices": [{"message": {}}]}'), "without text"),
        ((418, {"Content-Type": "text/plain"}, b"x" * 100_000), "answered 418: xxx"),
    ],
)
def test_broken_answers_are_errors(fake: Fake, monkeypatch: pytest.MonkeyPatch, reply: Reply, says: str) -> None:
    monkeypatch.setattr(server_http, "MAX_BYTES", 2000 if says == "more than" else 2**20)
    fake.respond = lambda body, count: reply
    (made,) = ask(fake, [request("a")], retries=0)
    assert made.finish is Finish.ERROR and says in str(made.error) and len(str(made.error)) < 700


def test_fields_that_a_server_does_not_know_are_left_out_and_said(fake: Fake) -> None:
    def respond(body: dict[str, Any], count: int) -> Reply:
        for field in ("return_token_ids", "add_special_tokens", "seed", "logprobs"):
            if field in body:
                return problem(400, f"Unrecognized request argument supplied: {field}")
        return answer()

    fake.respond = respond
    with Server(fake.url, batch_size=2).open(MODEL) as session:
        made = list(session.sample([request(str(i)) for i in range(4)], Sampling()))
        notes = session.notes
    assert len(made) == 4 and all(t.error is None for t in made)
    assert [n.split("'")[1] for n in notes] == ["return_token_ids", "add_special_tokens", "seed", "logprobs"]
    assert "other responses" in notes[2]
    assert len(fake.seen) <= 2 * 5 + 2


def test_a_server_that_refuses_the_studys_sampling_is_not_asked_with_another(fake: Fake) -> None:
    fake.respond = lambda body, count: problem(400, "Unrecognized request argument supplied: top_k")
    (made,) = ask(fake, [request("a")], Sampling(top_k=30))
    assert made.finish is Finish.ERROR and "top_k" in str(made.error) and len(fake.seen) == 1


def test_what_a_server_does_not_give_is_null_and_noted(fake: Fake) -> None:
    fake.respond = lambda body, count: answer(finish_reason=None)
    with Server(fake.url).open(MODEL) as session:
        (made,) = session.sample([request("a")], Sampling())
    assert (made.finish, made.token_ids, made.logprobs) == (Finish.UNKNOWN, None, None)
    assert len(session.notes) == 3


def test_chat_puts_the_thinking_back(fake: Fake) -> None:
    message = {"role": "assistant", "content": "\n\n4", "reasoning_content": "2+2\n"}
    logprobs = {"content": [{"token": "a", "logprob": -0.25}, {"token": "b", "logprob": -1}]}
    fake.respond = lambda body, count: answer(text=None, message=message, logprobs=logprobs)
    (made,) = ask(fake, [request("a")], api="chat")
    assert (made.text, made.logprobs) == ("<think>2+2\n</think>\n\n4", [-0.25, -1.0])
    assert fake.seen[0]["messages"] == [{"role": "user", "content": "prompt a"}]
    assert fake.seen[0]["logprobs"] is True and "prompt" not in fake.seen[0]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "</think>4"}, "</think>4"),
        ({"content": None, "reasoning": "still thinking"}, "<think>still thinking"),
        ({"content": "", "reasoning_content": None}, ""),
        ({"content": None}, ""),
    ],
)
def test_chat_messages(message: dict[str, Any], text: str) -> None:
    assert read_answer({"choices": [{"message": message}]}, chat=True).text == text


@pytest.mark.parametrize(
    "body",
    [None, {}, {"choices": []}, {"choices": [3]}, {"choices": [{"message": 3}]}, {"error": "x"}, {"choices": "ab"}],
)
def test_answers_without_a_response_are_unusable(body: Any) -> None:
    with pytest.raises(Unusable):
        read_answer(body, chat=True)


def test_numbers_that_make_no_sense_are_left_out() -> None:
    choice = {"text": "", "token_ids": [1, True], "logprobs": {"token_logprobs": [-1.0, 5.0]}}
    made = read_answer({"choices": [choice], "usage": {"completion_tokens": -1, "prompt_tokens": 2.5}}, chat=False)
    assert (made.token_ids, made.logprobs, made.completion_tokens, made.prompt_tokens) == (None, None, None, None)
    assert "no token ids" in str(made.note) and "no log-probabilities" in str(made.note)
    choice = {"text": "", "token_ids": [1, 2], "logprobs": {"token_logprobs": [-1.0]}}
    made = read_answer({"choices": [choice]}, chat=False)
    assert made.logprobs is None and made.token_ids == [1, 2] and "1 log-probabilities for 2 tokens" in str(made.note)
    huge = {"text": "", "logprobs": {"token_logprobs": [-(10**400)]}}
    assert read_answer({"choices": [huge]}, chat=False).logprobs is None


def test_the_model_is_the_only_one_that_is_served_or_the_one_that_is_named(fake: Fake) -> None:
    fake.models = (200, {}, b'{"data": [{"id": "m"}, {"id": "n"}]}')
    with pytest.raises(InputError, match=r"lists 2 models \(m, n\)"):
        ask(fake, [])
    ask(fake, [request("a")], model="n")
    fake.models = problem(404, "no such path")
    ask(fake, [request("b")], model="n")
    assert [b["model"] for b in fake.seen] == ["n", "n"]
    fake.models = problem(403, "who are you?")
    with pytest.raises(InputError, match="refuses access"):
        ask(fake, [request("b")], model="n")


def test_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_http, "FIRST_WAIT", 0.01)
    with (
        pytest.raises(EnvironmentMissing, match=r"no server answers at http://127.0.0.1:9/v1"),
        Server("http://127.0.0.1:9/v1").open(MODEL),
    ):
        pass


def test_variants_that_one_model_would_answer_for_are_refused() -> None:
    server = Server("http://h/v1", model={"bf16": "m", "awq-w4g128": "q"})
    assert server.refuse(["bf16", "awq-w4g128"]) is None and Server("http://h/v1").refuse(["bf16"]) is None
    assert "the same model for bf16 and for awq-w4g128" in str(Server("http://h/v1").refuse(["bf16", "awq-w4g128"]))
    with pytest.raises(InputError, match="not gptq-w4g128"):
        server.refuse(["bf16", "gptq-w4g128"])


def test_options_are_checked() -> None:
    for wrong in ({"api": "responses"}, {"batch_size": 0}, {"timeout": 0}, {"retries": -1}, {"extra": {"seed": 1}}):
        with pytest.raises(InputError, match="server backend: "):
            Server("http://h/v1", **wrong)  # type: ignore[arg-type]


def test_a_study_asks_a_chat_server_without_a_model_folder_and_stores_no_key(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qrm_forensics import pipeline
    from qrm_forensics.study import Study

    monkeypatch.setenv("MY_KEY", KEY)
    fake.respond = lambda body, count: answer(message={"content": f"\\boxed{{7}} {KEY}"})
    (tmp_path / "mine.jsonl").write_text('{"problem": "3 + 4 = ?", "answer": "7"}\n', "utf-8")

    def study(**backend: Any) -> Study:
        return Study.model_validate(
            {
                "name": "served",
                "models": ["some/model"],
                "recipes": ["bf16"],
                "benchmarks": [{"name": "mine", "path": str(tmp_path / "mine.jsonl")}],
                "backend": {"name": "server", "options": {"base_url": fake.url, "api_key_env": "MY_KEY", **backend}},
            }
        )

    plan = pipeline.make_plan(study(api="chat"))
    out = tmp_path / "run"
    store = pipeline.run(plan, out)
    (sent,) = fake.seen
    assert sent["messages"][0]["content"].startswith("3 + 4 = ?\n\nPlease reason step by step")
    assert store.trace_count() == 1
    assert "the server gives no token ids" in store.study_file.read_text("utf-8")
    pipeline.run(
        pipeline.make_plan(study(api="chat", timeout=9.0, retries=0)), out
    )  # the same request: nothing is asked
    assert len(fake.seen) == 1
    assert not any(KEY.encode() in file.read_bytes() for file in out.rglob("*") if file.is_file())
    with pytest.raises(InputError, match="neither 'builtin' nor a Hugging Face folder"):
        pipeline.make_plan(study())
