"""Laws of the import: names round-trip, the two file forms are one, coverage is about sets."""

from __future__ import annotations

import json
import string
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from qrm_forensics.benchmarks.coverage import coverage
from qrm_forensics.benchmarks.json_records import read_records
from qrm_forensics.errors import InputError
from qrm_forensics.importers.folders import Checkpoint, name_variants, parse_folder
from qrm_forensics.recipes import Recipe
from qrm_forensics.records import Coverage

WEIGHTS = st.integers(2, 8)
GROUPS = st.sampled_from([-1, 1, 32, 64, 128, 4096])
SHARDS = st.sampled_from([1, 2, 4, 8])
PRESETS = st.sampled_from(["fixed", "paper-code", "paper-text"])
RECIPES = st.one_of(
    st.builds(Recipe, method=st.sampled_from(["bf16", "fp16", "fp32"])),
    st.builds(
        Recipe,
        method=st.sampled_from(["rtn", "awq", "gptq"]),
        weight_bits=WEIGHTS,
        group_size=GROUPS,
        symmetric=st.booleans(),
        quant_shards=SHARDS,
        preset=PRESETS,
    ),
    st.builds(Recipe, method=st.sampled_from(["kvquant_star", "quarot"]), kv_bits=st.integers(2, 8), preset=PRESETS),
    st.builds(
        Recipe,
        method=st.sampled_from(["quarot", "smoothquant", "flatquant"]),
        weight_bits=WEIGHTS,
        activation_bits=st.integers(3, 8),
        kv_bits=st.integers(2, 8),
        symmetric=st.booleans(),
        quant_shards=SHARDS,
    ),
)
PART = st.text(string.ascii_letters + string.digits + "._모델 +", min_size=1, max_size=8)
ODD = st.sampled_from(["tp4", "seed1", "w4g128", "awq", "1.5B", "AWQ", "gptq-w3g128", "QwQ", "", "bf16", "tp1-seed42"])
MODELS = st.lists(PART | ODD, min_size=1, max_size=4).map("-".join).filter(lambda m: m.strip("-") != "" and m[0] != "-")


@given(MODELS, RECIPES, st.integers(1, 64), st.integers(0, 2**32))
def test_folder_names_round_trip(model: str, recipe: Recipe, tp: int, seed: int) -> None:
    folder = parse_folder(f"{model}-{recipe}-tp{tp}-seed{seed}")
    assert folder.seed == seed
    assert folder.checkpoint == Checkpoint(model, recipe, None, tp)


@given(MODELS, RECIPES.filter(lambda r: r.quantized), st.integers(0, 99))
def test_released_checkpoints_round_trip(model: str, recipe: Recipe, seed: int) -> None:
    config = str(recipe).removeprefix(f"{recipe.method}-")
    folder = parse_folder(f"{model}-quantized.{recipe.method}-lib9-{config}-seed{seed}")
    assert folder.checkpoint == Checkpoint(model, recipe, "lib9", 1)


@given(st.text(max_size=40))
def test_any_folder_name_is_read_or_refused_in_one_line(name: str) -> None:
    try:
        folder = parse_folder(name)
    except InputError:
        return
    assert folder.checkpoint.model and folder.checkpoint.model in name


@given(
    st.sets(st.builds(Checkpoint, MODELS, RECIPES, st.sampled_from([None, "autoawq"]), st.integers(1, 3)), min_size=1)
)
def test_variant_names_are_unique(checkpoints: set[Checkpoint]) -> None:
    named = name_variants(checkpoints)
    assert set(named) == checkpoints
    assert len({v.id for v in named.values()}) == len(checkpoints)


TEXT = st.text(st.characters(codec=None) | st.sampled_from('\u2028\u2029\x85\r\n\x00\ud800"\\'), max_size=20)
RECORD = st.dictionaries(TEXT, TEXT | st.integers() | st.none() | st.lists(TEXT, max_size=2), max_size=3)


@settings(deadline=None)
@given(st.lists(RECORD, min_size=1, max_size=4), st.booleans(), st.sampled_from([None, 1]))
def test_array_and_lines_are_the_same_file(records: list[dict[str, object]], plain: bool, indent: int | None) -> None:
    def text_of(value: object, indent: int | None = None) -> str:
        # Half a surrogate pair can only stand in a file as an escape.
        text = json.dumps(value, ensure_ascii=plain, indent=indent)
        return "".join(c if not "\ud800" <= c <= "\udfff" else f"\\u{ord(c):04x}" for c in text)

    with tempfile.TemporaryDirectory() as folder:
        array, lines = Path(folder, "array"), Path(folder, "lines")
        array.write_bytes(text_of(records, indent).encode())
        lines.write_bytes("\r\n".join(text_of(r) for r in records).encode())
        assert read_records(array).records == read_records(lines).records == json.loads(json.dumps(records))


@settings(deadline=None)
@given(st.lists(RECORD, min_size=1, max_size=3), st.data())
def test_every_cut_is_refused(records: list[dict[str, object]], data: st.DataObject) -> None:
    whole = json.dumps(records)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cut")
        path.write_text(whole[:cut])
        try:
            read_records(path)
        except InputError as error:
            assert str(path) in str(error) and ("cut off" in str(error) or "is empty" in str(error))
        else:
            raise AssertionError(f"accepted {whole[:cut]!r}")


@given(st.integers(1, 12), st.data())
def test_coverage_is_about_the_set(size: int, data: st.DataObject) -> None:
    benchmark = [f"p{i}" for i in range(size)]
    numbers = data.draw(st.sets(st.integers(0, size - 1), min_size=1))
    ids = data.draw(st.permutations([f"p{i}" for i in numbers] * 2))
    found = coverage(ids, benchmark)
    beginning = max(numbers) == len(numbers) - 1
    assert (found is Coverage.FULL) == (len(numbers) == size)
    assert (found is Coverage.PREFIX) == (beginning and len(numbers) < size)
    unsized = coverage([f"idx-{i}" for i in numbers], None)
    assert unsized is (Coverage.UNKNOWN if beginning else Coverage.SELECTED)
