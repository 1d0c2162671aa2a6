"""The tokenizer of a checkpoint, exactly as its tokenizer.json says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qrm_forensics.errors import missing_extra


def load_tokenizer(model: str | Path, revision: str | None = None) -> Any:
    """The fast tokenizer of a Hugging Face folder (or hub id).

    AutoTokenizer of transformers 5 goes by the model type and may put that family's own
    normalizer and pre-tokenizer in place of those in the file, so a folder that has a
    tokenizer.json is read by the class that reads the file as it is.  Raises
    EnvironmentMissing without transformers; OSError or ValueError as transformers does.
    """
    try:
        from transformers import AutoTokenizer, PreTrainedTokenizerFast
    except ImportError as error:
        raise missing_extra("reading a tokenizer", "models", error) from error
    if (Path(model) / "tokenizer.json").is_file():
        return PreTrainedTokenizerFast.from_pretrained(model)
    return AutoTokenizer.from_pretrained(model, revision=revision)
