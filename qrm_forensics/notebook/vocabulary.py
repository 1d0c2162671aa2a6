"""Token ids as text, where the tokenizer of the run's model is at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from qrm_forensics import builtin
from qrm_forensics.errors import InputError
from qrm_forensics.store import Store

#: What a decoder writes for bytes that are not a whole character yet, and how many tokens one character may take.
_TORN, _LONGEST = "\N{REPLACEMENT CHARACTER}", 8


class Vocabulary:
    """The tokenizer of a model, loaded when it is first needed; ``known`` is whether there is one."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._load: Callable[[], Any] = cache(lambda: _tokenizer(folder))

    @property
    def known(self) -> bool:
        return self._load() is not None

    def encode(self, text: str) -> list[int] | None:
        """The ids of a text, without special tokens added; None without a tokenizer."""
        tokenizer = self._load()
        return None if tokenizer is None else list(tokenizer.encode(text, add_special_tokens=False).ids)

    def pieces(self, ids: Sequence[int]) -> tuple[str, ...] | None:
        """The text of each id; of ids that make up one character, all of it at the last.  None without a tokenizer."""
        tokenizer = self._load()
        if tokenizer is None:
            return None
        made: list[str] = []
        begun = 0
        for i in range(len(ids)):
            text = tokenizer.decode(list(ids[begun : i + 1]), skip_special_tokens=False)
            if text.endswith(_TORN) and i + 1 < len(ids) and i - begun < _LONGEST:
                made.append("")
            else:
                made.append(text)
                begun = i + 1
        return tuple(made)


def vocabulary_of(store: Store, variant: str) -> Vocabulary:
    """That of a variant's checkpoint in the run folder, or of the model that the run names where its folder is there."""
    places = [store.checkpoint_dir(variant)]
    study = store.study["request"].get("study")
    models = study.get("models", []) if isinstance(study, dict) else []
    wanted = next((v.model for v in store.variants if v.id == variant), None)
    for model in models:
        if model == builtin.NAME and wanted == builtin.MODEL_NAME:
            places.append(builtin.weights_dir())
        elif model != builtin.NAME and Path(model).name == wanted:
            places.append(Path(model))
    return Vocabulary(next((p for p in places if (p / "tokenizer.json").is_file()), None))


def _tokenizer(folder: Path | None) -> Any:
    """None where there is no tokenizer, or no package to read it: ids are then shown as numbers.

    ``tokenizers`` alone: transformers would bring torch along, which takes seconds.  Raises InputError for a file that
    cannot be read.
    """
    if folder is None:
        return None
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    try:
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the package raises nothing narrower
        raise InputError(
            f"{folder / 'tokenizer.json'}: cannot be read ({error}); fetch the checkpoint again"
        ) from error
