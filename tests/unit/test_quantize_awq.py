"""AWQ against a naive search that materialises every trial, and the invariance of folding scales."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from quantize_helpers import responses, save_tiny, tiny_model, write_array

from qrm_forensics.quantize import load_calibration, quantize
from qrm_forensics.quantize.adapters import model_map
from qrm_forensics.quantize.awq import fold_scale
from qrm_forensics.quantize.awq_core import group_moments, search_clip
from qrm_forensics.recipes import Recipe
from qrm_forensics.weights import open_checkpoint, read_json

GROUP = 64


def on_grid(w: torch.Tensor, bits: int) -> torch.Tensor:
    """AWQ's rounding, written from its definition."""
    out = torch.empty_like(w)
    for g in range(0, w.shape[1], GROUP):
        part = w[:, g : g + GROUP]
        high, low = part.max(1, keepdim=True).values, part.min(1, keepdim=True).values
        s = torch.clamp(high - low, min=1e-5) / (2**bits - 1)
        z = torch.clamp(-torch.round(low / s), 0, 2**bits - 1)
        out[:, g : g + GROUP] = (torch.clamp(torch.round(part / s) + z, 0, 2**bits - 1) - z) * s
    return out


def naive_clip(w: torch.Tensor, x: torch.Tensor, bits: int) -> torch.Tensor:
    """Clip limits ``[rows, groups]``, by running all tokens ``x`` through every trial of every group."""
    limits = torch.empty(w.shape[0], w.shape[1] // GROUP)
    for g in range(limits.shape[1]):
        part, seen = w[:, g * GROUP : (g + 1) * GROUP], x[:, g * GROUP : (g + 1) * GROUP]
        largest = part.abs().max(1).values
        errors = []
        for i in range(10):
            m = (largest * (1 - i / 20)).unsqueeze(1)
            trial = on_grid(torch.minimum(torch.maximum(part, -m), m), bits)
            errors.append(((seen @ trial.T - seen @ part.T) ** 2).mean(0))
        limits[:, g] = largest * (1 - torch.stack(errors).argmin(0) / 20)
    return limits


def naive_awq(model: Any, ids: torch.Tensor, bits: int) -> tuple[dict[str, torch.Tensor], dict[str, list[float]]]:
    """Weights of the quantized model and the losses of each stage, by really building every candidate layer."""
    seen: dict[str, torch.Tensor] = {}
    hooks = []
    for name, module in model.named_modules():
        if (name.startswith("model.layers.") and name.count(".") == 4) or name.endswith("self_attn"):

            def keep(m: Any, args: Any, kwargs: Any, out: Any, name: str = name) -> None:
                seen[name] = args[0] if args else kwargs["hidden_states"]
                seen[name + ".kwargs"] = {k: v for k, v in kwargs.items() if k != "hidden_states"}
                seen[name + ".out"] = out[0] if isinstance(out, tuple) else out

            hooks.append(module.register_forward_hook(keep, with_kwargs=True))
    with torch.no_grad():
        model(ids, use_cache=False)
    for hook in hooks:
        hook.remove()
    weights, losses = {}, {}
    for number, layer in enumerate(model.model.layers):
        prefix = f"model.layers.{number}."
        done = copy.deepcopy(layer)
        heads_match = layer.self_attn.v_proj.weight.shape == layer.self_attn.o_proj.weight.shape
        for group, source, attention in (
            (["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], "input_layernorm", True),
            (["self_attn.o_proj"], "self_attn.v_proj" if heads_match else None, False),
            (["mlp.gate_proj", "mlp.up_proj"], "post_attention_layernorm", False),
            (["mlp.down_proj"], "mlp.up_proj", False),
        ):
            x = seen[prefix + group[0]]
            flat = x.flatten(0, 1)
            scale = torch.ones(x.shape[-1])
            if source is not None:
                inspected = "self_attn" if attention else ("mlp" if len(group) == 2 else group[0])
                # not looked up in what was seen: mlp is one level higher than the hooks reach
                extra = seen[prefix + "self_attn.kwargs"] if attention else {}

                def run(block: Any, x: torch.Tensor, extra: Any = extra) -> torch.Tensor:
                    with torch.no_grad():
                        out = block(x, **extra)
                    return out[0] if isinstance(out, tuple) else out

                target = run(layer.get_submodule(inspected), x)
                tried = []
                for i in range(20):
                    s = flat.abs().mean(0).pow(i / 20).clamp(min=1e-4)
                    s = s / (s.max() * s.min()).sqrt()
                    trial = copy.deepcopy(layer)
                    for name in group:
                        linear = trial.get_submodule(name)
                        linear.weight.data = on_grid(linear.weight.data * s, bits)
                    # the input arrives divided, as it does after folding
                    tried.append((((run(trial.get_submodule(inspected), x / s) - target) ** 2).mean().item(), s))
                losses[prefix + group[0]] = [loss for loss, _ in tried]
                scale = min(tried, key=lambda t: t[0])[1]
                fold = done.get_submodule(source)
                for parameter in fold.parameters():
                    parameter.data /= scale[:, None] if parameter.dim() == 2 else scale
            for name in group:
                done.get_submodule(name).weight.data *= scale
                seen[prefix + name + ".scaled"] = flat / scale
        for name, module in done.named_modules():
            if isinstance(module, torch.nn.Linear):
                w = module.weight.data
                if "q_proj" not in name and "k_proj" not in name:
                    m = naive_clip(w, seen[prefix + name + ".scaled"], bits).repeat_interleave(GROUP, 1)
                    w = torch.minimum(torch.maximum(w, -m), m)
                module.weight.data = on_grid(w, bits)
        weights |= {prefix + name: p.data for name, p in done.named_parameters()}
    return weights, losses


@pytest.mark.parametrize(("bits", "kv_heads"), [(3, 2), (4, 4)], ids=["grouped-query", "multi-head"])
def test_whole_method_equals_the_naive_search(tmp_path: Path, bits: int, kv_heads: int) -> None:
    source = save_tiny(tmp_path / "source", dtype="float32", kv_heads=kv_heads)
    file = write_array(tmp_path / "r.jsonl", responses())
    calibration = load_calibration(file, source, samples=6, length=48)
    quantize(source, Recipe.parse(f"awq-w{bits}g{GROUP}"), tmp_path / "out", calibration)
    expected, losses = naive_awq(tiny_model(kv_heads=kv_heads), torch.from_numpy(calibration.token_ids).long(), bits)
    modules = read_json(tmp_path / "out" / "recipe.json")["modules"]
    ratios = set()
    for name, record in modules.items():
        if record["scale_skipped"]:
            assert "o_proj" in name and kv_heads == 2
            continue
        key = name.replace("k_proj", "q_proj").replace("v_proj", "q_proj").replace("up_proj", "gate_proj")
        torch.testing.assert_close(torch.tensor(record["losses"]), torch.tensor(losses[key]), rtol=1e-3, atol=0)
        assert record["ratio"] == min(range(20), key=lambda i: losses[key][i]) / 20
        ratios.add(record["ratio"])
    assert len(ratios - {0.0}) >= 1, "the example is too easy: no scale was worth it"
    made = open_checkpoint(tmp_path / "out")
    for name, weight in expected.items():
        step = (weight.max() - weight.min()) / 2**bits
        apart = (made.tensor(name) - weight).abs() > 1e-3 * step
        assert apart.float().mean() <= 2e-4, name


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_clip_search_on_moments_chooses_as_the_naive_one(bits: int) -> None:
    torch.manual_seed(bits)
    w, x = torch.randn(64, 4 * GROUP), torch.randn(3, 100, 4 * GROUP) * torch.exp(torch.randn(4 * GROUP))
    w[:, 7] *= 6
    moments = group_moments([x[:1], x[1:]], GROUP)
    naive = naive_clip(w, x.flatten(0, 1), bits)
    chosen = search_clip(w, moments, bits).squeeze(-1)
    torch.testing.assert_close(chosen, naive, rtol=1e-6, atol=0)
    assert (chosen < 0.97 * w.reshape(64, 4, GROUP).abs().amax(-1)).float().mean() > 0.1


@pytest.mark.parametrize("kv_heads", [2, 4])
def test_folding_scales_leaves_the_function_alone(kv_heads: int) -> None:
    model = tiny_model(kv_heads=kv_heads).double()
    ids = torch.randint(0, 96, (2, 40))
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    config = model.config.to_dict() | {"architectures": ["Qwen2ForCausalLM"]}
    stages = model_map(config, shapes, "here").stages
    folded = copy.deepcopy(model)
    count = 0
    for layer in folded.model.layers:
        for stage in stages:
            if stage.source == "self_attn.v_proj" and kv_heads != 4:
                continue
            scale = torch.exp(torch.randn(layer.get_submodule(stage.linears[0]).in_features).double())
            fold_scale(layer, stage, scale)
            count += 1
    assert count == (8 if kv_heads == 4 else 6)
    assert not torch.equal(folded.model.layers[0].mlp.up_proj.weight, model.model.layers[0].mlp.up_proj.weight)
    with torch.no_grad():
        difference = (folded(ids).logits - model(ids).logits).abs().max().item()
    assert difference < 1e-9


def test_paper_code_computes_in_bfloat16(tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "source")
    file = write_array(tmp_path / "r.jsonl", responses())
    made = {}
    for preset in ("fixed", "paper-code"):
        recipe = Recipe.parse(f"awq-w4g{GROUP}" + ("+paper-code" if preset == "paper-code" else ""))
        calibration = load_calibration(file, source, preset=preset, samples=2, length=48)
        quantize(source, recipe, tmp_path / preset, calibration)
        made[preset] = read_json(tmp_path / preset / "recipe.json")
    assert made["fixed"]["settings"]["arithmetic"] == "float32"
    assert made["paper-code"]["settings"]["arithmetic"] == "bfloat16"
    assert made["fixed"]["content_hash"] != made["paper-code"]["content_hash"]
    checkpoint = open_checkpoint(tmp_path / "paper-code")
    # dequantized in bfloat16: code times scale, both of 8 bits, rounded once more
    assert checkpoint.tensor("model.layers.0.self_attn.q_proj.weight").dtype == torch.bfloat16
