from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrm_forensics.errors import InputError, RecipeError
from qrm_forensics.recipes import Recipe
from qrm_forensics.report.i18n import languages
from qrm_forensics.study import LANGUAGES, demo_study, load_study

BITS = st.integers(3, 8)
WEIGHT_ONLY = st.builds(
    Recipe,
    method=st.sampled_from(["rtn", "awq", "gptq"]),
    weight_bits=st.integers(2, 8),
    group_size=st.sampled_from([-1, 32, 64, 128]),
    symmetric=st.booleans(),
    quant_shards=st.integers(1, 8),
    preset=st.sampled_from(["fixed", "paper-code", "paper-text"]),
)
EVERYTHING = st.builds(
    Recipe,
    method=st.sampled_from(["quarot", "smoothquant", "flatquant"]),
    weight_bits=BITS,
    activation_bits=BITS,
    kv_bits=BITS,
    quant_shards=st.integers(1, 8),
)
KV_ONLY = st.builds(Recipe, method=st.sampled_from(["kvquant_star", "quarot"]), kv_bits=BITS)
UNQUANTIZED = st.builds(Recipe, method=st.sampled_from(["bf16", "fp16", "fp32"]))


@given(WEIGHT_ONLY | EVERYTHING | KV_ONLY | UNQUANTIZED)
def test_every_recipe_is_read_back_from_its_name(recipe: Recipe) -> None:
    assert Recipe.parse(str(recipe)) == recipe


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("aqw-w3g128", "did you mean 'awq'"),
        ("awq-w3", "needs a group size"),
        ("bf16-w3", "takes no bit widths"),
        ("mxfp4-w3a4kv4", "4 bits everywhere"),
        ("awq-w9g128", "less than or equal to 8"),
        ("awq-w1g128", "greater than or equal to 2"),
        ("kvquant_star-w4kv4", "takes KV-cache bits"),
        ("awq-4bit", "cannot read '4bit'"),
        ("gptq-w4g128+mine", "unknown preset or option .mine."),
        ("", "unknown method"),
    ],
)
def test_an_impossible_recipe_says_what_is_wrong(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe.parse(name)


GOOD = """
name: small
models: [builtin]
recipes: [bf16, awq-w4g128]
benchmarks:
  - name: builtin
    limit: 10
sampling: {temperature: 0.6, max_new_tokens: 300}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_study_file_is_read(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, GOOD))
    assert [str(r) for r in study.recipes] == ["bf16", "awq-w4g128"]
    assert study.sampling.max_new_tokens == 300 and study.sampling.top_p == 0.95


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("recipes:", "recipies:"), r"unknown key 'recipies'; did you mean 'recipes'"),
        (("limit: 10", "limits: 10"), r"unknown key 'benchmarks.0.limits'; did you mean 'limit'"),
        (("temperature: 0.6", "temperature: hot"), r"sampling.temperature"),
        (("awq-w4g128", "awq-w4"), r"needs a group size"),
        (("recipes: [bf16, awq-w4g128]", "recipes: [awq-w4g128]"), r"baseline bf16 is not one of the recipes"),
        (("[bf16, awq-w4g128]", "[bf16, bf16]"), r"bf16 is there more than once"),
        (("name: small", "name: ../up"), r"name"),
        (("models: [builtin]", "models: ["), r"not valid YAML"),
        (("name: small", "name: 2024-13-45"), r"not valid YAML.*month"),
        (("name: builtin", "name: ''"), r"benchmarks.0.name"),
        (("temperature: 0.6", "seeds: [9223372036854775808]"), r"sampling.seeds.0"),
        (("limit: 10", "limit: 10\n    limit: 5"), r"'limit' is there twice, on lines 7 and 8; remove one"),
        (("0.6,", "0.6, temperature: 0.7,"), r"'temperature' is there twice, on line 8"),
        (
            ("limit: 10", "limit: '2'"),
            r"benchmarks.0.limit: expected a whole number; found '2', a text; write it without quotes$",
        ),
        (("limit: 10", "limit: true"), r"expected a whole number; found true$"),
        (("limit: 10", "hub: 'no'"), r"expected true or false; found 'no'$"),
        (("0.6", "yes"), r"sampling.temperature: expected a number; found true$"),
        (("300", "300.0"), r"sampling.max_new_tokens: expected a whole number; found 300.0$"),
        (
            ("awq-w4g128", "{method: awq, weight_bits: '4', group_size: 128}"),
            r"recipes.1.weight_bits: expected a whole",
        ),
        (("[bf16, awq-w4g128]", "bf16"), r"recipes: expected a list such as \[a, b\]; found 'bf16'$"),
        (("name: small", "name: 2024"), r"name: expected a text; found 2024; write it in quotes$"),
        (
            ("name: small", "name: small\nlatency: {problems: true}"),
            r"latency.problems: expected a whole number; found true",
        ),
        (("name: small", "name: small\nlanguages: [kr]"), r"'kr'; did you mean 'ko'\? known languages: en, ko, zh"),
        (("name: small", "name: small\nlanguages: [fr]"), r"'fr'; known languages: en, ko, zh"),
    ],
)
def test_a_wrong_study_file_names_file_and_key(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = write(tmp_path, GOOD.replace(*change))
    with pytest.raises(InputError, match=message) as caught:
        load_study(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_number_may_have_an_exponent_and_a_merged_key_may_be_overridden(tmp_path: Path) -> None:
    options = "backend: {options: {one: &base {a: 1, b: 2}, two: {<<: *base, b: 3}}}"
    study = load_study(write(tmp_path, GOOD.replace("0.6", "6e-1") + options))
    assert study.sampling.temperature == 0.6
    assert study.backend.options == {"one": {"a": 1, "b": 2}, "two": {"a": 1, "b": 3}}


def test_the_languages_of_a_study_are_those_of_the_catalogues() -> None:
    assert languages() == LANGUAGES


def test_missing_and_odd_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such study file"):
        load_study(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="expected keys"):
        load_study(write(tmp_path, "just text"))
    with pytest.raises(InputError, match="found nothing"):
        load_study(write(tmp_path, "# nothing"))
    with pytest.raises(InputError, match="more than 1 MiB, so it is no study file"):
        load_study(write(tmp_path, "#" * (1 << 20) + "\n"))
    path = tmp_path / "study.yaml"
    path.write_bytes("name: small\nmodels: [한국]".encode("euc-kr"))
    with pytest.raises(InputError, match="line 2 is not UTF-8; save the file as UTF-8"):
        load_study(path)


def test_the_demo_has_five_variants_or_more() -> None:
    study = demo_study(768)
    assert len(study.recipes) >= 5 and {r.bits for r in study.recipes} >= {16, 4, 3, 2}


def test_the_example_studies_are_valid() -> None:
    policies = {"policy.yaml", "gate-policy.yaml"}  # of the gate, read by tests of their own
    folder = Path(__file__).parents[2] / "examples"
    examples = sorted(p for p in folder.glob("*.yaml") if p.name not in policies)
    assert len(examples) >= 3
    for path in examples:
        load_study(path)
