"""Parts of a ZIP archive in bounded memory, Zstandard-compressed ones too (Python's own module reads those from 3.14 on)."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa

from qrm_forensics.errors import InputError

#: Uncompressed bytes of one part, and of all parts that are read.
MAX_PART: Final = 256 << 20
MAX_ALL: Final = 8 << 30
MAX_PARTS: Final = 1 << 20
_ZSTANDARD: Final = 93
_CHUNK: Final = 1 << 20
#: Signature, and the lengths of name and extra field, of the header before each part.
_LOCAL: Final = struct.Struct("<4s22xHH")


class Archive:
    """An opened archive.  ``names`` in its order; of a name that is there twice the last part counts.

    Every method raises InputError that names the file and, where there is one, the part.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        try:
            self._file = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise InputError(
                f"{path}: is not a ZIP archive, or is cut off ({error}); download or copy it again"
            ) from None
        infos = self._file.infolist()
        if len(infos) > MAX_PARTS:
            raise InputError(f"{path}: has {len(infos):,} parts, more than {MAX_PARTS:,}; split it")
        self._infos = {info.filename: info for info in infos}

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def names(self) -> list[str]:
        return list(self._infos)

    def part(self, name: str) -> bytes:
        """The uncompressed bytes of one part."""
        info = self._infos[name]
        where = f"{self.path}: part {name!r}"
        # What the header says is checked before anything is unpacked, and what comes out while it is.
        if info.flag_bits & 1:
            raise InputError(f"{where}: is encrypted; unpack and pack it again without a password")
        self._bound(where, info.file_size)
        data = bytearray()
        try:
            for chunk in self._chunks(info):
                data += chunk
                self._bound(where, len(data))
        except (
            OSError,
            EOFError,
            zlib.error,
            zipfile.BadZipFile,
            NotImplementedError,
            pa.ArrowException,
            struct.error,
        ) as error:
            why = " ".join(str(error).split())
            raise InputError(f"{where}: cannot be unpacked ({why}); download or copy the file again") from None
        if zlib.crc32(data) != info.CRC:
            raise InputError(f"{where}: does not have its checksum; download or copy the file again")
        self._read += len(data)
        return bytes(data)

    def _bound(self, where: str, size: int) -> None:
        if size > MAX_PART:
            raise InputError(f"{where}: unpacks to more than {MAX_PART >> 20} MiB; no log of responses is that large")
        if self._read + size > MAX_ALL:
            raise InputError(f"{self.path}: unpacks to more than {MAX_ALL >> 30} GiB; split it")

    def _chunks(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        if info.compress_type != _ZSTANDARD:
            with self._file.open(info) as handle:
                while chunk := handle.read(_CHUNK):
                    yield chunk
            return
        with self.path.open("rb") as raw:
            raw.seek(info.header_offset)
            signature, name, extra = _LOCAL.unpack(raw.read(_LOCAL.size))
            if signature != b"PK\x03\x04":
                raise zipfile.BadZipFile("no header before it")
            raw.seek(name + extra, 1)
            packed: IO[Any] = _Window(raw, info.compress_size)  # type: ignore[assignment]
            with pa.CompressedInputStream(pa.PythonFile(packed, mode="r"), "zstd") as stream:
                while chunk := stream.read(_CHUNK):
                    yield chunk


class _Window:
    """``size`` bytes of a file from where it stands."""

    closed = False

    def __init__(self, raw: IO[bytes], size: int) -> None:
        self._raw = raw
        self._left = size

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._raw.read(wanted)
        self._left -= len(data)
        return data

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True
