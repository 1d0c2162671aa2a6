"""How far the calibration text has come through a model, for methods whose whole work is that passage.

What such a method has found out about finished layers (:mod:`~qrm_forensics.quantize.partial`) would save it nothing, as the text has to go through them
again to get to the next one.  So the hidden states in front of that one are kept as well, with what the witness has seen until then.  They are as large
for every layer: 1.6 GB for 128 windows of 2048 tokens and 1536 channels, which takes seconds to write.  A layer takes minutes on a CPU, and less than
that on a GPU, which is why they are kept only where enough was computed since the last time.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from qrm_forensics.quantize.partial import FinishedLayers
from qrm_forensics.quantize.witness import current_witness
from qrm_forensics.weights import write_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from qrm_forensics.quantize.layerwise import LayerStream

FILE = "passage.safetensors"
#: Seconds of passage that may be lost, and how many times as long as writing them it has to have taken.
INTERVAL, WORTH = 10.0, 20.0
#: Bytes per second of a slow disk, until the first writing has shown what it is here.
RATE = 2e8


class Passage:
    """Keeps the passage of ``stream`` among the finished layers, or nowhere where those are not kept."""

    def __init__(self, finished: FinishedLayers, stream: LayerStream) -> None:
        self._folder = finished.folder
        self._stream = stream
        self._since = time.monotonic()
        self._cost = sum(batch.nbytes for batch in stream.batches) / RATE

    def restore(self, finished: int) -> int:
        """Take up the passage of an earlier attempt that has finished so many layers; the number of layers that are passed.

        0 where none was kept, or not one that fits: the text then starts in front of the first layer.
        """
        from safetensors import SafetensorError, safe_open

        if self._folder is None or not (self._folder / FILE).is_file():
            return 0
        stream = self._stream
        try:
            with safe_open(self._folder / FILE, framework="pt") as file:
                told = json.loads(file.metadata()["told"])
                tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        except (SafetensorError, OSError):
            return 0
        batches = [tensors.pop(f"states/{i}") for i in range(int(told["batches"]))]
        if told["layer"] > finished or [b.shape for b in batches] != [b.shape for b in stream.batches]:
            return 0
        stream.batches = [batch.to(stream.device, stream.dtype, copy=True) for batch in batches]
        witness = current_witness()
        if witness is not None:
            witness.restore(tensors, told["witness"])
        return int(told["layer"])

    def keep(self, passed: int) -> None:
        """Keep the hidden states behind ``passed`` layers, all of which are among the finished ones, where that is worth it."""
        if self._folder is None or time.monotonic() - self._since < max(INTERVAL, WORTH * self._cost):
            return
        started = time.monotonic()
        tensors = {f"states/{i}": batch for i, batch in enumerate(self._stream.batches)}
        told: dict[str, Any] = {"layer": passed, "batches": len(tensors)}
        witness = current_witness()
        if witness is not None:
            seen, told["witness"] = witness.seen()
            tensors |= seen
        fresh = self._folder / f"{FILE}.tmp"
        write_tensors(fresh, tensors, {"told": json.dumps(told)})
        fresh.replace(self._folder / FILE)
        self._since = time.monotonic()
        self._cost = self._since - started
