"""What goes into the linears of a model, and into its cache of keys, under different texts: the numbers of the paper's two figures.

The paper (arXiv 2504.04823) shows that inputs under calibration text of another domain lie elsewhere, and that a huge key bias, once RoPE has
turned it, makes keys uneven over channels and positions.  Nothing is drawn here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qrm_forensics.devices import torch_device
from qrm_forensics.errors import InputError
from qrm_forensics.quantize.adapters import ModelMap, model_map
from qrm_forensics.weights import open_checkpoint

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

SEED = 42
#: Tokens of every corpus in the scatter plots, and in the surfaces.
POINTS = 128
#: Parts of a window over which keys are compared.
PARTS = 4


@dataclass(slots=True)
class Inputs:
    """``mean``: mean \\|x\\| per channel, float64 [channels].  ``sample``: some input vectors, float32 [points, channels]."""

    tokens: int = 0
    total: NDArray[np.float64] | None = None
    kept: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, x: Tensor, keep: Tensor) -> None:
        """``keep``: which of the vectors are kept, by number."""
        rows = x.detach().reshape(-1, x.shape[-1]).float()
        sums = rows.abs().double().sum(0).cpu().numpy()
        self.total = sums if self.total is None else self.total + sums
        self.tokens += rows.shape[0]
        self.kept.append(rows[keep.to(rows.device)].cpu().numpy())

    @property
    def mean(self) -> NDArray[np.float64]:
        assert self.total is not None
        return self.total / self.tokens

    @property
    def sample(self) -> NDArray[np.float32]:
        return np.concatenate(self.kept)


class Network:
    """A loaded checkpoint (quantized ones come with their hooks) and its map."""

    def __init__(self, folder: Path) -> None:
        from qrm_forensics.runtime.attach import load_model
        from qrm_forensics.runtime.spec import plain_config

        source = open_checkpoint(folder)
        config = source.config if "quantization_config" not in source.config else plain_config(source.config)
        self.map: ModelMap = model_map(config, source.shapes, str(folder))
        self.device = torch_device()
        try:
            self.model = load_model(str(folder), dtype="auto", local_files_only=True).to(self.device).eval()
        except (OSError, ValueError) as error:
            raise InputError(f"cannot load the model {folder}: {str(error).strip().partition(chr(10))[0]}") from error

    def layers(self, wanted: Sequence[int] | None) -> list[int]:
        """The chosen decoder layers; every fourth part of the depth by default, as in the paper.  Raises InputError."""
        count = self.map.layers
        if not wanted:
            return list(range(0, count, max(1, count // 4)))
        wrong = [i for i in wanted if not -count <= i < count]
        if wrong:
            raise InputError(f"there is no decoder layer {wrong[0]}; the model has {count}")
        return sorted({i % count for i in wanted})


def input_statistics(
    network: Network, corpora: Mapping[str, NDArray[np.int32]], layers: Sequence[int]
) -> dict[str, dict[str, Inputs]]:
    """module -> corpus -> statistics; ``corpora`` are token ids [windows, length].

    Modules are the first linear of those that share an input, ``k_proj.out`` and ``v_proj.out`` what these two give.
    The kept vectors are drawn with a seed, at the same places for every module.
    """
    import torch

    found: dict[str, dict[str, Inputs]] = {}
    for corpus, windows in corpora.items():
        draw = np.random.default_rng(SEED)
        size = int(windows.size)
        chosen = np.sort(draw.choice(size, min(POINTS, size), replace=False))
        place = {"keep": torch.zeros(0, dtype=torch.long)}
        handles = []

        def watch(name: str, module: Any, *, output: bool, corpus: str = corpus, place: Any = place) -> Any:
            seen = found.setdefault(name, {}).setdefault(corpus, Inputs())

            def hook(_module: Any, arguments: tuple[Any, ...], made: Any) -> None:
                seen.add(made if output else arguments[0], place["keep"])

            return module.register_forward_hook(hook)

        for index in layers:
            for stage in network.map.stages:
                name = network.map.name(index, stage.linears[0])
                handles.append(watch(name, network.model.get_submodule(name), output=False))
            for linear in ("self_attn.k_proj", "self_attn.v_proj"):
                name = network.map.name(index, linear)
                handles.append(watch(f"{name}.out", network.model.get_submodule(name), output=True))
        try:
            width = windows.shape[1]
            for row, window in enumerate(windows):
                inside = chosen[(chosen >= row * width) & (chosen < (row + 1) * width)] - row * width
                place["keep"] = torch.from_numpy(inside)
                _forward(network, window)
        finally:
            for handle in handles:
                handle.remove()
    return found


def _forward(network: Network, window: NDArray[np.int32], *, cache: bool = False) -> Any:
    import torch

    ids = torch.from_numpy(window).long().unsqueeze(0).to(network.device)
    with torch.no_grad():
        return network.model.model(input_ids=ids, use_cache=cache)


def domain_gap(statistics: Mapping[str, Mapping[str, Inputs]]) -> list[dict[str, Any]]:
    """For the figure, JSON-able: per module two-dimensional maps of the kept vectors, and mean \\|x\\| per channel.

    ``gap``: per pair of corpora 1 - cosine similarity of their mean \\|x\\| over channels.  ``pca`` explains
    ``explained`` of the variance; t-SNE needs at least 8 vectors, and is None for fewer.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    made = []
    for module, by_corpus in statistics.items():
        names = list(by_corpus)
        vectors = np.concatenate([by_corpus[name].sample for name in names]).astype(np.float64)
        of = [name for name in names for _ in by_corpus[name].sample]
        pca = PCA(n_components=2, random_state=SEED).fit(vectors)
        flat = pca.transform(vectors)
        tsne = None
        if len(vectors) >= 8:
            perplexity = min(30.0, (len(vectors) - 1) / 3)
            tsne = TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=SEED).fit_transform(vectors)
        means = {name: by_corpus[name].mean for name in names}
        made.append(
            {
                "module": module,
                "corpora": {
                    name: {
                        "tokens": by_corpus[name].tokens,
                        "mean_abs": _floats(means[name]),
                        "pca": [_floats(p) for p, who in zip(flat, of, strict=True) if who == name],
                        "tsne": None
                        if tsne is None
                        else [_floats(p) for p, who in zip(tsne, of, strict=True) if who == name],
                    }
                    for name in names
                },
                "explained": _floats(pca.explained_variance_ratio_),
                "gap": [
                    {"corpora": [a, b], "cosine_distance": 1 - _cosine(means[a], means[b])}
                    for i, a in enumerate(names)
                    for b in names[i + 1 :]
                ],
            }
        )
    return made


def key_cache(network: Network, windows: NDArray[np.int32], layers: Sequence[int]) -> list[dict[str, Any]]:
    """For the figure of key biases, JSON-able: per layer \\|K\\| of the first tokens, and mean \\|K\\| per channel and part of the window.

    ``before_bias`` is Wx (left out where there is no bias, or a norm behind it), ``before_rope`` is what RoPE turns, ``after_rope`` as it goes into the cache.
    Shapes: ``surface`` [tokens, channels]; ``parts`` [parts, channels].
    """
    length = windows.shape[1]
    bounds = [i * length // PARTS for i in range(PARTS + 1)]
    if min(b - a for a, b in pairwise(bounds)) < 1:
        raise InputError(f"windows of {length} tokens cannot be compared in {PARTS} parts; use longer ones")
    rows: dict[int, dict[str, list[NDArray[np.float64]]]] = {i: {} for i in layers}
    surfaces: dict[int, dict[str, Any]] = {i: {} for i in layers}
    for number, window in enumerate(windows):
        for index, kinds in _keys(network, window, layers).items():
            for kind, keys in kinds.items():
                sizes = np.abs(keys)
                means = np.stack([sizes[a:b].mean(0) for a, b in pairwise(bounds)])
                rows[index].setdefault(kind, []).append(means.astype(np.float64))
                if number == 0:
                    surfaces[index][kind] = [_floats(token) for token in sizes[:POINTS]]
    made = []
    for index in layers:
        bias = getattr(network.model.get_submodule(network.map.name(index, "self_attn.k_proj")), "bias", None)
        made.append(
            {
                "layer": index,
                "bias": None if bias is None else _floats(bias.detach().float().cpu().numpy()),
                "positions": [[a, b] for a, b in pairwise(bounds)],
                "windows": len(windows),
                "kinds": {
                    kind: {
                        "surface": surfaces[index][kind],
                        "parts": [_floats(part) for part in np.mean(found, axis=0)],
                    }
                    for kind, found in rows[index].items()
                },
            }
        )
    return made


def _keys(network: Network, window: NDArray[np.int32], layers: Sequence[int]) -> dict[int, dict[str, Any]]:
    """layer -> kind -> keys of one window, float32 [tokens, kv heads x head dim]."""
    import torch

    found: dict[int, dict[str, Any]] = {i: {} for i in layers}
    handles = []

    def watch(index: int) -> Any:
        def hook(module: Any, arguments: tuple[Any, ...], output: Tensor) -> None:
            keys = output[0].flatten(1).float()
            found[index]["before_rope"] = keys.cpu().numpy()
            bias = getattr(module, "bias", None)
            if bias is not None:
                # not by taking the bias off again, which in 16 bits would lose what it hides
                found[index]["before_bias"] = (
                    torch.nn.functional.linear(arguments[0][0], module.weight).float().cpu().numpy()
                )

        return hook

    for index in layers:
        module = network.model.get_submodule(network.map.name(index, network.map.key_source))
        handles.append(module.register_forward_hook(watch(index)))
    try:
        cache = _forward(network, window, cache=True).past_key_values
    finally:
        for handle in handles:
            handle.remove()
    for index in layers:
        keys = cache.layers[index].keys[0]  # [kv heads, tokens, head dim]
        found[index]["after_rope"] = keys.transpose(0, 1).flatten(1).float().cpu().numpy()
    return found


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-30))


def _floats(values: Any) -> list[float]:
    """Five digits are more than a figure shows."""
    return [float(f"{value:.5g}") for value in np.asarray(values, dtype=np.float64).ravel()]
