"""Write the pages that are generated from code (metrics, formats, outcomes, policy): ``python docs/build.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel

from qrm_forensics import symptoms
from qrm_forensics.benchmarks import taxonomy
from qrm_forensics.compare.baseline_file import BASELINE_VERSION
from qrm_forensics.compare.items import ITEM_SCHEMA
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


PAGES = {
    "outcomes.md": outcomes_page,
    "metrics.md": metrics_page,
    "formats.md": formats_page,
    "policy.md": policy_page,
}

if __name__ == "__main__":
    for file, page in PAGES.items():
        (HERE / file).write_text(page(), encoding="utf-8")
