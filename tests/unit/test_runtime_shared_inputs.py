"""Linears that share an input share what is done to it."""

from __future__ import annotations

import pytest
import torch
from quantize_helpers import tiny_model

from qrm_forensics.runtime import attach as attaching
from qrm_forensics.runtime.spec import LinearSpec, Rounding, RuntimeSpec


@pytest.mark.parametrize("odd_one_out", [False, True])
def test_an_input_is_changed_once_per_description(monkeypatch: pytest.MonkeyPatch, odd_one_out: bool) -> None:
    model, ids = tiny_model(), torch.arange(3, 19).unsqueeze(0)
    names = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n.startswith("model.layers.0.")]
    linears = {name: LinearSpec(rounding=Rounding(bits=4)) for name in names}
    if odd_one_out:
        linears["model.layers.0.self_attn.k_proj"] = LinearSpec(rounding=Rounding(bits=8))
    change, calls = attaching.change_input, []

    def counting(x: torch.Tensor, *rest: object) -> torch.Tensor:
        calls.append(x)
        return change(x, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(attaching, "change_input", counting)
    attached = attaching.attach(model, RuntimeSpec("test", linears), {})
    with torch.no_grad():
        found = model(ids).logits
        # q and k and v; o; gate and up; down.  The odd one makes it three for the first of these.
        assert len(calls) == (6 if odd_one_out else 4)
        attached.detach()
        by_hand = {
            name: model.get_submodule(name).register_forward_pre_hook(
                lambda _m, a, s=linears[name]: (change(a[0], s, {}),)
            )
            for name in names
        }
        assert torch.equal(found, model(ids).logits)
    assert len(by_hand) == 7
