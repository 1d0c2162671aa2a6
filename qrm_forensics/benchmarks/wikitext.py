"""WikiText-2, the text that perplexity is measured on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from qrm_forensics.benchmarks.locate import download, find_files
from qrm_forensics.benchmarks.registry import PERPLEXITY
from qrm_forensics.benchmarks.rows import SUFFIXES, read_rows
from qrm_forensics.errors import InputError
from qrm_forensics.study import BenchmarkSpec

HUB = "Salesforce/wikitext"
CONFIGURATION = "wikitext-2-raw-v1"
_FOLDERS = ("wikitext", PERPLEXITY)
_PATTERNS = (f"{CONFIGURATION}/test-*.parquet",)
_PLAIN = ("wiki.test.raw", "test.txt")


@dataclass(frozen=True, slots=True)
class Text:
    """A text as one string, what it is called (the file's name where one file was given), and the SHA-256 (hex) of its UTF-8 bytes."""

    name: str
    text: str
    sha256: str


def load(spec: BenchmarkSpec) -> Text:
    """The test part of WikiText-2, its lines joined by empty lines as the paper's code joins them; or any text file.

    Raises InputError where nothing can be found, or what a perplexity cannot have is asked for.
    """
    said = spec.model_dump(exclude_defaults=True).keys() - {"name", "path", "hub", "revision", "limit"}
    if said:
        raise InputError(f"benchmarks: {spec.name} is a text, not problems, and takes no {', '.join(sorted(said))}")
    if (spec.path is None) == (not spec.hub):
        raise InputError(
            f"benchmarks: {spec.name} needs either a path (a text file, or the folder of all data sets) "
            f"or 'hub: true', which downloads {HUB}"
        )
    if spec.path is None:
        folder = download(HUB, _PATTERNS, spec.revision)
    else:
        folder = Path(spec.path).expanduser()
    text = _plain(folder)
    if text is None:
        files = find_files(folder, _FOLDERS, _PATTERNS, "test")
        lines = [row.get("text") for _, row in read_rows(files)]
        if not all(isinstance(line, str) for line in lines):
            raise InputError(f"{files[0]}: has no column 'text' in every row")
        text = "\n\n".join(str(line) for line in lines)
    if not text.strip():
        raise InputError(f"{folder}: holds no text")
    name = folder.name if spec.path is not None and folder.is_file() else PERPLEXITY
    return Text(name, text, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())


def _plain(path: Path) -> str | None:
    """A text file by itself, or where the folder has one; None where there is none."""
    places = [path] if path.is_file() else [base / name for base in (path / "wikitext", path) for name in _PLAIN]
    file = next((p for p in places if p.is_file() and p.suffix not in SUFFIXES), None)
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: is not UTF-8 text (byte {error.start})") from None
