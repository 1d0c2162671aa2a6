"""The policy of a gate: what a new checkpoint may do worse, how sure a verdict must be, and what was fixed beforehand.

A file in YAML that is kept beside the code, so that changing what counts as a regression is a change that is
reviewed.  Every key has a default; ``examples/policy.yaml`` has them all.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, model_validator

from qrm_forensics.errors import InputError
from qrm_forensics.settings_file import load_yaml

if TYPE_CHECKING:
    from qrm_forensics.compare.items import Side
    from qrm_forensics.compare.rules import Rules

Points = Annotated[StrictFloat, Field(gt=0, lt=100)]
Share = Annotated[StrictFloat, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Margins(_Part):
    """The largest change for the worse that is acceptable, per gate; null where a gate is not judged."""

    accuracy: Points | None = Field(2.0, description="Fall of the accuracy, in percentage points.")
    flips: Points | None = Field(
        5.0,
        description="Problems that changed sides beyond what two runs of the baseline differ in, in percentage points; "
        "judged where the baseline tells that noise, by a second run or by several samples.",
    )
    loop: Points | None = Field(2.0, description="Rise of the share of responses that loop, in percentage points.")
    truncated: Points | None = Field(
        2.0, description="Rise of the share of responses that were stopped from outside, in percentage points."
    )
    missing_answer: Points | None = Field(
        2.0, description="Rise of the share of responses without an answer, in percentage points."
    )
    length: Annotated[StrictFloat, Field(gt=0, lt=1_000_000)] | None = Field(
        10.0, description="Growth of the responses, paired by problem, in per cent of the baseline's length."
    )
    outcomes: Points | None = Field(
        5.0,
        description="Rise of the share of any way to fail (looped to the limit, no answer, …), in percentage points.",
    )


class Plan(_Part):
    """What was fixed before anybody looked, so that running again until the gate is green is no way to pass it."""

    problems: dict[str, Annotated[StrictInt, Field(ge=1)]] | Literal["baseline", "any"] = Field(
        "baseline",
        description="Problems per benchmark: 'baseline' for those that the baseline has, all of them and no others; a "
        "mapping of benchmark to number, which the baseline must have as well; 'any' fixes none (differences.min_overlap "
        "then says how much both sides must share).",
    )
    samples: Annotated[StrictInt, Field(ge=1)] | Literal["baseline", "any"] = Field(
        "baseline",
        description="Responses per problem, on both sides: 'baseline' for as many as it has, a number, or 'any'.",
    )
    seeds: tuple[Annotated[StrictInt, Field(ge=0)], ...] | None = Field(
        None, description="Seeds that the candidate was sampled with, all of them; null for any."
    )


class Differences(_Part):
    """What may differ in how the two sides were made."""

    allow: tuple[Literal["prompts", "sampling", "max_new_tokens", "scorer"], ...] = Field(
        (), description="Differences that only warn: prompts, sampling, max_new_tokens, scorer."
    )
    require_known: StrictBool = Field(
        False, description="Whether a fact that one side does not know (a prompt, a sampling setting, …) blocks."
    )
    min_overlap: Share = Field(
        1.0, description="Share of the larger set of problems that both sides must have, 0 to 1."
    )
    max_unscored: Share = Field(0.02, description="Share of responses without a verdict that is put up with, 0 to 1.")


class BaselineSpec(_Part):
    """When a baseline is too old, or too shaky, to be measured against."""

    max_age_days: Annotated[StrictFloat, Field(gt=0)] = Field(
        180.0, description="A baseline that is older than the candidate by more days than this is called stale."
    )
    max_truncated: Share = Field(0.5, description="Share of its responses that were stopped from outside, 0 to 1.")
    max_scorer_gap: Share = Field(0.25, description="Difference of its accuracies under two scoring policies, 0 to 1.")
    max_noise_flips: Share = Field(0.3, description="Share of problems on which two runs of it disagree, 0 to 1.")


class Bootstrap(_Part):
    """Every interval that is resampled is the same again with the same seed."""

    seed: Annotated[StrictInt, Field(ge=0)] = Field(20250401, description="Seed of every resampling.")
    resamples: Annotated[StrictInt, Field(ge=1000)] = Field(10_000, description="Resamples of every interval.")


class Policy(_Part):
    """One policy file."""

    margins: Margins = Field(Margins(), description=Margins.__doc__)
    alpha: Annotated[StrictFloat, Field(gt=0, lt=0.5)] = Field(
        0.05, description="Chance of a false alarm by any of the gates together (Holm)."
    )
    power: Annotated[StrictFloat, Field(ge=0.5, lt=1)] = Field(
        0.8, description="Power that the detectable difference is stated for."
    )
    test: Literal["exact", "mid-p"] = Field(
        "exact", description="Which p-value of the paired test decides; mid-p is less conservative."
    )
    floor: Annotated[StrictFloat, Field(ge=0, lt=100)] = Field(
        1.0,
        description="A fall of the accuracy by less than this is no regression however sure it is, in percentage points.",
    )
    required: tuple[Literal["flips", "loop", "truncated", "missing_answer", "length", "outcomes"], ...] = Field(
        (),
        description="Gates besides accuracy that must be shown to hold; where one cannot be told, the data is insufficient.",
    )
    scorers: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None,
        description="Scoring policies that are compared (strict, lenient, imported); null for all that both sides have.",
    )
    plan: Plan = Field(Plan(), description=Plan.__doc__)
    differences: Differences = Field(Differences(), description=Differences.__doc__)
    baseline: BaselineSpec = Field(BaselineSpec(), description=BaselineSpec.__doc__)
    cluster: str | None = Field(
        None, description="Column whose value says which problems belong together (a passage, a year); null for none."
    )
    slices: tuple[str, ...] | None = Field(
        None,
        description="Columns of the baseline by which the problems are looked at in groups; length_band is its length in "
        "quarters. Null for subject, level and length_band, where there are any.",
    )
    bootstrap: Bootstrap = Field(Bootstrap(), description=Bootstrap.__doc__)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unjudged = [name for name in self.required if getattr(self.margins, name) is None]
        if unjudged:
            raise ValueError(
                f"required: {unjudged[0]} has no margin, so it is not judged; give it one, or remove it here"
            )
        for what, values in (
            ("required", self.required),
            ("scorers", self.scorers or ()),
            ("slices", self.slices or ()),
        ):
            if len(set(values)) < len(values):
                raise ValueError(f"{what}: a name is there more than once")
        return self

    def rules(self, baseline: Side | None = None) -> Rules:
        """The rules of one comparison; what the policy leaves to the baseline is read off it.

        Raises InputError where the plan leaves something to a baseline that has no one answer (several numbers
        of samples), or asks for other problems than it has.
        """
        from qrm_forensics.compare.rules import Rules

        problems, samples = _planned(self.plan, baseline)
        return Rules(
            alpha=self.alpha,
            power=self.power,
            test=self.test,
            margins={k: v for k, v in self.margins.model_dump().items() if v is not None},
            floor=self.floor,
            required=frozenset(self.required),
            scorers=self.scorers,
            min_overlap=self.differences.min_overlap,
            allow=frozenset(self.differences.allow),
            require_known=self.differences.require_known,
            planned=problems,
            planned_samples=samples,
            planned_seeds=self.plan.seeds,
            cluster=self.cluster,
            slices=self.slices,
            max_unscored=self.differences.max_unscored,
            max_baseline_truncated=self.baseline.max_truncated,
            max_scorer_gap=self.baseline.max_scorer_gap,
            max_noise_flips=self.baseline.max_noise_flips,
            max_age_days=self.baseline.max_age_days,
            seed=self.bootstrap.seed,
            resamples=self.bootstrap.resamples,
        )


def _planned(plan: Plan, baseline: Side | None) -> tuple[dict[str, int] | None, int | None]:
    """Problems per benchmark and samples per problem that were fixed; None for what is free."""
    problems = plan.problems if isinstance(plan.problems, dict) else None
    samples = plan.samples if isinstance(plan.samples, int) else None
    if baseline is None:
        return problems, samples
    counts = baseline.items.groupby(["benchmark", "problem_id"], sort=False).size()
    own = {str(name): int(number) for name, number in counts.groupby(level="benchmark", sort=False).size().items()}
    if problems is not None and problems != own:
        has = ", ".join(f"{name}: {number}" for name, number in own.items())
        raise InputError(
            f"plan.problems: the policy fixes {', '.join(f'{k}: {v}' for k, v in problems.items())}, and the baseline "
            f"{baseline.facts.source} has {has}; bless a baseline of the planned problems, or change the plan"
        )
    if plan.problems == "baseline":
        problems = own
    if plan.samples == "baseline":
        several = sorted(set(counts))
        if len(several) > 1:
            raise InputError(
                f"plan.samples: the baseline {baseline.facts.source} has {several[0]} to {several[-1]} responses per problem, "
                "so it fixes no number; write one, or 'any'"
            )
        samples = int(several[0])
    return problems, samples


def load_policy(path: Path | None) -> Policy:
    """Read a policy file; the default policy without one.  Raises InputError that names the file and the key."""
    return Policy() if path is None else load_yaml(path, Policy, "policy", "margins, alpha, plan")
