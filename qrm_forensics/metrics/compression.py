"""How well a response compresses: a measure of repetition of any kind, at any distance up to 32 kB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
from isal import isal_zlib

from qrm_forensics.metrics.figures import Row, figures
from qrm_forensics.metrics.protocol import Column, Show, metric, said
from qrm_forensics.metrics.scan import Scan

#: Of ISA-L, whose level 1 compresses reasoning as well as level 1 of zlib in a quarter of its time.
LEVEL = 1

_RATIO = Column(
    "zlib_ratio",
    pa.float64(),
    Show.HISTOGRAM,
    better="higher",
    label=said("zlib ratio", "zlib 압축률"),
    definition=said(
        "Bytes of the response compressed into the zlib format (RFC 1950; ISA-L, level 1) divided by its bytes in UTF-8; "
        "empty without text.",
        "응답을 zlib 형식(RFC 1950, ISA-L 1단계)으로 압축한 바이트 수를 UTF-8 바이트 수로 나눈 값이며, 빈 응답이면 비워 둔다.",
    ),
    nullable_when="the response is empty",
)


def _measure(scan: Scan, row: Row) -> None:
    if len(scan.data):
        row[0] = len(isal_zlib.compress(scan.data, LEVEL)) / len(scan.data)


@metric(
    version=1,
    reads=("text",),
    title=said("Compression", "압축"),
    columns=(_RATIO,),
)
def compression(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    """The inverse of the compression ratio by which Whisper rejects looping transcripts (above 2.4, here below 0.42).

    It falls with length, as ``ttr`` does: compare responses of like length.  The size can
    differ by a few bytes between builds of the library, as it does between builds of zlib.
    """
    return figures(batch, (_RATIO,), _measure)
