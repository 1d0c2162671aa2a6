"""Which words take over?  The commonest words of one response beside those of the reference's, on one problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import zip_longest

import pyarrow.compute as pc

from qrm_forensics.report.claims import count
from qrm_forensics.report.data import BenchmarkData
from qrm_forensics.report.nouns import Claim, Sentence, Unit
from qrm_forensics.report.sections.groups import of_response, where_response
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.sections.model import Column, Part, Quote, Section, Table, Value
from qrm_forensics.report.sections.telling import DIVERSITY, Telling, most_telling

TOP = 10


def build(material: Material) -> Iterable[Section]:
    """One section per benchmark with a lost problem whose diversity fell; none where no text is stored."""
    for data, _ in material.benchmarks():
        telling = most_telling(material.run, data, material.references[data.name])
        if telling is None:
            continue
        texts = [_text(material, data, v, telling.row) for v in (telling.reference, telling.variant)]
        if all(texts):
            yield _section(material, data, telling, *texts)


def _text(material: Material, data: BenchmarkData, variant: str, row: int) -> str:
    problem, sample, seed = data.keys[row]
    table = material.run.store.traces(["problem_id", "sample", "seed", "text"], variant=variant, benchmark=data.name)
    mask = pc.and_(
        pc.equal(table["problem_id"], problem),
        pc.and_(pc.equal(table["sample"], sample), pc.equal(table["seed"], seed)),
    )
    found = table.filter(mask)["text"].to_pylist()
    return str(found[0] or "") if found else ""


def _section(material: Material, data: BenchmarkData, telling: Telling, before: str, after: str) -> Section:
    problem = data.keys[telling.row][0]
    sides = [
        _words(material, data, variant, telling.row, text)
        for variant, text in ((telling.reference, before), (telling.variant, after))
    ]
    rows: list[tuple[Value, ...]] = [
        (*(left or (None, None)), *(right or (None, None))) for left, right in zip_longest(*(s[0] for s in sides))
    ]
    heads = (
        Column("reference_word", Sentence("tokens.reference_word", {"reference": telling.reference})),
        Column("reference_count", Sentence("tokens.count"), "share"),
        Column("variant_word", Sentence("tokens.variant_word", {"variant": telling.variant})),
        Column("variant_count", Sentence("tokens.count"), "share"),
    )
    slots: dict[str, Claim | str] = {
        "variant": telling.variant,
        "reference": telling.reference,
        "problem": problem,
        "before": sides[0][1],
        "after": sides[1][1],
        "top": sides[1][0][0][1],
        "words": sides[1][2],
    }
    chosen: dict[str, Claim | str] = {}
    for side, variant in (("before", telling.reference), ("after", telling.variant))[0 if telling.falls else 1 :]:
        frame = data.of(variant)
        row = frame[frame["row"] == telling.row].iloc[0]
        claim = of_response(material, data.name, row, "tokens", DIVERSITY, Unit.PLAIN)
        assert claim is not None  # the rule asks for it
        chosen[side] = claim
    return Section(
        name="tokens",
        part=Part.CAUSES,
        benchmark=data.name,
        title=Sentence("tokens.title"),
        answer=(
            Sentence("tokens.answer", slots),
            Sentence(
                "tokens.chosen" if telling.falls else "tokens.chosen_lowest",
                {"problem": problem, "variant": telling.variant, **chosen},
            ),
        ),
        tables=(Table("top_words", heads, tuple(rows), Sentence("tokens.caption")),),
        quotes=(),
        notes=(Sentence("tokens.note"),),
    )


Row = tuple[Quote, Claim]


def _words(
    material: Material, data: BenchmarkData, variant: str, row: int, text: str
) -> tuple[list[Row], Claim, Claim]:
    """The commonest words with their counts (of equal ones those that come first), the different words, all words."""
    frame = data.of(variant)
    response = frame[frame["row"] == row].iloc[0]
    at = where_response(response, data.name)
    words = Counter(text.split())
    total = words.total()
    problem = data.keys[row][0]
    name = f"tokens/{data.name}/{variant}"
    found = []
    for rank, (word, number) in enumerate(words.most_common(TOP), 1):
        claim = count(*(f"{name}/rank/{rank}", number, "definition.tokens_count"), of=total, table="traces", filter=at)
        found.append((Quote(word, variant, problem), material.add(claim)))
    return (
        found,
        material.add(count(f"{name}/distinct", len(words), "definition.tokens_distinct", table="traces", filter=at)),
        material.add(count(f"{name}/words", total, "definition.tokens_words", table="traces", filter=at)),
    )
