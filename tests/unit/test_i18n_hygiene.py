"""What a message may look like: its markup closes, its language is its own, its punctuation that of the language."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from markdown_it import MarkdownIt

from qrm_forensics.report import i18n
from qrm_forensics.report.gate.texts import gate_catalogue
from qrm_forensics.report.i18n import Texts, catalogue, languages
from qrm_forensics.report.rule_texts import rule_texts

LANGUAGES = languages()
HANGUL, HANZI = "[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]", "[\u3400-\u4dbf\u4e00-\u9fff]"
_SLOT = re.compile(r"\{[^{}]*\}")
#: What stands for something as it is written: code, quoted terms, names of columns and files, commands of LaTeX.
_VERBATIM = re.compile(
    r"`[^`]*`|'[^']*'|\"[^\"]*\"|“[^”]*”|\b\w+_\w+\b|</?\w+>|\\\w+(?:\{[^}]*\})?,?(?:\\b|\?)*\S*|https?\S+|\b\w+\.jsonl?\b"
)

#: Latin words that a Korean or a Chinese engineer writes in Latin letters.
TECHNICAL = frozenset(
    re.findall(
        r"\w+",
        """
    AUC MATTR TTR MAD JSON CSV UTF MB ID pandas LaTeX JavaScript Unicode token tokens id ids nat U FFFD emoji qrm forensics
    p n ln log exp k t T A B C D E X x R w kv flips gram zlib RFC ISA L math verify arXiv NoWait Distill Qwen
    Wilson Tango McNemar Holm Aalen Johansen Brookmeyer Crowley Kaplan Meier Benjamini Hochberg Wang
    Student Markdown KV LM MLP attention head MXFP AWQ bit g W
    GPTQ KVQuant MATH AIME DeepSeek boxed answered concluded tight medium sparse scaled pseudo other is
    Wait wait but hmm so actually perhaps maybe alternatively however again therefore thus hence let me hold on double
    check alternative another oh now ah any
    """,
    )
)


def _messages(language: str) -> Iterator[tuple[str, str]]:
    """Every text of a language: its catalogues, and what metrics and rules bring along."""
    told = catalogue(language)
    yield from {**told, **gate_catalogue(language), **rule_texts(language, told)}.items()


def _foreign(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z]+", _SLOT.sub(" ", _VERBATIM.sub(" ", _SLOT.sub(" ", text))))) - TECHNICAL


@pytest.mark.parametrize("language", LANGUAGES)
def test_markup_closes(language: str) -> None:
    markdown = MarkdownIt()
    for key, message in _messages(language):
        assert message.count("`") % 2 == 0 and message.count("**") % 2 == 0, key
        plain = re.sub(r"`[^`]*`|KVQuant\*|\*\*", "", message)
        assert "*" not in plain, key
        strong = message.count("**") // 2
        # As Markdown on GitHub: stars between a full stop and a letter would not close.
        html = markdown.renderInline(_SLOT.sub("x", message).replace("KVQuant*", "KVQuant"))
        assert html.count("<strong>") == html.count("</strong>") == strong, f"{language} {key}: {html}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_looks_like_a_slot_is_one(language: str) -> None:
    for key, message in catalogue(language).items():
        if key.startswith("metric."):
            continue  # texts of metrics have no slots but {terms}, and quote regular expressions
        rest = i18n._SLOT.sub("", re.sub(r"`[^`]*`|\\boxed\{\}?", "", message))
        assert not re.search(r"[{}|]", rest), f"{language} {key}: {rest}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_brackets_and_quotes_close(language: str) -> None:
    for key, message in _messages(language):
        text = re.sub(r"`[^`]*`|\\boxed\{['”]|'[^']*'|“[^”]*”|\(\.\)\\1\{9,\}", "", message)
        for opening, closing in ("()", "（）", "“”", "「」", "[]", "{}"):
            assert text.count(opening) == text.count(closing), f"{language} {key}: {opening}{closing} in {text}"


@pytest.mark.parametrize("language", sorted({"ko", "zh"} & set(LANGUAGES)))
def test_no_english_is_left(language: str) -> None:
    left = {key: words for key, message in _messages(language) if (words := _foreign(message))}
    assert left == {}


@pytest.mark.parametrize("language", sorted({"ko", "zh"} & set(LANGUAGES)))
def test_every_message_is_translated(language: str) -> None:
    english = dict(_messages("en"))
    same = [key for key, message in _messages(language) if message == english.get(key) and _foreign(message)]
    assert same == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_other_script_is_in_a_message(language: str) -> None:
    foreign = {"en": f"{HANGUL}|{HANZI}", "ko": HANZI, "zh": HANGUL}[language]
    assert [key for key, message in _messages(language) if re.search(foreign, message)] == []


def test_chinese_is_simplified_and_has_its_own_punctuation() -> None:
    for key, message in _messages("zh"):
        text = _SLOT.sub("{}", _VERBATIM.sub("`", message))
        hanzi = "".join(re.findall(HANZI, text))
        assert hanzi.encode("gb2312", errors="replace").decode("gb2312") == hanzi, f"{key}: not simplified: {hanzi}"
        assert not re.search(rf"{HANZI}[,;:!?()]|[,;:!?(]{HANZI}", text), f"{key}: {text}"
        assert not re.search(rf"{HANZI}[A-Za-z0-9]|[A-Za-z0-9]{HANZI}", text), f"{key}: no space in {text}"
        assert not re.search(r"[，。；：！？（）“”、] |[ ][，。；：！？（）”、]", text), f"{key}: a space in {text}"


def test_korean_keeps_one_tone() -> None:
    """Definitions are written as a dictionary writes (이다), sentences as a report speaks (합니다)."""
    for key, message in catalogue("ko").items():
        text = re.sub(r"\([^()]*\)", "", _SLOT.sub("x", message).replace("**", ""))
        ends = re.findall(r"(\w+)\.(?=\s|$)", text)
        written = key.startswith(("definition.", "method.", "claim."))
        # 합니다, 입니다, 습니다: a syllable that ends in ㅂ before 니다, unlike 아니다.
        formal = {
            end: end.endswith("니다") and (ord(end[-3]) - ord("가")) % 28 == 17 for end in ends if end[-1:] == "다"
        }
        wrong = [end for end, is_formal in formal.items() if is_formal == written]
        assert wrong == [], f"{key}: {message}"


def test_korean_particles_follow_what_they_are_printed_behind() -> None:
    hard = re.compile(r"\{[a-z][^{}]*\}\*{0,2}(?:은|는|이|가|을|를|과|와|으로|로)(?=[\s,.)])")
    assert [key for key, message in _messages("ko") if hard.search(message)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_title_of_a_column_is_short(language: str) -> None:
    labels = Texts.of(language).labels
    assert max(map(len, labels.values())) <= 60
    assert all(label == label.strip() and not label.endswith((".", "。")) for label in labels.values())
