"""Minutes and peak memory of quantizing a whole model of the shape of Qwen2-1.5B with ``qrm-forensics quantize``, recipe by recipe.

    python bench/quantize_whole.py --keep FOLDER [--recipes rtn-w4g128 gptq-w4g128 …] [--layers 28] [--device cuda]

The checkpoint has random weights that are made to look trained (see ``quantize_speed.py``), in bfloat16 and with tied embeddings.  Two layers are
drawn, which take turns.  It is found again under ``--keep``.  Each recipe is a process of its own that runs the command as a user does,
reading the calibration text from a file.  Columns of the table:

``CPU``
    minutes of the process, user and system, all threads.
``wall``
    minutes from its start to its end: imports, hashing the source, quantizing, writing, hashing the result.
``peak``
    its largest resident memory, as the kernel counted it (``ru_maxrss``).  Pages of files that are mapped are in it.
``device``
    the most that torch has allocated on the GPU; ``-`` on a CPU.

``--windows`` and ``--length`` say how much text is used; what is done with it grows in proportion, the rest does not.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from quantize_speed import Shape, make_model, make_tokens

#: Layers that are drawn; any number of them costs a quantizer the same.
DRAWN = 2
#: Runs the command line in the process, and says at its end what the GPU had to hold.
COMMAND = """
import atexit, json, sys

def told(file):
    torch = sys.modules.get("torch")
    used = torch.cuda.max_memory_allocated() if torch is not None and torch.cuda.is_initialized() else None
    with open(file, "w", encoding="utf-8") as stream:
        json.dump(used, stream)

atexit.register(told, sys.argv.pop(1))
from qrm_forensics.cli import main
main()
"""


@dataclass(frozen=True)
class Measured:
    recipe: str
    cpu_minutes: float
    wall_minutes: float
    peak_gb: float
    device_gb: float | None


def make_source(folder: Path, shape: Shape) -> Path:
    """The checkpoint, whole or not at all, with a tokenizer that takes the text apart at spaces."""
    if (folder / "config.json").is_file():
        return folder
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    fresh = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    make_model(fresh, replace(shape, layers=min(DRAWN, shape.layers)))
    repeat_layers(fresh, shape.layers)
    raw = Tokenizer(models.WordLevel({f"t{i}": i for i in range(shape.vocabulary)}, unk_token="t2"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="t0", eos_token="t1", unk_token="t2")
    words.save_pretrained(fresh)
    fresh.replace(folder)
    return folder


def repeat_layers(folder: Path, layers: int) -> None:
    """Make a checkpoint of few layers one of ``layers``, in which those few take turns."""
    from safetensors.torch import load_file, save_file

    file, config = folder / "model.safetensors", json.loads((folder / "config.json").read_text(encoding="utf-8"))
    drawn = config["num_hidden_layers"]
    tensors = {}
    for name, tensor in load_file(file).items():
        head, found, tail = name.partition("model.layers.")
        number, _, linear = tail.partition(".")
        for index in range(int(number), layers, drawn) if found else ():
            tensors[f"{head}{found}{index}.{linear}"] = tensor.clone()
        if not found:
            tensors[name] = tensor.clone()
    save_file(tensors, file, metadata={"format": "pt"})
    config |= {"num_hidden_layers": layers, "max_window_layers": layers}
    if "layer_types" in config:
        config["layer_types"] = [config["layer_types"][0]] * layers
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def make_text(file: Path, windows: int, length: int, vocabulary: int) -> Path:
    """One document per window, each a bit longer than it."""
    import numpy as np

    ids = np.load(make_tokens(file.with_suffix(".npy"), windows, length + 8, vocabulary, 1))
    lines = [json.dumps({"text": " ".join(f"t{i}" for i in row)}) for row in ids]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def measure(recipe: str, source: Path, text: Path, folder: Path, given: argparse.Namespace) -> Measured:
    """Run it; raises SystemExit that names the log where the command fails."""
    out = folder / f"{recipe}-{time.time_ns()}"
    device = out.with_suffix(".device.json")
    environment = dict(os.environ, HF_HUB_OFFLINE="1", OMP_NUM_THREADS=str(given.threads))
    if given.device != "auto":
        environment["QRM_DEVICE"] = given.device
    command = [sys.executable, "-c", COMMAND, str(device), "quantize", str(source), recipe, "--out", str(out)]
    command += ["--calibration", str(text), "--corpus", "file", "--json"]
    command += ["--samples", str(given.windows), "--length", str(given.length)]
    started = time.perf_counter()
    log = out.with_suffix(".log")
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)
        # unlike getrusage, this tells of the one child
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{recipe}: failed (exit {process.returncode}); its output is in {log}")
    held = json.loads(device.read_text(encoding="utf-8"))
    if not given.leave:
        shutil.rmtree(out)
    # kilobytes on Linux, bytes on macOS
    unit = 1 if sys.platform == "darwin" else 1024
    return Measured(
        recipe,
        (used.ru_utime + used.ru_stime) / 60,
        wall / 60,
        used.ru_maxrss * unit / 1e9,
        None if held is None else held / 1e9,
    )


def table(rows: list[Measured]) -> str:
    lines = ["| recipe | CPU, min | wall, min | peak, GB | device, GB |", "|---|---:|---:|---:|---:|"]
    for row in rows:
        device = "-" if row.device_gb is None else f"{row.device_gb:.2f}"
        lines.append(
            f"| {row.recipe} | {row.cpu_minutes:.1f} | {row.wall_minutes:.1f} | {row.peak_gb:.2f} | {device} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["rtn-w4g128", "gptq-w4g128", "awq-w4g128"])
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, npu; auto takes a GPU where there is one")
    parser.add_argument("--windows", type=int, default=128)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--keep", type=Path, help="work here and leave the source; else in a temporary folder")
    parser.add_argument("--leave", action="store_true", help="with --keep: leave the quantized checkpoints as well")
    parser.add_argument("--json", type=Path, help="write the measurements here as well")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    shape = Shape(1536, 8960, given.layers, 12, 2, 151_936, "bfloat16", tied=True)
    if given.make:
        make_source(given.make, shape)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder: Path = given.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        source = folder / f"random-{given.layers}"
        # in a process of its own: what this one has held would count as held by those that it starts
        subprocess.run(
            [sys.executable, __file__, "--layers", str(given.layers), "--make", str(source)],
            check=True,
            env=dict(os.environ, OMP_NUM_THREADS=str(given.threads)),
        )
        text = make_text(folder / "text.jsonl", given.windows, given.length, shape.vocabulary)
        rows: list[Measured] = []
        for recipe in given.recipes:
            rows.append(measure(recipe, source, text, folder, given))
            print(table(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    used: dict[str, Any] = {"layers": given.layers, "windows": given.windows, "length": given.length}
    print(f"{given.layers} layers, {given.windows} windows of {given.length} tokens, {given.threads} threads\n")
    print(table(rows))
    if given.json:
        given.json.write_text(json.dumps(used | {"rows": [asdict(row) for row in rows]}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
