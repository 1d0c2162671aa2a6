"""What has to happen while a quantized model runs: activations and caches that are rounded, transforms that are applied.

One description for every engine.  It lies beside the weights as ``runtime.json``, its tensors in
``runtime.tensors``.  A checkpoint without them is an ordinary one.  A checkpoint with them is
garbage to an engine that does not read them, so ``config.json`` then names the quantization method ``qrm`` and a model type
like ``qrm_qwen2``, which engines refuse unless somebody has taught them.  (transformers only warns of a method that it does not
know, and goes on; a model type that it does not know stops it.)

Order of events, for the inputs ``x`` of a linear: transforms, one after the other; rounding; product.
For keys: with ``position == "before_rope"`` they are rounded as ``k_proj`` (or, where there is one, the norm behind it)
makes them; with ``"after_rope"`` they are transformed per head, rounded, and transformed back, which gives queries
that are not transformed the same products.  Values likewise, as ``v_proj`` makes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qrm_forensics.errors import InputError
from qrm_forensics.weights import RUNTIME_FILES, weights_hash, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
#: The tensors are in the format of safetensors, under a name that no engine takes for weights.
FILE, TENSORS = RUNTIME_FILES
#: ``quantization_config.quant_method`` of a checkpoint that needs its runtime description.
QUANT_METHOD = "qrm"
#: Put in front of ``model_type`` of such a checkpoint.
TYPE_PREFIX = "qrm_"


@dataclass(frozen=True, slots=True)
class Rounding:
    """A grid that is fitted as the model runs, or a static one.

    ``kind``: ``int`` (affine) or ``mxfp4``.  ``group``: values along the last axis that share a scale; -1 for all of
    them (per token), else it divides the axis.  ``clip`` multiplies both ends of the range (learned clipping factors are
    tensors ``clip_low``, ``clip_high``, shape [groups]).  ``static``: scale and zero-point are the tensors ``scale`` and
    ``zero``, shape [channels].  ``scale_rule`` and ``ties`` are those of :mod:`qrm_forensics.runtime.mxfp`.
    """

    kind: Literal["int", "mxfp4"] = "int"
    bits: int = 8
    symmetric: bool = False
    group: int = -1
    clip: float = 1.0
    static: bool = False
    scale_rule: Literal["floor", "even", "rceil"] = "floor"
    ties: Literal["even", "away"] = "even"
    tensors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Transform:
    """A linear map of the last axis, the same for every one of ``blocks`` equal parts of it.

    ``hadamard``: the normalized one of :func:`~qrm_forensics.runtime.hadamard.hadamard`.
    ``matrix``: x ↦ x M with the tensor ``matrix`` [n, n]; its inverse is ``inverse``.
    ``kronecker``: x ↦ x (A ⊗ B) with the tensors ``left`` [a, a], ``right`` [b, b].
    ``diagonal``: x ↦ x · d with the tensor ``diagonal``, [n] or, for blocks of their own, [blocks, n].
    Matrices may have a leading axis of ``blocks`` as well.
    """

    kind: Literal["hadamard", "matrix", "kronecker", "diagonal"]
    blocks: int = 1
    tensors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LinearSpec:
    """What happens to the input of one linear."""

    transforms: tuple[Transform, ...] = ()
    rounding: Rounding | None = None

    def tensor_names(self) -> frozenset[str]:
        return _names(*self.transforms, self.rounding)


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """How the keys or the values of one layer are rounded.

    ``position`` matters for keys; values have no RoPE and are always ``after_rope``.  ``before_bias``: the bias of
    ``k_proj`` is added after rounding.  ``transform`` only with ``after_rope``.
    """

    rounding: Rounding
    position: Literal["before_rope", "after_rope"] = "after_rope"
    before_bias: bool = False
    transform: Transform | None = None

    def tensor_names(self) -> frozenset[str]:
        return _names(self.rounding, self.transform)


def _names(*parts: Rounding | Transform | None) -> frozenset[str]:
    return frozenset(name for part in parts if part is not None for name in part.tensors.values())


@dataclass(frozen=True, slots=True)
class AttentionSpec:
    keys: CacheSpec | None = None
    values: CacheSpec | None = None


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """All of one checkpoint.  ``linears`` by full module name, ``attention`` by layer number.

    ``weights_hash`` is the content hash of the weights that it belongs to.
    """

    recipe: str
    linears: dict[str, LinearSpec] = field(default_factory=dict)
    attention: dict[int, AttentionSpec] = field(default_factory=dict)
    weights_hash: str = ""
    format: int = FORMAT

    def __bool__(self) -> bool:
        """Whether anything happens at run time."""
        return bool(self.linears or self.attention)

    def to_json(self) -> str:
        data = asdict(self)
        data["attention"] = {str(layer): spec for layer, spec in data["attention"].items()}
        return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> RuntimeSpec:
        """Raises InputError that names what is wrong; ``where`` is the file."""
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise InputError(f"{where}: has format {data['format']}, this program reads {FORMAT}; quantize again")
            return cls(
                recipe=str(data["recipe"]),
                linears={str(name): _linear(value) for name, value in data["linears"].items()},
                attention={int(layer): _attention(value) for layer, value in data["attention"].items()},
                weights_hash=str(data["weights_hash"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{where}: is not a runtime description ({error}); quantize again") from error

    def tensor_names(self) -> frozenset[str]:
        """Every side tensor that is referred to."""
        parts: list[LinearSpec | CacheSpec | None] = [*self.linears.values()]
        for attention in self.attention.values():
            parts += [attention.keys, attention.values]
        return frozenset(name for part in parts if part is not None for name in part.tensor_names())


def _transform(value: Mapping[str, Any]) -> Transform:
    return Transform(**value)


def _linear(value: Mapping[str, Any]) -> LinearSpec:
    rounding = value["rounding"]
    return LinearSpec(
        tuple(_transform(t) for t in value["transforms"]), None if rounding is None else Rounding(**rounding)
    )


def _cache(value: Mapping[str, Any] | None) -> CacheSpec | None:
    if value is None:
        return None
    transform = value["transform"]
    return CacheSpec(
        rounding=Rounding(**value["rounding"]),
        position=value["position"],
        before_bias=value["before_bias"],
        transform=None if transform is None else _transform(transform),
    )


def _attention(value: Mapping[str, Any]) -> AttentionSpec:
    return AttentionSpec(_cache(value["keys"]), _cache(value["values"]))


def write_runtime(folder: Path, spec: RuntimeSpec, tensors: Mapping[str, Tensor]) -> None:
    """Put the description, its tensors and the mark in ``config.json`` into a checkpoint folder.

    Raises ValueError where the description and ``tensors`` do not name the same tensors.
    """
    if spec.tensor_names() != frozenset(tensors):
        odd = sorted(spec.tensor_names() ^ frozenset(tensors))
        raise ValueError(f"the runtime description and its tensors differ: {', '.join(odd[:3])}")
    (folder / FILE).write_text(spec.to_json(), encoding="utf-8")
    if tensors:
        write_tensors(folder / TENSORS, tensors)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["model_type"] = TYPE_PREFIX + str(config.get("model_type", ""))
    config["quantization_config"] = {"quant_method": QUANT_METHOD, "recipe": spec.recipe, "runtime": FILE}
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_runtime(folder: Path) -> tuple[RuntimeSpec, dict[str, Tensor]] | None:
    """The description of a checkpoint folder with its tensors on the CPU; None for an ordinary checkpoint.

    Raises InputError where ``config.json`` says that there is one and it is missing, where it lies beside weights
    that it does not belong to, and where its tensors are missing.
    """
    config_file = folder / "config.json"
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        marked = (config.get("quantization_config") or {}).get("quant_method") == QUANT_METHOD
    except (OSError, ValueError, AttributeError):
        return None  # not a local checkpoint folder: whoever loads it says what is wrong
    file = folder / FILE
    if not marked:
        if file.exists():
            raise InputError(
                f"{file}: lies beside a config.json that does not say so; the checkpoint was mixed from two, "
                "quantize again"
            )
        return None
    if not file.is_file():
        raise InputError(f"{file}: is missing, and without it the checkpoint is garbage; quantize again")
    spec = RuntimeSpec.from_json(file.read_text(encoding="utf-8"), str(file))
    _belongs(folder, spec)
    return spec, _tensors(folder, spec)


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of ``config.json`` as they would be without our marks."""
    plain = {key: value for key, value in config.items() if key != "quantization_config"}
    plain["model_type"] = str(plain.get("model_type", "")).removeprefix(TYPE_PREFIX)
    return plain


def _belongs(folder: Path, spec: RuntimeSpec) -> None:
    if spec.weights_hash and weights_hash(folder) != spec.weights_hash:
        raise InputError(
            f"{folder / FILE}: was made for other weights than those beside it ({spec.recipe}); "
            "copy whole checkpoint folders, or quantize again"
        )


def _tensors(folder: Path, spec: RuntimeSpec) -> dict[str, Tensor]:
    wanted = spec.tensor_names()
    if not wanted:
        return {}
    from safetensors.torch import load_file

    file = folder / TENSORS
    try:
        tensors = load_file(file)
    except Exception as error:  # safetensors raises its own kinds
        raise InputError(f"{file}: cannot be read ({error}); quantize again") from error
    missing = sorted(wanted - set(tensors))
    if missing:
        raise InputError(f"{file}: lacks the tensor {missing[0]}; quantize again")
    return {name: tensors[name] for name in wanted}
