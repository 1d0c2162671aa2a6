"""``context.json``: everything that a report says, in no language, so that it can be rendered again anywhere.

The file holds the numbers with their evidence, the sentences as keys with slots, the sections, the chosen cases and
the packed responses.  What is rendered from it is, byte for byte, what was rendered from the run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from qrm_forensics import __version__
from qrm_forensics.errors import InputError
from qrm_forensics.report.export_files.typed_json import Codec, Mismatch
from qrm_forensics.report.i18n import Texts, slots_of
from qrm_forensics.report.model import Claim, ReportContext, Sentence

FORMAT = "qrm-forensics report context"
#: Counted up with every change of the dataclasses after which an older file would be read wrongly.
SCHEMA = 1

T = TypeVar("T")

_AGAIN = "write the file again from its run: qrm-forensics report RUN --format json"
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


def dump_context(context: ReportContext) -> str:
    """The file's text, the same for the same context; raises ValueError for a claim that the report does not list."""
    codec = Codec(ReportContext, Claim)
    listed = {claim.id: claim for claim in context.claims}
    stray = next((c for c in _of(context, Claim) if listed.get(c.id) != c), None)
    if stray is not None:
        raise ValueError(f"claim {stray.id!r} is not among the claims of the report")
    whole = {
        "format": FORMAT,
        "schema": SCHEMA,
        "program": __version__,
        "claims": [codec.encode_whole(claim) for claim in listed.values()],
        "context": codec.encode(context),
    }
    return json.dumps(whole, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def load_context(path: Path) -> ReportContext:
    """The context that a file holds; raises InputError with the file, the place in it and what to do."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: is not there; name a context.json that 'report' has written") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error}); {_AGAIN}") from None
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        raise InputError(f"{path}: is not a report context; name a context.json that 'report' has written")
    if whole.get("schema") != SCHEMA:
        raise InputError(
            f"{path}: has schema {whole.get('schema')!r} of qrm-forensics {whole.get('program')}, "
            f"and this is {__version__} with schema {SCHEMA}; {_AGAIN}"
        )
    codec = Codec(ReportContext, Claim)
    try:
        claims = [_claim(codec, entry, i) for i, entry in enumerate(_list(whole, "claims"))]
        known = {claim.id: claim for claim in claims}
        try:
            context = cast(ReportContext, codec.decode(whole.get("context"), known))
        except Mismatch as error:
            raise error.under(".context") from None
        _check(context)
    except Mismatch as error:
        raise InputError(f"{path}: {error.path}: {error.why}; {_AGAIN}") from None
    return context


def _list(whole: dict[str, Any], key: str) -> list[Any]:
    if not isinstance(whole.get(key), list):
        raise Mismatch("expected a list").under(f".{key}")
    return cast(list[Any], whole[key])


def _claim(codec: Codec, entry: Any, i: int) -> Claim:
    try:
        return cast(Claim, codec.decode_shared(entry))
    except Mismatch as error:
        raise error.under(f".claims[{i}]") from None


def _check(context: ReportContext) -> None:
    """What the types do not say: keys that have a text, and packs that are whole and hold nothing but base64."""
    english = Texts.of("en")
    for sentence in _of(context, Sentence):
        if not english.has(sentence.key):
            raise Mismatch(f"there is no sentence {sentence.key!r} in this version").under(".context")
        if missing := sorted(slots_of(english.raw(sentence.key)) - set(sentence.slots)):
            raise Mismatch(f"the sentence {sentence.key!r} lacks the slot {missing[0]!r}").under(".context")
    for claim in context.claims:
        for key in (claim.definition, *([claim.note] if claim.note else [])):
            if not english.has(key) and key.removeprefix("definition.column.") not in english.definitions:
                raise Mismatch(f"claim {claim.id!r}: there is no text {key!r} in this version").under(".claims")
    for i, pack in enumerate(context.reader.packs if context.reader else ()):
        if not _BASE64.fullmatch(pack.data) or hashlib.sha256(pack.data.encode()).hexdigest()[:16] != pack.id:
            raise Mismatch("the pack of responses is damaged").under(f".context.reader.packs[{i}]")


def _of(value: Any, kind: type[T]) -> Iterator[T]:
    """Every instance of a class in a tree of dataclasses, tuples and dicts."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, kind):
            yield one
        if isinstance(one, tuple | list):
            waiting += one
        elif isinstance(one, dict):
            waiting += one.values()
        elif is_dataclass(one) and not isinstance(one, type):
            waiting += [getattr(one, f.name) for f in fields(one)]
