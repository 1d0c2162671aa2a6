"""Calibration text: the model's own reasoning, as the paper's repository stores it.

A response file is a JSON array (whatever it is called) or JSON Lines of objects with
``full_prompt`` and ``generated_text``.  The prompt is the templated text, which starts
with the model's begin token already; it is tokenized without adding special tokens, so
that the begin token does not come twice.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qrm_forensics.errors import InputError
from qrm_forensics.recipes import Preset
from qrm_forensics.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEPARATOR = "\n\n"


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Token ids ``[samples, length]`` (int32) and how they came about.

    ``sha256`` is over shape and ids.  ``arrangement``: ``crops`` (random, may overlap) or ``blocks`` (consecutive,
    each token once).  ``text_tokens`` counts the whole text that they were taken from, ``records`` its responses.
    """

    token_ids: NDArray[np.int32]
    sha256: str
    preset: Preset
    arrangement: str
    records: int
    text_tokens: int
    requested_samples: int
    requested_length: int
    seed: int
    file: str

    def summary(self) -> dict[str, Any]:
        """For the manifest: everything but the token ids."""
        samples, length = self.token_ids.shape
        return {
            "token_sha256": self.sha256,
            "samples": samples,
            "length": length,
            "tokens": samples * length,
            "requested_samples": self.requested_samples,
            "requested_length": self.requested_length,
            "arrangement": self.arrangement,
            "records": self.records,
            "text_tokens": self.text_tokens,
            "preset": self.preset,
            "seed": self.seed,
            "file": self.file,
        }


def load_calibration(
    path: str | Path,
    tokenizer_dir: str | Path,
    *,
    preset: Preset = "fixed",
    samples: int = 128,
    length: int = 2048,
    seed: int = 0,
) -> Calibration:
    """Token ids from a response file: ``samples`` windows of ``length`` tokens of the concatenated responses.

    ``fixed``: each record gives ``full_prompt + generated_text + "\\n\\n"``, whole.  Windows are random
    crops where the text has at least ``samples x length`` tokens; a shorter text is cut into consecutive
    blocks, so that each token counts once and there are fewer windows than asked for.

    ``paper-code``: each record gives ``full_prompt + generated_text[0] + "\\n\\n"``, that is the prompt and the
    *first character* of the response.  The paper's public loader does this to a field that holds a
    string, so what it calls self-generated reasoning is prompts.  Windows are always random crops, which then
    overlap.

    In both, a text shorter than one window gives one window of what there is.  What was made is in
    the fields of the result, and goes into the manifest.  The crops come from this seed
    alone, so they are not the paper's, whose code draws them from a global generator.

    Raises InputError for unreadable files and records, an unknown preset and an empty text.
    """
    if preset not in ("fixed", "paper-code"):
        raise InputError(f"calibration preset {preset!r} is not available; use fixed or paper-code")
    if samples < 1 or length < 2:
        raise InputError(f"calibration needs 1 or more samples of 2 or more tokens, got {samples} of {length}")
    path = Path(path)
    texts = []
    for where, prompt, response in read_responses(path):
        if preset == "paper-code":
            if not response:
                raise InputError(f"{path}: {where}: generated_text is empty, so it has no first character")
            response = response[0]
        texts.append(prompt + response + SEPARATOR)
    stream = _tokenize(texts, Path(tokenizer_dir))
    if len(stream) < 2:
        raise InputError(f"{path}: its responses hold {len(stream)} tokens; calibration needs text")
    rng = random.Random(seed)
    if len(stream) <= length:
        arrangement, starts, width = "blocks", [0], len(stream)
    elif preset == "fixed" and len(stream) < samples * length:
        arrangement, starts, width = "blocks", [i * length for i in range(len(stream) // length)], length
    else:
        arrangement, starts, width = "crops", [rng.randint(0, len(stream) - length) for _ in range(samples)], length
    ids = np.stack([stream[start : start + width] for start in starts])
    return Calibration(
        token_ids=ids,
        sha256=_hash(ids),
        preset=preset,
        arrangement=arrangement,
        records=len(texts),
        text_tokens=len(stream),
        requested_samples=samples,
        requested_length=length,
        seed=seed,
        file=path.name,
    )


def read_responses(path: Path) -> list[tuple[str, str, str]]:
    """(where, full_prompt, generated_text) of each record of a JSON array or JSON Lines file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    if text.startswith("version https://git-lfs"):
        raise InputError(f"{path}: is a Git LFS pointer, not the responses; run: git lfs pull")
    if text.lstrip().startswith("["):
        records = [(f"record {i}", record) for i, record in enumerate(_parse(text, path, "the array"))]
    else:
        # Only "\n" ends a line of JSON Lines: the text may hold U+2028 and the like unescaped.
        lines = enumerate(text.split("\n"), 1)
        records = [(f"line {n}", _parse(line, path, f"line {n}")) for n, line in lines if line.strip()]
    if not records:
        raise InputError(f"{path}: holds no records")
    return [
        (where, _text(record, "full_prompt", path, where), _text(record, "generated_text", path, where))
        for where, record in records
    ]


def _parse(text: str, path: Path, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {where} is not JSON, the file may be cut off ({error})") from error


def _text(record: Any, key: str, path: Path, where: str) -> str:
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, str):
        raise InputError(f"{path}: {where}: {key} should be a string, got {type(value).__name__}")
    return value


def _tokenize(texts: list[str], folder: Path) -> NDArray[np.int32]:
    if not (folder / "tokenizer_config.json").is_file() and not (folder / "tokenizer.json").is_file():
        raise InputError(f"{folder}: has no tokenizer (tokenizer.json or tokenizer_config.json)")
    tokenizer = load_tokenizer(folder)
    # Lone surrogates cannot be encoded as UTF-8.
    clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
    ids = tokenizer(clean, add_special_tokens=False, verbose=False)["input_ids"]
    return np.concatenate([np.asarray(row, dtype=np.int32) for row in ids])


def _hash(ids: NDArray[np.int32]) -> str:
    return hashlib.sha256(f"{ids.shape[0]}x{ids.shape[1]}:".encode() + ids.astype("<i4").tobytes()).hexdigest()
