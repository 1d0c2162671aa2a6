"""The driver of several replicas, with a stand-in for vLLM's asynchronous engine: what is asked comes back, whatever becomes of it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from qrm_forensics.errors import EnvironmentMissing
from qrm_forensics.generate.vllm_drivers import Refused, Replicated


class Engine:
    """Answers a short prompt at once and a long one when it may; refuses an empty one, and dies of token 13."""

    vllm_config = SimpleNamespace(
        parallel_config=SimpleNamespace(data_parallel_size=2), scheduler_config=SimpleNamespace(max_num_seqs=8)
    )
    running: set[str]
    long_may = threading.Event()
    closed = False

    @classmethod
    def from_engine_args(cls, _arguments: Any) -> Engine:
        asyncio.get_running_loop()  # the real one has to be made inside of a running loop
        made = cls()
        made.running = set()
        return made

    async def generate(self, prompt: dict[str, list[int]], _params: Any, name: str) -> AsyncIterator[Any]:
        ids = prompt["prompt_token_ids"]
        if not ids:
            raise ValueError("the prompt is empty")
        if 13 in ids:
            raise RuntimeError("engine core died")
        self.running.add(name)
        try:
            while len(ids) > 10 and not self.long_may.is_set():
                await asyncio.sleep(0.005)
            yield SimpleNamespace(request_id=name, finished=True)
        finally:
            self.running.discard(name)

    def shutdown(self) -> None:
        self.closed = True


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Replicated]:
    cleaned = []
    Engine.long_may.clear()
    modules: dict[str, dict[str, Any]] = {
        "vllm": {"AsyncEngineArgs": lambda **arguments: arguments},
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.v1.engine.async_llm": {"AsyncLLM": Engine},
        "vllm.distributed": {},
        "vllm.distributed.parallel_state": {"cleanup_dist_env_and_memory": lambda: cleaned.append(1)},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    made = Replicated({"model": "m", "data_parallel_size": 2})
    yield made
    if not made._loop.is_closed():
        made.close()
    assert cleaned == [1]


def test_answers_come_as_they_end_and_refusals_come_too(driver: Replicated) -> None:
    driver.add("slow", [1] * 20, None)
    driver.add("bad", [], None)
    driver.add("fast", [1], None)
    outputs = [output for _ in range(2) for output in driver.wait()]
    assert {o.request_id for o in outputs} == {"bad", "fast"}
    Engine.long_may.set()
    assert [o.request_id for o in driver.wait()] == ["slow"]
    (refused,) = (o for o in outputs if isinstance(o, Refused))
    assert refused.request_id == "bad" and str(refused.error) == "the prompt is empty"
    assert driver.look_ahead == 9  # the seats of the second replica, and an eighth


def test_what_is_aborted_never_comes_back(driver: Replicated) -> None:
    driver.add("given-up", [1] * 500, None)
    driver.add("kept", [1] * 5, None)
    driver.abort(["given-up", "never-asked"])
    assert [o.request_id for o in driver.wait()] == ["kept"]
    driver._call(asyncio.sleep(0))  # what the loop had begun has ended
    assert driver._engine.running == set() and driver._tasks == {}


def test_an_engine_that_dies_is_told(driver: Replicated) -> None:
    driver.add("a", [13], None)
    with pytest.raises(RuntimeError, match="engine core died"):
        driver.wait()


def test_there_is_one_engine_at_a_time(driver: Replicated) -> None:
    with pytest.raises(EnvironmentMissing, match="already open"):
        Replicated({"model": "m"})
    driver.close()
    assert driver._engine.closed and not driver._thread.is_alive()
