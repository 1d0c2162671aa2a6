"""lighteval (0.9 and later): ``details/<model>/<date>/details_<task>|<n>_<date>.parquet``, with ``results/…/results_<date>.json``.

One row per problem with three groups of columns: ``doc`` (question, right answer, limits), ``metric`` (figures) and
``model_response`` (texts and token ids, one per sample).  The rows are shuffled; ``doc.id`` is the row of the data set.
lighteval does not store why a response ended.  It is cut off where it has as many tokens as the run allowed; whether a shorter
one ended by itself or at the end of the context window is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from qrm_forensics.benchmarks.json_records import at
from qrm_forensics.benchmarks.rows import sha256_of
from qrm_forensics.errors import InputError
from qrm_forensics.importers import files
from qrm_forensics.importers.files import Source, at_path
from qrm_forensics.importers.foreign import MAX_TEXT, Answer, assemble, checkpoint_of, figures_of, text_of, whole
from qrm_forensics.importers.imported import Imported
from qrm_forensics.importers.provides import Provides, Said
from qrm_forensics.records import Finish, Kind

TITLE: Final = "lighteval: `details/…/details_<task>|<n>_<date>.parquet` with `results/…/results_<date>.json`"
PROVIDES: Final = Provides(
    text=Said.YES,
    finish=Said.SOMETIMES,
    token_counts=Said.SOMETIMES,
    token_ids=Said.SOMETIMES,
    logprobs=Said.NO,
    prompt=Said.SOMETIMES,
    gold=Said.YES,
    seeds=Said.SOMETIMES,
    samples=Said.YES,
)

_DETAILS = re.compile(r"details_(?P<task>.+?)_(?P<date>\d{4}-\d{2}-\d{2}T[\d.-]+)", re.DOTALL)
_FEWSHOT = re.compile(r"\|\d+(?:\|\d+)?$")
_GROUPS = ("doc", "metric", "model_response")
#: What is read of each group; logits are the bulk of a file of another kind and are not touched.
_READ = {
    "doc": ("query", "choices", "gold_index", "original_query", "id", "generation_size", "specific", "instruction"),
    "model_response": ("input", "input_tokens", "text", "output_tokens"),
}
_ROWS = 16
#: Bytes of one batch of rows as they lie in memory.
_MAX_BATCH = 1 << 30


@dataclass(slots=True)
class _Results:
    """What the results file says about the run; nothing where there is none."""

    model: str | None = None
    seed: int | None = None
    limit: int | None = None
    capped: bool = False


def detect(path: Path) -> bool:
    """Whether there are Parquet files with lighteval's three groups of columns."""
    found = [p for p in files.below(path) if p.suffix == ".parquet"]
    return bool(found) and all(_has_groups(p) for p in found)


def _is_wanted(path: Path) -> bool:
    """Details; a broken file as well, which must not be passed over."""
    return path.suffix == ".parquet" and (_has_groups(path) or files.broken_parquet(path) is not None)


def _has_groups(path: Path) -> bool:
    try:
        return set(_GROUPS) <= set(pq.read_schema(path).names)
    except (OSError, pa.ArrowException):
        return False


def read(paths: Path | Sequence[Path], problems: Path | None = None) -> Imported:
    """Read details files, or folders of them; ``problems`` is a problem file or a folder of them.  Raises InputError."""
    sources = files.find(paths, _is_wanted, "details_*.parquet of lighteval")
    answers: list[Answer] = []
    hashes: dict[str, str] = {}
    notices: list[str] = []
    for source in sources:
        hashes[source.name] = sha256_of([source.path])
        results, results_file = _results(source.path)
        if results_file is not None:
            hashes[results_file.name] = sha256_of([results_file])
        else:
            notices.append(
                f"{source.name}: no results file of the same date, so the model is read from the folder and the seed is not known"
            )
        if results.capped:
            notices.append(
                f"{source.name}: lighteval was run with max_samples, so this is the beginning of the benchmark"
            )
        own = list(_answers(source, results))
        if not own:
            notices.append(f"{source.name}: compares log-likelihoods and holds no responses, so it is left out")
        answers += own
    if not answers:
        raise InputError(
            f"{', '.join(s.name for s in sources)}: no responses, only log-likelihoods; import details of generative tasks"
        )
    return assemble(answers, hashes, problems=problems, notices=notices)


def _answers(source: Source, results: _Results) -> Iterator[Answer]:
    named = _DETAILS.fullmatch(source.path.stem)
    task = _FEWSHOT.sub("", named["task"] if named else source.path.stem.removeprefix("details_"))
    model = results.model or _model_of_folders(source.path)
    checkpoint, seed = checkpoint_of(model, source.path, str(source.path))
    for index, row in enumerate(_rows(source.path)):
        where = at(source.path, index)
        doc, response = row["doc"], row["model_response"]
        texts = response.get("text") or []
        ids = response.get("output_tokens") or []
        if not all(isinstance(text, str) for text in texts):
            raise InputError(
                f"{where}: 'model_response.text' is not a list of texts; run lighteval again with --save-details"
            )
        prompt = _prompt(doc, response)
        gold, kind = _gold(doc, where)
        limit = results.limit if results.limit is not None else whole(doc.get("generation_size"))
        for sample, text in enumerate(texts):
            tokens = ids[sample] if len(ids) == len(texts) and isinstance(ids[sample], list) else None
            yield Answer(
                checkpoint=checkpoint,
                benchmark=task,
                where=where,
                source_file=source.name,
                source_index=index,
                problem_id=text_of(doc.get("id")) or None,
                prompt=prompt,
                gold=gold,
                text=text,
                finish=Finish.LENGTH if limit and tokens and len(tokens) >= limit else Finish.UNKNOWN,
                seed=seed if seed is not None else results.seed or 0,
                sample=sample,
                question=text_of(doc.get("original_query")) or None,
                kind=kind,
                token_ids=tokens or None,
                prompt_tokens=len(response["input_tokens"]) if response.get("input_tokens") else None,
                # lighteval's figures are about all samples of a problem together.
                figures=figures_of(row["metric"]) if sample == 0 else {},
            )


def _prompt(doc: dict[str, Any], response: dict[str, Any]) -> str:
    """What the model was given; of a chat its last message, and the question with its instruction where it is not stored."""
    given = response.get("input")
    if isinstance(given, list):
        given = next((at_path(m, "content") for m in reversed(given) if isinstance(m, dict)), None)
    return given if isinstance(given, str) else text_of(doc.get("query")) or ""


def _gold(doc: dict[str, Any], where: str) -> tuple[str, Kind | None]:
    """The right answer.  A problem with several choices asks for the letter of one, unless they are all accepted."""
    choices, index = doc.get("choices"), doc.get("gold_index")
    accepted = index if isinstance(index, list) else [index]
    first = whole(accepted[0]) if accepted else None
    if not isinstance(choices, list) or first is None or first >= len(choices):
        if at_path(doc, "specific", "inputs") is not None:
            return "", Kind.CODE
        raise InputError(
            f"{where}: 'doc' has no right answer (choices, gold_index); run lighteval again with --save-details"
        )
    if at_path(doc, "specific", "inputs") is not None:  # LiveCodeBench keeps its test cases there
        return "", Kind.CODE
    gold = text_of(choices[first]) or ""
    letters = [text_of(c) for c in choices]
    bare = len(letters) > 1 and all(c is not None and re.fullmatch(r"\s*\(?[A-J]\)?\.?\s*", c) for c in letters)
    return (gold.strip(), Kind.CHOICE) if bare else (gold, None)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, a few at a time and only the columns that are needed.  Raises InputError for one that is too large."""
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: {files.parquet_fault(path, error)}; download or copy it again") from None
    with file:
        leaves = [file.schema.column(i).path for i in range(len(file.schema))]
        columns = [leaf for leaf in leaves if _is_read(leaf)]
        size = sum(
            group.column(i).total_uncompressed_size
            for group in (file.metadata.row_group(g) for g in range(file.num_row_groups))
            for i, leaf in enumerate(leaves)
            if leaf in set(columns)
        )
        if size > files.MAX_BYTES:
            raise InputError(f"{path}: its responses have more than {files.MAX_BYTES >> 20:,} MiB; split it")
        try:
            for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
                if batch.nbytes > _MAX_BATCH:
                    raise InputError(
                        f"{path}: {_ROWS} of its rows take more than {_MAX_BATCH >> 20:,} MiB (a response has at most "
                        f"{MAX_TEXT:,} characters); remove what is broken"
                    )
                for row in batch.to_pylist():
                    yield {group: row.get(group) or {} for group in _GROUPS}
        except pa.ArrowException as error:
            raise InputError(f"{path}: cannot be read ({files.one_line(error)}); download or copy it again") from None


def _is_read(leaf: str) -> bool:
    group, _, rest = leaf.partition(".")
    return group == "metric" or rest.partition(".")[0] in _READ.get(group, ())


def _model_of_folders(path: Path) -> str:
    """``details/<model>/<date>/details_….parquet``: the folder above that of the date."""
    folder = path.absolute().parent
    if re.match(r"\d{4}-\d{2}-\d{2}T", folder.name):
        folder = folder.parent
    return folder.name


def _results(path: Path) -> tuple[_Results, Path | None]:
    """The results of the same date: in lighteval's own tree, or anywhere beside or below the folder above the details."""
    named = _DETAILS.fullmatch(path.stem)
    if named is None:
        return _Results(), None
    wanted = f"results_{named['date']}.json"
    place = _beside(path, wanted)
    if place is None:
        return _Results(), None
    told = files.json_object(files.bytes_of(place), str(place))
    general = told.get("config_general")
    model = at_path(general, "model_name") or at_path(general, "model_config", "model_name")
    generation = at_path(general, "model_config", "generation_parameters")
    return (
        _Results(
            model=model if isinstance(model, str) else None,
            seed=whole(at_path(generation, "seed")),
            limit=whole(at_path(generation, "max_new_tokens")),
            capped=at_path(general, "max_samples") is not None,
        ),
        place,
    )


def _beside(path: Path, wanted: str) -> Path | None:
    folders = list(path.absolute().parents)
    for i, folder in enumerate(folders):
        if folder.name == "details":
            tree = folders[i + 1] / "results"
            found = sorted(tree.rglob(wanted)) if tree.is_dir() else []
            if found:
                return found[0]
    return next((p for folder in folders[:2] if (p := folder / wanted).is_file()), None)
