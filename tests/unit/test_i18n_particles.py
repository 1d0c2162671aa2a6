"""Korean particles follow the sound of what stands before them."""

from __future__ import annotations

import pytest

from qrm_forensics.report.particles import Final, final_sound, particle

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
    "model": R, "LiveCodeBench": V, "Qwen": C, "block": C, "loop": V, "file": R,
    # what follows the word is not read
    "awq-w3g128 (tp2)": R, "정답률(85%)": R, "'모델'": R, "`bf16`": C, "값)": C, "정답.": C,
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
