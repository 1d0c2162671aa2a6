"""Recipes (how a checkpoint is quantized) and sampling settings, as validated values.

A recipe has a short name that is used in file names, tables and claim ids:
``bf16``, ``rtn-w3g128``, ``awq-w4g128``, ``gptq-w3g128+paper-code``,
``kvquant_star-kv4``, ``smoothquant-w8a8kv8``.  ``Recipe.parse(str(r)) == r`` for
every recipe.  The unquantized baseline is a recipe like any other.

What else can be chosen follows a ``+``, in any order: the preset (``paper-code``, ``paper-text``),
``skip-1`` or ``skip0_27`` (decoder layers left in full precision, negative ones from the end),
``householder`` (QuaRot's rotation), ``plain`` (FlatQuant's weights without its transforms),
``even`` or ``rceil`` and ``away`` (how MXFP4 rounds scales and ties), ``prebias`` or ``postbias``
(KVQuant*: key statistics before or after the bias of ``k_proj``).

``external:llmcompressor-w4a16`` and the like are made by another library, with settings of its own.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationError,
    model_serializer,
    model_validator,
)

from qrm_forensics.errors import RecipeError

Preset = Literal["fixed", "paper-code", "paper-text"]

#: method -> (bit fields it takes, has weight groups)
_METHODS: dict[str, tuple[frozenset[str], bool]] = {
    "bf16": (frozenset(), False),
    "fp16": (frozenset(), False),
    "fp32": (frozenset(), False),
    "rtn": (frozenset("w"), True),
    "awq": (frozenset("w"), True),
    "gptq": (frozenset("w"), True),
    "kvquant_star": (frozenset({"kv"}), False),
    "quarot": (frozenset({"w", "a", "kv"}), False),
    "smoothquant": (frozenset({"w", "a", "kv"}), False),
    "flatquant": (frozenset({"w", "a", "kv"}), False),
    "mxfp4": (frozenset({"w", "a", "kv"}), False),
}
METHODS = tuple(_METHODS)
#: option -> (field, value, methods that have it)
_OPTIONS: dict[str, tuple[str, str, frozenset[str]]] = {
    "householder": ("rotation", "householder", frozenset({"quarot"})),
    "plain": ("transforms", "plain", frozenset({"flatquant"})),
    "even": ("mx_scale", "even", frozenset({"mxfp4"})),
    "rceil": ("mx_scale", "rceil", frozenset({"mxfp4"})),
    "away": ("mx_ties", "away", frozenset({"mxfp4"})),
    "prebias": ("key_bias", "before", frozenset({"kvquant_star"})),
    "postbias": ("key_bias", "after", frozenset({"kvquant_star"})),
}
_SKIP = re.compile(r"skip(?P<layers>-?\d{1,4}(?:_-?\d{1,4})*)")
UNQUANTIZED = ("bf16", "fp16", "fp32")
#: What the recipes of other libraries (``external:NAME``) come to: what they round, how finely, and by which method.
EXTERNAL_PREFIX = "external:"
EXTERNAL: dict[str, dict[str, str | int | bool]] = {
    "llmcompressor-w4a16": {"method": "gptq", "weight_bits": 4, "group_size": 128, "symmetric": True},
    "llmcompressor-w4a16_asym": {"method": "gptq", "weight_bits": 4, "group_size": 128},
    "llmcompressor-awq-w4a16": {"method": "awq", "weight_bits": 4, "group_size": 128},
    "llmcompressor-w8a8": {"method": "smoothquant", "weight_bits": 8, "activation_bits": 8, "symmetric": True},
    "llmcompressor-nvfp4": {
        "method": "rtn",
        "weight_bits": 4,
        "group_size": 16,
        "activation_bits": 4,
        "symmetric": True,
    },
    "llmcompressor-mxfp4": {"method": "mxfp4", "weight_bits": 4, "activation_bits": 4},
    "llmcompressor-fp8": {
        "method": "rtn",
        "weight_bits": 8,
        "group_size": -1,
        "activation_bits": 8,
        "symmetric": True,
    },
    "autoawq-w4g128": {"method": "awq", "weight_bits": 4, "group_size": 128},
    "autoround-w4g128": {"method": "autoround", "weight_bits": 4, "group_size": 128, "symmetric": True},
    "autoround-w3g128": {"method": "autoround", "weight_bits": 3, "group_size": 128, "symmetric": True},
    "gptqmodel-w4g128": {"method": "gptq", "weight_bits": 4, "group_size": 128, "symmetric": True},
}

_CONFIG = re.compile(
    r"(?:w(?P<w>\d{1,9}))?(?:g(?P<g>-1|\d{1,9}))?(?:a(?P<a>\d{1,9}))?(?:kv(?P<kv>\d{1,9}))?(?P<sym>sym)?(?:s(?P<s>\d{1,9}))?"
)


class Recipe(BaseModel):
    """How one checkpoint is made from another.

    ``group_size`` counts input channels that share a scale, -1 for a whole row.
    ``quant_shards`` is the tensor-parallel degree that the quantizer's groups were
    made for, which is a property of the numbers and not of the machine.
    ``skip_layers``: decoder layers that stay in full precision, ascending, each once; negative from the end.
    ``rotation``: of the hidden states (QuaRot).  ``transforms``: ``folded``, FlatQuant as it is, or ``plain``, its
    rounded weights mapped back to an ordinary checkpoint, whose activations and cache are not rounded.  ``mx_scale``, ``mx_ties``: how MXFP4 rounds block scales and values half-way
    between two.  ``key_bias``: whether KVQuant* quantizes keys before ``k_proj``'s bias is added; ``auto`` decides by its size.
    ``library``: of :data:`EXTERNAL`, where another library makes it; the other fields then say what comes out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    weight_bits: Annotated[StrictInt, Field(ge=2, le=8)] | None = None
    group_size: StrictInt | None = None
    symmetric: StrictBool = False
    activation_bits: Annotated[StrictInt, Field(ge=3, le=8)] | None = None
    kv_bits: Annotated[StrictInt, Field(ge=2, le=8)] | None = None
    quant_shards: Annotated[StrictInt, Field(ge=1)] = 1
    preset: Preset = "fixed"
    skip_layers: tuple[StrictInt, ...] = ()
    rotation: Literal["hadamard", "householder"] = "hadamard"
    transforms: Literal["folded", "plain"] = "folded"
    mx_scale: Literal["floor", "even", "rceil"] = "floor"
    mx_ties: Literal["even", "away"] = "even"
    key_bias: Literal["auto", "before", "after"] = "auto"
    library: str | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without ``library`` where it says nothing, so that runs that were begun before there was one can be finished."""
        return {k: v for k, v in handler(self).items() if k != "library" or v is not None}

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.library is not None:
            known = {k: v.default for k, v in type(self).model_fields.items()} | EXTERNAL.get(self.library, {})
            if self.library not in EXTERNAL or any(getattr(self, k) != v for k, v in known.items() if k != "library"):
                raise ValueError(f"there is no such recipe of another library; write {EXTERNAL_PREFIX}NAME")
            return self
        if self.method not in _METHODS:
            near = difflib.get_close_matches(self.method, _METHODS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known methods: {', '.join(_METHODS)}"
            raise ValueError(f"unknown method {self.method!r}{hint}")
        takes, grouped = _METHODS[self.method]
        given = {k for k, v in (("w", self.weight_bits), ("a", self.activation_bits), ("kv", self.kv_bits)) if v}
        kv_only_quarot = self.method == "quarot" and given == {"kv"}
        if given != takes and not kv_only_quarot:
            raise ValueError(f"{self.method} takes {_said(takes)}, got {_said(frozenset(given))}")
        if grouped and (self.group_size is None or (self.group_size != -1 and self.group_size < 1)):
            raise ValueError(f"{self.method} needs a group size, for example {self.method}-w{self.weight_bits}g128")
        if not grouped and self.group_size is not None:
            raise ValueError(f"{self.method} takes no group size")
        if self.method == "mxfp4" and {self.weight_bits, self.activation_bits, self.kv_bits} != {4}:
            raise ValueError("mxfp4 has 4 bits everywhere: mxfp4-w4a4kv4")
        if self.method in UNQUANTIZED and (
            self.symmetric or self.quant_shards != 1 or self.preset != "fixed" or self.skip_layers
        ):
            raise ValueError(f"{self.method} is not quantized and takes no options")
        if list(self.skip_layers) != sorted(set(self.skip_layers)):
            raise ValueError("skipped layers are named once each, in ascending order: skip-1, skip0_27")
        for name, (field, value, methods) in _OPTIONS.items():
            if getattr(self, field) == value and self.method not in methods:
                raise ValueError(f"{self.method} has no option {name}; it is one of {', '.join(sorted(methods))}")
        return self

    @property
    def quantized(self) -> bool:
        return self.method not in UNQUANTIZED

    @property
    def bits(self) -> int:
        """The smallest bit width that the recipe uses; 16 or 32 where nothing is quantized."""
        used = [b for b in (self.weight_bits, self.activation_bits, self.kv_bits) if b]
        return min(used) if used else (32 if self.method == "fp32" else 16)

    @property
    def config(self) -> str:
        """``w3g128``, ``kv4``: the bits without the method and its options; empty where nothing is quantized."""
        config = ""
        if self.weight_bits:
            config += f"w{self.weight_bits}"
        if self.group_size is not None:
            config += f"g{self.group_size}"
        if self.activation_bits:
            config += f"a{self.activation_bits}"
        if self.kv_bits:
            config += f"kv{self.kv_bits}"
        return config + "sym" * self.symmetric + (f"s{self.quant_shards}" if self.quant_shards != 1 else "")

    def __str__(self) -> str:
        if self.library is not None:
            return EXTERNAL_PREFIX + self.library
        if not self.quantized:
            return self.method
        options: list[str] = [self.preset] if self.preset != "fixed" else []
        options += ["skip" + "_".join(map(str, self.skip_layers))] if self.skip_layers else []
        options += [name for name, (field, value, _) in _OPTIONS.items() if getattr(self, field) == value]
        return "+".join([f"{self.method}-{self.config}", *options])

    def skipped(self, layers: int) -> frozenset[int]:
        """The numbers of the skipped layers of a model with ``layers`` of them; raises RecipeError for one it has not."""
        found = [index + layers if index < 0 else index for index in self.skip_layers]
        wrong = [given for given, index in zip(self.skip_layers, found, strict=True) if not 0 <= index < layers]
        if wrong:
            raise RecipeError(f"{self}: there is no decoder layer {wrong[0]}; the model has {layers}")
        return frozenset(found)

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """Read a recipe name; raises RecipeError that names what is wrong with it."""
        if text.strip().startswith(EXTERNAL_PREFIX):
            return cls._external(text.strip().removeprefix(EXTERNAL_PREFIX))
        name, *options = text.strip().split("+")
        method, _, config = name.partition("-")
        match = _CONFIG.fullmatch(config)
        if match is None:
            raise RecipeError(
                f"recipe {text!r}: cannot read {config!r}; expected something like awq-w4g128 or kvquant_star-kv4"
            )
        number = {k: int(v) for k, v in match.groupdict().items() if v is not None and k != "sym"}
        fields: dict[str, object] = {
            "method": method,
            "weight_bits": number.get("w"),
            "group_size": number.get("g"),
            "activation_bits": number.get("a"),
            "kv_bits": number.get("kv"),
            "symmetric": match["sym"] is not None,
            "quant_shards": number.get("s", 1),
        }
        for option in options:
            value: object
            if skip := _SKIP.fullmatch(option):
                field, value = "skip_layers", tuple(int(i) for i in skip["layers"].split("_"))
            elif option in _OPTIONS:
                field, value = _OPTIONS[option][:2]
            elif option in get_args(Preset):
                field, value = "preset", option
            else:
                known = (*get_args(Preset), *_OPTIONS, "skip-1")
                near = difflib.get_close_matches(option, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known options: {', '.join(known)}"
                raise RecipeError(f"recipe {text!r}: unknown preset or option {option!r}; {hint}")
            if field in fields:
                raise RecipeError(f"recipe {text!r}: the option {option!r} contradicts or repeats another one")
            fields[field] = value
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise RecipeError(f"recipe {text!r}: {_first_message(error)}") from None

    @classmethod
    def _external(cls, name: str) -> Recipe:
        if name not in EXTERNAL:
            near = difflib.get_close_matches(name, EXTERNAL, 1, 0.4)
            hint = f"did you mean {EXTERNAL_PREFIX + near[0]!r}?" if near else f"known: {', '.join(EXTERNAL)}"
            raise RecipeError(f"unknown external recipe {EXTERNAL_PREFIX + name!r}; {hint}")
        return cls.model_validate({"library": name, **EXTERNAL[name]})


def _said(fields: frozenset[str]) -> str:
    names = {"w": "weight bits (w)", "a": "activation bits (a)", "kv": "KV-cache bits (kv)"}
    return ", ".join(names[k] for k in ("w", "a", "kv") if k in fields) or "no bit widths"


def _first_message(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


class Sampling(BaseModel):
    """Decoding settings.  Defaults are the paper's, but for the token limit, which the benchmark's study sets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: Annotated[StrictFloat, Field(ge=0.0, le=10.0)] = 0.6
    top_p: Annotated[StrictFloat, Field(gt=0.0, le=1.0)] = 0.95
    top_k: Annotated[StrictInt, Field(ge=0)] = 0
    max_new_tokens: Annotated[StrictInt, Field(ge=1)] = 32768
    samples: Annotated[StrictInt, Field(ge=1)] = 1
    seeds: tuple[Annotated[StrictInt, Field(ge=0, lt=2**63)], ...] = (42,)

    @model_validator(mode="after")
    def _seeds(self) -> Self:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must be one or more different numbers, got {list(self.seeds)}")
        return self


#: What a name in ``sampling: {preset: …}`` stands for.  ``paper``: the settings of the paper's repository, all three seeds.
SAMPLING_PRESETS: dict[str, dict[str, object]] = {
    "paper": {"temperature": 0.6, "top_p": 0.95, "max_new_tokens": 32768, "seeds": (42, 43, 44)},
    "greedy": {"temperature": 0.0, "top_p": 1.0, "top_k": 0},
}
#: The paper's repository samples QwQ, which it knows by this in the model's path, from its 30 likeliest tokens.
_QWQ, _QWQ_TOP_K = "QwQ", 30


def sampling_preset(name: str, models: Sequence[str], explicit: Mapping[str, object]) -> dict[str, object]:
    """The keys of a preset for ``models``, overridden by those that are written out.

    Raises ValueError for an unknown preset, and where the models would need different settings.
    """
    if name not in SAMPLING_PRESETS:
        near = difflib.get_close_matches(name, SAMPLING_PRESETS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known presets: {', '.join(SAMPLING_PRESETS)}"
        raise ValueError(f"sampling: unknown preset {name!r}; {hint}")
    keys = dict(SAMPLING_PRESETS[name])
    if name == "paper" and "top_k" not in explicit:
        of_qwq = {_QWQ in model for model in models}
        if len(of_qwq) > 1:
            raise ValueError(
                f"sampling: the preset 'paper' takes top_k {_QWQ_TOP_K} for QwQ and none for the other models; "
                "put them into two studies, or say which top_k all of them get"
            )
        keys["top_k"] = _QWQ_TOP_K if True in of_qwq else 0
    return keys | dict(explicit)


_THINKING = re.compile(r"(?P<kind>suppress|extend-to|extend)-(?P<n>[1-9]\d{0,6})(?P<final>\+final)?")


class Thinking(BaseModel):
    """How long a model is made to think (budget forcing, arXiv 2501.19393, as in arXiv 2504.04823 section 4.3).

    Written ``free``; ``suppress-64``: after 64 thinking tokens ``</think>`` is written for the model; ``suppress-64+final``:
    and "Final Answer:" behind it; ``extend-2``: the first two times that it closes its thinking, "Wait" is written instead;
    ``extend-to-512``: as long as it has thought for fewer than 512 tokens.  ``Thinking.parse(str(t)) == t``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["free", "suppress", "extend", "extend-to"] = "free"
    n: Annotated[StrictInt, Field(ge=0)] = 0
    final: StrictBool = False

    def __str__(self) -> str:
        return "free" if self.kind == "free" else f"{self.kind}-{self.n}" + "+final" * self.final

    @classmethod
    def parse(cls, text: str) -> Thinking:
        """Read a mode; raises RecipeError that says what there is."""
        match = _THINKING.fullmatch(text.strip())
        if text.strip() == "free":
            return cls()
        if match is None or (match["final"] and match["kind"] != "suppress"):
            raise RecipeError(
                f"thinking {text!r}: expected free, suppress-64, suppress-64+final, extend-1 (once more) or extend-to-512"
            )
        return cls.model_validate({"kind": match["kind"], "n": int(match["n"]), "final": match["final"] is not None})


def variant_name(base: str, thinking: Thinking) -> str:
    """What a checkpoint is called when it thinks as ``thinking`` says: ``awq-w3g128@suppress-64``, freely just ``awq-w3g128``."""
    return base if thinking.kind == "free" else f"{base}@{thinking}"


def thinking_of(variant: str) -> tuple[str, Thinking]:
    """The checkpoint and the mode that :func:`variant_name` made a variant's name from."""
    base, at, mode = variant.rpartition("@")
    if not at or not base or mode == "free":
        return variant, Thinking()
    try:
        return base, Thinking.parse(mode)
    except RecipeError:
        return variant, Thinking()
