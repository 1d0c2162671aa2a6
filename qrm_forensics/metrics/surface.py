"""What several metrics of the surface share of a response, found once per scan."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qrm_forensics.metrics.copy_kernels import copies_kernel
from qrm_forensics.metrics.phrases import automaton
from qrm_forensics.metrics.scan import Bytes, Ints, Scan
from qrm_forensics.metrics.surface_kernels import boxes_kernel, known_kernel, layout_kernel, phrases_kernel


class Known(NamedTuple):
    """The tokens that are known words or commands of such a name, int32 (k,).

    ``plain`` (k,) uint8 are their codes, 0 for the commands; ``counts`` (256,) int64 how many there
    are of each code, commands too.
    """

    at: Ints
    plain: Bytes
    counts: npt.NDArray[np.int64]


class Layout(NamedTuple):
    """The words that begin a block (after a blank line) and those that begin a sentence, int32; the first begins both."""

    blocks: Ints
    sentences: Ints


class Phrases(NamedTuple):
    """Every occurrence of a listed phrase: its last token, int32 (k,), and the lists it is of, uint8 (k,)."""

    at: Ints
    lists: Bytes


class Boxes(NamedTuple):
    r"""Byte offsets of every ``\boxed{`` whose brace is closed, ascending; end of the last ``</think>``, -1 without."""

    offsets: Ints
    think_end: int


def known(scan: Scan) -> Known:
    return scan.once(_known)


def phrases(scan: Scan) -> Phrases:
    return scan.once(_phrases)


def layout(scan: Scan) -> Layout:
    return scan.once(_layout)


def boxes(scan: Scan) -> Boxes:
    return scan.once(_boxes)


def copies(scan: Scan) -> Bytes:
    """For each sequence of ``copy_kernels.GRAM`` words whether it occurred before, uint8 (words - GRAM + 1,)."""
    return scan.once(_copies)


def _known(scan: Scan) -> Known:
    return Known(*known_kernel(scan.tokens.codes, scan.tokens.kinds, scan.tokens.numbered))


def _phrases(scan: Scan) -> Phrases:
    at, plain, _ = known(scan)
    return Phrases(*phrases_kernel(at, plain, *automaton()))


def _layout(scan: Scan) -> Layout:
    return Layout(*layout_kernel(scan.data, scan.words.starts, scan.words.ends))


def _boxes(scan: Scan) -> Boxes:
    offsets, think_end = boxes_kernel(scan.data, scan.tokens.starts, *known(scan))
    return Boxes(offsets, int(think_end))


def _copies(scan: Scan) -> Bytes:
    found: Bytes = copies_kernel(scan.words.ids)
    return found
