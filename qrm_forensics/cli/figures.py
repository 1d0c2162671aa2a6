"""``figures``: the two figures of "Quantization Hurts Reasoning?" about activations, for any model and any text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from qrm_forensics.errors import InputError

if TYPE_CHECKING:
    from qrm_forensics.quantize.calibration import Calibration

_out = click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="HTML file to write; the data goes beside it as .json.",
)
_layers = click.option(
    "--layer",
    "layers",
    multiple=True,
    type=int,
    help="A decoder layer; may be repeated (default: four, evenly spaced).",
)
_datasets = click.option(
    "--datasets",
    type=click.Path(path_type=Path),
    help="Folder of data sets, where a corpus is named (default: from the hub).",
)
_field = click.option("--field", help="Column with the text, in files.")
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")


@click.group()
def figures() -> None:
    """Draw what goes into a model's linears and caches under different texts."""


@figures.command("domain-gap")
@click.argument("model")
@click.option(
    "--corpus",
    "corpora",
    multiple=True,
    required=True,
    metavar="[LABEL=]NAME|FILE",
    help="A corpus (wikitext2, pile-val, responses, …), a response file or a file of texts; may be repeated.",
)
@_datasets
@_field
@_layers
@click.option("--tokens", default=10240, show_default=True, type=click.IntRange(min=16), help="Tokens of each corpus.")
@click.option("--length", default=2048, show_default=True, type=click.IntRange(min=8), help="Tokens of one window.")
@_out
@_json
def domain_gap(
    model: str,
    corpora: tuple[str, ...],
    datasets: Path | None,
    field: str | None,
    layers: tuple[int, ...],
    tokens: int,
    length: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """How far apart the inputs of MODEL's linears are under several corpora.

    For the inputs of every linear (and what k_proj and v_proj give): t-SNE and PCA of 128 tokens of each corpus, and the mean size of each
    channel.
    """
    from qrm_forensics.cli.figure_pages import domain_gap_figures, write_page
    from qrm_forensics.pipeline import model_folder
    from qrm_forensics.quantize import activations

    folder = model_folder(model)
    texts: dict[str, Calibration] = {}
    for given in corpora:
        label, text = _text(given, folder, datasets, field, max(1, tokens // length), min(length, tokens))
        if label in texts:
            raise InputError(f"--corpus {given}: there are two called {label!r}; give one another label: LABEL={given}")
        texts[label] = text
    network = activations.Network(folder)
    chosen = network.layers(layers)
    seen = activations.input_statistics(network, {name: text.token_ids for name, text in texts.items()}, chosen)
    modules = activations.domain_gap(seen)
    data = {
        "figure": "domain-gap",
        "model": str(folder),
        "layers": chosen,
        "corpora": {name: text.summary() for name, text in texts.items()},
        "modules": modules,
    }
    target = out or Path(f"domain-gap-{_name(folder)}.html")
    about = "Inputs of linears under " + ", ".join(f"{name} ({t.token_ids.size:,} tokens)" for name, t in texts.items())
    write_page(target, f"Calibration domains: {_name(folder)}", about, data, domain_gap_figures(modules))
    _done(as_json, target, {"modules": len(modules)})


@figures.command("kcache-bias")
@click.argument("model")
@click.option(
    "--corpus", metavar="NAME|FILE", help="The text (default: the worked problems that come with the built-in model)."
)
@_datasets
@_field
@_layers
@click.option("--windows", default=4, show_default=True, type=click.IntRange(min=1), help="Windows of text.")
@click.option(
    "--length",
    default=8192,
    show_default=True,
    type=click.IntRange(min=8),
    help="Tokens of one window, at most what the model takes.",
)
@_out
@_json
def kcache_bias(
    model: str,
    corpus: str | None,
    datasets: Path | None,
    field: str | None,
    layers: tuple[int, ...],
    windows: int,
    length: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """What the bias of k_proj and RoPE do to MODEL's keys.

    Size of the keys over tokens and channels before the bias and as they are cached, and per channel in four parts of the window.
    """
    import tempfile

    from qrm_forensics.cli.figure_pages import key_cache_figures, write_page
    from qrm_forensics.pipeline import model_folder
    from qrm_forensics.quantize import activations
    from qrm_forensics.weights import open_checkpoint

    folder = model_folder(model)
    longest = open_checkpoint(folder).config.get("max_position_embeddings")
    length = min(length, int(longest)) if longest else length
    with tempfile.TemporaryDirectory() as scratch:
        given = corpus or _worked_problems(Path(scratch), windows * length)
        _, text = _text(given, folder, datasets, field, windows, length)
    network = activations.Network(folder)
    chosen = network.layers(layers)
    keys = activations.key_cache(network, text.token_ids, chosen)
    data = {"figure": "kcache-bias", "model": str(folder), "corpus": text.summary(), "layers": keys}
    target = out or Path(f"kcache-bias-{_name(folder)}.html")
    about = f"{len(text.token_ids)} windows of {text.token_ids.shape[1]:,} tokens of {corpus or 'the built-in worked problems'}"
    write_page(target, f"Keys: {_name(folder)}", about, data, key_cache_figures(keys))
    _done(as_json, target, {"layers": len(keys)})


def _name(folder: Path) -> str:
    from qrm_forensics import builtin

    return builtin.MODEL_NAME if folder == builtin.weights_dir() else folder.resolve().name


def _text(
    given: str, model: Path, datasets: Path | None, field: str | None, windows: int, length: int
) -> tuple[str, Calibration]:
    """(label, token ids) of ``[LABEL=]NAME|FILE``."""
    from qrm_forensics.quantize import load_calibration
    from qrm_forensics.study import Corpus

    label, mark, source = given.rpartition("=")
    if mark and not Path(given).exists():
        name = label
    else:
        source, name = given, ""
    known: tuple[Any, ...] = get_args(Corpus)
    if source in known and source != "file":
        made = load_calibration(datasets, model, samples=windows, length=length, corpus=source, arrangement="blocks")  # type: ignore[arg-type]
        return name or source, made
    path = Path(source)
    if not path.is_file():
        raise InputError(
            f"--corpus {given}: {source} is neither a file nor one of {', '.join(k for k in known if k != 'file')}"
        )
    if field is None and _holds_responses(path):
        made = load_calibration(path, model, samples=windows, length=length, arrangement="blocks")
    else:
        made = load_calibration(
            path, model, samples=windows, length=length, corpus="file", field=field, arrangement="blocks"
        )
    return name or path.stem, made


def _holds_responses(path: Path) -> bool:
    """Whether the file begins as one of responses does."""
    with path.open("rb") as handle:
        return b'"full_prompt"' in handle.read(1 << 16)


def _worked_problems(folder: Path, tokens: int) -> str:
    """A file with enough of the problems and solutions that the built-in model was trained on, for any tokenizer."""
    from qrm_forensics import builtin

    texts, size, count = [], 0, 64
    while size < 4 * tokens:
        drawn = builtin.draw(count, held_out=False, seed=2)
        texts = [f"{w.question}\n{w.chain}\n{w.answer}" for _, _, w in drawn]
        size, count = sum(map(len, texts)), count * 2
        if count > 4096:
            break
    file = folder / "worked-problems.txt"
    file.write_text("\n\n".join(texts), encoding="utf-8")
    return str(file)


def _done(as_json: bool, target: Path, facts: dict[str, Any]) -> None:
    if as_json:
        told = {"file": str(target), "data": str(target.with_suffix(".json")), **facts}
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        click.echo(str(target))
        click.echo(str(target.with_suffix(".json")))


COMMANDS = (figures,)
