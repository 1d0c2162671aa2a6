"""Which device torch computes on: CUDA where there is one, an Ascend NPU where it is asked for, else the CPU.

``torch_npu`` is imported only when an NPU is asked for, by ``device: npu`` of a backend or by ``QRM_DEVICE=npu``, which also
counts for quantizing.  It is imported by name, so that nothing here depends on it.
"""

from __future__ import annotations

import os

from qrm_forensics.errors import EnvironmentMissing, InputError

#: The environment variable that decides where a device is "auto": cpu, cuda, cuda:1, npu, npu:0, …
VARIABLE = "QRM_DEVICE"
_KINDS = ("cpu", "cuda", "npu")
_WHERE = "docs/backends.md, section Ascend NPU"


def torch_device(asked: str = "auto") -> str:
    """The name that torch knows the device by.

    Raises EnvironmentMissing where it is not there, with what to do about it, and InputError for a QRM_DEVICE of no known kind.
    """
    import torch

    if asked == "auto":
        asked = os.environ.get(VARIABLE, "").strip() or "auto"
        if asked != "auto" and asked.partition(":")[0] not in _KINDS:
            raise InputError(f"{VARIABLE}={asked}: expected one of {', '.join(_KINDS)}, such as npu or cuda:1")
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked.partition(":")[0] == "npu":
        _register_npu()
        # What moves weights with device_map wants an index.
        return asked if ":" in asked else "npu:0"
    return asked


def _register_npu() -> None:
    """Make ``torch.npu`` known; raises EnvironmentMissing that says which part is missing."""
    import torch

    try:
        import torch_npu  # noqa: F401
    except ModuleNotFoundError as error:
        raise EnvironmentMissing(
            f"the device npu needs the package {error.name!r}, which is not installed; it comes with the container image of "
            f"vllm-ascend ({_WHERE})"
        ) from error
    except (ImportError, OSError, RuntimeError) as error:  # CANN's libraries are not found
        said = " ".join(str(error).split())[:200]
        raise EnvironmentMissing(
            f"torch_npu is installed and cannot be imported: {said}; CANN's variables have to be set first: "
            f"source /usr/local/Ascend/ascend-toolkit/set_env.sh ({_WHERE})"
        ) from error
    if not torch.npu.is_available():
        raise EnvironmentMissing(
            "torch_npu finds no NPU; look at npu-smi info, at ASCEND_RT_VISIBLE_DEVICES, and whether the container was given "
            f"/dev/davinci0 and the like ({_WHERE})"
        )
