"""Runs calibration text through a model one decoder layer at a time, so that one layer's weights are in fast memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from qrm_forensics.devices import torch_device
from qrm_forensics.errors import InputError
from qrm_forensics.quantize.calibration import Calibration
from qrm_forensics.quantize.witness import current_witness
from qrm_forensics.runtime.attach import no_progress_bar
from qrm_forensics.weights import Checkpoint

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Tokens per forward pass: what fills a GPU, and what leaves the intermediate results of a layer in a CPU's caches.
BATCH_TOKENS = {"cuda": 8192, "npu": 8192, "cpu": 1024}

Watch = Mapping[str, Callable[["Tensor"], None]]
#: Inputs of a linear, batch by batch, the last one first.
Held = list["Tensor"]
#: Inputs of the widest linear are kept up to this size rather than computed twice.
HELD_BYTES = 1 << 28


class _Reached(Exception):
    """Ends a forward pass at the watched module; never leaves this file."""


class LayerStream:
    """The hidden states in front of the current layer, ``[batch, length, hidden]`` per batch, and what else a layer takes.

    Layers are read from the checkpoint when their turn comes; with ``prepare``, which may change the loaded model before the first token goes
    through, all of them are held in their stored dtype on the CPU.  Layers and hidden states are moved to ``device``
    (the first CUDA device, if there is one) in ``dtype``.  Padding is never needed, as all windows
    are equally long.  ``windows``: per batch; None takes what the device computes fastest.
    Where there is a witness (:func:`~qrm_forensics.quantize.witness.witnessed`), it sees the passes of :meth:`advance`.
    """

    def __init__(
        self,
        source: Checkpoint,
        calibration: Calibration,
        dtype: Any,
        prepare: Callable[[nn.Module], None] | None = None,
        *,
        windows: int | None = None,
    ) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        vocabulary = int(source.config["vocab_size"])
        if int(calibration.token_ids.max()) >= vocabulary:
            raise InputError(
                f"calibration {calibration.file}: token id {int(calibration.token_ids.max())} is outside of the vocabulary "
                f"of {source.folder} ({vocabulary}); use the tokenizer of that checkpoint"
            )
        self.dtype = dtype
        self.device = torch.device(torch_device())
        with no_progress_bar():
            model = AutoModelForCausalLM.from_pretrained(
                str(source.folder), dtype="auto", attn_implementation="sdpa", local_files_only=True
            )
        self._model = model.eval().requires_grad_(False)
        #: Where layers are read from; None where they are held.
        self._source = source if prepare is None else None
        if prepare is not None:
            prepare(self._model)
        else:
            self._model.model.layers.to("meta")
        ids = torch.from_numpy(calibration.token_ids).long()
        self.batches: list[Tensor] = []
        self.arguments: list[dict[str, Any]] = []
        #: The attention module of the current layer, once it is behind us.
        self._attended: Any = None
        tokens = BATCH_TOKENS[self.device.type]
        self._enter(ids.split(windows or max(1, tokens // ids.shape[1])))

    def _enter(self, batches: tuple[Tensor, ...]) -> None:
        """Embed the tokens, and take over what the model passes to its first layer."""
        import torch

        body = self._model.model
        body.embed_tokens.to(self.device, self.dtype)
        body.rotary_emb.to(self.device)

        def take(_module: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
            named = dict(named)
            hidden = positional[0] if positional else named.pop("hidden_states")
            self.batches.append(hidden)
            self.arguments.append({**named, "use_cache": False})
            raise _Reached

        handle = body.layers[0].register_forward_pre_hook(take, with_kwargs=True)
        try:
            with torch.no_grad():
                for ids in batches:
                    try:
                        body(input_ids=ids.to(self.device), use_cache=False)
                    except _Reached:
                        continue
        finally:
            handle.remove()
        # in the compute dtype it is larger than any layer, and no token comes again
        body.embed_tokens.to("meta")
        self._model.get_output_embeddings().to("meta")

    def layer(self, index: int) -> nn.Module:
        """Decoder layer ``index`` in the compute dtype, on the device."""
        layer: nn.Module = self._model.model.layers[index]
        if self._source is not None:
            # by way of the dtype that the model was loaded in
            read = {
                name: self._source.tensor(f"model.layers.{index}.{name}")
                .to(empty.dtype)
                .to(self.device, self.dtype, copy=True)
                for name, empty in layer.named_parameters()
            }
            layer.load_state_dict(read, assign=True)
            return layer.requires_grad_(False)
        return layer.to(self.device, self.dtype)

    def release(self, index: int) -> None:
        """Forget the weights of a finished layer."""
        self._model.model.layers[index].to("meta")

    def observe(self, layer: nn.Module, watch: Watch, *, until: str) -> None:
        """Hand the inputs of the watched modules over, batch by batch; each pass ends in front of ``until``.

        ``watch`` maps module names relative to the layer to callbacks that get the input tensor.
        """
        self._run(layer, {**watch, until: watch.get(until, _ignore)}, until)

    def attend(self, layer: nn.Module, end: str, add: Callable[[Tensor], None]) -> Held:
        """Run attention up to its last linear ``end``, hand over what that gets, and keep it.

        With :meth:`leave_attention` behind it, attention is computed once per layer, however many stages come behind it.
        """
        with self._witnessing(layer, mlp=False):
            return self._keep(layer, end, add)

    def leave_attention(self, layer: nn.Module, end: str, norm: str, held: Held) -> None:
        """Make the hidden states those behind attention, whose linear ``end`` gets ``held`` (used up) and is final now.

        ``norm`` is the one behind attention: its input is what the layer has added up so far.  Later passes through this layer
        start there.
        """
        behind: list[Tensor] = []
        with _stands_in(layer, end, held):
            self._run(layer, {norm: behind.append}, norm)
        self.batches = behind
        # it has been added: from here on it gives nothing, and x + 0 is x
        attention: Any = layer.get_submodule(end.rpartition(".")[0])
        attention.forward = lambda hidden_states, *_, **__: (hidden_states.new_zeros(()), None)
        self._attended = attention

    def finish(self, layer: nn.Module, end: str, add: Callable[[Tensor], None]) -> Held | None:
        """Run the layer up to its last linear ``end``, behind :meth:`leave_attention`, and hand over what that gets.

        That is kept for :meth:`advance` where it is at most ``HELD_BYTES``; else None, and it is computed again.
        """
        rows = sum(batch.shape[0] * batch.shape[1] for batch in self.batches)
        last: Any = layer.get_submodule(end)
        with self._witnessing(layer, attention=False):
            if rows * last.in_features * self.batches[0].element_size() <= HELD_BYTES:
                return self._keep(layer, end, add)
            self.observe(layer, {end: add}, until=end)
        return None

    def advance(self, layer: nn.Module, watch: Watch | None = None, *, end: str = "", held: Held | None = None) -> None:
        """Replace the hidden states by the layer's output; ``end`` and ``held`` are those of :meth:`finish`."""
        with ExitStack() as around:
            if held:
                around.enter_context(_stands_in(layer, end, held))
            if self._attended is None:
                around.enter_context(self._witnessing(layer))
            self.batches = self._run(layer, watch or {}, None)
        if self._attended is not None:
            del self._attended.forward
            self._attended = None

    def _keep(self, layer: nn.Module, end: str, add: Callable[[Tensor], None]) -> Held:
        held: Held = []
        rows = [len(batch) for batch in self.batches]
        whole: list[Tensor] = []

        def keep(x: Tensor) -> None:
            if not whole:
                # in one piece: kept one by one among what a pass throws away, they would leave memory full of holes
                whole.extend(x.new_empty(sum(rows), *x.shape[1:]).split(rows))
            held.append(whole[len(held)].copy_(x))
            add(x)

        self._run(layer, {end: keep}, end)
        held.reverse()
        return held

    @contextmanager
    def _witnessing(self, layer: nn.Module, *, attention: bool = True, mlp: bool = True) -> Iterator[None]:
        """Let the witness see the passes of the block, of the halves of the layer that are named."""
        witness = current_witness()
        if witness is None:
            yield
            return
        index = next(i for i, candidate in enumerate(self._model.model.layers) if candidate is layer)
        windows = sum(len(batch) for batch in self.batches)
        with witness.watching(layer, index, windows, attention=attention, mlp=mlp):
            yield

    def _run(self, layer: nn.Module, watch: Watch, until: str | None) -> list[Tensor]:
        import torch

        def hook(name: str) -> Any:
            def seen(_module: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
                watch[name](positional[0] if positional else named["hidden_states"])
                if name == until:
                    raise _Reached

            return seen

        outputs = []
        handles = [layer.get_submodule(n).register_forward_pre_hook(hook(n), with_kwargs=True) for n in watch]
        try:
            with torch.no_grad():
                for hidden, arguments in zip(self.batches, self.arguments, strict=True):
                    try:
                        outputs.append(first(layer(hidden, **arguments)))
                    except _Reached:
                        continue
        finally:
            for handle in handles:
                handle.remove()
        return outputs


@contextmanager
def _stands_in(layer: nn.Module, end: str, held: Held) -> Iterator[None]:
    """Inside, the module that ``end`` is the last linear of gives what ``end`` makes of ``held``, batch by batch."""
    block: Any = layer.get_submodule(end.rpartition(".")[0])
    last: Any = layer.get_submodule(end)  # what is held has gone through its hooks already
    pair = end.startswith("self_attn.")  # attention returns its weights as well
    block.forward = lambda *_, **__: (last.forward(held.pop()), None) if pair else last.forward(held.pop())
    try:
        yield
    finally:
        del block.forward


def first(output: Any) -> Tensor:
    """The tensor that a module returns, alone or at the head of a tuple."""
    tensor: Tensor = output[0] if isinstance(output, tuple) else output
    return tensor


def _ignore(_x: Tensor) -> None:
    """For a module that is watched only to end the pass there."""
