"""Write the pages that are generated from code (metrics, formats, outcomes, policy): ``python docs/build.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel

from qrm_forensics import symptoms
from qrm_forensics.benchmarks import registry, taxonomy, wikitext
from qrm_forensics.compare.baseline_file import BASELINE_VERSION
from qrm_forensics.compare.items import ITEM_SCHEMA
from qrm_forensics.importers import describe
from qrm_forensics.metrics import all_metrics
from qrm_forensics.policy import Policy
from qrm_forensics.records import PROBLEM_SCHEMA, SCHEMA_VERSION, TRACE_SCHEMA, VERDICT_SCHEMA

HERE = Path(__file__).parent


def metrics_page() -> str:
    lines = ["# Metrics", "", "Generated from the registry by `python docs/build.py`.", ""]
    for metric in all_metrics():
        lines += [
            f"## {metric.title['en']} (`{metric.id}`)",
            "",
            "| column | type | better | definition |",
            "|---|---|---|---|",
        ]
        for column in metric.columns:
            definition = column.definition["en"].replace("|", "\\|")
            lines.append(f"| `{column.name}` | {column.dtype} | {column.better or '–'} | {definition} |")
        lines.append("")
    return "\n".join(lines)


def formats_page() -> str:
    schemas: dict[str, pa.Schema] = {"problems": PROBLEM_SCHEMA, "traces": TRACE_SCHEMA, "verdicts": VERDICT_SCHEMA}
    lines = ["# Formats", "", f"Parquet tables of a run folder, schema version {SCHEMA_VERSION}.", ""]
    for name, schema in schemas.items():
        lines += [f"## {name}", "", "| column | type | null |", "|---|---|---|"]
        lines += [f"| `{f.name}` | {f.type} | {'yes' if f.nullable else 'no'} |" for f in schema]
        lines.append("")
    lines += [
        "# Baseline files",
        "",
        f"What `bless` writes and `check` reads: one Parquet table, version {BASELINE_VERSION}, a row per response. Columns that",
        "are null in every row are left out; every other figure and flag of the run follows. The facts (sampling, scorer,",
        "engine, versions, dates, hash of the rows) are JSON in the metadata of the file.",
        "",
        "| column | type | null |",
        "|---|---|---|",
        *(f"| `{f.name}` | {f.type} | {'yes' if f.nullable else 'no'} |" for f in ITEM_SCHEMA),
        "",
    ]
    return "\n".join(lines)


def policy_page() -> str:
    lines = [
        "# The policy of a gate",
        "",
        "Every key of a policy file, with its default; `examples/policy.yaml` has them all. What it means for a verdict",
        "is in [gate.md](gate.md).",
        "",
        "| key | default | what it says |",
        "|---|---|---|",
    ]

    def rows(model: type[BaseModel], prefix: str) -> None:
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                rows(field.annotation, f"{prefix}{name}.")
            else:
                default = json.dumps(field.get_default(call_default_factory=True))
                lines.append(f"| `{prefix}{name}` | `{default}` | {field.description} |")

    rows(Policy, "")
    return "\n".join([*lines, ""])


def outcomes_page() -> str:
    told = symptoms.describe()

    def row(rule: dict[str, Any], first: str) -> str:
        definition = rule["definition"]["en"].replace("|", "\\|")
        reads = ", ".join(f"`{name}`" for name in rule["reads"]) or "–"
        return f"| {first} | {rule['label']['en']} | {definition} | {reads} |"

    lines = [
        "# Outcomes, symptoms and problem categories",
        "",
        "Generated from the rules by `python docs/build.py`.",
        "",
        "## Outcome: one per response",
        "",
        "The first rule of this order that applies is the outcome, so the counts of a variant add up to its responses.",
        "Where a rule cannot be decided because a column has no value, the search ends there and the response is",
        "`unassigned`; `outcome_reason` says which rule and which columns.",
        "",
        "| # | outcome | definition | reads |",
        "|---|---|---|---|",
    ]
    for rule in told["outcomes"]:
        lines.append(row({**rule, "label": {"en": f"`{rule['name']}`: {rule['label']['en']}"}}, str(rule["order"])))
    lines += [
        "",
        "## Symptoms: any number per response",
        "",
        "| column | symptom | definition | reads |",
        "|---|---|---|---|",
    ]
    lines += [row(rule, f"`{rule['column']}`") for rule in told["symptoms"]]
    lines += ["", "## Categories of the reference study", "", told["reference"][0]["note"]["en"], ""]
    lines += ["| column | category | definition | reads |", "|---|---|---|---|"]
    lines += [row(rule, f"`{rule['column']}`") for rule in told["reference"]]
    lines += [
        "",
        "## Thresholds",
        "",
        "A threshold with a quantile is calibrated on the baseline's correct responses, where there are enough of them;",
        "else the published value is taken. What was used is stored beside the outcomes of a run.",
        "",
        "| threshold | column | quantile | correct responses needed | published | where the published value is from |",
        "|---|---|---|---|---|---|",
    ]
    for t in told["thresholds"]:
        needed = "–" if t["min_correct"] is None else t["min_correct"]
        quantile = "–" if t["quantile"] is None else t["quantile"]
        lines.append(
            f"| `{t['name']}` | `{t['column']}` | {quantile} | {needed} | {t['published']} | {t['source']['en']} |"
        )
    lines += [
        "",
        "## Problem categories",
        "",
        "A benchmark's own subject and level come first. Beside them, keywords of the question (whole words; never the",
        "instruction around it) give any number of labels; a question without one is `other`.",
        "",
        "| label | words and commands | phrases | not in |",
        "|---|---|---|---|",
    ]
    for category in taxonomy.describe():
        cells = (", ".join(f"`{w}`" for w in category[part]) or "–" for part in ("words", "phrases", "unless"))
        lines.append(f"| `{category['name']}` | {' | '.join(cells)} |")
    lines.append("")
    return "\n".join(lines)


def importers_page() -> str:
    return "\n".join(
        [
            "# Importing responses",
            "",
            "`qrm-forensics import PATH…` reads what other programs wrote and makes a run of it: scored under both policies, measured,",
            "compared, reported like any other. Files, folders and whole trees can be given, several at once if they are of one format;",
            "which format it is is seen from their content (`--format` says it instead).",
            "",
            describe.page(),
            "",
            "What is missing in the files at hand is said when they are imported, with the number of responses, and kept with the run.",
            "",
            "## Who answered, and from which seed",
            "",
            "The model's name is read as in the paper's repository: `QwQ-32B-awq-w4g128-tp1` is QwQ-32B under the recipe `awq-w4g128`,",
            "a name without a recipe (or with `-bf16`) is the unquantized model, and if there is one of these it is the baseline. Of a path",
            "or a hub's name the last part counts. A name that says that a model is quantized but not how (`…-AWQ-INT4`) is refused, as",
            "the comparison would be upside down: put the files into a folder `<model>-<recipe>-tp<n>-seed<seed>`. Such a folder is read",
            "before anything that the files say, and the only place for a seed where they say none; it is 0 then.",
            "",
            "## Which problem it was",
            "",
            "With `--problems` (a file of problems, or a folder of `<BENCHMARK>/test.jsonl`) a response is joined to its problem by the",
            "tool's own id where the file has it and the prompt holds its text, else by the text. Gold answers, subjects and levels are",
            "then those of the file. Without it, problems are those that were answered, and gold answers those that the tool stored.",
            "",
            "## JSON Lines",
            "",
            "The output of a batch has no questions: give its input file too, or `--problems`. In rows of your own, call things",
            "`model`, `problem` or `messages`, `response`, `answer` (the right one), `benchmark`, `id`, `seed`, `sample`,",
            "`finish_reason`; all but the response may be absent. Several responses to one problem are samples in their order.",
            "",
            "## Bounds",
            "",
            "A response has at most 16 million characters; parts of an archive and columns of a Parquet file that unfold to more than",
            "any log of responses are refused while they unfold. What is broken is one line with the file, the record and the remedy, and",
            "nothing of the import is left behind.",
            "",
        ]
    )


#: What was asked here with the real files of the data set; the others with files of the same form that the tests write.
REAL_FILES = ("MATH-500", "AIME-90")


def benchmarks_page() -> str:
    """docs/benchmarks.md with its table written anew; the text around it stands in the page itself."""
    begin, end = "<!-- table: python docs/build.py -->\n", "<!-- /table -->"
    before, _, rest = (HERE / "benchmarks.md").read_text(encoding="utf-8").partition(begin)
    lines = [
        "| name | problems | what | data set | folder | licence | prompt | kind | tried here |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for b in registry.BENCHMARKS.values():
        source = f"[{b.hub}](https://huggingface.co/datasets/{b.hub})" if b.hub else "–"
        folder = f"`{b.folders[0]}`" if b.folders else "–"
        tried = "real files" if b.name in REAL_FILES else "files of its form"
        lines.append(
            f"| `{b.name}` | {b.size:,} | {b.asks} | {source} | {folder} | {b.licence} | `{b.prompt}` | `{b.kind}` | {tried} |"
        )
    hub = f"[{wikitext.HUB}](https://huggingface.co/datasets/{wikitext.HUB})"
    lines.append(
        f"| `{registry.PERPLEXITY}` | – | text, for perplexity | {hub} | `wikitext` | CC BY-SA 3.0, GFDL | – | – | files of its form |"
    )
    return "".join([before, begin, "\n".join(lines), "\n", end, rest.partition(end)[2]])


PAGES = {
    "benchmarks.md": benchmarks_page,
    "importers.md": importers_page,
    "outcomes.md": outcomes_page,
    "metrics.md": metrics_page,
    "formats.md": formats_page,
    "policy.md": policy_page,
}

if __name__ == "__main__":
    for file, page in PAGES.items():
        (HERE / file).write_text(page(), encoding="utf-8")
