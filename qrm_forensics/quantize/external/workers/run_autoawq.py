"""Runs AutoAWQ in its own environment: ``python run_autoawq.py task.json``.  Imports nothing of this package.

The paper's settings: no weight statistics in the scale (``duo_scaling=False``), clipping on, GEMM layout.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any


def main(task: dict[str, Any]) -> None:
    import torch
    from awq import AutoAWQForCausalLM
    from transformers import AutoTokenizer

    options = task["options"]
    where = "auto" if torch.cuda.is_available() else "cpu"
    model = AutoAWQForCausalLM.from_pretrained(task["model"], device_map=where, torch_dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(task["model"])
    model.quantize(
        tokenizer,
        quant_config={
            "w_bit": options["bits"],
            "q_group_size": options["group_size"],
            "zero_point": True,
            "version": "GEMM",
        },
        calib_data=task["token_ids"],
        duo_scaling=False,
        apply_clip=True,
        max_calib_samples=len(task["token_ids"]),
        max_calib_seq_len=len(task["token_ids"][0]),
    )
    model.save_quantized(task["out"])
    tokenizer.save_pretrained(task["out"])


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    main(given)
    found = {name: metadata.version(name) for name in ("autoawq", "transformers", "torch")}
    Path(given["result"]).write_text(json.dumps(found), encoding="utf-8")
