"""The key-value cache of a batch in which every sequence is at its own position.

Transformers' own caches append one column for the whole batch, so that all sequences
must start together.  Here each row is a *slot*: a sequence writes at its own position
and attends to its own past only, and when it ends another takes its row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qrm_forensics.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

#: Attention runs over the longest used length rounded up to this, which keeps the number
#: of different shapes small and the vectorised kernels off their remainder loops.
ROUND = 64


def rounded(length: int) -> int:
    return -(-length // ROUND) * ROUND


class SlotCache:
    """Keys and values per layer, float [slots, kv heads, capacity, head dim], grown as needed.

    It offers what the attention layers of transformers ask of a cache: ``update``, and
    ``get_seq_length`` and ``get_mask_sizes``, which only matter where no mask and no
    positions are given.  Before each forward pass ``begin_prefill`` or ``begin_step`` says
    where the new keys go.

    Whatever lies beyond a sequence's length is masked, but must be finite all the same,
    because a masked NaN is still a NaN: ``clear`` a slot whose sequence went wrong.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._capacity = ROUND
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._rows: Any = None
        self._positions: Any = None
        self._width = 0
        self._prefill = False

    def begin_prefill(self, rows: Tensor, width: int) -> None:
        """The next pass writes positions 0 … width-1 of the slots ``rows`` (int64 [n])."""
        self._rows, self._width, self._prefill = rows, width, True
        self._reserve(width)

    def begin_step(self, rows: Tensor, positions: Tensor, width: int) -> None:
        """The next pass writes one position of each of the first n slots and attends to ``width`` columns."""
        self._rows, self._positions, self._width, self._prefill = rows, positions, width, False
        self._reserve(width)

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Store [n, kv heads, q, head dim] of this pass; returns what the queries attend to."""
        if layer not in self._keys:
            shape = (self._slots, keys.shape[1], self._capacity, keys.shape[3])
            self._keys[layer] = keys.new_zeros(shape)
            self._values[layer] = values.new_zeros((*shape[:3], values.shape[3]))
        all_keys, all_values = self._keys[layer], self._values[layer]
        if self._prefill:
            # A new sequence has no past: it attends to itself alone.
            all_keys[self._rows, :, : self._width] = keys
            all_values[self._rows, :, : self._width] = values
            return keys, values
        all_keys[self._rows, :, self._positions] = keys[:, :, 0]
        all_values[self._rows, :, self._positions] = values[:, :, 0]
        n = keys.shape[0]
        return all_keys[:n, :, : self._width], all_values[:n, :, : self._width]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` positions of one slot over another."""
        for tensor in (*self._keys.values(), *self._values.values()):
            tensor[target, :, :length] = tensor[source, :, :length]

    def clear(self, slot: int) -> None:
        for tensor in (*self._keys.values(), *self._values.values()):
            tensor[slot] = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: Any, layer_idx: int = 0) -> tuple[int, int]:
        return self._width, 0

    def _reserve(self, width: int) -> None:
        if width <= self._capacity:
            return
        # Doubling: the copies cost no more in all than one allocation of the final size.
        self._capacity = rounded(max(width, 2 * self._capacity))
        for store in (self._keys, self._values):
            for layer, old in store.items():
                store[layer] = old.new_zeros((*old.shape[:2], self._capacity, old.shape[3]))
                store[layer][:, :, : old.shape[2]] = old


class Masks:
    """Additive attention masks for one model, for its full and its sliding-window layers.

    The mask is explicit, since each row has its own length.  Raises InputError for layers
    that keep another state than keys and values.
    """

    def __init__(self, config: Any) -> None:
        self._kinds: list[str] = sorted(set(getattr(config, "layer_types", None) or []))
        unknown = [kind for kind in self._kinds if kind not in ("full_attention", "sliding_attention")]
        if unknown:
            raise InputError(
                f"the embedded backend cannot run layers of type {', '.join(unknown)} "
                f"(model type {config.model_type}); use the vllm backend for this model"
            )
        window = getattr(config, "sliding_window", None)
        if not getattr(config, "use_sliding_window", True):
            window = None
        if not self._kinds:  # one mask for all layers, as in Llama (no window) and Mistral (a window)
            self._kinds = ["sliding_attention" if window else "full_attention"]
        self._window: int | None = window

    def prefill(self, width: int, like: Tensor) -> Any:
        """For prompts side by side from position 0: causal; [1, 1, width, width] of ``like``'s dtype."""
        import torch

        positions = torch.arange(width, device=like.device)
        return self._by_kind(positions[None, :], width, like)

    def step(self, positions: Tensor, width: int, like: Tensor) -> Any:
        """For one query per row at ``positions`` (int64 [n]); [n, 1, 1, width]."""
        return self._by_kind(positions[:, None], width, like)

    def _by_kind(self, queries: Tensor, width: int, like: Tensor) -> Any:
        """``queries`` int64 [n, q] → one mask [n, 1, q, width], or a dict of them by layer type."""
        import torch

        columns = torch.arange(width, device=like.device)
        lowest = torch.finfo(like.dtype).min
        masks = {}
        for kind in self._kinds:
            seen = columns <= queries[:, None, :, None]
            if kind == "sliding_attention" and self._window is not None:
                seen &= columns > queries[:, None, :, None] - self._window
            masks[kind] = torch.where(seen, like.new_zeros(()), like.new_full((), lowest))
        # Models without per-layer types take the mask itself, and hand any 4-D mask on unchanged.
        return next(iter(masks.values())) if len(masks) == 1 else masks
