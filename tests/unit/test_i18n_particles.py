"""Korean particles follow the sound of what stands before them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qrm_forensics.report.particles import PAIRS, Final, final_sound, particle

V, C, R, U = Final.VOWEL, Final.CONSONANT, Final.RIEUL, Final.UNKNOWN

ENDINGS = {
    # Hangul, composed and decomposed
    "모델": R, "문제": V, "정답": C, "응답률": R, "\u1106\u1169\u1103\u1166\u11af": R,
    # digits as they are read: 영 일 이 삼 사 오 육 칠 팔 구
    "0": C, "1": R, "2": V, "3": C, "4": V, "5": V, "6": C, "7": R, "8": R, "9": V,
    "10": C, "100": C, "1,000": C, "2,500": C, "1.50": C, "1,000,000,000,000": V,
    # units
    "85.0%": V, "−32.4%p": V, "2.45배": V, "p < 0.001": R,
    # recipes and benchmarks
    "awq-w3g128": R, "awq-w4g128": R, "bf16": C, "kvquant_star-kv4": V, "kvquant_star-kv3": C, "rtn-w2g32": V,
    "smoothquant-w8a8kv8": R, "gptq-w3g128+paper-code": V, "MATH-500": C, "AIME-90": C, "GSM8K": V, "awq": V, "AWQ": V,
    "RTN": C, "LLM": C, "URL": R, "GPTQ": V, "MATH": V,
    # Latin words
    "Algebra": V, "Geometry": V, "Number Theory": V, "Precalculus": V, "builtin": C, "baseline": C, "sample": R,
    "model": R, "LiveCodeBench": V, "Qwen": C, "block": C, "loop": V, "file": R, "DeepSeek": V, "GPQA": V, "AIME": C,
    "dataset": C, "notebook": C, "metric": C, "log": V, "config": V, "prompt": V, "layer": V, "SmoothQuant": V, "QuIP": C,
    "job": C, "GitHub": V, "plot": C, "epoch": C, "batch": V, "Google": R, "algorithm": C, "pattern": C, "MATTR": R,
    # versions and sizes of models
    "R1": C, "DeepSeek-R1": C, "o1": C, "Qwen3": V, "Llama-3": V, "Qwen2.5": V, "kv3": C, "7B": V, "32k": V, "MXFP4": V,
    # fractions are read from below; scientific and Greek
    "12/50": V, "13/200": C, "1,000/1,001": C, "263/500개": V, "β": V, "ε": C,
    # what follows the word is not read
    "awq-w3g128 (tp2)": R, "정답률(85%)": R, "정답률（85%）": R, "모델 (a (b) c)": R, "(bf16)": C, "모델)": R, "“bf16”": C, "'모델'": R, "`bf16`": C, "값)": C, "정답.": C,
    # nothing to read
    "": U, "…": U, "שלום": U,
}  # fmt: skip


@pytest.mark.parametrize("text", ENDINGS)
def test_final_sound(text: str) -> None:
    assert final_sound(text) is ENDINGS[text]


@pytest.mark.parametrize(
    ("text", "wanted", "expected"),
    [
        ("bf16", "은/는", "은"),
        ("awq-w3g128", "은/는", "은"),
        ("kvquant_star-kv4", "은/는", "는"),
        ("85.0%", "이/가", "가"),
        ("3", "을/를", "을"),
        ("MATH-500", "과/와", "과"),
        ("서울", "으로/로", "로"),
        ("bf16", "으로/로", "으로"),
        ("awq-w3g128", "으로/로", "로"),
        ("−1.6%p", "으로/로", "로"),
        ("문제", "는", "는"),
        ("정답", "는", "은"),
        ("…", "은/는", "은(는)"),
        ("…", "으로/로", "(으)로"),
    ],
)
def test_particle(text: str, wanted: str, expected: str) -> None:
    assert particle(text, wanted) == expected


def test_unknown_particle_is_refused() -> None:
    with pytest.raises(ValueError, match="에서"):
        particle("모델", "에서")


# ------------------------------------------------------------------------------ against independent readings
DIGITS = ("영", "일", "이", "삼", "사", "오", "육", "칠", "팔", "구")
TENS = ("", "십", "백", "천")
MYRIADS = ("", "만", "억", "조", "경", "해")


def read_aloud(number: int) -> str:
    """A whole number in Hangul, as it is read: 1,024 is 천이십사."""
    spoken = ""
    for power in range(len(MYRIADS) - 1, -1, -1):
        four = number // 10 ** (4 * power) % 10_000
        for place in (3, 2, 1, 0):
            digit = four // 10**place % 10
            spoken += (DIGITS[digit] if digit > 1 or place == 0 else "") + TENS[place] if digit else ""
        spoken += MYRIADS[power] if four else ""
    return spoken or "영"


def sound(syllable: str) -> Final:
    """The final sound by Unicode's decomposition: a syllable with a final consonant has three letters."""
    letters = unicodedata.normalize("NFD", syllable)
    if len(letters) == 2:
        return V
    return R if letters[2] == "\u11af" else C


@given(
    st.integers(0, 10**24 - 1), st.sampled_from(("{}", "{:,}", "−{}", "약 {:,}", "({:,})", "'{}'", "w{}", "awq-g{}"))
)
@example(10**12, "{:,}")
@example(10**20, "{}")
@example(10**16, "{:,}")
@example(10_000, "{:,}")
def test_numbers_sound_as_they_are_read(number: int, shape: str) -> None:
    assert final_sound(shape.format(number)) is sound(read_aloud(number)[-1])


@given(st.decimals(0, 10**9, places=3))
def test_decimals_are_read_digit_by_digit(number: object) -> None:
    assert final_sound(str(number)) is sound(DIGITS[int(str(number)[-1])])
    assert final_sound(f"{number}%") is final_sound(f"+{number}%p") is V


@given(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), st.booleans())
def test_hangul_sounds_as_it_is_composed(syllable: str, decomposed: bool) -> None:
    assert final_sound(unicodedata.normalize("NFD", syllable) if decomposed else syllable) is sound(syllable)


@given(
    st.sampled_from(sorted(ENDINGS)),
    st.sampled_from(("`{}`", "'{}'", "“{}”", "「{}」", "**{}**", "{} (tp2)", "{}（모델）")),
)
def test_what_encloses_a_word_is_not_read(text: str, shape: str) -> None:
    if ENDINGS[text] is not U:
        assert final_sound(shape.format(text)) is ENDINGS[text]


@given(st.text(max_size=40), st.sampled_from(PAIRS))
def test_any_text_takes_one_of_the_forms(text: str, pair: tuple[str, str]) -> None:
    consonant, vowel = pair
    neutral = f"(으){vowel}" if consonant == "으로" else f"{consonant}({vowel})"
    assert particle(text, "/".join(pair)) in {consonant, vowel, neutral}
    assert particle(text + "문제", consonant) == vowel and particle(text + "정답", vowel) == consonant
