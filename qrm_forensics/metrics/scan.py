r"""One pass over a response's UTF-8 bytes that every metric shares.

*Pseudo-tokens* are ``\command``, runs of letters, single digits and other single characters;
whitespace is dropped.  Each digit stands alone, as in the tokenizer of Qwen2, so that
lengths and periods are of the size of model tokens.  A letter is what ``str.isalpha`` says.
*Words* are what ``str.split()`` gives.

Offsets of tokens and words are byte offsets; :meth:`Scan.chars` turns them into code points.
Equal numbers mean equal text, exactly: the hash table that numbers them compares the bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qrm_forensics.metrics.memory import keep_freed_memory
from qrm_forensics.metrics.scan_kernels import (
    blocks_kernel,
    chars_kernel,
    points_kernel,
    static_tables,
    tokens_kernel,
    words_kernel,
)

Bytes: TypeAlias = npt.NDArray[np.uint8]
Ints: TypeAlias = npt.NDArray[np.int32]
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Pseudo-tokens, each array of shape (m,).

    ``ids`` are equal exactly where the tokens' text is, ``low`` where it is but for ASCII
    upper and lower case.  Token i is ``data[starts[i]:ends[i]]``.  ``codes`` are those of
    ``lexemes.CODES`` for a known whole word (or the name of a command), else 0.

    Single ASCII characters but letters have their own number as id.  The other tokens, ``numbered`` (k,) of
    them, have ids from 128 on, in order of first appearance: id 128 + t is first that of token ``first[t]``, and
    ``times[t]`` tokens have it.  ``folded[l]`` stands for the text, in lower case, of low id 128 + l, in any response.
    """

    ids: Ints
    low: Ints
    starts: Ints
    ends: Ints
    kinds: Bytes
    codes: Bytes
    numbered: Ints
    first: Ints
    times: Ints
    folded: npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Words:
    """Whitespace-separated words; ``ids`` (w,) run from 0 to ``n_types`` - 1 in order of first appearance."""

    ids: Ints
    starts: Ints
    ends: Ints
    n_types: int


class Scan:
    """One response.  ``data`` (n,) uint8 is its UTF-8; tokens and words are found when first asked for."""

    def __init__(self, data: Bytes) -> None:
        # Read-only whatever it came from: the kernels are then compiled for one type of array.
        self.data = data.view()
        self.data.setflags(write=False)
        self._made: dict[Callable[[Scan], Any], Any] = {}

    def once(self, make: Callable[[Scan], _Made]) -> _Made:
        """``make(scan)``, made when first asked for and kept: for what several metrics share."""
        if make not in self._made:
            self._made[make] = make(self)
        made: _Made = self._made[make]
        return made

    @cached_property
    def text(self) -> str:
        """The response as a string; a copy, so not for the hot path."""
        return self.data.tobytes().decode("utf-8", "replace")

    @cached_property
    def _found(self) -> tuple[Tokens, Ints, Ints]:
        """The tokens, and the starts and ends of the words."""
        *tokens, starts, ends = tokens_kernel(self.data, *static_tables())
        return Tokens(*tokens), starts, ends

    @property
    def tokens(self) -> Tokens:
        return self._found[0]

    @cached_property
    def words(self) -> Words:
        _, starts, ends = self._found
        ids, n_types = words_kernel(self.data, starts, ends)
        return Words(ids, starts, ends, int(n_types))

    @cached_property
    def n_chars(self) -> int:
        """Code points."""
        return int(points_kernel(self.data))

    @property
    def ascii(self) -> bool:
        return self.n_chars == len(self.data)

    @cached_property
    def _blocks(self) -> npt.NDArray[np.int64]:
        return np.empty(0, np.int64) if self.ascii else blocks_kernel(self.data)

    def chars(self, offsets: Sequence[int] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Code-point offsets of byte offsets, in any order."""
        at = np.asarray(offsets, dtype=np.int64)
        return at if self.ascii else chars_kernel(self.data, self._blocks, at)

    def char(self, offset: int) -> int:
        """The code-point offset of one byte offset."""
        return int(self.chars([offset])[0])

    def slice(self, start: int, end: int) -> str:
        """The text between two byte offsets."""
        return self.data[start:end].tobytes().decode("utf-8", "replace")


def scan_text(text: str) -> Scan:
    """The scan of one text; lone surrogates become U+FFFD."""
    return Scan(np.frombuffer(text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").encode(), np.uint8))


_last = threading.local()


def scans(batch: pa.Table) -> list[Scan | None]:
    """The scans of the batch's ``text`` column, None where it is null.

    Those of the latest batch are kept (per thread), so that the metrics that run one after
    the other over a batch share them.
    """
    keep_freed_memory()
    column = batch.column("text")
    key = tuple(
        (chunk.offset, len(chunk), *(b.address if b is not None else 0 for b in chunk.buffers()))
        for chunk in column.chunks
    )
    if getattr(_last, "key", None) != key:
        # The column is kept beside its scans: its addresses cannot be given to another while it lives.
        _last.found, _last.column, _last.key = list(_scans(column)), column, key
    found: list[Scan | None] = _last.found
    return found


def forget() -> None:
    """Drop the scans that are kept of the latest batch."""
    _last.__dict__.clear()


def _scans(column: pa.ChunkedArray) -> Iterator[Scan | None]:
    for chunk in column.chunks:
        wide = chunk.cast(pa.large_string())
        buffers = wide.buffers()
        offsets: npt.NDArray[np.int64] = (
            np.frombuffer(buffers[1], np.int64)[wide.offset : wide.offset + len(wide) + 1]
            if len(wide)
            else np.zeros(1, np.int64)
        )
        data = np.frombuffer(buffers[2], np.uint8) if buffers[2] is not None else np.empty(0, np.uint8)
        valid = np.asarray(wide.is_valid())
        for row in range(len(wide)):
            yield Scan(data[offsets[row] : offsets[row + 1]]) if valid[row] else None
