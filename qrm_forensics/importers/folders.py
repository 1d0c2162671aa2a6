"""Variant folders of the paper's repository: ``<model>-<recipe>-tp<n>-seed<seed>``.

The unquantized baseline has no recipe (``<model>-seed42``), and a checkpoint that was
quantized by a library is called ``<model>-quantized.<method>-<library>-<config>-…``.
Model names contain dashes and digits, so a name is read from the right.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from qrm_forensics.errors import InputError, RecipeError
from qrm_forensics.recipes import METHODS, UNQUANTIZED, Recipe
from qrm_forensics.records import Variant

_ENDING = re.compile(r"(?P<stem>.+?)(?:-tp(?P<tp>\d{1,6}))?-seed(?P<seed>\d{1,18})", re.DOTALL)
_REAL = re.compile(r"(?P<model>.+)-quantized\.(?P<method>\w+)-(?P<library>\w+)-(?P<config>.+)", re.DOTALL)
#: Parts of a name that say "quantized".  A name with one of them and no readable recipe is
#: refused, as taking it for the unquantized model would turn every comparison upside down.
_QUANTIZED_WORD = re.compile(
    r"w\d+.*|(?:a\d+)?kv\d+.*|(?:int|fp|nf|mxfp|nvfp|q)\d+|\d*bits?"
    r"|quantized.*|gguf|bnb|exl\d|autoawq|gptqmodel|autogptq|flatquant.*|kvquant.*"
)
_EXAMPLE = (
    "rename it to <model>-<recipe>-tp<n>-seed<seed>, such as QwQ-32B-awq-w4g128-tp1-seed42, or QwQ-32B-bf16-tp1-seed42"
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What answered: ``library`` is that of a released packed checkpoint, null where quantization was simulated."""

    model: str
    recipe: Recipe
    library: str | None
    tensor_parallel: int


@dataclass(frozen=True, slots=True)
class VariantFolder:
    checkpoint: Checkpoint
    seed: int


def is_variant_folder(name: str) -> bool:
    """Whether a folder name has the ending of this layout."""
    return _ENDING.fullmatch(name) is not None


def parse_folder(name: str) -> VariantFolder:
    """Read a folder name; raises InputError that names the folder and says how to rename it."""
    ending = _ENDING.fullmatch(name)
    if ending is None:
        raise InputError(f"folder {name!r}: does not end in -seed<number>; {_EXAMPLE}")
    tensor_parallel = int(ending["tp"] or 1)
    if tensor_parallel < 1:
        raise InputError(f"folder {name!r}: tensor parallelism 0 cannot be; {_EXAMPLE}")
    try:
        model, recipe, library = _stem(ending["stem"])
    except RecipeError as error:
        raise InputError(f"folder {name!r}: {error}; {_EXAMPLE}") from None
    return VariantFolder(Checkpoint(model, recipe, library, tensor_parallel), int(ending["seed"]))


def _stem(stem: str) -> tuple[str, Recipe, str | None]:
    if real := _REAL.fullmatch(stem):
        return real["model"], Recipe.parse(f"{real['method']}-{real['config']}"), real["library"]
    # The shortest ending that is a recipe; no recipe ends in another one.
    for dash in (m.start() for m in reversed(list(re.finditer("-", stem)))):
        if dash == 0:
            continue
        try:
            return stem[:dash], Recipe.parse(stem[dash + 1 :]), None
        except RecipeError:
            continue
    methods = set(METHODS) - set(UNQUANTIZED)
    for part in stem.lower().split("-"):
        if part in methods or (part not in UNQUANTIZED and _QUANTIZED_WORD.fullmatch(part)):
            raise RecipeError(f"{part!r} says that the model is quantized, but there is no readable recipe")
    if stem.lower() in UNQUANTIZED:
        raise RecipeError("there is no model name")
    return stem, Recipe(method="bf16"), None


def name_variants(checkpoints: Collection[Checkpoint]) -> dict[Checkpoint, Variant]:
    """Short unique ids; within a model unquantized variants first, then by method and falling bits.

    ``<recipe>``, with ``<model>--`` before it where there are several models,
    ``-<library>`` after it for a packed checkpoint, and ``-tp<n>`` where one checkpoint
    appears with several degrees of tensor parallelism.
    """
    order = sorted(
        set(checkpoints),
        key=lambda c: (
            c.model,
            c.recipe.quantized,
            c.recipe.method,
            -c.recipe.bits,
            str(c.recipe),
            c.library or "",
            c.tensor_parallel,
        ),
    )
    degrees = Counter((c.model, c.recipe, c.library) for c in order)
    several_models = len({c.model for c in order}) > 1
    variants = {}
    for c in order:
        name = f"{c.model}--{c.recipe}" if several_models else str(c.recipe)
        name += f"-{c.library}" if c.library else ""
        name += f"-tp{c.tensor_parallel}" if degrees[c.model, c.recipe, c.library] > 1 else ""
        variants[c] = Variant(name, c.model, str(c.recipe), c.tensor_parallel)
    return variants
