"""What hypotheses about modules predict of outputs, as measured columns: the value in right and in other responses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from qrm_forensics.compare import ratio_interval
from qrm_forensics.report.claims import Source, share, where, with_interval
from qrm_forensics.report.data import RunData
from qrm_forensics.report.nouns import Claim, Unit
from qrm_forensics.report.sections.groups import Group, Split, Terms, differences, ratios, spread, tables
from qrm_forensics.report.sections.material import Material

#: A sentence counts as repeated from so many times on, as in the reference report.
REPEATED = 5


@dataclass(frozen=True)
class Observation:
    """``expected``: 1 where damage should raise the mean over responses, -1 where it should lower it.

    ``hypotheses``: the modules whose damage would be expected to show so.
    """

    name: str
    column: str
    unit: Unit
    expected: int
    hypotheses: tuple[str, ...]
    values: Callable[[pd.Series], pd.Series]
    #: Whether a value is 0 or 1, so that a mean is a share of responses.
    yes_no: bool = False


def _as_is(values: pd.Series) -> pd.Series:
    return values


def _repeated(values: pd.Series) -> pd.Series:
    return (values >= REPEATED).astype(float).where(values.notna())


OBSERVATIONS = (
    Observation(
        *("repeated_sentence", "sentence_repeats_max", Unit.SHARE, 1),
        ("attention", "kv_cache"),
        values=_repeated,
        yes_no=True,
    ),
    Observation(
        *("self_reference", "self_reference_outside_repeats", Unit.PER_1000_WORDS, -1),
        ("attention", "kv_cache"),
        values=_as_is,
    ),
    Observation(
        *("gibberish", "gibberish", Unit.SHARE, 1), ("lm_head", "mlp", "activations"), values=_as_is, yes_no=True
    ),
    Observation(*("diversity", "mattr_100", Unit.PLAIN, -1), ("lm_head", "attention", "kv_cache"), values=_as_is),
    Observation(*("false_equations", "false_equation_rate", Unit.SHARE, 1), ("mlp", "activations"), values=_as_is),
)


def known(run: RunData) -> tuple[Observation, ...]:
    """The observations whose columns were measured."""
    return tuple(o for o in OBSERVATIONS if o.column in run.tables)


def _terms(group: Group, observation: Observation) -> Terms:
    values = observation.values(group.frame[observation.column]).to_numpy(np.float64)[:, None]
    return Terms(group.frame["problem"].to_numpy(np.int64), values, np.ones(values.shape))


def mean(material: Material, group: Group, observation: Observation) -> Claim:
    """Over the responses of a group that have a value; of a selected set a description, and of a share its counts."""
    values = observation.values(group.frame[observation.column])
    rows = group.frame[values.notna()]
    values = values.dropna()
    if found := material.known(f"observation/{group.name}/{observation.name}"):
        return found
    name, definition = f"observation/{group.name}/{observation.name}", f"definition.observation_{observation.name}"
    source: Source = {
        "table": tables(material.run, observation.column),
        "filter": f"{group.at} and {observation.column}.notna()",
    }
    numbers, problems = values.to_numpy(np.float64), rows["problem"].to_numpy(np.int64)
    if observation.yes_no:
        return material.add(share(name, numbers, problems, definition, selected=group.selected, **source))
    claim = Claim(name, None, observation.unit, definition, note="claim.no_data", **source)
    if values.empty:
        return material.add(claim)
    claim = replace(claim, value=float(values.mean()), denominator=len(values), note=None)
    if group.selected:
        return material.add(replace(claim, note="claim.description"))
    index = np.unique(problems, return_inverse=True)[1]
    interval = ratio_interval(np.bincount(index, numbers), np.bincount(index))
    return material.add(with_interval(claim, spread(interval), "bootstrap-problems"))


@dataclass(frozen=True)
class Contrast:
    """Two groups by one observation: the mean of the first divided by that of the second, and minus it.

    The reading goes by the difference, which exists where the second mean is 0, too.
    """

    ratio: Claim
    difference: Claim


def contrast(material: Material, over: Group, under: Group, observation: Observation, kind: str) -> Contrast:
    """``kind`` names the pair of groups in the ids of the claims."""
    name = f"observation/{over.benchmark}/{over.variant}/{observation.name}/{kind}"
    known = [material.known(f"{name}/{what}") for what in ("ratio", "difference")]
    if known[0] is not None and known[1] is not None:
        return Contrast(known[0], known[1])
    policy = material.run.policy
    at = where(variant=list(dict.fromkeys([under.variant, over.variant])), benchmark=over.benchmark, policy=policy)
    sides = _terms(over, observation), _terms(under, observation)
    percent = observation.unit is Unit.SHARE
    made = []
    for what, unit, how in (
        ("ratio", Unit.RATIO, ratios),
        ("difference", Unit.POINTS if percent else observation.unit, differences),
    ):
        ((value, interval),) = how(*sides)
        claim = Claim(
            *(f"{name}/{what}", value, unit, f"definition.observation_{kind}_{what}"),
            table=tables(material.run, observation.column),
            filter=f"{at} and {observation.column}.notna()",
        )
        if value is None:
            claim = replace(claim, note="claim.no_ratio" if what == "ratio" else "claim.no_data")
        elif over.selected or under.selected:
            claim = (
                replace(claim, value=None, note="claim.selected")
                if percent
                else replace(claim, note="claim.description")
            )
        else:
            claim = with_interval(claim, interval, "bootstrap-problems")
        made.append(material.add(claim))
    return Contrast(*made)


def within(material: Material, split: Split, observation: Observation) -> Contrast:
    """Responses that are not right against the right ones, of one variant."""
    return contrast(material, split.not_right, split.right, observation, "within")


def beside(material: Material, split: Split, reference: Split, observation: Observation) -> Contrast:
    """Responses of a variant that are not right against those of its reference that are not."""
    return contrast(material, split.not_right, reference.not_right, observation, "beside")


def reading(found: Contrast, expected: int) -> str:
    """``fits`` or ``contradicts`` where the interval of the difference excludes 0, ``undecided`` where not.

    ``unknown`` without an interval.
    """
    low, high = found.difference.ci_low, found.difference.ci_high
    if low is None or high is None:
        return "unknown"
    if low > 0:
        return "fits" if expected > 0 else "contradicts"
    if high < 0:
        return "fits" if expected < 0 else "contradicts"
    return "undecided"
