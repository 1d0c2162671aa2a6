"""Calibration text: windows of token ids out of the model's own reasoning, or of any other corpus.

A response file is a JSON array (whatever it is called) or JSON Lines of objects with
``full_prompt`` and ``generated_text``.  The prompt is the templated text, which starts
with the model's begin token already; it is tokenized without adding special tokens, so
that the begin token does not come twice.  Documents of other corpora hold no special tokens, and the tokenizer puts its own in front
of each.

How windows are taken from a corpus is a named rule:

``auto``
    ``crops`` where the text has at least ``samples x length`` tokens, else ``blocks``.
``crops``
    Random windows of all documents, one behind the other; they may overlap (GPTQ, SmoothQuant, QuaRot, FlatQuant).
``blocks``
    Consecutive windows from the beginning, each token once.
``short-documents``
    The first ``samples`` documents of at most ``length`` tokens, in shuffled order; longer ones are *skipped*.  One behind the
    other, cut into blocks (AWQ).  128 documents of the Pile of at most 512 tokens give about 60 blocks, not 128.
``truncated-documents``
    The first ``samples`` documents, in shuffled order, of each the first ``length`` tokens.  One behind the other, cut into blocks, as
    windows are equally long here (KVQuant*).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qrm_forensics.benchmarks.rows import sha256_of
from qrm_forensics.errors import InputError
from qrm_forensics.quantize.corpora import (
    SEPARATOR,
    Documents,
    json_records,
    locate,
    read_documents,
    read_text,
    text_of,
)
from qrm_forensics.recipes import Preset
from qrm_forensics.study import Arrangement, CalibrationSpec, Corpus
from qrm_forensics.tokenizer import load_tokenizer
from qrm_forensics.weights import open_checkpoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Added to the seed where documents are shuffled: with seed 0 the order is that of the paper's code.
SHUFFLE_SEED = 42
#: Of a corpus of many documents, crops are drawn from so many times the tokens that were asked for.
CROPS_FROM = 8
_AT_A_TIME = 256


@dataclass(frozen=True, slots=True)
class PaperRule:
    """What the paper's code calibrates a method on."""

    corpus: Corpus
    arrangement: Arrangement
    samples: int
    length: int


_OWN = PaperRule("responses", "crops", 128, 2048)
#: By method; FlatQuant has windows of 4096 for the two models with huge key biases (see :func:`paper_rule`).
PAPER_RULES: dict[str, PaperRule] = {
    "awq": PaperRule("pile-val", "short-documents", 128, 512),
    "kvquant_star": PaperRule("pile-val", "truncated-documents", 512, 512),
    "gptq": _OWN,
    "smoothquant": _OWN,
    "quarot": _OWN,
    "flatquant": PaperRule("wikitext2", "crops", 128, 2048),
}
#: Hidden sizes of the models for which the paper's scripts give FlatQuant longer windows: R1-Distill-Qwen 1.5B and 7B.
LONGER_HIDDEN = (1536, 3584)


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Token ids ``[samples, length]`` (int32) and how they came about.

    ``sha256`` is over shape and ids.  ``arrangement``: ``crops`` (random, may overlap) or ``blocks`` (consecutive,
    each token once), by the rule ``requested_arrangement``.  ``text_tokens`` counts the whole text that they were taken from, ``records`` its
    responses or documents.  ``file_sha256``: of the corpus as read, None where it came from the hub.
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
    corpus: Corpus = "responses"
    requested_arrangement: Arrangement = "auto"
    file_sha256: str | None = None
    #: The paper's public loader cut every response to its first character.
    first_characters_only: bool = False

    def summary(self) -> dict[str, Any]:
        """For the manifest: everything but the token ids."""
        samples, length = self.token_ids.shape
        return {
            "token_sha256": self.sha256,
            "corpus": self.corpus,
            "samples": samples,
            "length": length,
            "tokens": samples * length,
            "requested_samples": self.requested_samples,
            "requested_length": self.requested_length,
            "arrangement": self.arrangement,
            "requested_arrangement": self.requested_arrangement,
            "records": self.records,
            "text_tokens": self.text_tokens,
            "preset": self.preset,
            "first_characters_only": self.first_characters_only,
            "seed": self.seed,
            "file": self.file,
            "file_sha256": self.file_sha256,
        }


def paper_rule(method: str, preset: Preset = "fixed", hidden: int | None = None) -> PaperRule:
    """What the paper's code calibrates a method on; ``paper-text`` follows the text where it says something else.

    ``hidden``: hidden size of the model.  Raises InputError for a method that the paper does not calibrate.
    """
    if method not in PAPER_RULES:
        raise InputError(
            f"{method}: the paper says how {', '.join(PAPER_RULES)} are calibrated; name corpus and arrangement"
        )
    rule = PAPER_RULES[method]
    if preset == "paper-text" and method in ("kvquant_star", "smoothquant"):
        return PaperRule("pile-val", "truncated-documents", 128, 512)
    if method == "flatquant" and hidden in LONGER_HIDDEN:
        return PaperRule(rule.corpus, rule.arrangement, rule.samples, 4096)
    return rule


def calibration_for(
    spec: CalibrationSpec, path: Path | None, model: Path, method: str, preset: Preset = "fixed"
) -> Calibration:
    """The calibration text that a study asks for.

    ``path`` is what ``spec.path`` comes to (the model's own text, where it names none), ``model`` the checkpoint folder with the tokenizer.
    Raises as :func:`load_calibration` and :func:`paper_rule` do.
    """
    rule = _rule(spec, model, method, preset)
    return load_calibration(
        path,
        model,
        preset=preset,
        samples=rule.samples,
        length=rule.length,
        corpus=rule.corpus,
        field=spec.field,
        arrangement=rule.arrangement,
    )


def calibration_files(spec: CalibrationSpec, model: Path, method: str, preset: Preset = "fixed") -> list[Path]:
    """The files that :func:`calibration_for` would read; none where text comes from the hub or from the model itself."""
    if spec.path is None:
        return []
    return locate(_rule(spec, model, method, preset).corpus, Path(spec.path), model.resolve().name)


def _rule(spec: CalibrationSpec, model: Path, method: str, preset: Preset) -> PaperRule:
    if spec.arrangement != "paper":
        return PaperRule(spec.corpus, spec.arrangement, spec.samples, spec.length)
    return paper_rule(method, preset, open_checkpoint(model).config.get("hidden_size"))


def load_calibration(
    path: str | Path | None,
    tokenizer_dir: str | Path,
    *,
    preset: Preset = "fixed",
    samples: int = 128,
    length: int = 2048,
    seed: int = 0,
    corpus: Corpus = "responses",
    field: str | None = None,
    arrangement: Arrangement = "auto",
) -> Calibration:
    """Token ids for calibration: windows of ``length`` tokens by the rule ``arrangement`` (see the module).

    ``path``: a file, or a folder in the layout of the paper's repository (see :mod:`~qrm_forensics.quantize.corpora`); None
    takes a known corpus from the hub.  ``field``: the column with the text, for other corpora than responses.

    Presets matter for responses.  ``fixed``: each gives ``full_prompt + generated_text + "\\n\\n"``, whole.
    ``paper-code``: each gives ``full_prompt + generated_text[0] + "\\n\\n"``, that is the prompt and the
    *first character* of the response.  The paper's public loader does this to a field that holds a
    string, so what it calls self-generated reasoning is prompts.  With ``auto``, windows are then always
    random crops.

    A text shorter than one window gives one window of what there is.  What was made is in
    the fields of the result, and goes into the manifest.  Crops come from this seed
    alone, so they are not the paper's, whose code draws them from a global generator; shuffled documents are in the paper's order
    with seed 0.

    Raises InputError for unreadable files and records, an unknown preset, an empty text and a rule that finds no document;
    EnvironmentMissing where the hub is asked for and ``datasets`` is not installed.
    """
    if corpus == "responses" and preset not in ("fixed", "paper-code"):
        raise InputError(f"calibration preset {preset!r} is not available for responses; use fixed or paper-code")
    if samples < 1 or length < 2:
        raise InputError(f"calibration needs 1 or more samples of 2 or more tokens, got {samples} of {length}")
    folder = Path(tokenizer_dir)
    found = _documents(corpus, Path(path) if path is not None else None, field, preset, folder)
    encoded = _Encoded(found, folder, seed)
    rule = arrangement
    if rule == "auto" and corpus == "responses" and preset == "paper-code":
        rule = "crops"
    if rule in ("short-documents", "truncated-documents"):
        stream = encoded.picked(samples, length, skip_longer=rule == "short-documents")
    else:
        stream = encoded.stream(CROPS_FROM * samples * length if found.shuffled else None)
    if len(stream) < 2:
        raise InputError(f"{path or found.file}: its {corpus} hold {len(stream)} tokens; calibration needs text")
    made, starts, width = _windows(rule, len(stream), samples, length, seed)
    ids = np.stack([stream[start : start + width] for start in starts])
    return Calibration(
        token_ids=ids,
        sha256=_hash(ids),
        preset=preset,
        arrangement=made,
        records=encoded.taken,
        text_tokens=len(stream),
        requested_samples=samples,
        requested_length=length,
        seed=seed,
        file=found.file,
        corpus=corpus,
        requested_arrangement=arrangement,
        file_sha256=found.sha256,
        first_characters_only=corpus == "responses" and preset == "paper-code",
    )


def _windows(rule: Arrangement, tokens: int, samples: int, length: int, seed: int) -> tuple[str, list[int], int]:
    """What is made of a text of so many tokens: ``crops`` or ``blocks``, where the windows begin, and their width."""
    if tokens <= length:
        return "blocks", [0], tokens
    if rule == "crops" or (rule == "auto" and tokens >= samples * length):
        rng = random.Random(seed)
        return "crops", [rng.randint(0, tokens - length) for _ in range(samples)], length
    blocks = tokens // length
    # a rule that picks documents has chosen how much there is; others cut as much as was asked for
    count = min(blocks, samples) if rule == "blocks" else blocks
    return "blocks", [i * length for i in range(count)], length


def _documents(corpus: Corpus, path: Path | None, field: str | None, preset: Preset, folder: Path) -> Documents:
    if corpus != "responses":
        return read_documents(corpus, path, field=field, model=folder.name)
    if path is None:
        raise InputError("calibration: the model's own responses need a path; gen-calib writes them")
    files = locate(corpus, path, folder.resolve().name)
    texts = []
    for where, prompt, response in (row for file in files for row in read_responses(file)):
        if preset == "paper-code":
            if not response:
                raise InputError(f"{path}: {where}: generated_text is empty, so it has no first character")
            response = response[0]
        texts.append(prompt + response + SEPARATOR)
    return Documents(texts, True, False, ", ".join(file.name for file in files), sha256_of(files))


class _Encoded:
    """The documents as token ids, made as they are asked for.  ``taken`` counts those that were used."""

    def __init__(self, documents: Documents, folder: Path, seed: int) -> None:
        if not (folder / "tokenizer_config.json").is_file() and not (folder / "tokenizer.json").is_file():
            raise InputError(f"{folder}: has no tokenizer (tokenizer.json or tokenizer_config.json)")
        self._documents, self._seed = documents, seed
        self._tokenizer = load_tokenizer(folder)
        self.taken = 0

    def stream(self, enough: int | None) -> NDArray[np.int32]:
        """All documents one behind the other; of a shuffled corpus until there are ``enough`` tokens."""
        found, total = [], 0
        for ids in self._each(shuffled=self._documents.shuffled, strip=False):
            self.taken += 1
            found.append(ids)
            total += len(ids)
            if enough is not None and total >= enough:
                break
        return np.concatenate(found)

    def picked(self, samples: int, length: int, *, skip_longer: bool) -> NDArray[np.int32]:
        """The first ``samples`` documents in shuffled order, no more than ``length`` tokens of each."""
        found = []
        for ids in self._each(shuffled=True, strip=True):
            if not len(ids) or (skip_longer and len(ids) > length):
                continue
            self.taken += 1
            found.append(ids[:length])
            if len(found) == samples:
                break
        if not found:
            raise InputError(f"{self._documents.file}: has no document of at most {length} tokens")
        return np.concatenate(found)

    def _each(self, *, shuffled: bool, strip: bool) -> Iterator[NDArray[np.int32]]:
        texts = self._documents.texts
        order = range(len(texts))
        if shuffled:
            # the order in which the package ``datasets`` shuffles
            order = np.random.default_rng(SHUFFLE_SEED + self._seed).permutation(len(texts)).tolist()
        special = not self._documents.templated
        for start in range(0, len(texts), _AT_A_TIME):
            # Lone surrogates cannot be encoded as UTF-8.
            some = [texts[i].encode("utf-8", "replace").decode("utf-8") for i in order[start : start + _AT_A_TIME]]
            if strip:
                some = [text.strip() for text in some]
            rows = self._tokenizer(some, add_special_tokens=special, verbose=False)["input_ids"]
            # an empty document is empty, whatever the tokenizer puts in front of it
            yield from (np.asarray(row if text else [], np.int32) for text, row in zip(some, rows, strict=True))


def read_responses(path: Path) -> list[tuple[str, str, str]]:
    """(where, full_prompt, generated_text) of each record of a JSON array or JSON Lines file."""
    records = json_records(read_text(path), path)
    if not records:
        raise InputError(f"{path}: holds no records")
    return [
        (where, text_of(record, "full_prompt", path, where), text_of(record, "generated_text", path, where))
        for where, record in records
    ]


def _hash(ids: NDArray[np.int32]) -> str:
    return hashlib.sha256(f"{ids.shape[0]}x{ids.shape[1]}:".encode() + ids.astype("<i4").tobytes()).hexdigest()
