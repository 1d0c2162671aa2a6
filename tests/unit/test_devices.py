"""The choice of a device, with a stand-in for torch_npu: no NPU was at hand."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from qrm_forensics.devices import VARIABLE, torch_device
from qrm_forensics.errors import EnvironmentMissing, InputError
from qrm_forensics.generate import get_generator
from qrm_forensics.records import ModelRef


def with_npu(monkeypatch: pytest.MonkeyPatch, available: bool) -> None:
    monkeypatch.setitem(sys.modules, "torch_npu", ModuleType("torch_npu"))
    monkeypatch.setattr(torch, "npu", SimpleNamespace(is_available=lambda: available), raising=False)


def test_torch_npu_is_not_imported_unless_an_npu_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_npu", None)  # an import would raise
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv(VARIABLE, raising=False)
    assert torch_device() == torch_device("cpu") == "cpu" and torch_device("cuda:1") == "cuda:1"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert torch_device() == "cuda"


def test_an_npu_is_taken_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with_npu(monkeypatch, available=True)
    assert (torch_device("npu"), torch_device("npu:3")) == ("npu:0", "npu:3")
    monkeypatch.setenv(VARIABLE, "npu:1")
    assert torch_device() == "npu:1" and torch_device("cpu") == "cpu"
    monkeypatch.setenv(VARIABLE, "nqu")
    with pytest.raises(InputError, match="QRM_DEVICE=nqu"):
        torch_device()


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_npu", None)
    with pytest.raises(EnvironmentMissing, match=r"'torch_npu', which is not installed.*vllm-ascend"):
        torch_device("npu")
    with_npu(monkeypatch, available=False)
    with pytest.raises(EnvironmentMissing, match="npu-smi info"):
        torch_device("npu")

    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "torch_npu":
                raise ImportError("libhccl.so: cannot open shared object file")

    monkeypatch.delitem(sys.modules, "torch_npu")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(EnvironmentMissing, match=r"libhccl\.so.*set_env\.sh"):
        torch_device("npu")


def test_generation_and_quantization_ask_for_the_same_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_npu", None)
    session = get_generator("embedded", device="npu").open(ModelRef("nowhere", None, "bf16", None, "original"))
    with pytest.raises(EnvironmentMissing, match="torch_npu"), session:
        pass
    monkeypatch.setenv(VARIABLE, "npu")
    from qrm_forensics import builtin
    from qrm_forensics.quantize.activations import Network

    with pytest.raises(EnvironmentMissing, match="torch_npu"):
        Network(builtin.weights_dir())
