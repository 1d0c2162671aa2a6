"""A virtual environment whose llm-compressor is a stand-in, for what happens around another library."""

from __future__ import annotations

import os
import venv
from pathlib import Path

#: What llm-compressor would leave, written without torch: one tensor of 8 bits per layer, and the source's config; or, where the variable
#: FAKE_RESULT names a folder, what is in there.
LIBRARY = """
import json, os, pathlib, shutil, struct

def write(task, method):
    source, out = pathlib.Path(task["model"]), pathlib.Path(task["out"])
    if os.environ.get("FAKE_RESULT"):
        skip = shutil.ignore_patterns("recipe.json")
        shutil.copytree(os.environ["FAKE_RESULT"], out, dirs_exist_ok=True, ignore=skip)
        return
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "format": "float-quantized"}
    (out / "config.json").write_text(json.dumps(config))
    names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(config["num_hidden_layers"])]
    header = {n: {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [4 * i, 4 * i + 4]} for i, n in enumerate(names)}
    text = json.dumps(header).encode()
    (out / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(4 * len(names)))
"""
#: A quantization that says what it was asked for.
WORKS = "def oneshot(model, tokenizer, recipe, **data):\n    print('scheme', recipe[0].options['scheme'], len(data))\n"


def library(folder: Path, body: str) -> Path:
    """A virtual environment whose llmcompressor is fake: a version, and modules that the worker imports."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    packages = next(folder.glob("lib/python*/site-packages"))
    about = packages / "llmcompressor-9.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: llmcompressor\nVersion: 9.9\n")
    for name in ("torch", "transformers", "compressed_tensors"):
        other = packages / f"{name}-1.0.dist-info"
        other.mkdir()
        (other / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
    (packages / "fake.py").write_text(LIBRARY)
    (packages / "torch.py").write_text("class cuda:\n    is_available = staticmethod(lambda: True)\n")
    (packages / "datasets.py").write_text("class Dataset:\n    from_list = staticmethod(list)\n")
    (packages / "transformers.py").write_text(
        "class Loaded:\n    def __init__(self, path): self.path = path\n"
        "    def save_pretrained(self, out, **_):\n"
        "        import fake, os\n"
        "        if _: fake.write({'model': self.path, 'out': out}, os.environ.get('FAKE', 'compressed-tensors'))\n"
        "class AutoTokenizer:\n    from_pretrained = staticmethod(lambda path, **_: Loaded(path))\n"
        "class AutoModelForCausalLM(AutoTokenizer): pass\n"
    )
    package = packages / "llmcompressor"
    (package / "modifiers").mkdir(parents=True)
    (package / "__init__.py").write_text(body)
    (package / "modifiers" / "__init__.py").write_text("")
    (package / "modifiers" / "quantization.py").write_text(
        "class GPTQModifier:\n    def __init__(self, **options): self.options = options\n"
        "class QuantizationModifier(GPTQModifier): pass\n"
    )
    return folder
