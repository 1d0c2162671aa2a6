"""``embedded``: generation with transformers, in this process, on a CPU or one GPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qrm_forensics.devices import torch_device
from qrm_forensics.errors import EnvironmentMissing, InputError, missing_extra
from qrm_forensics.generate.admission import end_tokens
from qrm_forensics.recipes import Sampling
from qrm_forensics.records import ModelRef, Request, Trace
from qrm_forensics.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from qrm_forensics.generate.batch import Batch

DTYPES = ("float32", "bfloat16", "float16")


class Embedded:
    """Batched sampling with refill through any decoder-only model of transformers.

    ``batch_size``: sequences in flight.  ``dtype``: of weights, activations and cache;
    float32 keeps the noise floor low.  ``device``: "auto" is the first CUDA device where
    there is one, else the CPU; or any name that torch knows.  Threads are torch's own
    (``OMP_NUM_THREADS``).  Nothing outside the checkpoint is run: no remote code.

    ``open`` raises EnvironmentMissing (no torch, no such device) or InputError (the
    checkpoint cannot be read, or its kind cannot be run).
    """

    name = "embedded"

    def __init__(self, batch_size: int = 64, dtype: str = "float32", device: str = "auto") -> None:
        if batch_size < 1:
            raise InputError(f"embedded backend: batch_size must be 1 or more, got {batch_size}")
        if dtype not in DTYPES:
            raise InputError(f"embedded backend: dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
        self._batch_size = batch_size
        self._dtype = dtype
        self._device = device

    @contextmanager
    def open(self, model: ModelRef) -> Iterator[EmbeddedSession]:
        try:
            import torch
            import transformers  # noqa: F401

            from qrm_forensics.runtime.attach import load_model
        except ImportError as error:
            raise missing_extra("generation with transformers", "models", error) from error

        device = torch_device(self._device)
        try:
            tokenizer = load_tokenizer(model.path, model.revision)
            network = load_model(model.path, revision=model.revision, dtype=getattr(torch, self._dtype))
        except (OSError, ValueError) as error:
            first_line = str(error).strip().partition("\n")[0]
            raise InputError(f"cannot load the model {model.path}: {first_line}") from error
        try:
            network = network.to(device).eval()
        except (RuntimeError, AssertionError) as error:
            first_line = str(error).strip().partition("\n")[0]
            raise EnvironmentMissing(f"cannot put {model.path} on the device {device!r}: {first_line}") from error
        _refuse_shared_state(network.config, model.path, self._batch_size)
        yield EmbeddedSession(network, tokenizer, self._batch_size, model.path)


def _refuse_shared_state(config: Any, path: str, batch_size: int) -> None:
    """Some rotary embeddings rescale by the longest sequence of the batch, so that a trace would depend on its mates."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kind = rope.get("rope_type", rope.get("type"))
    if kind in ("dynamic", "longrope") and batch_size > 1:
        raise InputError(
            f"{path}: its {kind!r} rotary embedding depends on the longest sequence of the batch; use batch_size 1"
        )


class EmbeddedSession:
    """A loaded model.  ``steps`` and ``prefills`` count the forward passes of the latest ``sample``."""

    def __init__(self, network: Any, tokenizer: Any, batch_size: int, path: str) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._batch_size = batch_size
        self._eos = end_tokens((network.generation_config, network.config, tokenizer), path)
        self._batch: Batch | None = None
        self._peak_known = False

    def describe(self) -> dict[str, Any]:
        """What the traces of this session are made with."""
        import torch
        import transformers

        return {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "device": str(self._network.device),
            "dtype": str(self._network.dtype).removeprefix("torch."),
            "batch_size": self._batch_size,
        }

    def memory(self, *, reset: bool = False) -> dict[str, Any]:
        """Bytes of the weights, and at most (of the device, or of this process) since the last ``reset``."""
        from qrm_forensics.generate.memory import peak, reset_peak, weight_bytes

        device = self._network.device
        if reset:
            self._peak_known = reset_peak(device)
        most = peak(device) if self._peak_known else None
        return {
            "weights_bytes": weight_bytes(self._network),
            "peak_bytes": None if most is None else most[0],
            "peak_of": None if most is None else most[1],
        }

    @property
    def steps(self) -> int:
        return self._batch.steps if self._batch else 0

    @property
    def prefills(self) -> int:
        return self._batch.prefills if self._batch else 0

    def sample(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Trace]:
        """One trace per request, yielded as it ends; ``requests`` is read only as slots come free.

        ``text`` is decoded with the end token removed and every other special token kept.
        ``seconds`` runs from the sequence's own admission to its end, and includes the time
        that the caller holds the iterator.  A sequence that reaches the model's maximum length
        before ``max_new_tokens`` finishes with ``length`` and says so in ``error``.
        """
        from qrm_forensics.generate.batch import Batch

        self._batch = Batch(self._network, self._tokenizer, self._eos, self._batch_size, sampling)
        return self._batch.run(requests)

    def prompt_logprobs(self, prompts: Sequence[str | list[int]]) -> list[list[float | None]]:
        """Per prompt (text or token ids) and token its log-probability given what precedes it, in nats; null for the first."""
        import torch

        found: list[list[float | None]] = []
        for prompt in prompts:
            ids = self._tokenizer.encode(prompt, add_special_tokens=False) if isinstance(prompt, str) else prompt
            at = torch.tensor([ids], device=next(self._network.parameters()).device)
            with torch.inference_mode():
                logits = self._network(input_ids=at, use_cache=False).logits[0, :-1]
                # in parts: a large vocabulary in float32 is more than the model's own output
                parts = [
                    part.float().log_softmax(-1).gather(1, of[:, None])[:, 0]
                    for part, of in zip(logits.split(128), at[0, 1:].split(128), strict=True)
                ]
            found.append([None, *(float(x) for part in parts for x in part)][: len(ids)])
        return found
