"""What is in the responses to one problem, as pandas tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace

import numpy as np
import pandas as pd

from qrm_forensics.metrics.arithmetic import written_equations
from qrm_forensics.notebook.response import Response
from qrm_forensics.report.folding import first_difference, shared_start

#: Characters shown on each side of where responses part.
CONTEXT = 80

_LOOPS = ("variant", "kind", "class", "unit", "repeats", "period", "tokens", "start", "onset", "end", "terminal")
_EQUATIONS = ("variant", "statement", "verdict", "left", "right", "start", "end")
_TOKENS = ("variant", "position", "id", "token", "logprob", "entropy", "char")


def loop_table(responses: Sequence[Response]) -> pd.DataFrame:
    """One row per episode of repetition: ``kind`` is ``loop`` or ``enumeration``; ``start``, ``onset`` (of the second
    copy) and ``end`` in code points; ``period`` and ``tokens`` in pseudo-tokens; ``terminal``: it ends the response.
    """
    rows = [
        (
            *(r.variant, "loop" if e.tier < 3 else "enumeration", e.loop_class, e.unit, e.repeats, e.period, e.tokens),
            *(e.body_start_char, e.onset_char, e.end_char, e.terminal),
        )
        for r in responses
        for e in r.episodes
    ]
    return pd.DataFrame(rows, columns=list(_LOOPS))


def equation_table(responses: Sequence[Response]) -> pd.DataFrame:
    """One row per written equation that could be judged: ``verdict`` is ``true``, ``rounded`` or ``false``, ``left`` and
    ``right`` are what its sides come to (float64), ``start`` and ``end`` its place in code points.
    """
    rows = [
        (r.variant, r.text[e.start : e.end], e.verdict, e.left, e.right, e.start, e.end)
        for r in responses
        for e in written_equations(r.scan)
    ]
    return pd.DataFrame(rows, columns=list(_EQUATIONS))


def token_table(responses: Sequence[Response]) -> pd.DataFrame:
    """One row per token: of the model where its ids were kept, with log-probability and entropy (nats) where those were;
    else one per pseudo-token, whose ``id`` is null.  ``token`` is null for ids that cannot be read, ``char`` is where it
    begins, in code points.
    """
    frames = [_tokens(r) for r in responses]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(_TOKENS))


def _tokens(r: Response) -> pd.DataFrame:
    trace = r.trace
    if trace.token_ids is None:
        tokens = r.scan.tokens
        n = len(tokens.ids)
        ids: list[int | None] = [None] * n
        words: Sequence[str | None] = pseudo_tokens(r)
        chars: Sequence[int | None] = r.scan.chars(tokens.starts).tolist()
    else:
        n = len(trace.token_ids)
        ids = list(trace.token_ids)
        words = r.token_texts or [None] * n
        chars = r.token_chars or [None] * n
    real = {name: getattr(trace, name) or [np.nan] * n for name in ("logprobs", "entropies")}
    return pd.DataFrame(
        {
            "variant": r.variant,
            "position": range(n),
            "id": pd.array(ids, dtype="Int64"),
            "token": pd.array(list(words), dtype="string"),
            "logprob": np.asarray(real["logprobs"], np.float64),
            "entropy": np.asarray(real["entropies"], np.float64),
            "char": pd.array(list(chars), dtype="Int64"),
        }
    )


def pseudo_tokens(r: Response) -> list[str]:
    """The response's pseudo-tokens (see ``metrics.scan``), in order."""
    tokens = r.scan.tokens
    data = r.scan.data.tobytes()
    return [
        data[a:b].decode("utf-8", "replace") for a, b in zip(tokens.starts.tolist(), tokens.ends.tolist(), strict=True)
    ]


def top_token_table(responses: Sequence[Response], n: int) -> pd.DataFrame:
    """The ``n`` most frequent tokens of each response: per variant the count and the share of its tokens.

    Index ``token``; columns (variant, ``count`` | ``share``), and from the second variant on ``change``, its share minus
    the first one's.  Tokens of the model where every response has readable ones, else pseudo-tokens of all:
    ``attrs["unit"]`` says which.  By the largest share that any variant has.
    """
    real = all(r.token_texts is not None for r in responses)
    counts = {r.variant: Counter((r.token_texts or ()) if real else pseudo_tokens(r)) for r in responses}
    top = dict.fromkeys(token for c in counts.values() for token, _ in c.most_common(n) if token)
    columns: dict[tuple[str, str], list[float]] = {}
    first: list[float] | None = None
    for variant, found in counts.items():
        total = max(1, sum(found.values()))
        own = [found[token] / total for token in top]
        columns[variant, "count"] = [found[token] for token in top]
        columns[variant, "share"] = own
        if first is None:
            first = own
        else:
            columns[variant, "change"] = [b - a for a, b in zip(first, own, strict=True)]
    frame = pd.DataFrame(columns, index=pd.Index(list(top), name="token"))
    frame.columns = pd.MultiIndex.from_tuples(columns, names=["variant", "figure"])
    shares = np.array([values for (_, figure), values in columns.items() if figure == "share"])
    frame = frame.iloc[np.argsort(-shares.max(axis=0), kind="stable")] if top else frame
    frame.attrs["unit"] = "tokens" if real else "pseudo-tokens"
    return frame


@dataclass(frozen=True, slots=True)
class Parting:
    """Where a response parts from the reference.

    ``unit`` says what was compared: ``token`` ids where both have them, else ``character``.  ``position`` is how many
    of them both share, ``char`` the same in code points (None for tokens that cannot be read); None where the responses
    are equal.  ``before`` is what both say last, then what each goes on with, CONTEXT characters each.
    """

    variant: str
    reference: str
    unit: str
    position: int | None
    char: int | None = None
    before: str | None = None
    reference_goes_on: str | None = None
    variant_goes_on: str | None = None


def partings(responses: Sequence[Response]) -> list[Parting]:
    """Where each response parts from the first one; of responses without a text nothing is known, so they are left out."""
    first, *others = responses
    return [_parting(first, other) for other in others if None not in (first.trace.text, other.trace.text)]


def divergence_table(responses: Sequence[Response]) -> pd.DataFrame:
    """The partings as a table, one row each."""
    columns = [f.name for f in fields(Parting)]
    frame = pd.DataFrame([astuple(p) for p in partings(responses)], columns=columns)
    return frame.astype({"position": "Int64", "char": "Int64"})


def _parting(one: Response, other: Response) -> Parting:
    position: int | None
    if one.trace.token_ids is not None and other.trace.token_ids is not None:
        unit, position = "token", first_difference(one.trace.token_ids, other.trace.token_ids)
        char = position if position is None else _char_of(one, other, position)
    else:
        unit = "character"
        char = position = None if one.text == other.text else shared_start([one.text, other.text])
    found = Parting(other.variant, one.variant, unit, position)
    if char is None:
        return found
    return replace(
        found,
        char=char,
        before=one.text[max(0, char - CONTEXT) : char],
        reference_goes_on=one.text[char : char + CONTEXT],
        variant_goes_on=other.text[char : char + CONTEXT],
    )


def _char_of(one: Response, other: Response, position: int) -> int | None:
    """The character at which a token begins that one of the two has and the other has not."""
    for r in (one, other):
        if r.token_chars is not None:
            return r.token_chars[position] if position < len(r.token_chars) else len(r.text)
    return None
