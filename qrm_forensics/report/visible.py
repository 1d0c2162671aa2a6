"""Hostile text made visible: what a model or a folder name says is shown, never obeyed."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

#: Control, zero-width, direction and invisible characters that change how text reads without being seen.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff\ud800-\udfff]"
)


def visible(text: object) -> Markup:
    """``text`` escaped, with each invisible character shown as its code point."""
    raw = str(text)
    pieces: list[Markup] = []
    position = 0
    for match in _INVISIBLE.finditer(raw):
        pieces += [
            escape(raw[position : match.start()]),
            Markup('<span class="control">U+{}</span>').format(f"{ord(match[0]):04X}"),
        ]
        position = match.end()
    return Markup("").join([*pieces, escape(raw[position:])])


def shown_text(text: object) -> str:
    """The same for plain text: ``[U+202E]``."""
    return _INVISIBLE.sub(lambda m: f"[U+{ord(m[0]):04X}]", str(text))


def clip(text: object, length: int) -> str:
    """The first ``length`` characters, with an ellipsis where something was cut off."""
    raw = str(text)
    return raw if len(raw) <= length else raw[:length].rstrip() + "…"


def clip_start(text: object, length: int) -> str:
    """The last ``length`` characters, with an ellipsis where something was cut off before them."""
    raw = str(text)
    return raw if len(raw) <= length else "…" + raw[-length:].lstrip()
