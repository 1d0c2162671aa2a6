"""The figures of the built-in model's card, as a Markdown table, from a finished run.

qrm-forensics run examples/builtin-all-recipes.yaml --out runs/card
python bench/model_card.py runs/card
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from qrm_forensics.compare import wilson
from qrm_forensics.export import export_table
from qrm_forensics.store import Store


def main(folder: str) -> None:
    store = Store(Path(folder))
    table: pd.DataFrame = export_table(store).to_pandas()
    print(
        "| recipe | n | strict accuracy (95 % Wilson) | missing | truncated | terminal loop | mean tokens | Wait per response |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for variant in store.variants:
        rows = table[table.variant == variant.id]
        right, n = int((rows.strict_status == "correct").sum()), len(rows)
        low, high = wilson(right, n)
        print(
            f"| `{variant.recipe}` | {n} | {right / n:.1%} ({low:.1%}–{high:.1%}) | {(rows.strict_status == 'missing').sum()} "
            f"| {int(rows.truncated.sum())} | {int(rows.loop.sum())} | {rows.n_tokens.mean():.0f} | {rows.wait.mean():.2f} |"
        )
    base = table[table.variant == store.baseline]
    print("\n| family | " + " | ".join(f"`{v.recipe}`" for v in store.variants) + " |")
    print("|---|" + "---:|" * len(store.variants))
    for column in ("subject", "level"):
        for name in sorted(base[column].unique()):
            shares = [
                (table[(table.variant == v.id) & (table[column] == name)].strict_status == "correct").mean()
                for v in store.variants
            ]
            label = name if column == "subject" else f"level {name}"
            print(f"| {label} | " + " | ".join(f"{s:.0%}" for s in shares) + " |")


if __name__ == "__main__":
    main(sys.argv[1])
