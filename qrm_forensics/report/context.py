"""Fill a report from the tables of a run: every number a claim, every sentence made from claims."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from qrm_forensics import __version__
from qrm_forensics.errors import InsufficientDataError
from qrm_forensics.report.cases import build_cases
from qrm_forensics.report.categories import build_categories, members_of_categories
from qrm_forensics.report.category_pages.build import build_pages
from qrm_forensics.report.cells import build_cell
from qrm_forensics.report.claims import Ledger
from qrm_forensics.report.data import BenchmarkData, RunData, load
from qrm_forensics.report.findings import build_findings, gather
from qrm_forensics.report.flags import build_symptoms, build_thresholds, build_unassigned
from qrm_forensics.report.headline import build_headline
from qrm_forensics.report.health import build_health
from qrm_forensics.report.model import BenchmarkReport, Provenance, ReportContext
from qrm_forensics.report.notes import benchmark_notes, report_notes
from qrm_forensics.report.pairs import build_overlap, build_pair, overlap_groups, references
from qrm_forensics.report.process import (
    build_early_warning,
    build_loop_kinds,
    build_onsets,
    build_outcomes,
    build_reached,
)
from qrm_forensics.report.reader.build import build_reader
from qrm_forensics.report.reader.model import Reader
from qrm_forensics.report.sections.build import build_sections
from qrm_forensics.report.sections.material import Material
from qrm_forensics.report.spread import build_distributions, build_loops, build_markers
from qrm_forensics.report.thinking import FreeThinking, has_budgets
from qrm_forensics.store import Store


def build_context(store: Store, *, max_cases: int = 8, responses: bool = True) -> ReportContext:
    """Everything that a report says about a run, in no language.

    ``max_cases`` per benchmark.  ``responses``: pack all of them, which only the HTML report can show.  Raises InsufficientDataError for a run without a response.
    """
    whole = load(store) if has_budgets(store) else None
    run = load(FreeThinking(store.root))
    if not run.benchmarks:
        raise InsufficientDataError(f"{store.root}: has no responses to report; run or import first")
    ledger = Ledger()
    compared = {data.name: _reference_of(run, data) for data in run.benchmarks.values()}
    reports = tuple(_benchmark(run, data, compared[data.name], max_cases, ledger) for data in run.benchmarks.values())
    evidence = gather(run, reports, compared, ledger)
    findings = build_findings(run, reports, evidence, ledger)
    health = build_health(run, compared, ledger)
    sections = build_sections(Material(run, reports, compared, evidence, ledger, whole))
    headline = build_headline(run, reports, evidence, findings, ledger)
    return ReportContext(
        title=_title(store),
        variants=tuple(run.variants.values()),
        baseline=store.baseline,
        headline=headline,
        findings=findings,
        benchmarks=reports,
        notes=report_notes(evidence),
        provenance=_provenance(run),
        thresholds=build_thresholds(run, ledger),
        sections=sections,
        health=health,
        reader=_reader(run, whole, compared) if responses else None,
        claims=ledger.all(),
    )


def _reader(run: RunData, whole: RunData | None, compared: dict[str, dict[str, str]]) -> Reader:
    """All responses, those under thinking budgets too."""
    if whole is None:
        return build_reader(run, compared)
    return build_reader(whole, {data.name: _reference_of(whole, data) for data in whole.benchmarks.values()})


def _reference_of(run: RunData, data: BenchmarkData) -> dict[str, str]:
    """Variant -> its reference, where its model has at least one other variant on the benchmark."""
    by_model = references(run, data)
    found = {}
    for variant in data.variants:
        model = run.variants[variant].model
        if sum(run.variants[v].model == model for v in data.variants) > 1:
            found[variant] = by_model[model]
    return found


def _benchmark(
    run: RunData, data: BenchmarkData, compared: dict[str, str], max_cases: int, ledger: Ledger
) -> BenchmarkReport:
    pairs = [
        (variant, build_pair(run, data, reference, variant, policy, ledger))
        for policy in run.policies
        for variant, reference in compared.items()
        if variant != reference
    ]
    groups, left_out = overlap_groups(run, data)
    overlaps = [build_overlap(data, group, policy, ledger) for group in groups for policy in run.policies]
    loops, loops_total = build_loops(run, data)
    reference = next(iter(compared.values()), None)
    cells = tuple(build_cell(run, data, v, ledger) for v in data.variants)
    categories = build_categories(run, data, compared, ledger)
    unshared = {v: compared[v] for v, pair in pairs if pair is None}
    return BenchmarkReport(
        name=data.name,
        size=data.size,
        cells=cells,
        reference=reference,
        reference_is_baseline=reference is not None
        and (reference == run.store.baseline or not run.quantized(reference)),
        pairs=tuple(pair for _, pair in pairs if pair is not None),
        overlaps=tuple(o for o in overlaps if o is not None),
        categories=categories,
        distributions=build_distributions(run, data),
        markers=build_markers(run, data, ledger),
        loops=loops,
        loops_total=loops_total,
        cases=build_cases(run, data, compared, max_cases, ledger),
        notes=benchmark_notes(run, data, cells, compared, unshared, left_out if groups else [], ledger),
        outcomes=build_outcomes(run, data, ledger),
        loop_kinds=build_loop_kinds(run, data, ledger),
        onsets=build_onsets(run, data, ledger),
        reached=build_reached(run, data, ledger),
        early_warning=build_early_warning(run, data, ledger),
        symptoms=build_symptoms(run, data, ledger),
        unassigned=build_unassigned(run, data, ledger),
        pages=build_pages(run, data, categories, members_of_categories(run, data), compared, ledger),
    )


def _title(store: Store) -> str:
    request = store.study["request"]
    study = request.get("study")
    name = request.get("name") or (study.get("name") if isinstance(study, dict) else None)
    return str(name or store.root.resolve().name)


def _provenance(run: RunData) -> Provenance:
    from qrm_forensics.score import scorer_version
    from qrm_forensics.score.stamp import lenient_of

    study = run.store.study
    request: dict[str, Any] = study["request"]
    settings = request.get("study")
    sampling = settings.get("sampling", {}) if isinstance(settings, dict) else {}
    return Provenance(
        program_version=__version__,
        scorer_version=scorer_version(lenient_of(run.store)),
        request_hash=str(study["request_hash"]),
        origin="import" if request.get("kind") == "import" else "run",
        runs=tuple(_flat(info) for info in study["runs"]),
        recipes=tuple({k: str(v) for k, v in asdict(variant).items()} for variant in run.variants.values()),
        sampling=_flat(sampling),
        metrics=run.metrics,
    )


def _flat(values: dict[str, Any]) -> dict[str, str]:
    """The plain entries of a JSON object as text, lists of plain values joined; absent ones and nested ones left out."""
    found = {}
    for key, value in values.items():
        if isinstance(value, str | int | float):
            found[str(key)] = str(value)
        elif isinstance(value, list) and value and all(isinstance(v, str | int | float) for v in value):
            found[str(key)] = ", ".join(map(str, value))
    return found
