"""What the reader of responses holds: an index of all of them, and their texts in packs.

Plain dataclasses of plain values, so that a report is made again from its context byte for byte.
Positions in texts are code points, as in the tables of a run; a page that counts in UTF-16 units converts.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pack:
    """Texts and facts of some rows of the index: gzip of JSON, in base64.

    ``id`` is the beginning of the SHA-256 of ``data``, ``raw_bytes`` the size of the JSON.  The JSON is a list
    with an object per row (see :mod:`qrm_forensics.report.reader.entries`).
    """

    id: str
    raw_bytes: int
    data: str


@dataclass(frozen=True, slots=True)
class ReaderCell:
    """One response as the table lists it.  ``variant`` is its place in ``Reader.variants``.

    ``status`` has one entry per policy, None where it was not judged.  ``outcome``, ``words`` and ``loop`` are
    None where they were not measured; ``answer`` is that of the first policy, cut to a line.  ``chars`` is None
    where there is no text.
    """

    variant: int
    status: tuple[str | None, ...]
    outcome: str | None
    words: int | None
    chars: int | None
    loop: bool | None
    answer: str | None


@dataclass(frozen=True, slots=True)
class ReaderRow:
    """One problem and sample, with the response of each variant that has one.

    Its texts are entry ``place`` of pack ``pack``.  ``question`` is cut; the pack has all of it.
    """

    benchmark: str
    problem_id: str
    sample: int
    seed: int
    question: str
    gold: str
    subject: str | None
    level: str | None
    pack: int
    place: int
    cells: tuple[ReaderCell, ...]


@dataclass(frozen=True, slots=True)
class Reader:
    """All responses of a run.

    ``references``: (benchmark, variant, its reference) of all that are compared with another one.
    ``facts``: the measured columns that packs have values of, in the order of display; ``flags`` those of them
    that are yes or no.  ``markers``: the words and phrases that count as discourse markers.
    """

    variants: tuple[str, ...]
    policies: tuple[str, ...]
    references: tuple[tuple[str, str, str], ...]
    facts: tuple[str, ...]
    flags: tuple[str, ...]
    markers: tuple[str, ...]
    rows: tuple[ReaderRow, ...]
    packs: tuple[Pack, ...]

    @property
    def packed_bytes(self) -> int:
        """What the packs take in a file."""
        return sum(len(pack.data) for pack in self.packs)
