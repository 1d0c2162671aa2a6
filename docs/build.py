"""Write docs/metrics.md and docs/formats.md from the registry and the schemas: ``python docs/build.py``."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from qrm_forensics.metrics import all_metrics
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
    return "\n".join(lines)


PAGES = {"metrics.md": metrics_page, "formats.md": formats_page}

if __name__ == "__main__":
    for file, page in PAGES.items():
        (HERE / file).write_text(page(), encoding="utf-8")
