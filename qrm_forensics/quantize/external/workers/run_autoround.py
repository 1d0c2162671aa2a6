"""Runs AutoRound in its own environment: ``python run_autoround.py task.json``.  Imports nothing of this package."""

from __future__ import annotations

import json
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any


def main(task: dict[str, Any]) -> None:
    import torch
    from auto_round import AutoRound
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options, ids = task["options"], task["token_ids"]
    model = AutoModelForCausalLM.from_pretrained(task["model"], dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(task["model"])
    rows = [
        {"input_ids": torch.tensor([row]), "attention_mask": torch.ones(1, len(row), dtype=torch.long)} for row in ids
    ]
    rounder = AutoRound(
        model,
        tokenizer,
        bits=options["bits"],
        group_size=options["group_size"],
        sym=True,
        dataset=rows,
        seqlen=len(ids[0]),
        nsamples=len(rows),
        enable_torch_compile=torch.cuda.is_available(),
    )
    made = Path(task["out"])
    rounder.quantize_and_save(str(made), format="auto_round")
    if not (made / "config.json").is_file():
        # some versions write into a folder of their own in it
        inner = next(made.rglob("config.json")).parent
        for file in list(inner.iterdir()):
            shutil.move(str(file), made / file.name)
        inner.rmdir()


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    main(given)
    found = {name: metadata.version(name) for name in ("auto-round", "transformers", "torch")}
    Path(given["result"]).write_text(json.dumps(found), encoding="utf-8")
