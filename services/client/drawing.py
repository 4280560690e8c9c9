"""Charts of stored sweeps, from a store or what stands for one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from services.comparison.document import Document
from services.geometry.document import GeometryDocument
from services.store.store import Store

if TYPE_CHECKING:
    import altair as alt


def comparison_figures(store: Store, sweep: str, document: Document) -> "Mapping[str, alt.TopLevelMixin]":
    """The charts of the comparison on one dataset of a sweep, by name."""
    from services.comparison.chart_data import gather
    from services.comparison.figures import figures
    from services.comparison.stored import compared
    from services.comparison.summary import collect
    from services.store.queries import KEYS

    _, members = store.sweep(sweep)
    rows = collect(store, compared(store, members.filter(fingerprint=document.dataset.fingerprint)))
    # A store's rows come as they were written and a server's by their keys: charts are not to tell them apart.
    rows = rows._replace(geometry=rows.geometry.sort(KEYS["geometry"]), metrics=rows.metrics.sort(KEYS["metrics"]))
    names = [learner.name for learner in document.learners]
    return figures(document, gather(store, rows, names, document.task))


def geometry_figures_of(store: Store, document: GeometryDocument, dataset: str) -> "Mapping[str, alt.TopLevelMixin]":
    """The charts of a sweep's geometry on one of its datasets, by name."""
    from services.geometry.chart_data import gather_evidence
    from services.geometry.figures import geometry_figures
    from services.geometry.summary import collect

    return geometry_figures(document, gather_evidence(store, collect(store, document.sweep)), dataset)
