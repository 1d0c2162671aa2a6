"""The finished layers of a quantization that is under way, so that one that was killed goes on behind the last of them.

They lie in ``<out>.partial/``: ``request.json`` says what they were made for, and each layer is one file that appears whole or not at
all.  Hidden states are not: running the finished layers once is cheap beside quantizing them, and gives the same numbers, as the layers are
kept exactly as they were run.  (Where it is not, see :mod:`~qrm_forensics.quantize.passage`.)  What is kept needs no memory any more: of weights, the outcome then says only
where they lie.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qrm_forensics.errors import ForensicsError
from qrm_forensics.weights import TensorEntry, read_json, tensor_entries, write_tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from qrm_forensics.quantize.base import Outcome

REQUEST = "request.json"
#: What of an outcome grows layer by layer.
_GROWING = ("tensors", "side", "packed")


@dataclass(slots=True)
class FinishedLayers:
    """``folder``: where they are kept; None keeps nothing.  ``request``: all that they depend on (JSON-able)."""

    folder: Path | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    #: Keys of the outcome that are no news, by part.
    _known: dict[str, set[str]] = field(default_factory=dict)
    _done: int = 0

    def restore(self, outcome: Outcome) -> int:
        """Put what is there into ``outcome``, which holds what comes before the first layer; the number of layers.

        What was made for another request, or cannot be read, is thrown away.
        """
        self._done = 0
        self._know(outcome)
        if self.folder is None or not self.folder.is_dir():
            return 0
        try:
            same = read_json(self.folder / REQUEST) == dict(self.request)
        except ForensicsError:
            same = False
        if not same:
            shutil.rmtree(self.folder)
            return 0
        while self._file(self._done).is_file():
            self._add(outcome, self._file(self._done))
            self._done += 1
        self._know(outcome)
        return self._done

    def has(self, index: int) -> bool:
        return index < self._done

    def load(self, index: int, layer: nn.Module) -> None:
        """Give ``layer`` the parameters that it had when it was finished."""
        from safetensors import safe_open

        parameters = dict(layer.named_parameters())
        with safe_open(self._file(index), framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  # not a mapping
                part, _, key = name.partition("/")
                if part == "layer":
                    parameters[key].data.copy_(file.get_tensor(name))

    def save(
        self,
        index: int,
        outcome: Outcome,
        layer: nn.Module | None = None,
        dtypes: Mapping[str, torch.dtype] | None = None,
    ) -> None:
        """Keep what ``outcome`` has gained since the last layer, and the parameters of ``layer`` where later layers depend on them.

        ``dtypes``: narrower ones by the name of a parameter in the layer, which are used where they hold it exactly.
        """
        if self.folder is None:
            return
        tensors: dict[str, Tensor] = {}
        for part in ("tensors", "side"):
            found: dict[str, Tensor | TensorEntry] = getattr(outcome, part)
            tensors |= {f"{part}/{key}": _held(found[key]) for key in found.keys() - self._known[part]}
        packed = {key: outcome.packed[key] for key in outcome.packed.keys() - self._known["packed"]}
        for module, linear in packed.items():
            tensors |= {f"packed/{module}/{suffix}": _held(tensor) for suffix, tensor in linear.tensors.items()}
        for name, parameter in layer.named_parameters() if layer is not None else ():
            tensors[f"layer/{name}"] = _narrowed(parameter, (dtypes or {}).get(name))
        told = {
            "modules": {key: record for key, record in outcome.modules.items() if key not in self._known["modules"]},
            "packed": {module: linear.weight_sha256 for module, linear in packed.items()},
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / REQUEST).is_file():
            fresh = self.folder / f"{REQUEST}.tmp"
            fresh.write_text(json.dumps(dict(self.request), indent=1), encoding="utf-8")
            fresh.replace(self.folder / REQUEST)
        file = self._file(index)
        fresh = file.with_suffix(".tmp")
        write_tensors(fresh, tensors, {"told": json.dumps(told)})
        fresh.replace(file)
        _refer(outcome, file)
        self._know(outcome)

    def remove(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, index: int) -> Path:
        assert self.folder is not None
        return self.folder / f"layer-{index:04}.safetensors"

    def _know(self, outcome: Outcome) -> None:
        self._known = {part: set(getattr(outcome, part)) for part in (*_GROWING, "modules")}

    def _add(self, outcome: Outcome, file: Path) -> None:
        from safetensors import safe_open

        from qrm_forensics.quantize.base import PackedLinear

        with safe_open(file, framework="pt") as opened:
            told = json.loads(opened.metadata()["told"])
            outcome.modules |= told["modules"]
            outcome.packed |= {module: PackedLinear({}, sha256) for module, sha256 in told["packed"].items()}
            outcome.side |= {n.partition("/")[2]: opened.get_tensor(n) for n in opened.keys() if n.startswith("side/")}  # noqa: SIM118  # not a mapping
        _refer(outcome, file)


def _refer(outcome: Outcome, file: Path) -> None:
    """Let the weights that ``file`` holds be in the outcome by their place alone."""
    for name, entry in tensor_entries(file).items():
        part, _, key = name.partition("/")
        if part == "tensors":
            outcome.tensors[key] = entry
        elif part == "packed":
            module, _, suffix = key.rpartition("/")
            outcome.packed[module].tensors[suffix] = entry


def _held(tensor: Tensor | TensorEntry) -> Tensor:
    assert not isinstance(tensor, TensorEntry), "what lies in a file is known"
    return tensor


def _narrowed(parameter: Tensor, dtype: torch.dtype | None) -> Tensor:
    import torch

    if dtype is None:
        return parameter.detach()
    narrow = parameter.detach().to(dtype)
    return narrow if torch.equal(narrow.to(parameter.dtype), parameter) else parameter.detach()
