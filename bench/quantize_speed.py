"""Our GPTQ and AWQ (w4g128) against other libraries: seconds, memory and output error, on one machine, in one run.

Every arm is a process of its own that gets the same checkpoint, the same windows of token ids and the same number of threads; arms take
turns within each repetition.  Run::

    python bench/quantize_speed.py --llmcompressor ENV [--autoawq ENV] [--gptqmodel ENV] [--repeats 3]

ENV is a virtual environment with that library; arms without one are left out and said to be.  Columns of the table:

``proper``
    seconds from the loaded model to the quantized one in memory, wall clock and CPU (user + system): the median of the repetitions, with
    the range of the wall clock.  Ours includes reading the weights of each layer.
``whole``
    wall clock of the process: imports, loading, quantizing, saving.
``peak``
    largest resident memory of the process until the checkpoint is saved, and how much of it came after the imports.
``error``
    held-out tokens: Σ(logits - original's)² / Σ(original's, less their mean per position)²; and the mean KL divergence in nats.

GPTQ has two arms more, so that each sort of grid meets its like: ``ours-minmax`` is ours without the search for each group's range, which
llm-compressor does not do by default, and ``llmcompressor-mse`` is llm-compressor with its own search.

The model is a Qwen2 with random weights that are made to look trained: correlated hidden states (embeddings of low rank), input channels of
log-normal size with a few twenty times as large as the rest, weights with heavy tails.  ``--dtype float32`` lets all arms compute in float32;
with bfloat16 the other libraries compute in that, ours still in float32.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULT = "result.json"
LOGITS = "logits.pt"


def spent() -> float:
    """CPU seconds of this process so far, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mb() -> float:
    """Of this program.  ``ru_maxrss`` would not do: a child starts with the largest value of the process that it was forked from."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


class Stage:
    """Wall clock and CPU seconds of a ``with`` block; 0 where none was entered."""

    wall = cpu = 0.0

    def __enter__(self) -> Stage:
        self.wall, self.cpu = time.perf_counter(), spent()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self.wall, spent() - self.cpu


# --- arms: each runs in a process (and an environment) of its own --------------------------------


def logits_of(model: Any, ids: Any) -> Any:
    import torch

    with torch.no_grad():
        return torch.cat([model(input_ids=row.unsqueeze(0), use_cache=False).logits.float() for row in ids])


def report(task: dict[str, Any], proper: Stage, base: float, peak: float, versions: list[str]) -> None:
    from importlib import metadata

    told = {
        "proper_wall": proper.wall,
        "proper_cpu": proper.cpu,
        "peak_mb": peak,
        "peak_added_mb": peak - base,
        "versions": {name: metadata.version(name) for name in versions},
        "finished": time.time(),
    }
    Path(task["out"], RESULT).write_text(json.dumps(told), encoding="utf-8")


def run_ours(task: dict[str, Any]) -> None:
    import hashlib

    import numpy as np
    import torch._dynamo  # noqa: F401  # an import of the first forward pass, which the other arms do at their start
    import transformers

    from qrm_forensics.quantize import QUANTIZERS, Calibration, quantize
    from qrm_forensics.recipes import Recipe

    ids = np.load(task["calibration"]).astype(np.int32)
    calibration = Calibration(
        token_ids=ids,
        sha256=hashlib.sha256(ids.tobytes()).hexdigest(),
        preset="fixed",
        arrangement="blocks",
        records=1,
        text_tokens=ids.size,
        requested_samples=len(ids),
        requested_length=ids.shape[1],
        seed=0,
        file="random",
    )
    recipe = Recipe.parse(task["recipe"])
    module, _, name = QUANTIZERS[recipe.method].partition(":")
    method = getattr(__import__(module, fromlist=[name]), name)
    own, proper, loading = method.quantize, Stage(), Stage()
    load = transformers.AutoModelForCausalLM.from_pretrained

    def timed_load(*given: Any, **named: Any) -> Any:
        with loading:
            return load(*given, **named)

    def timed(self: Any, job: Any) -> Any:
        transformers.AutoModelForCausalLM.from_pretrained = timed_load
        try:
            with proper:
                return own(self, job)
        finally:
            transformers.AutoModelForCausalLM.from_pretrained = load

    method.quantize = timed
    base = peak_mb()
    made = Path(task["out"]) / "made"
    quantize(task["model"], recipe, made, calibration)
    proper.wall, proper.cpu = proper.wall - loading.wall, proper.cpu - loading.cpu
    report(task, proper, base, peak_mb(), ["qrm-forensics", "torch", "transformers"])
    keep_logits(task, load(made, dtype="auto"))


def keep_logits(task: dict[str, Any], model: Any) -> None:
    """Behind the measurement: what the quantized model says on the held-out tokens."""
    import numpy as np
    import torch

    held = torch.from_numpy(np.load(task["held_out"])).long()
    torch.save(logits_of(model.eval(), held), Path(task["out"], LOGITS))


def run_llmcompressor(task: dict[str, Any], observer: str | None = None) -> None:
    import numpy as np
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.pipelines import cache
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not torch.cuda.is_available():  # it pins memory even where there is no accelerator, and fails
        cache.IntermediatesCache._pin_intermediate = classmethod(lambda cls, value: None)
    ids = np.load(task["calibration"]).tolist()
    base = peak_mb()
    model = AutoModelForCausalLM.from_pretrained(task["model"], dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(task["model"])
    common: dict[str, Any] = {"targets": "Linear", "scheme": "W4A16_ASYM", "ignore": ["lm_head"]}
    if observer is not None:
        from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

        weights = QuantizationArgs(num_bits=4, symmetric=False, strategy="group", group_size=128, observer=observer)
        common = {
            "config_groups": {"all": QuantizationScheme(targets=["Linear"], weights=weights)},
            "ignore": ["lm_head"],
        }
    gptq = task["recipe"].startswith("gptq")
    with Stage() as proper:
        oneshot(
            model=model,
            tokenizer=tokenizer,
            recipe=[GPTQModifier(**common)] if gptq else [AWQModifier(), QuantizationModifier(**common)],
            dataset=Dataset.from_list([{"input_ids": row, "attention_mask": [1] * len(row)} for row in ids]),
            num_calibration_samples=len(ids),
            max_seq_length=len(ids[0]),
            shuffle_calibration_samples=False,
        )
    model.save_pretrained(Path(task["out"]) / "made", save_compressed=True)
    report(task, proper, base, peak_mb(), ["llmcompressor", "torch", "transformers"])
    keep_logits(task, AutoModelForCausalLM.from_pretrained(Path(task["out"]) / "made", dtype="auto"))


def run_autoawq(task: dict[str, Any]) -> None:
    import numpy as np
    import torch
    from awq import AutoAWQForCausalLM
    from transformers import AutoModelForCausalLM

    ids = np.load(task["calibration"]).tolist()
    base = peak_mb()
    model = AutoAWQForCausalLM.from_pretrained(task["model"], device_map="cpu", torch_dtype="auto")
    with Stage() as proper:
        model.quantize(
            None,
            quant_config={"w_bit": 4, "q_group_size": 128, "zero_point": True, "version": "GEMM"},
            calib_data=ids,
            duo_scaling=False,
            apply_clip=True,
            max_calib_samples=len(ids),
            max_calib_seq_len=len(ids[0]),
            export_compatible=True,
        )
    for (
        module
    ) in model.model.modules():  # its layout is for GPUs; scales and clips are in the weights, what is left is rounding
        if isinstance(module, torch.nn.Linear) and module is not model.model.lm_head:
            module.weight.data = model.quantizer.pseudo_quantize_tensor(module.weight.data)[0]
    made = Path(task["out"]) / "made"
    model.model.save_pretrained(made)
    report(task, proper, base, peak_mb(), ["autoawq", "torch", "transformers"])
    keep_logits(task, AutoModelForCausalLM.from_pretrained(made, dtype="auto"))


def run_gptqmodel(task: dict[str, Any]) -> None:
    import numpy as np
    from gptqmodel import GPTQModel, QuantizeConfig

    ids = np.load(task["calibration"]).tolist()
    base = peak_mb()
    model = GPTQModel.load(
        task["model"], QuantizeConfig(bits=4, group_size=128, sym=True, desc_act=False, device="cpu")
    )
    with Stage() as proper:
        model.quantize([{"input_ids": row, "attention_mask": [1] * len(row)} for row in ids], batch_size=1)
    made = Path(task["out"]) / "made"
    model.save(str(made))
    report(task, proper, base, peak_mb(), ["gptqmodel", "torch", "transformers"])
    keep_logits(task, GPTQModel.load(str(made), device="cpu").model)


def run_ours_minmax(task: dict[str, Any]) -> None:
    """GPTQ on the grids that llm-compressor takes by itself: smallest and largest value, without the search for a range."""
    from qrm_forensics.quantize import affine, gptq_core

    gptq_core.mse_grid = affine.minmax_grid  # type: ignore[assignment]
    run_ours(task)


def run_llmcompressor_mse(task: dict[str, Any]) -> None:
    """With its search for each group's range, as ours and the paper's."""
    run_llmcompressor(task, "mse")


ARMS = {
    "ours": run_ours,
    "ours-minmax": run_ours_minmax,
    "llmcompressor": run_llmcompressor,
    "llmcompressor-mse": run_llmcompressor_mse,
    "autoawq": run_autoawq,
    "gptqmodel": run_gptqmodel,
}
METHODS = {
    "ours-minmax": ("gptq-w4g128",),
    "llmcompressor-mse": ("gptq-w4g128",),
    "autoawq": ("awq-w4g128",),
    "gptqmodel": ("gptq-w4g128",),
}


# --- the model ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    dtype: str
    tied: bool = False


def make_model(folder: Path, shape: Shape, seed: int = 0) -> None:
    """Random weights with what rounding finds in trained ones: correlated inputs, outlier channels, heavy tails."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=8192,
        tie_word_embeddings=shape.tied,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = Qwen2ForCausalLM(config).to(getattr(torch, shape.dtype))
    tails = torch.distributions.StudentT(torch.tensor(6.0))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            size = tuple(parameter.shape)
            if name.endswith("layernorm.weight"):
                made = torch.exp(0.5 * torch.randn(size))
                made[torch.randperm(size[0])[: max(2, size[0] // 128)]] *= 20
            elif "norm" in name:
                made = torch.ones(size)
            elif name.endswith("bias"):
                made = torch.randn(size)
            elif "embed_tokens" in name:
                rank = size[1] // 4
                made = torch.randn(size[0], rank) @ torch.randn(rank, size[1]) / rank**0.5 + 0.3 * torch.randn(size)
            else:
                made = tails.sample(size) / (1.2 * size[1] ** 0.5)
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    made = made / (2 * shape.layers) ** 0.5
                elif name.endswith(("q_proj.weight", "k_proj.weight", "up_proj.weight", "gate_proj.weight")):
                    made = made / 3
            parameter.copy_(made)
    model.save_pretrained(folder)
    raw = Tokenizer(models.WordLevel({f"t{i}": i for i in range(shape.vocabulary)}, unk_token="t2"))
    # GPTQModel would add a padding token of its own, beyond the embeddings
    named = {"bos_token": "t0", "eos_token": "t1", "unk_token": "t2", "pad_token": "t1"}
    PreTrainedTokenizerFast(tokenizer_object=raw, **named).save_pretrained(folder)


def make_tokens(file: Path, windows: int, length: int, vocabulary: int, seed: int) -> Path:
    """Windows of token ids with the frequencies of words: rank to the power of -1."""
    import numpy as np

    weights = 1 / np.arange(1, vocabulary - 2)
    chosen = np.random.default_rng(seed).choice(vocabulary - 3, (windows, length), p=weights / weights.sum()) + 3
    np.save(file, chosen.astype(np.int32))
    return file


# --- the race -------------------------------------------------------------------------------------


def run_arm(arm: str, python: Path, task: dict[str, Any], threads: int) -> dict[str, Any]:
    out = Path(task["out"])
    out.mkdir(parents=True)
    (out / "task.json").write_text(json.dumps(task), encoding="utf-8")
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment = kept | {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "GPTQMODEL_CPU_WORKERS": "2",
    }
    started = time.time()
    with (out / "log").open("w", encoding="utf-8") as log:
        command = [str(python), __file__, "--arm", arm, str(out / "task.json")]
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False).returncode
    if code:
        raise SystemExit(f"{arm}: failed (exit {code}); its output is in {out / 'log'}")
    told: dict[str, Any] = json.loads((out / RESULT).read_text(encoding="utf-8"))
    return told | {"whole_wall": told["finished"] - started, **errors(out / LOGITS, Path(task["original"]))}


def errors(found: Path, original: Path) -> dict[str, float]:
    import torch

    theirs, ours = torch.load(found).double(), torch.load(original).double()
    power = (ours - ours.mean(-1, keepdim=True)).square().sum()
    p = ours.log_softmax(-1)
    kl = (p.exp() * (p - theirs.log_softmax(-1))).sum(-1).mean()
    return {"error": float((theirs - ours).square().sum() / power), "kl": float(kl)}


def table(rows: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    lines = [
        "| recipe | arm | proper, s (range) | CPU, s | ratio (CPU) | whole, s | peak, MB (added) | error | KL |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (recipe, arm), runs in rows.items():
        walls = [run["proper_wall"] for run in runs]
        middle = {k: statistics.median(run[k] for run in runs) for k, v in runs[0].items() if isinstance(v, float)}
        ours = {k: statistics.median(run[k] for run in rows[recipe, "ours"]) for k in ("proper_wall", "proper_cpu")}
        wall, cpu = (ours[k] / middle[k] for k in ("proper_wall", "proper_cpu"))
        ratio = "" if arm == "ours" else f"{wall:.2f} ({cpu:.2f})"
        lines.append(
            f"| {recipe} | {arm} | {middle['proper_wall']:.1f} ({min(walls):.1f}-{max(walls):.1f}) | "
            f"{middle['proper_cpu']:.1f} | {ratio} | {middle['whole_wall']:.1f} | "
            f"{middle['peak_mb']:.0f} ({middle['peak_added_mb']:.0f}) | {middle['error']:.3e} | {middle['kl']:.3e} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for library in ("llmcompressor", "autoawq", "gptqmodel"):
        parser.add_argument(f"--{library}", type=Path, metavar="ENV", help="its virtual environment")
    parser.add_argument("--recipes", nargs="+", default=["gptq-w4g128", "awq-w4g128"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--intermediate", type=int, default=1536)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--windows", type=int, default=32)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--keep", type=Path, help="work here and leave everything; else in a temporary folder")
    parser.add_argument("--json", type=Path, help="write all measurements here as well")
    parser.add_argument("--arm", nargs=2, metavar=("ARM", "TASK"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arm:
        ARMS[given.arm[0]](json.loads(Path(given.arm[1]).read_text(encoding="utf-8")))
        return
    pythons = dict.fromkeys(("ours", "ours-minmax"), Path(sys.executable))
    for library in ("llmcompressor", "autoawq", "gptqmodel"):
        where = getattr(given, library)
        if where is None:
            print(f"{library}: left out, no environment was given", file=sys.stderr)
        else:
            pythons[library] = where.absolute() / "bin" / "python"
            if library == "llmcompressor":
                pythons["llmcompressor-mse"] = pythons[library]
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        rows = race(given, pythons, folder)
    print(f"{os.cpu_count()} cores, {given.threads} threads, {given.dtype}; {versions(rows)}\n")
    print(table(rows))
    if given.json:
        told = [{"recipe": recipe, "arm": arm, "runs": runs} for (recipe, arm), runs in rows.items()]
        given.json.write_text(json.dumps(told, indent=1), encoding="utf-8")


def versions(rows: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    found = {arm: runs[0]["versions"] for (_, arm), runs in rows.items()}
    return "; ".join(f"{arm}: {', '.join(f'{k} {v}' for k, v in told.items())}" for arm, told in found.items())


def race(
    given: argparse.Namespace, pythons: dict[str, Path], folder: Path
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    heads = given.hidden // 64
    shape = Shape(
        given.hidden, given.intermediate, given.layers, heads, max(1, heads // 4), given.vocabulary, given.dtype
    )
    model = folder / "model"
    make_model(model, shape)
    calibration = make_tokens(folder / "calibration.npy", given.windows, given.length, shape.vocabulary, 1)
    held_out = make_tokens(folder / "held_out.npy", 8, 256, shape.vocabulary, 2)
    original = folder / "original.pt"
    exact = AutoModelForCausalLM.from_pretrained(model, dtype="auto").eval()
    torch.save(logits_of(exact, torch.from_numpy(np.load(held_out)).long()), original)
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for repeat in range(given.repeats):
        for recipe in given.recipes:
            arms = [arm for arm in pythons if recipe in METHODS.get(arm, (recipe,))]
            # who goes first changes, so that a machine that gets slower hits nobody in particular
            for arm in arms if repeat % 2 == 0 else arms[::-1]:
                task = {
                    "model": str(model),
                    "recipe": recipe,
                    "calibration": str(calibration),
                    "held_out": str(held_out),
                    "original": str(original),
                    "out": str(folder / f"{recipe}-{arm}-{repeat}-{time.time_ns()}"),
                }
                told = run_arm(arm, pythons[arm], task, given.threads)
                rows.setdefault((recipe, arm), []).append(told)
                print(
                    f"{recipe} {arm} {repeat + 1}: {told['proper_wall']:.1f} s ({told['proper_cpu']:.1f} s CPU), "
                    f"{told['peak_mb']:.0f} MB, error {told['error']:.3e}",
                    file=sys.stderr,
                    flush=True,
                )
    return {key: rows[key] for recipe in given.recipes for key in rows if key[0] == recipe}


if __name__ == "__main__":
    main()
