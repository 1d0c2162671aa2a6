"""The two ways to feed requests to vLLM: its engine step by step, or, for several replicas, its asynchronous one."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, Protocol

from qrm_forensics.errors import EnvironmentMissing


class Driver(Protocol):
    """A started engine.  ``wait`` returns outputs of finished requests, perhaps none, but in the end all of them."""

    @property
    def config(self) -> Any:
        """vLLM's own ``VllmConfig``, everything resolved."""
        ...

    @property
    def look_ahead(self) -> int:
        """Requests to hand over beyond those that can run, so that no place is empty while finished ones are looked at."""
        ...

    def add(self, name: str, prompt_ids: list[int], params: Any) -> None:
        """Raises ValueError where vLLM does not take the request."""
        ...

    def wait(self) -> list[Any]: ...

    def abort(self, names: Iterable[str]) -> None: ...

    def close(self) -> None: ...


#: Whether an engine is open: it has state that is global to the process, which closing a second one would take from it.
_open = threading.Lock()


def _take_process() -> None:
    if not _open.acquire(blocking=False):
        raise EnvironmentMissing(
            "a model is already open with vLLM in this process, and there can be one at a time; close it first"
        )


def _make_numba_harmless() -> None:
    """On a CPU vLLM 0.32 looks through ``vars()`` of whatever any loaded module holds, and cannot start once numba has compiled something:
    llvmlite's handle of its library answers every name, ``__dict__`` too, with a function.  So it gets an empty one.
    """
    handle = getattr(sys.modules.get("llvmlite.binding.ffi"), "lib", None)
    table = getattr(handle, "_fntab", None) if handle is not None else None
    if isinstance(table, dict):
        table["__dict__"] = {}


class Stepping:
    """``vllm.LLM``: one model, on as many devices as tensor and pipeline parallelism take."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        from vllm import LLM

        _take_process()
        _make_numba_harmless()
        try:
            self.llm = LLM(**arguments)
        except BaseException:
            clean_up()
            raise
        self._engine = self.llm.llm_engine

    @property
    def config(self) -> Any:
        return self._engine.vllm_config

    @property
    def look_ahead(self) -> int:
        # In one process nothing runs between two steps; an engine of its own goes on while we are busy here.
        if hasattr(self._engine, "model_executor"):
            return 0
        return max(1, int(self.config.scheduler_config.max_num_seqs) // 8)

    def add(self, name: str, prompt_ids: list[int], params: Any) -> None:
        self._engine.add_request(name, {"prompt_token_ids": prompt_ids}, params)

    def wait(self) -> list[Any]:
        return [output for output in self._engine.step() if output.finished]

    def abort(self, names: Iterable[str]) -> None:
        self._engine.abort_request(list(names))

    def close(self) -> None:
        self._engine.engine_core.shutdown()
        del self._engine, self.llm
        clean_up()


class Replicated:
    """``AsyncLLM`` with ``data_parallel_size`` > 1, which ``vllm.LLM`` refuses; it spreads the requests over its replicas."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        import asyncio
        import queue

        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        _take_process()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        self._finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._tasks: dict[str, Any] = {}

        async def start() -> Any:
            return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))

        try:
            self._engine = self._call(start())
        except BaseException:
            self._stop()
            raise

    @property
    def config(self) -> Any:
        return self._engine.vllm_config

    @property
    def look_ahead(self) -> int:
        parallel = self.config.parallel_config
        seats = int(self.config.scheduler_config.max_num_seqs)
        return seats * (int(parallel.data_parallel_size) - 1) + max(1, seats // 8)

    def add(self, name: str, prompt_ids: list[int], params: Any) -> None:
        import asyncio

        async def answer() -> None:
            try:
                # final only: there is one output
                async for output in self._engine.generate({"prompt_token_ids": prompt_ids}, params, name):
                    self._finished.put((name, output))
            except Exception as error:
                self._finished.put((name, error))

        self._tasks[name] = asyncio.run_coroutine_threadsafe(answer(), self._loop)

    def wait(self) -> list[Any]:
        name, output = self._finished.get()
        del self._tasks[name]
        if isinstance(output, ValueError):
            return [Refused(name, output)]
        if isinstance(output, Exception):
            raise output
        return [output]

    def abort(self, names: Iterable[str]) -> None:
        for name in names:
            task = self._tasks.pop(name, None)
            if task is not None:
                task.cancel()

    def close(self) -> None:
        self.abort(list(self._tasks))
        self._engine.shutdown()
        self._stop()

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        import asyncio

        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        clean_up()


class Refused:
    """A request that the asynchronous engine did not take."""

    def __init__(self, request_id: str, error: ValueError) -> None:
        self.request_id, self.error = request_id, error


def clean_up() -> None:
    """Free what a closed engine leaves in this process, so that the next one can be opened."""
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    gc.collect()
    try:
        cleanup_dist_env_and_memory()
    finally:
        _open.release()
