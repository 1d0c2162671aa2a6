"""Every key in every language, with the slots that it gets; numbers as each language prints them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from qrm_forensics.errors import InputError
from qrm_forensics.metrics.protocol import LANGUAGES as BESIDE_THE_CODE
from qrm_forensics.metrics.registry import all_metrics
from qrm_forensics.records import Coverage, Finish, Status
from qrm_forensics.report import keys
from qrm_forensics.report.gate.texts import LOCALES as GATE_LOCALES
from qrm_forensics.report.gate.texts import gate_catalogue
from qrm_forensics.report.i18n import (
    LOCALES,
    CatalogueError,
    MissingMessage,
    Texts,
    catalogue,
    check_languages,
    languages,
    read_catalogue,
    slots_of,
)
from qrm_forensics.report.model import Claim, Unit
from qrm_forensics.report.numbers import Numbers
from qrm_forensics.report.particles import PAIRS
from qrm_forensics.report.render import templates_dir
from qrm_forensics.report.rule_texts import rule_keys, with_terms
from qrm_forensics.symptoms import SPECS

LANGUAGES = languages()
_KEY = re.compile(r"""['"]((?:ui|chart|method|badge|policy|status|finish|coverage|origin|dimension)\.[\w.]+)['"]""")


def _asked_for() -> set[str]:
    """Keys that code and templates name, and those that they put together from values."""
    import qrm_forensics.report

    sources = [*templates_dir().rglob("*.j2"), *Path(qrm_forensics.report.__file__).parent.glob("*.py")]
    named = {key for source in sources for key in _KEY.findall(source.read_text("utf-8"))}
    built = {
        *(f"badge.{key}" for key in (*keys.HEADLINES, *keys.FINDINGS)),
        *(f"status.{s}" for s in Status),
        *(f"finish.{f}" for f in Finish),
        *(f"coverage.{c}" for c in Coverage),
        *(f"ci.{m}" for m in keys.CI_METHODS),
        *(
            "policy.strict",
            "policy.lenient",
            "origin.run",
            "origin.import",
            "dimension.subject",
            "dimension.level",
            "dimension.topic",
        ),
        *(f"ui.threshold.{s.name}" for s in SPECS),
        *(f"ui.flags_{family}" for family in ("symptom", "reference")),
        *(f"chart.overlap.{kind}" for kind in ("all", "none", "lost", "gained", "some")),
    }
    return {k for k in named if not k.endswith((".", ".j2"))} | built | set(keys.CLAIM_NOTES)


def test_there_are_english_korean_and_chinese() -> None:
    assert {"en", "ko", "zh"} <= set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_key_that_is_asked_for_exists(language: str) -> None:
    asked = _asked_for()
    assert len(asked) > 150
    assert sorted(k for k in (asked | set(keys.SENTENCES)) if k not in catalogue(language)) == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("key", keys.DEFINITIONS)
def test_every_definition_is_a_sentence(language: str, key: str) -> None:
    assert len(Texts.of(language).definition(key)) > 10


@pytest.mark.parametrize("key", keys.SENTENCES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_use_the_slots_they_get(language: str, key: str) -> None:
    message = catalogue(language)[key]
    assert slots_of(message) <= set(keys.SENTENCES[key])
    assert "{" not in re.sub(r"\{[a-z_]\w*(?:[:#|][^{}]*)?\}", "", message).replace("{}", "")


def _own(language: str) -> set[str]:
    """The keys of a catalogue without those of the texts that other languages have beside the code."""
    return set(catalogue(language)) - rule_keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_language_lacks_a_key(language: str) -> None:
    every = set().union(*map(_own, LANGUAGES))
    missing = "\n".join(f"{key}: {catalogue('en').get(key)}" for key in sorted(every - _own(language)))
    assert not missing, f"missing in {language}:\n{missing}"


def test_every_language_has_the_same_area_files() -> None:
    def areas(language: str) -> set[str]:
        return {path.stem for path in (LOCALES / language).glob("*.po")}

    assert {language: areas(language) - areas("en") for language in LANGUAGES} == {
        language: set() if language in BESIDE_THE_CODE else {"metrics", "rules"} for language in LANGUAGES
    }
    assert all(areas("en") <= areas(language) for language in LANGUAGES)


@pytest.mark.parametrize("key", sorted(catalogue("en")))
def test_no_language_drops_a_slot(key: str) -> None:
    used = {language: slots_of(catalogue(language)[key]) for language in LANGUAGES if key in catalogue(language)}
    assert len(set(used.values())) == 1, used


@pytest.mark.parametrize("key", sorted(gate_catalogue("en")))
def test_no_language_drops_a_slot_of_the_gate(key: str) -> None:
    assert len({slots_of(gate_catalogue(language)[key]) for language in LANGUAGES}) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_message_is_empty_fuzzy_or_twice_in_a_file(language: str) -> None:
    for path in [*(LOCALES / language).glob("*.po"), *(GATE_LOCALES / language).glob("*.po")]:
        text = path.read_text("utf-8")
        named = re.findall(r'^msgid "([^"]+)"', text, re.M)
        with path.open("rb") as file:
            told = [m.id for m in read_po(file, abort_invalid=True) if m.id and m.string and not m.fuzzy]
        assert sorted(named) == sorted(told), path
        assert all(key == key.strip() for key in named)


# ------------------------------------------------------------------------------ texts that rules bring along
@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_of_rules_stand_in_one_place(language: str) -> None:
    """Beside the code in English and Korean, in the catalogue in every other language."""
    written = set(catalogue(language)) & rule_keys()
    assert written == (set() if language in BESIDE_THE_CODE else rule_keys())


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_column_is_told_in_every_language(language: str) -> None:
    texts = Texts.of(language)
    for column in (column for metric in all_metrics() for column in metric.columns):
        assert texts.labels[column.name] and f"`{column.name}`" in texts.definition(f"definition.column.{column.name}")
        english = column.definition["en"]
        quoted = re.findall(r"'[^']+'(?:, '[^']+'){2,}", english)
        assert all(terms in texts.definitions[column.name] for terms in quoted), (
            "terms of the code are told as they are"
        )
        assert "{terms" not in texts.definitions[column.name]
        if language != "en":
            assert texts.definitions[column.name] != english


def test_terms_of_a_definition_are_not_repeated_in_a_catalogue() -> None:
    english = "One of 'a b', 'c', 'd', and 'e', 'f', 'g'; not 'x', 'y'."
    assert with_terms("{terms2} / {terms1}", english) == "'e', 'f', 'g' / 'a b', 'c', 'd'"
    with pytest.raises(IndexError):
        with_terms("{terms3}", english)


def test_a_key_stands_in_one_file_only(tmp_path: Path) -> None:
    (tmp_path / "a.po").write_text('msgid "k"\nmsgstr "one"\n\nmsgid "empty"\nmsgstr ""\n', encoding="utf-8")
    (tmp_path / "b.po").write_text('msgid "l"\nmsgstr "two"\n\n#, fuzzy\nmsgid "m"\nmsgstr "3"\n', encoding="utf-8")
    assert read_catalogue(tmp_path) == {"k": "one", "l": "two"}
    (tmp_path / "b.po").write_text('msgid "empty"\nmsgstr "two"\n', encoding="utf-8")
    with pytest.raises(CatalogueError, match=r"'empty' is in a\.po and in b\.po"):
        read_catalogue(tmp_path)


def test_particles_in_the_korean_catalogue_are_known() -> None:
    known = {f"{consonant}/{vowel}" for consonant, vowel in PAIRS}
    used = {p for message in catalogue("ko").values() for p in re.findall(r"\{\w+(?::\w+)?\|([^}]+)\}", message)}
    assert used
    assert used <= known


def _claim(value: float | int | None, unit: Unit, **more: object) -> Claim:
    return Claim("a/b", value, unit, "definition.n", **more)  # type: ignore[arg-type]


NUMBERS = [
    (_claim(0.85, Unit.SHARE), "85.0%", "85.0%", "85.0%"),
    (_claim(-0.324, Unit.POINTS), "−32.4 pp", "−32.4%p", "−32.4 个百分点"),
    (_claim(0.016, Unit.POINTS), "+1.6 pp", "+1.6%p", "+1.6 个百分点"),
    (_claim(-0.0001, Unit.POINTS), "0.0 pp", "0.0%p", "0.0 个百分点"),
    (_claim(16446, Unit.WORDS), "16,446", "16,446", "16,446"),
    (_claim(2433.5, Unit.WORDS), "2,433.5", "2,433.5", "2,433.5"),
    (_claim(2.45, Unit.RATIO), "2.45×", "2.45배", "2.45 倍"),
    (_claim(6e-40, Unit.P_VALUE), "<0.001", "<0.001", "<0.001"),
    (_claim(0.0234, Unit.P_VALUE), "0.023", "0.023", "0.023"),
    (_claim(0.0377, Unit.PLAIN), "0.038", "0.038", "0.038"),
    (_claim(None, Unit.SHARE), "–", "–", "–"),
    (_claim(None, Unit.SHARE, numerator=12, denominator=50), "12/50", "12/50", "12/50"),
]


@pytest.mark.parametrize(("claim", "english", "korean", "chinese"), NUMBERS)
def test_numbers(claim: Claim, english: str, korean: str, chinese: str) -> None:
    printed = [Texts.of(language).numbers.claim(claim) for language in ("en", "ko", "zh")]
    assert printed == [english, korean, chinese]


def test_intervals_and_styles() -> None:
    share = _claim(0.526, Unit.SHARE, numerator=263, denominator=500, ci_low=0.482, ci_high=0.569)
    points = _claim(-0.324, Unit.POINTS, ci_low=-0.367, ci_high=0.01)
    ratio = _claim(1.5, Unit.RATIO, ci_low=1.25, ci_high=1.75)
    en, ko, zh = (Texts.of(language).numbers for language in ("en", "ko", "zh"))
    assert [n.interval(share) for n in (en, ko, zh)] == ["48.2–56.9%", "48.2~56.9%", "48.2%～56.9%"]
    assert [n.interval(ratio) for n in (en, ko, zh)] == ["1.25–1.75×", "1.25~1.75배", "1.25 倍～1.75 倍"]
    assert [n.interval(points) for n in (en, ko, zh)] == [
        "−36.7 to +1.0 pp",
        "−36.7 ~ +1.0%p",
        "−36.7 至 +1.0 个百分点",
    ]
    assert en.fraction(share) == "263/500"
    assert en.magnitude(points.value, points.unit) == "32.4 pp"
    assert (en.p_statement(_claim(0.5, Unit.P_VALUE)), en.p_statement(_claim(1e-9, Unit.P_VALUE))) == (
        "p = 0.500",
        "p < 0.001",
    )


@pytest.mark.parametrize(
    ("unit", "low", "high", "printed"),
    [
        (Unit.WORDS, 0, 12.5, "0.0–12.5"),
        (Unit.TOKENS, 1200.04, 1300.0, "1,200–1,300"),
        (Unit.CHARS, 3, 40.25, "3.0–40.2"),
        (Unit.PLAIN, 0.0, 0.5, "0.000–0.500"),
        (Unit.PLAIN, 0.96, 1.04, "0.960–1.040"),
        (Unit.PLAIN, 0.5, 12.5, "0.5–12.5"),
        (Unit.PLAIN, -0.04, 12.5, "0.0 to 12.5"),
        (Unit.PLAIN, 2.5, 3.1, "2.5–3.1"),
        (Unit.PLAIN, -0.25, 0.5, "−0.250 to 0.500"),
    ],
)
def test_both_ends_of_an_interval_have_as_many_decimals(unit: Unit, low: float, high: float, printed: str) -> None:
    assert Texts.of("en").numbers.interval(_claim(low, unit, ci_low=low, ci_high=high)) == printed


def test_every_language_has_its_signs_and_its_tag() -> None:
    assert {language: Texts.of(language).tag for language in LANGUAGES} == {
        language: {"zh": "zh-Hans"}.get(language, language) for language in LANGUAGES
    }
    with pytest.raises(KeyError):
        Numbers.of("fr")


def test_names_are_escaped_and_never_markup() -> None:
    slots = {"variant": "<b>`x`**y**", "benchmark": "B", "errors": _claim(1, Unit.COUNT), "n": _claim(2, Unit.COUNT)}
    html = Texts.of("en").html("note.errors", **slots)
    assert '<bdi class="name">&lt;b&gt;`x`**y**</bdi>' in html
    assert "<b>" not in html


def test_particle_and_word_forms_in_messages() -> None:
    texts = replace(Texts.of("ko"), messages={"k": "{variant|은/는} {n}개{variant|으로/로}", "w": "{n} {n#word/words}"})
    assert texts.text("k", variant="bf16", n=3) == "bf16은 3개bf16으로"
    assert (
        texts.html("k", variant="kv4", n=1000) == '<bdi class="name">kv4</bdi>는 1,000개<bdi class="name">kv4</bdi>로'
    )
    assert (texts.text("w", n=1), texts.text("w", n=2)) == ("1 word", "2 words")


def test_what_is_missing_is_an_error() -> None:
    texts = Texts.of("en")
    with pytest.raises(MissingMessage, match="no message"):
        texts.text("finding.nothing")
    with pytest.raises(MissingMessage, match="needs the slot"):
        texts.text("note.errors", variant="x")
    with pytest.raises(InputError, match="choose from"):
        check_languages(["xx"])
