"""Where the files of a benchmark lie: in a folder of data sets, as the paper's repository has them, or on the hub."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from qrm_forensics.benchmarks.rows import SUFFIXES
from qrm_forensics.errors import EnvironmentMissing, InputError, missing_extra

#: What a part of a data set may be called, ``{split}`` standing for its name: as the hub has them, and as people export them.
_USUAL = (
    "{split}.jsonl",
    "{split}.json",
    "{split}.parquet",
    "{split}.csv",
    "data/{split}-*.parquet",
    "{split}-*.parquet",
    "{split}/*.parquet",
)


def find_files(path: Path, folders: Sequence[str], patterns: Sequence[str], split: str) -> list[Path]:
    """The files of a benchmark: ``path`` itself, or what lies under it.

    ``path`` is a file, a folder of data sets, or the data set's own folder.  Inside of the data set's folder ``patterns``
    are tried first, then a folder that ``datasets.save_to_disk`` wrote, then the usual names of ``split`` and of "test".
    Raises InputError that says where it looked.
    """
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise InputError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}")
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    bases = [path / folder for folder in folders if (path / folder).is_dir()]
    if not bases or path.resolve().name in folders:
        bases.append(path)
    for base in bases:
        if found := _inside(base, patterns, split):
            return found
    for folder in folders:
        for suffix in SUFFIXES:
            if (path / f"{folder}{suffix}").is_file():
                return [path / f"{folder}{suffix}"]
    tried = f"{path / folders[0] / (patterns[0] if patterns else split + '.jsonl')}" if folders else str(path)
    raise InputError(f"{path}: there is no {' or '.join(folders) or split} in it; expected for example {tried}")


def usual_patterns(patterns: Sequence[str], split: str) -> list[str]:
    """Every pattern of a file that ``find_files`` would take."""
    names = dict.fromkeys((split, "test"))
    return [*patterns, *(usual.format(split=name) for name in names for usual in _USUAL)]


def _inside(base: Path, patterns: Sequence[str], split: str) -> list[Path]:
    for pattern in patterns:
        if found := sorted(base.glob(pattern)):
            return found
    for folder in (base, base / split, base / "test"):
        if found := _saved(folder, split):
            return found
    for pattern in usual_patterns((), split):
        if found := sorted(base.glob(pattern)):
            return found
    return []


def _saved(folder: Path, split: str) -> list[Path]:
    """The Arrow files of a folder that ``datasets.save_to_disk`` wrote, by its own list of them."""
    state = folder / "state.json"
    if not state.is_file():
        return []
    try:
        files = [folder / entry["filename"] for entry in json.loads(state.read_text("utf-8"))["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{state}: is not what datasets.save_to_disk writes ({error}); save {split} again") from None
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        raise InputError(f"{folder}: {missing[0].name if missing else 'its data'} is missing; save {split} again")
    return files


def download(hub: str, patterns: Sequence[str], revision: str | None = None) -> Path:
    """A local copy of the files of a data set of the hub that match ``patterns``: in the hub's own cache.

    Raises EnvironmentMissing without huggingface_hub, InputError with what to do where the hub does not give the files.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
    except ImportError as error:
        raise missing_extra("reading a data set from the hub", "models", error) from error
    page = f"https://huggingface.co/datasets/{hub}"
    try:
        return Path(
            snapshot_download(repo_id=hub, repo_type="dataset", allow_patterns=list(patterns), revision=revision)
        )
    except GatedRepoError as error:
        raise InputError(
            f"{hub}: is given only to those who accept its terms; do that at {page}, then log in with 'hf auth login'"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(f"{hub}: the hub has no such data set, or not for you; look at {page}") from error
    except Exception as error:  # the hub's client raises errors of several HTTP libraries
        first = str(error).strip().partition("\n")[0]
        raise EnvironmentMissing(
            f"{hub}: cannot be read from the hub ({type(error).__name__}: {first}); download it where there is a "
            "network, and give the folder as path"
        ) from error
