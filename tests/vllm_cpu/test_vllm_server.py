"""The server backend against vLLM's own server, on loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="needs vllm; run make vllm-test")
pytest.importorskip("httpx", reason="the server backend needs httpx")

from qrm_forensics import builtin
from qrm_forensics.errors import InputError
from qrm_forensics.generate import get_generator
from qrm_forensics.generate.server import Server
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import Finish, Key, ModelRef, Problem, Request, Trace

MODEL = ModelRef(str(builtin.weights_dir()), None, "bf16", None, "original")
PROBLEMS = builtin.problems(12)
MAX_LENGTH = 512
#: Seconds; a start takes 20 on an idle machine. Only a server that hangs is to be given up.
STARTED_WITHIN = 900.0


def _free_port() -> int:
    """Not one of those that the system hands out by itself: somebody else could get it before the server has started."""
    for port in range(20_000 + os.getpid() % 10_000, 32_768):
        with socket.socket() as found, contextlib.suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = _free_port()
    log = tmp_path_factory.mktemp("server") / "log.txt"
    arguments = {
        "model": str(builtin.weights_dir()),
        "served-model-name": "tiny",
        "host": "127.0.0.1",
        "port": port,
        "dtype": "float32",
        "max-model-len": MAX_LENGTH,
        "max-num-seqs": 8,
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    command += [f"--{name}={value}" for name, value in arguments.items()]
    variables = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    with log.open("wb") as told:
        # a session of its own: the engine and its workers are processes too, and must not outlive the tests
        server = subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT, env=variables, start_new_session=True)
    try:
        deadline = time.monotonic() + STARTED_WITHIN
        while True:
            assert server.poll() is None, log.read_text("utf-8", "replace")[-3000:]
            assert time.monotonic() < deadline, log.read_text("utf-8", "replace")[-3000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


def requests(count: int = len(PROBLEMS), samples: int = 1) -> list[Request]:
    return [Request("bf16", p, sample, 42) for p in PROBLEMS[:count] for sample in range(samples)]


def by_key(traces: list[Trace]) -> dict[Key, Trace]:
    found = {trace.key: trace for trace in traces}
    assert len(found) == len(traces)
    return found


@pytest.mark.parametrize(("limit", "finish"), [(40, Finish.LENGTH), (150, Finish.STOP)])
def test_greedy_responses_are_those_of_transformers_to_the_last_token(url: str, limit: int, finish: Finish) -> None:
    greedy = Sampling(temperature=0, max_new_tokens=limit)
    with Server(url, batch_size=6).open(MODEL) as session:
        served = by_key(list(session.sample(requests(), greedy)))
        assert session.notes == [] and session.model == "tiny"
    with get_generator("embedded").open(MODEL) as session:
        own = by_key(list(session.sample(requests(), greedy)))
    assert finish in {t.finish for t in own.values()}
    assert served.keys() == own.keys()
    for key, trace in served.items():
        twin = own[key]
        for name in ("token_ids", "text", "finish", "error", "prompt", "prompt_tokens", "completion_tokens"):
            assert getattr(trace, name) == getattr(twin, name), (key, name)
        assert trace.logprobs == pytest.approx(twin.logprobs, abs=1e-4)


def test_samples_differ_and_come_again_whatever_their_company(url: str) -> None:
    sampling = Sampling(temperature=2.0, top_p=0.99, top_k=30, max_new_tokens=40)
    wanted = requests(4, samples=3)
    with Server(url, batch_size=8).open(MODEL) as session:
        together = by_key(list(session.sample(wanted, sampling)))
    with Server(url, batch_size=1).open(MODEL) as session:
        alone = by_key(list(session.sample(reversed(wanted), sampling)))
    assert {k: t.token_ids for k, t in together.items()} == {k: t.token_ids for k, t in alone.items()}
    assert len({tuple(t.token_ids or ()) for t in together.values()}) > 8


def test_a_response_is_cut_where_the_server_has_no_more_room_and_says_so(url: str) -> None:
    with Server(url).open(MODEL) as session:
        made = list(session.sample(requests(12), Sampling(temperature=1.5, max_new_tokens=5000)))
    cut = [t for t in made if t.finish is Finish.LENGTH]
    assert cut and all((t.prompt_tokens or 0) + (t.completion_tokens or 0) == MAX_LENGTH for t in cut)
    assert all("maximum length of 512 tokens" in str(t.error) for t in cut)
    assert all(t.error is None for t in made if t.finish is Finish.STOP)


def test_chat_gives_what_the_exact_prompt_gives(url: str) -> None:
    greedy = Sampling(temperature=0, max_new_tokens=60)
    asked = [
        Request("bf16", Problem(p.benchmark, p.id, p.question, p.question, p.gold, p.kind, None, None), 0, 42)
        for p in PROBLEMS[:3]
    ]
    with Server(url, api="chat").open(MODEL) as session:
        chat = by_key(list(session.sample(asked, greedy)))
    with Server(url).open(MODEL) as session:
        exact = by_key(list(session.sample(requests(3), greedy)))
    for key, trace in chat.items():
        assert (trace.text, trace.token_ids, trace.finish) == (exact[key].text, exact[key].token_ids, exact[key].finish)
        assert trace.logprobs == pytest.approx(exact[key].logprobs, abs=1e-4)


def test_the_prompts_own_log_probabilities_are_those_of_transformers(url: str) -> None:
    import torch

    from qrm_forensics.runtime.attach import load_model
    from qrm_forensics.tokenizer import load_tokenizer

    prompts = [p.prompt for p in PROBLEMS[:3]]
    with Server(url).open(MODEL) as session:
        given = session.prompt_logprobs(prompts)
    assert given is not None
    network, tokenizer = load_model(MODEL.path, revision=None, dtype=torch.float32).eval(), load_tokenizer(MODEL.path)
    for prompt, values in zip(prompts, given, strict=True):
        ids = torch.tensor([tokenizer.encode(prompt, add_special_tokens=False)])
        with torch.inference_mode():
            own = network(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        assert values[0] is None and values[1:] == pytest.approx(own.tolist(), abs=1e-4)


def test_a_server_with_another_tokenizer_or_model_is_refused(url: str, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(builtin.weights_dir(), other)
    file = other / "tokenizer.json"
    file.write_text(file.read_text("utf-8").replace('"<think>"', '"<thank>"'), "utf-8")
    with (
        Server(url).open(ModelRef(str(other), None, "bf16", None, "original")) as session,
        pytest.raises(InputError, match="another tokenizer"),
    ):
        list(session.sample(requests(1), Sampling(max_new_tokens=5)))
    with Server(url, model="no-such").open(MODEL) as session, pytest.raises(InputError, match="does not exist"):
        list(session.sample(requests(1), Sampling(max_new_tokens=5)))
