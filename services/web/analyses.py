"""What the pages say of a sweep's results: the comparison of its learners, and its geometry."""

from functools import cache
from typing import Any

from jinja2 import Environment

from services.api.context import Context
from services.comparison import report
from services.comparison.chart_data import gather
from services.comparison.figures import figures
from services.comparison.stored import compare_stored
from services.geometry import BARRIER_THRESHOLD
from services.geometry import report as geometry_report
from services.geometry.chart_data import gather_evidence
from services.geometry.summary import collect, summarise
from services.rendering import page
from services.web import rendering

# Runs of each learner whose predictions and losses are read for charts.
MOST_RUNS = 12


@cache
def _environment() -> Environment:
    made = rendering.environment().overlay()
    made.filters = {**made.filters, **geometry_report.filters(), **report.filters()}
    return made


def comparison_part(here: Context, name: str, dataset: str) -> str:
    """Warnings, verdict, leaderboard, pairs and charts of a sweep on one dataset.

    Raises:
        NotStoredError: there is no such sweep, or it has no such dataset.
    """

    def make() -> str:
        found = next(compare_stored(here.store, name, dataset), None)
        if found is None:
            return _part("nothing.html", words="No run of this sweep is stored yet on this dataset.")
        document, rows = found
        learners = [learner.name for learner in document.learners]
        evidence = gather(here.store, rows, learners, document.task, MOST_RUNS)
        charts = page.embedded(figures(document, evidence, _names(here, name)))
        return _part("comparison.html", document=document, charts=charts)

    return here.fragments.get(f"comparison part {name} {dataset} {here.content(name)}", make)


def geometry_part(here: Context, name: str, dataset: str) -> str:
    """Which measures tell who generalises, effective numbers of parameters, barriers and charts, on one dataset.

    Raises:
        NotStoredError: there is no such sweep.
    """

    def make() -> str:
        rows = collect(here.store, name)
        document, names = summarise(rows, name, BARRIER_THRESHOLD), _names(here, name)
        evidence = gather_evidence(here.store, rows)
        sections = [
            geometry_report.geometry_section(document, evidence, i, names)
            for i, each in enumerate(document.datasets)
            if each == dataset
        ]
        return _part("flatness.html", document=document, **geometry_report.geometry_context(sections))

    return here.fragments.get(f"geometry part {name} {dataset} {here.content(name, 'measurements')}", make)


def _part(template: str, **context: Any) -> str:
    return _environment().get_template(template).render(**context)


def _names(here: Context, name: str) -> list[str]:
    """All learners of a sweep, so that each has one colour on the whole page."""
    _, members = here.store.sweep(name)
    return sorted(members["learner"].unique())
