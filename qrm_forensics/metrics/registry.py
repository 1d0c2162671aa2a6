"""Which metrics there are: the built-in ones in order, then those of installed packages.

A package adds metrics by entry points of the group ``qrm_forensics.metrics``::

    [project.entry-points."qrm_forensics.metrics"]
    my_metric = "my_package.my_module:my_metric"
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from qrm_forensics.errors import InputError
from qrm_forensics.metrics.protocol import Metric

GROUP = "qrm_forensics.metrics"

#: In the order of reports, imported when first asked for.
BUILTIN_METRICS: tuple[str, ...] = (
    "qrm_forensics.metrics.length:length",
    "qrm_forensics.metrics.structure:structure",
    "qrm_forensics.metrics.segments:segments",
    "qrm_forensics.metrics.sentences:sentences",
    "qrm_forensics.metrics.loops:loops",
    "qrm_forensics.metrics.copying:copying",
    "qrm_forensics.metrics.compression:compression",
    "qrm_forensics.metrics.diversity:diversity",
    "qrm_forensics.metrics.markers:markers",
    "qrm_forensics.metrics.gibberish:gibberish",
    "qrm_forensics.metrics.arithmetic:arithmetic",
    "qrm_forensics.metrics.race:race",
    "qrm_forensics.metrics.surprisal:surprisal",
    "qrm_forensics.metrics.reference:reference",
)


@cache
def all_metrics() -> tuple[Metric, ...]:
    """Every metric, built-in ones first.

    Raises InputError where an entry point is broken, or two metrics share a name or a column.
    """
    return collect(BUILTIN_METRICS, sorted(entry_points(group=GROUP), key=lambda e: e.name))


def get_metric(name: str) -> Metric:
    """The metric of that name; raises InputError that lists what there is."""
    known = {m.name: m for m in all_metrics()}
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise InputError(
            f"no metric is called {name!r}{f', did you mean {near[0]!r}?' if near else ''}; there are: {', '.join(known)}"
        )
    return known[name]


def catalogue(lang: str) -> dict[str, str]:
    """Title, label and definition of every metric: derived key -> text.

    The keys are ``metric.<name>.title``, ``metric.<name>.<column>.label`` and
    ``metric.<name>.<column>.definition``.  Raises KeyError where a text lacks the language.
    """
    texts: dict[str, str] = {}
    for m in all_metrics():
        texts[f"metric.{m.name}.title"] = m.title[lang]
        for c in m.columns:
            texts[f"metric.{m.name}.{c.name}.label"] = c.label[lang]
            texts[f"metric.{m.name}.{c.name}.definition"] = c.definition[lang]
    return texts


def collect(builtin: Iterable[str], plugins: Iterable[EntryPoint]) -> tuple[Metric, ...]:
    """Load ``module:name`` strings and entry points, and refuse collisions."""
    sources: list[tuple[Metric, str]] = []
    for spec in builtin:
        module, _, attribute = spec.partition(":")
        sources.append((_as_metric(getattr(import_module(module), attribute), spec), spec))
    for plugin in plugins:
        origin = f"{plugin.value} (entry point {plugin.name!r} of {plugin.dist.name if plugin.dist else 'no package'})"
        try:
            loaded = plugin.load()
        except Exception as error:  # anything can go wrong in a foreign module; say whose it is
            raise InputError(f"metric {origin} cannot be imported: {error!r}; fix or uninstall that package") from error
        sources.append((_as_metric(loaded, origin), origin))
    names: dict[str, str] = {}
    columns: dict[str, str] = {}
    for m, origin in sources:
        if m.name in names:
            raise InputError(f"two metrics are called {m.name!r}: {names[m.name]} and {origin}")
        names[m.name] = origin
        for column in m.columns:
            if column.name in columns:
                raise InputError(f"two metrics have a column {column.name!r}: {columns[column.name]} and {origin}")
            columns[column.name] = origin
    return tuple(m for m, _ in sources)


def _as_metric(loaded: object, origin: str) -> Metric:
    if not isinstance(loaded, Metric):
        raise InputError(f"{origin} is not a metric: decorate the function with @metric(...)")
    return loaded
