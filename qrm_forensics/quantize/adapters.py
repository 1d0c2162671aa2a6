"""Where the linears of a decoder layer get their inputs from: all that a quantizer knows about an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qrm_forensics.errors import InputError


@dataclass(frozen=True, slots=True)
class Stage:
    """Linears of a decoder layer that share one input, named relative to the layer.

    ``inspect``: the module whose output tells how much their quantization hurts.
    ``source``: the norm or linear that makes their input, into which a per-channel scale can be folded;
    a linear source takes it on its output rows (and bias).
    """

    linears: tuple[str, ...]
    inspect: str
    source: str


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes.  ``head_dim`` need not be hidden / heads (Qwen3); ``kv_heads`` divides ``heads``."""

    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class ModelMap:
    """The decoder layers of one architecture; ``stages`` are in the order of the forward pass.

    ``norms`` have a weight per hidden channel, ``head_norms`` (Qwen3: of queries and keys, in front of RoPE) one per channel
    of a head.  ``key_source`` makes the keys that RoPE turns, ``attention_end`` and ``mlp_end`` are the last linears of the
    two halves, whose outputs are added to the hidden states; the second of ``norms`` stands between them.  ``tied``: lm_head is the embedding.
    """

    architecture: str
    layers: int
    prefix: str
    stages: tuple[Stage, ...]
    row_parallel: tuple[str, ...]
    norms: tuple[str, ...]
    geometry: Geometry
    tied: bool = False
    head_norms: tuple[str, ...] = ()
    key_source: str = "self_attn.k_proj"
    attention_end: str = "self_attn.o_proj"
    mlp_end: str = "mlp.down_proj"
    embedding: str = "model.embed_tokens"
    final_norm: str = "model.norm"
    lm_head: str = "lm_head"

    def name(self, layer: int, module: str) -> str:
        return f"{self.prefix}.{layer}.{module}"

    def modules(self, layer: int) -> list[str]:
        """Full names of the linears of a layer."""
        return [self.name(layer, linear) for linear in self.linears]

    @property
    def linears(self) -> tuple[str, ...]:
        return tuple(linear for stage in self.stages for linear in stage.linears)


#: Attention and gated MLP of Llama, Qwen2 and Qwen3, in the order [k, v, q], [o], [up, gate], [down].
_LLAMA_STAGES = (
    Stage(("self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj"), "self_attn", "input_layernorm"),
    Stage(("self_attn.o_proj",), "self_attn.o_proj", "self_attn.v_proj"),
    Stage(("mlp.up_proj", "mlp.gate_proj"), "mlp", "post_attention_layernorm"),
    Stage(("mlp.down_proj",), "mlp.down_proj", "mlp.up_proj"),
)
SUPPORTED = ("Qwen2ForCausalLM", "LlamaForCausalLM", "Qwen3ForCausalLM")


def model_map(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], where: str) -> ModelMap:
    """The map of a checkpoint from its ``config.json`` and tensor shapes; ``where`` is named in errors.

    Raises InputError for an architecture that is not described here, for one that is described but has
    weights of its layers that the description does not know (or lacks some), for sliding-window
    attention, and for a checkpoint that is quantized already.
    """
    architecture = (config.get("architectures") or ["(none)"])[0]
    if architecture not in SUPPORTED:
        raise InputError(
            f"{where}: no adapter for {architecture}: which of its linears share an input, and which norm feeds them, "
            f"has to be described first; described are {', '.join(SUPPORTED)}"
        )
    if config.get("quantization_config"):
        raise InputError(f"{where}: config.json says that it is quantized already; give the original checkpoint")
    if config.get("use_sliding_window"):
        raise InputError(f"{where}: sliding-window attention (use_sliding_window) is not supported")
    normed = architecture == "Qwen3ForCausalLM"
    found = ModelMap(
        architecture=architecture,
        layers=int(config["num_hidden_layers"]),
        prefix="model.layers",
        stages=_LLAMA_STAGES,
        row_parallel=("self_attn.o_proj", "mlp.down_proj"),
        norms=("input_layernorm", "post_attention_layernorm"),
        geometry=_geometry(config, where),
        tied="lm_head.weight" not in shapes,
        head_norms=("self_attn.q_norm", "self_attn.k_norm") if normed else (),
        key_source="self_attn.k_norm" if normed else "self_attn.k_proj",
    )
    _check(found, shapes, where)
    return found


def _geometry(config: Mapping[str, Any], where: str) -> Geometry:
    try:
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        return Geometry(
            hidden=hidden,
            intermediate=int(config["intermediate_size"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{where}: config.json does not give the sizes of the model ({error!r})") from error


def _check(found: ModelMap, shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    expected = {
        f"{found.name(layer, module)}.weight"
        for layer in range(found.layers)
        for module in (*found.linears, *found.norms, *found.head_norms)
    }
    missing = sorted(expected - set(shapes))
    if missing:
        raise InputError(
            f"{where}: {found.architecture} should have the tensor {missing[0]}, which is not in its files"
        )
    present = {n for n in shapes if n.startswith(f"{found.prefix}.") and n.endswith(".weight")}
    unknown = sorted(present - expected)
    if unknown:
        raise InputError(f"{where}: the adapter for {found.architecture} does not know the tensor {unknown[0]}")
