"""A benchmark of a study: found, read, checked, and ready to be asked."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path

from qrm_forensics.benchmarks import livecodebench, own, presets
from qrm_forensics.benchmarks.items import Item
from qrm_forensics.benchmarks.locate import download, find_files, usual_patterns
from qrm_forensics.benchmarks.registry import BENCHMARKS, Benchmark, find
from qrm_forensics.benchmarks.rows import read_rows, sha256_of
from qrm_forensics.errors import InputError
from qrm_forensics.records import Kind
from qrm_forensics.study import BenchmarkSpec


@dataclass(frozen=True, slots=True)
class Loaded:
    """Problems in the benchmark's order.  ``size`` of the whole benchmark, None where it is not known (one's own file is whole).

    ``prompt``: a preset's name or a text with ``{problem}``.  ``files`` were read; ``sha256`` of their bytes.
    """

    name: str
    items: list[Item]
    kind: Kind
    prompt: str
    size: int | None
    files: list[Path]
    sha256: str

    @property
    def messages(self) -> list[str]:
        """What the user's turn says, one text per problem."""
        return [presets.message(self.prompt, item.question, item.starter_code) for item in self.items]


def check(spec: BenchmarkSpec) -> None:
    """Raises InputError for an entry that is wrong whatever its files hold."""
    if spec.prompt is not None:
        presets.template(spec.prompt)
    if spec.path is not None and spec.hub:
        raise InputError(f"benchmarks: {spec.name} has a path and is to come from the hub; leave one of them out")
    if not _is_own(spec):
        _subset(BENCHMARKS[spec.name], spec)
        return
    if spec.hub or spec.subset is not None:
        raise InputError(f"benchmarks: hub and subset are for the named ones; {spec.name} is read from its path")
    if spec.path is None:
        find(spec.name)
        raise InputError(
            f"benchmarks: {spec.name} needs a path to a JSON Lines file with 'problem' and 'answer' (kind and fields say "
            "that it is your own)"
        )


def _is_own(spec: BenchmarkSpec) -> bool:
    return spec.name not in BENCHMARKS or spec.kind is not None or bool(spec.columns())


def load(spec: BenchmarkSpec) -> Loaded:
    """The benchmark that a study names.  Raises InputError that says what is wrong with the entry, or with its files."""
    check(spec)
    if _is_own(spec):
        return _own(spec)
    benchmark = BENCHMARKS[spec.name]
    subset = _subset(benchmark, spec)
    if benchmark.parts:
        return _joined(benchmark, spec)
    size = livecodebench.size_of(subset) if subset is not None else benchmark.size
    files = _files(benchmark, spec, subset)
    items = benchmark.read(read_rows(files))
    if len(items) > size:
        raise InputError(
            f"benchmarks: {spec.name} has {size} problems, but {len(items)} were read ({files[0]}); "
            "give the right part of the data set, or call yours something else"
        )
    prompt = spec.prompt or benchmark.prompt
    return Loaded(spec.name, items, benchmark.kind, prompt, size, files, sha256_of(files))


def _own(spec: BenchmarkSpec) -> Loaded:
    assert spec.path is not None
    kind = Kind(spec.kind or "math")
    files = find_files(Path(spec.path).expanduser(), (spec.name,), (), "test")
    items = own.read(read_rows(files), kind, spec.columns())
    return Loaded(spec.name, items, kind, spec.prompt or str(kind), None, files, sha256_of(files))


def _subset(benchmark: Benchmark, spec: BenchmarkSpec) -> str | None:
    if benchmark.kind is not Kind.CODE:
        if spec.subset is not None:
            raise InputError(f"benchmarks: {spec.name} has no subsets; limit asks its first problems only")
        return None
    subset = spec.subset or livecodebench.DEFAULT
    if subset not in livecodebench.SUBSETS:
        near = difflib.get_close_matches(subset, livecodebench.SUBSETS, 1)
        hint = f"did you mean {near[0]!r}?" if near else "known: release_v1 … release_v6, v1 … v6, v1_v2 … v5_v6"
        raise InputError(f"benchmarks: {spec.name} has no subset {subset!r}; {hint}")
    return subset


def _joined(benchmark: Benchmark, spec: BenchmarkSpec) -> Loaded:
    """The problems of all parts, one behind the other.

    The shares of the parts are those of their problems (90 and 30 of 120), so that the mean over all problems is the
    weighted mean of the parts.  ``subject`` says which part a problem is of, so that the two are also seen apart.
    """
    parts = [load(spec.model_copy(update={"name": name, "limit": None})) for name, _ in benchmark.parts]
    items = [
        replace(item, id=f"{part.name}/{item.id}", subject=item.subject or part.name)
        for part in parts
        for item in part.items
    ]
    if short := next((p for p in parts if len(p.items) != p.size), None):
        raise InputError(
            f"benchmarks: {benchmark.name} weighs its parts by their problems, but {short.files[0]} holds "
            f"{len(short.items)} of the {short.size} of {short.name}; ask the parts by themselves"
        )
    files = [file for part in parts for file in part.files]
    prompt = spec.prompt or benchmark.prompt
    return Loaded(benchmark.name, items, benchmark.kind, prompt, benchmark.size, files, sha256_of(files))


def _files(benchmark: Benchmark, spec: BenchmarkSpec, subset: str | None) -> list[Path]:
    names = livecodebench.files_of(subset) if subset is not None else None
    patterns = names or benchmark.files
    if spec.hub:
        wanted = list(names) if names else usual_patterns(patterns, benchmark.split)
        folder = download(benchmark.hub, wanted, spec.revision)
    elif spec.path is None:
        gate = " (its terms have to be accepted there first)" if benchmark.gated else ""
        raise InputError(
            f"benchmarks: {spec.name} needs a path to its folder or file, or to the folder of all data sets; "
            f"or 'hub: true', which downloads {benchmark.hub}{gate}"
        )
    else:
        folder = Path(spec.path).expanduser()
    folders = (*benchmark.folders, benchmark.name)
    if names and folder.is_dir():
        return [_one(folder, folders, name, benchmark.split) for name in names]
    return find_files(folder, folders, patterns, benchmark.split)


def _one(folder: Path, folders: tuple[str, ...], name: str, split: str) -> Path:
    """One file of several that have to be there by their own names."""
    for base in (folder, *(folder / f for f in folders)):
        if (base / name).is_file():
            return base / name
    raise InputError(f"{folder}: there is no {name} in it; expected for example {folder / folders[0] / name} ({split})")
