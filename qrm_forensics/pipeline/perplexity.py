"""Perplexity of every checkpoint on one text, beside the benchmarks of a study.

As in the paper's repository and in the literature on quantization: the whole text is tokenised once (with the tokens that
the tokenizer puts in front), cut into windows of 2048 tokens that do not overlap, the rest is left out, and in every
window each token but the first is predicted from those before it.  Perplexity is exp of the mean negative log-likelihood.
It is stored as an analysis of the run, with the mean of every window, so that two checkpoints can be compared by window.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from qrm_forensics.benchmarks.wikitext import Text
from qrm_forensics.errors import InputError
from qrm_forensics.generate import ScoresPrompts, Session
from qrm_forensics.observing import Observer
from qrm_forensics.store import Store, hash_of

#: The analysis, and its version: raised with every change that can alter a figure.
ANALYSIS = "perplexity"
VERSION = 1
#: Tokens of a window, or as many as the model has room for.
WINDOW = 2048


def missing(store: Store, variant: str, text: Text | None, limit: int | None) -> bool:
    """Whether the perplexity of ``variant`` has still to be measured."""
    return text is not None and variant not in _kept(store, _stamp(text, limit))["variants"]


def measure(
    store: Store, variant: str, session: Session, folder: Path, text: Text, limit: int | None, observer: Observer
) -> None:
    """Measure and store the perplexity of ``variant``; ``limit``: only the first windows.  ``folder``: of its tokenizer.

    Where the backend cannot give the log-probabilities of a text, a note says so and the figure is stored as absent.
    """
    stamp = _stamp(text, limit)
    kept = _kept(store, stamp)
    windows: list[list[int]] = []
    try:
        try:
            windows = cut(folder, text, limit)
        except (OSError, ValueError) as error:  # a server's model needs no folder here
            raise _Unmeasured(f"the tokenizer of {folder} is not here") from error
        means = _means(session, windows, f"{variant} · {text.name}", observer)
    except _Unmeasured as reason:
        observer.note(f"{variant} · {text.name}: not measured; {reason}")
        kept["variants"][variant] = {"perplexity": None, "why": str(reason)}
    else:
        nll = math.fsum(means) / len(means)
        kept["variants"][variant] = {
            "perplexity": math.exp(nll),
            "nll": nll,
            "length": len(windows[0]),
            "windows": means,
        }
    store.write_analysis(ANALYSIS, {**kept, "corpus": text.name, "sha256": text.sha256}, stamp)


class _Unmeasured(Exception):
    """Why there is no figure."""


def _means(session: Session, windows: list[list[int]], what: str, observer: Observer) -> list[float]:
    """The mean negative log-likelihood of each window, in nats per token."""
    if not isinstance(session, ScoresPrompts):
        raise _Unmeasured("this backend does not give the log-probabilities of a text")
    means = []
    observer.begin("perplexity", what, len(windows))
    try:
        for window in windows:
            found = session.prompt_logprobs([window])
            if found is None:
                raise _Unmeasured("this model's server does not give the log-probabilities of a text")
            values = [value for value in found[0][1:] if value is not None and math.isfinite(value)]
            if len(found[0]) != len(window) or len(values) != len(window) - 1:
                raise _Unmeasured(f"{len(values)} finite log-probabilities came back for {len(window) - 1} tokens")
            means.append(-math.fsum(values) / len(values))
            observer.advance()
    finally:
        observer.end()
    return means


def cut(folder: Path, text: Text, limit: int | None) -> list[list[int]]:
    """Windows of token ids, all of the same length.  Raises InputError where the text is shorter than one."""
    from qrm_forensics.tokenizer import load_tokenizer

    length = min(WINDOW, _room(folder))
    ids: list[int] = load_tokenizer(folder).encode(
        text.text, verbose=False
    )  # longer than the model's maximum, which is cut below
    windows = [ids[at : at + length] for at in range(0, len(ids) - length + 1, length)]
    if not windows:
        raise InputError(f"benchmarks: {text.name} has {len(ids)} tokens, fewer than a window of {length}")
    return windows[:limit]


def _room(folder: Path) -> int:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return int(config.get("max_position_embeddings") or WINDOW)
    except (OSError, ValueError, TypeError, AttributeError):
        return WINDOW


def _stamp(text: Text, limit: int | None) -> str:
    return hash_of([VERSION, WINDOW, text.sha256, limit])


def _kept(store: Store, stamp: str) -> dict[str, Any]:
    kept = store.analysis(ANALYSIS, derived=False)
    if kept is None or kept[0] != stamp or not isinstance(kept[1], dict) or "variants" not in kept[1]:
        return {"variants": {}}
    return dict(kept[1])
