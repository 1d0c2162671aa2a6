"""Text from outside, made harmless in Markdown of pull requests and in XML."""

from __future__ import annotations

import re

from qrm_forensics.report.tables import md_escape
from qrm_forensics.report.visible import clip, shown_text

#: Names are shown up to this many characters.
LONGEST = 120

#: What a pull request turns into mentions, references and links even where it is no markup.
_LIVE = re.compile(r"@|\\#|#(?=\w)|:(?=//)|(?i:\bwww)(?=\.)|(?i:\bgh)(?=-\d)")
_BAR = re.compile(r"(?<!\\)\|")
#: What XML 1.0 cannot hold at all.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def md_text(text: object) -> str:
    """Text that shows as it is: no markup, no mention, no reference, no link, on one line."""
    # An empty comment ends the word that would have been a mention and cannot be seen.
    return _LIVE.sub(lambda match: f"{match[0]}<!-- -->", md_escape(text))


def md_code(text: object) -> str:
    """A name as a code span, which knows neither markup nor mentions."""
    shown = clip(" ".join(shown_text(text).split()), LONGEST)
    if not shown:
        return "–"
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def md_cell(markdown: str) -> str:
    """Markdown as a cell of a table, where a bar would begin the next cell even inside a code span."""
    return _BAR.sub(r"\\|", markdown) or " "


def xml_text(text: object) -> str:
    """Text without what XML cannot hold: such characters are shown as ``[U+0007]``."""
    return _NOT_XML.sub(lambda match: f"[U+{ord(match[0]):04X}]", shown_text(text))
