"""Known traps of recipes, each with the number that gives it away, as warnings in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qrm_forensics.quantize.base import Job, Outcome

#: The key grid's error in attention scores, relative to what depends on the text, from which on a bias is called a trap, and by how much it
#: must exceed the error of the same grid on keys without bias and outliers.
KEY_ERROR, KEY_FACTOR = 0.25, 3.0
#: Share of key values beyond a static range that was fitted to half of the text.
BEYOND = 1e-3
#: Relative squared error of a linear's output.
OUTPUT_ERROR = 0.25


@dataclass(frozen=True, slots=True)
class Trap:
    """A warning.  ``code`` names the trap, ``module`` the worst place, ``numbers`` what the sentence says in words."""

    code: str
    module: str
    numbers: dict[str, float | int | str | None]
    sentence: str


def traps(
    job: Job, outcome: Outcome, modules: Mapping[str, dict[str, Any]], keys: Sequence[dict[str, Any]]
) -> Iterator[Trap]:
    """One warning per trap, about the worst place, which says how many places there are.

    ``modules`` and ``keys`` are those of :func:`~qrm_forensics.quantize.diagnosis.diagnose`.
    """
    yield from _prompts_only(job)
    yield from _key_bias(job, keys)
    yield from _static_range(job, outcome, keys)
    yield from _skipped_scales(outcome)
    yield from _fallbacks(outcome)
    yield from _few_tokens(outcome)
    yield from _input_outliers(job, outcome, modules)
    yield from _output_errors(modules)


def _prompts_only(job: Job) -> Iterator[Trap]:
    calibration = job.calibration
    if calibration is None or not calibration.first_characters_only:
        return
    yield Trap(
        "calibration-prompts-only",
        "",
        {"records": calibration.records, "tokens": int(calibration.token_ids.size)},
        f"the calibration text is {calibration.records} prompts, each with the first character of its response, as the paper's public "
        "loader makes it: no reasoning was seen; the preset fixed takes whole responses",
    )


def _key_bias(job: Job, keys: Sequence[dict[str, Any]]) -> Iterator[Trap]:
    met = []
    for row in keys:
        error = row["grid_error"]
        if row["largest_bias"] and error and error["error"] > max(KEY_ERROR, KEY_FACTOR * error["even"]):
            met.append(row)
    if not met:
        return
    worst = max(met, key=lambda row: float(row["grid_error"]["error"]))
    error, bias, bits = worst["grid_error"], worst["largest_bias"], job.recipe.kv_bits
    yield Trap(
        "key-bias-per-token",
        worst["module"],
        {
            "largest_bias": bias,
            "head": worst["bias_head"],
            "channel": worst["bias_channel"],
            "median_spread": worst["median_spread"],
            "grid_error": error["error"],
            "grid_error_of_even_keys": error["even"],
            "layers": len(met),
        },
        f"keys are rounded to {bits} bits behind RoPE, per token and head, and the key bias of layer {worst['layer']} goes up to {bias:.0f} "
        f"where keys otherwise vary by {worst['median_spread']:.2g}: the error of attention scores is {error['error']:.2g} times what "
        f"in them depends on the text ({error['even']:.2g} for keys without bias and outliers); so in {len(met)} of {len(keys)} layers. "
        "kvquant_star rounds keys before their bias is added; +skip leaves layers in full precision",
    )


def _static_range(job: Job, outcome: Outcome, keys: Sequence[dict[str, Any]]) -> Iterator[Trap]:
    attention = outcome.runtime.attention if outcome.runtime else {}
    met = []
    for row in keys:
        spec = attention[row["layer"]].keys if row["layer"] in attention else None
        if spec and spec.rounding.static and (row.get("beyond_first_half") or 0) > BEYOND:
            met.append(row)
    if not met:
        return
    worst = max(met, key=lambda row: float(row["beyond_first_half"]))
    share = worst["beyond_first_half"]
    tokens = job.calibration.token_ids.size if job.calibration else 0
    yield Trap(
        "beyond-static-range",
        worst["module"],
        {"share": share, "values": worst["judged_values"], "tokens": int(tokens), "layers": len(met)},
        f"keys have static ranges, and {share:.2%} of the values in the second half of the calibration text are beyond the range of the "
        f"first half (layer {worst['layer']}; over {BEYOND:.1%} in {len(met)} layers): such values are clamped as the model runs. "
        "Calibrate on more text, and on text like that which the model will write",
    )


def _skipped_scales(outcome: Outcome) -> Iterator[Trap]:
    skipped = [name for name, record in outcome.modules.items() if record.get("scale_skipped")]
    if not skipped:
        return
    linear = skipped[0].rpartition(".")[2]
    yield Trap(
        "awq-scale-skipped",
        skipped[0],
        {"modules": len(skipped)},
        f"awq searched no scale for {linear} in {len(skipped)} layers: {outcome.modules[skipped[0]]['scale_skipped']}; "
        "there it is rounding with clipped ranges only",
    )


def _fallbacks(outcome: Outcome) -> Iterator[Trap]:
    fallen = [name for name, record in outcome.modules.items() if record.get("fallback")]
    if fallen:
        yield Trap(
            "gptq-fallback",
            fallen[0],
            {"modules": len(fallen), "attempts": outcome.modules[fallen[0]]["attempts"]},
            f"the second moments of the inputs of {fallen[0]} could not be factorised with any damping: it was rounded to nearest instead; "
            f"so {_modules(len(fallen))}. Calibrate on more text",
        )
    damped = {n: r for n, r in outcome.modules.items() if r.get("attempts", 1) > 1 and not r.get("fallback")}
    if damped:
        worst = max(damped, key=lambda name: float(damped[name]["damping"]))
        damping = damped[worst]["damping"]
        yield Trap(
            "gptq-damping",
            worst,
            {"modules": len(damped), "damping": damping},
            f"{worst} needed a damping of {damping:g} of the mean diagonal before the second moments of its inputs could be "
            f"factorised; more than the usual in {_modules(len(damped))}. Calibrate on more text",
        )
    dead = {n: r["dead_channels"] for n, r in outcome.modules.items() if r.get("dead_channels")}
    if dead:
        worst = max(dead, key=lambda name: int(dead[name]))
        yield Trap(
            "dead-channels",
            worst,
            {"modules": len(dead), "channels": dead[worst]},
            f"{dead[worst]} input channels of {worst} were 0 for every token of the calibration text, and their weights are set to 0; "
            f"so in {_modules(len(dead))}. If another text uses them, it will miss them",
        )


def _few_tokens(outcome: Outcome) -> Iterator[Trap]:
    few = {}
    for name, record in outcome.modules.items():
        vectors, shape = record.get("input_vectors"), record.get("shape")
        if vectors is not None and shape is not None and vectors < shape[1]:
            few[name] = (vectors, shape[1])
    if not few:
        return
    worst = min(few, key=lambda name: few[name][0] / few[name][1])
    vectors, channels = few[worst]
    yield Trap(
        "few-tokens",
        worst,
        {"input_vectors": vectors, "channels": channels, "modules": len(few)},
        f"{worst} has {channels} input channels and saw {vectors} tokens: second moments of fewer tokens than channels are singular, "
        f"and what is rounded along them is decided by the damping; so in {_modules(len(few))}. Calibrate on more tokens",
    )


def _input_outliers(job: Job, outcome: Outcome, modules: Mapping[str, dict[str, Any]]) -> Iterator[Trap]:
    """One grid per token: where the largest channel is so much above the median one that the latter is rounded to nothing."""
    linears = outcome.runtime.linears if outcome.runtime else {}
    met = {}
    for name, row in modules.items():
        rounding = linears[name].rounding if name in linears else None
        ratio = float((row["input_outlier"] or {}).get("ratio") or 0)
        # half a step of a grid of 2^b values from -peak to peak
        if rounding is not None and rounding.kind == "int" and ratio > 2**rounding.bits - 1:
            met[name] = ratio
    if not met:
        return
    worst = max(met, key=lambda name: met[name])
    bits, channel = job.recipe.activation_bits, modules[worst]["input_outlier"]["channel"]
    yield Trap(
        "input-outliers-per-token",
        worst,
        {"ratio": met[worst], "channel": channel, "modules": len(met)},
        f"inputs are rounded to {bits} bits per token, and the largest input channel of {worst} ({channel}) goes up to {met[worst]:.0f} times the "
        f"median one: where it does, the median channel is rounded to 0; so in {_modules(len(met))}",
    )


def _output_errors(modules: Mapping[str, dict[str, Any]]) -> Iterator[Trap]:
    large = {n: float(row["output_error"]) for n, row in modules.items() if (row["output_error"] or 0) > OUTPUT_ERROR}
    if not large:
        return
    largest: Callable[[str], float] = large.__getitem__
    worst = max(large, key=largest)
    yield Trap(
        "large-output-error",
        worst,
        {"output_error": large[worst], "modules": len(large)},
        f"the rounded {worst} loses {large[worst]:.0%} of the energy of its output on the calibration text; over {OUTPUT_ERROR:.0%} in "
        f"{_modules(len(large))}. Use more bits there, or +skip the layer",
    )


def _modules(count: int) -> str:
    return "1 module" if count == 1 else f"{count} modules"
