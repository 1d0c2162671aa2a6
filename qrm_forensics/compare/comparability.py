"""Whether two sides describe the same thing, asked before any number is computed.

What blocks, and why:

- ``benchmarks``, ``problems``: nothing is shared, or a side lacks more problems than the rules put up with.
  What is shared is compared, and its number is said; a mean over one set is never set beside a mean over another.
- ``policies``: no scoring policy judged both sides.
- ``gold``: a shared problem has another reference answer.  Nothing allows this one.
- ``prompts``, ``sampling``, ``max_new_tokens``, ``scorer``: the responses were asked for, decoded, cut off or judged
  differently, so that a difference is not the checkpoint's.  The rules may allow each by name; it then warns.
- ``planned``: the rules fixed the number of problems or samples, or the candidate's seeds, and these are others; a
  benchmark that they name and a side lacks is blocked in ``benchmarks``.

A fact that one side does not know is ``unknown``: shown, a warning, and no ground to block unless the rules ask
for it.  Seeds of sampling may differ: that is the noise that everything here allows for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np

from qrm_forensics.compare.alignment import Aligned, align, benchmarks, check_items, identical, problem_ids
from qrm_forensics.compare.items import Side, listed
from qrm_forensics.compare.rules import ALLOWABLE, DEFAULT, Rules
from qrm_forensics.compare.sentences import Reason, reason
from qrm_forensics.records import Coverage


class CheckStatus(StrEnum):
    OK = "ok"
    DIFFERS = "differs"
    UNKNOWN = "unknown"
    INFO = "info"


class Severity(StrEnum):
    BLOCKS = "blocks"
    WARNS = "warns"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was compared.  ``baseline`` and ``candidate`` are what each side has, for reading.

    ``said`` is what is to be known about it, None where there is nothing; ``note`` is that in English.
    """

    name: str
    status: CheckStatus
    severity: Severity
    baseline: str
    candidate: str
    said: Reason | None
    benchmark: str | None = None

    @property
    def note(self) -> str:
        return "" if self.said is None else self.said.text


def _checked(
    name: str,
    status: CheckStatus,
    severity: Severity,
    shown: Sequence[str],
    said: Reason | None = None,
    benchmark: str | None = None,
) -> Check:
    baseline, candidate = shown
    return Check(name, status, severity, baseline, candidate, said, benchmark)


@dataclass(frozen=True, slots=True)
class Shared:
    """Problems of one benchmark: on each side, and on both."""

    benchmark: str
    baseline: int
    candidate: int
    shared: int


@dataclass(frozen=True, slots=True)
class Comparability:
    """Every check in the order in which it is told; ``identical``: both sides hold the very same responses."""

    checks: tuple[Check, ...]
    shared: tuple[Shared, ...]
    identical: bool

    @property
    def comparable(self) -> bool:
        return not self.blockers

    @property
    def blockers(self) -> tuple[Check, ...]:
        return tuple(c for c in self.checks if c.severity is Severity.BLOCKS)

    @property
    def warnings(self) -> tuple[Check, ...]:
        return tuple(c for c in self.checks if c.severity is Severity.WARNS)


def check(baseline: Side, candidate: Side, rules: Rules = DEFAULT) -> Comparability:
    """Compare what two sides were made with.  Raises InputError for items that cannot be compared at all."""
    for side in (baseline, candidate):
        check_items(side)
    names = sorted(set(benchmarks(baseline)) | set(benchmarks(candidate)))
    shared = tuple(_shared(baseline, candidate, name) for name in names)
    found = [
        _benchmarks(shared, rules),
        _policies(baseline, candidate),
        *(_problems(s, rules) for s in shared if s.shared),
    ]
    for counts in shared:
        if counts.shared:
            aligned = align(baseline, candidate, counts.benchmark)
            found += [_hashes(aligned, "gold"), _hashes(aligned, "prompts"), _samples(aligned), _seeds(aligned)]
            found += [_truncated(aligned, rules), _planned(aligned, rules)]
            found += [_coverage(baseline, candidate, counts.benchmark)]
    found += _made_with(baseline, candidate)
    found += [_age(baseline, candidate, rules), _versions(baseline, candidate)]
    same = identical(baseline, candidate)
    if same:
        found.append(_checked("identical", CheckStatus.INFO, Severity.WARNS, ("", ""), reason("check_identical")))
    return Comparability(tuple(_graded(c, rules) for c in found), shared, same)


def _graded(c: Check, rules: Rules) -> Check:
    """The check with the severity that the rules give it."""
    severity = c.severity
    if c.status is CheckStatus.DIFFERS and c.name in ALLOWABLE:
        severity = Severity.WARNS if c.name in rules.allow else Severity.BLOCKS
    elif c.status is CheckStatus.UNKNOWN:
        asked = rules.require_known and (c.name in ALLOWABLE or c.name == "gold")
        severity = Severity.BLOCKS if asked and c.name not in rules.allow else Severity.WARNS
    return replace(c, severity=severity)


def _shared(baseline: Side, candidate: Side, benchmark: str) -> Shared:
    first, second = problem_ids(baseline, benchmark), problem_ids(candidate, benchmark)
    return Shared(benchmark, len(first), len(second), len(first & second))


def _benchmarks(shared: tuple[Shared, ...], rules: Rules) -> Check:
    shown = [listed(s.benchmark for s in shared if getattr(s, side)) for side in ("baseline", "candidate")]
    apart = [s.benchmark for s in shared if not s.shared]
    if not any(s.shared for s in shared):
        return _checked("benchmarks", CheckStatus.DIFFERS, Severity.BLOCKS, shown, reason("check_no_benchmark"))
    if apart:
        # A benchmark that the candidate dropped is one on which nothing can turn red.
        dropped = {s.benchmark for s in shared if s.baseline and not s.shared}
        blocks = bool(set(apart) & set(rules.planned or {})) or bool(dropped and rules.min_overlap > 0)
        severity = Severity.BLOCKS if blocks else Severity.WARNS
        said = reason("check_benchmarks", names=listed(apart))
        return _checked("benchmarks", CheckStatus.DIFFERS, severity, shown, said)
    return _checked("benchmarks", CheckStatus.OK, Severity.INFO, shown)


def _policies(baseline: Side, candidate: Side) -> Check:
    """Scoring policies that judged each side; only those of both are compared."""
    sides = [side.policies for side in (baseline, candidate)]
    shown = [", ".join(side) or "none" for side in sides]
    if set(sides[0]) == set(sides[1]):
        return _checked("policies", CheckStatus.OK, Severity.INFO, shown)
    if not set(sides[0]) & set(sides[1]):
        return _checked("policies", CheckStatus.DIFFERS, Severity.BLOCKS, shown, reason("check_no_policy"))
    return _checked("policies", CheckStatus.DIFFERS, Severity.WARNS, shown, reason("check_policies"))


def _problems(s: Shared, rules: Rules) -> Check:
    shown = (str(s.baseline), str(s.candidate))
    if s.shared == s.baseline == s.candidate:
        return _checked("problems", CheckStatus.OK, Severity.INFO, shown, None, s.benchmark)
    share = s.shared / max(s.baseline, s.candidate)
    said = reason("check_problems", shared=s.shared, share=100 * share)
    severity = Severity.WARNS
    if share < rules.min_overlap:
        limit = 100 * rules.min_overlap
        said = reason("check_too_few_shared", shared=s.shared, share=100 * share, limit=limit)
        severity = Severity.BLOCKS
    return _checked("problems", CheckStatus.DIFFERS, severity, shown, said, s.benchmark)


def _coverage(baseline: Side, candidate: Side, benchmark: str) -> Check:
    """Which part of the benchmark each side answered.  A choice is no reason to refuse: it may have been blind."""
    sides = [side.facts.coverage.get(benchmark) for side in (baseline, candidate)]
    shown = [_shown(side) for side in sides]
    if Coverage.SELECTED in sides:
        return _checked("coverage", CheckStatus.INFO, Severity.WARNS, shown, reason("check_coverage"), benchmark)
    return _checked("coverage", CheckStatus.INFO, Severity.INFO, shown, None, benchmark)


def _hashes(aligned: Aligned, name: str) -> Check:
    """Gold answers or prompts of the shared problems; several prompts of one problem are compared by the first."""
    column = "gold_hash" if name == "gold" else "prompt_hash"
    first, second = aligned.baseline.first_text(column), aligned.candidate.first_text(column)
    known = np.array([a is not None and b is not None for a, b in zip(first, second, strict=True)])
    differing = aligned.ids[known & (first != second)]
    counts = [f"{int(sum(v is not None for v in side))} of {len(aligned)} known" for side in (first, second)]
    if len(differing):
        said = reason(f"check_{name}", n=len(differing), names=listed(map(str, differing), 4))
        return _checked(name, CheckStatus.DIFFERS, Severity.BLOCKS, counts, said, aligned.benchmark)
    if not known.all():
        said = reason(f"check_{name}_unknown", n=int((~known).sum()))
        return _checked(name, CheckStatus.UNKNOWN, Severity.WARNS, counts, said, aligned.benchmark)
    return _checked(name, CheckStatus.OK, Severity.INFO, counts, None, aligned.benchmark)


def _range(values: np.ndarray) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"


def _samples(aligned: Aligned) -> Check:
    sides = [side.samples() for side in (aligned.baseline, aligned.candidate)]
    shown = [_range(side) for side in sides]
    if (sides[0] == sides[1]).all() and sides[0].min() == sides[0].max():
        return _checked("samples", CheckStatus.OK, Severity.INFO, shown, None, aligned.benchmark)
    ragged = any(side.min() != side.max() for side in sides)
    said = reason("check_samples")
    severity = Severity.WARNS if ragged else Severity.INFO
    return _checked("samples", CheckStatus.INFO, severity, shown, said, aligned.benchmark)


def _seeds(aligned: Aligned) -> Check:
    sides = [sorted(set(side.frame["seed"].astype(int))) for side in (aligned.baseline, aligned.candidate)]
    shown = [", ".join(map(str, s[:6])) + (", …" if len(s) > 6 else "") for s in sides]
    if sides[0] == sides[1]:
        return _checked("seeds", CheckStatus.OK, Severity.INFO, shown, None, aligned.benchmark)
    return _checked("seeds", CheckStatus.INFO, Severity.INFO, shown, reason("check_seeds"), aligned.benchmark)


def _truncated(aligned: Aligned, rules: Rules) -> Check:
    shares = [side.numbers("truncated") for side in (aligned.baseline, aligned.candidate)]
    if any(not np.isfinite(s).any() for s in shares):
        said = reason("check_truncated_unknown")
        return _checked("truncated", CheckStatus.UNKNOWN, Severity.WARNS, ("", ""), said, aligned.benchmark)
    means = [float(np.nanmean(s)) for s in shares]
    shown = [f"{100 * m:.1f} %" for m in means]
    if max(means) > rules.max_baseline_truncated:
        said = reason("check_truncated")
        return _checked("truncated", CheckStatus.INFO, Severity.WARNS, shown, said, aligned.benchmark)
    return _checked("truncated", CheckStatus.INFO, Severity.INFO, shown, None, aligned.benchmark)


def _planned(aligned: Aligned, rules: Rules) -> Check:
    """Whether the number of problems and samples, and the seeds, are those that were fixed before anybody looked."""
    sides = [side.samples() for side in (aligned.baseline, aligned.candidate)]
    shown = [f"{len(aligned)} × {_range(side)}" for side in sides]
    problems = (rules.planned or {}).get(aligned.benchmark)
    samples, seeds = rules.planned_samples, rules.planned_seeds
    if problems is None and samples is None and seeds is None:
        return _checked("planned", CheckStatus.INFO, Severity.INFO, shown, reason("check_no_plan"), aligned.benchmark)
    as_planned = problems in (None, len(aligned)) and all(samples is None or bool((s == samples).all()) for s in sides)
    wanted = f"{'any' if problems is None else problems} × {'any' if samples is None else samples}"
    if seeds is not None:
        # The baseline's responses were there before: only the candidate's can be drawn again until they please.
        used = sorted(set(aligned.candidate.frame["seed"].astype(int)))
        shown[1] += f", seed {', '.join(map(str, used))}"
        as_planned = as_planned and used == sorted(seeds)
        wanted += f", seed {', '.join(map(str, sorted(seeds)))}"
    if as_planned:
        said = reason("check_as_planned", wanted=wanted)
        return _checked("planned", CheckStatus.OK, Severity.INFO, shown, said, aligned.benchmark)
    said = reason("check_planned", wanted=wanted)
    return _checked("planned", CheckStatus.DIFFERS, Severity.BLOCKS, shown, said, aligned.benchmark)


def _made_with(baseline: Side, candidate: Side) -> list[Check]:
    """The facts of the two sides, one by one."""
    first, second = baseline.facts, candidate.facts
    sampling = [
        None if f.sampling is None else {k: v for k, v in f.sampling.items() if k != "seed"} for f in (first, second)
    ]
    pairs: list[tuple[str, object, object, Severity]] = [
        ("sampling", sampling[0], sampling[1], Severity.BLOCKS),
        ("max_new_tokens", first.max_new_tokens, second.max_new_tokens, Severity.BLOCKS),
        ("scorer", first.scorer, second.scorer, Severity.BLOCKS),
        ("engine", first.engine, second.engine, Severity.WARNS),
        ("model", first.model, second.model, Severity.WARNS),
    ]
    found = []
    for name, a, b, severity in pairs:
        shown = [_shown(v) for v in (a, b)]
        if a is None or b is None:
            found.append(_checked(name, CheckStatus.UNKNOWN, Severity.WARNS, shown, reason("check_unknown")))
        elif a == b:
            found.append(_checked(name, CheckStatus.OK, Severity.INFO, shown))
        else:
            found.append(_checked(name, CheckStatus.DIFFERS, severity, shown, reason(f"check_{name}")))
    return found


def _shown(value: object) -> str:
    if value is None:
        return "not known"
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in sorted(value.items()))
    return str(value)


def _age(baseline: Side, candidate: Side, rules: Rules) -> Check:
    """How much older the baseline's responses are than the candidate's; no clock is read."""
    times = [_time(side.facts.created) for side in (baseline, candidate)]
    shown = [side.facts.created or "not known" for side in (baseline, candidate)]
    if times[0] is None or times[1] is None:
        return _checked("age", CheckStatus.INFO, Severity.INFO, shown, reason("check_age_unknown"))
    days = (times[1] - times[0]).total_seconds() / 86400
    if days > rules.max_age_days:
        said = reason("check_age", days=days, limit=rules.max_age_days)
        return _checked("age", CheckStatus.DIFFERS, Severity.WARNS, shown, said)
    return _checked("age", CheckStatus.OK, Severity.INFO, shown)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _versions(baseline: Side, candidate: Side) -> Check:
    first, second = baseline.facts.versions, candidate.facts.versions
    differing = sorted(k for k in first.keys() | second.keys() if first.get(k) != second.get(k))
    shown = [", ".join(f"{k} {v[k]}" for k in differing if k in v) for v in (first, second)]
    if not differing:
        return _checked("versions", CheckStatus.OK, Severity.INFO, shown)
    return _checked("versions", CheckStatus.INFO, Severity.INFO, shown, reason("check_versions"))
