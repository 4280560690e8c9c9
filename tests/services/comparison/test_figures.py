import json
import math

import altair as alt
import polars as pl
import pytest
import vl_convert

from services.comparison.figures import LOSSES, MAX_POINTS, Evidence, figures, thin
from tests.support.documents import digits_document, evidence_of, real_document

VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def svg(chart) -> str:
    return vl_convert.vegalite_to_svg(chart.to_json(), vl_version=VEGA_LITE)


@pytest.fixture(scope="module", params=["classes", "real"])
def charts(request):
    document = digits_document() if request.param == "classes" else real_document()
    return figures(document, evidence_of(document))


def test_every_figure_is_drawn_with_a_title_and_what_to_look_for(charts):
    assert list(charts) == ["scores", "pairs", "reliability", "measures", "losses", "ranks", "energies"]
    for chart in charts.values():
        title = chart.to_dict()["title"]
        drawn = svg(chart)
        assert title["text"] in drawn
        assert title["subtitle"].endswith(".")
        assert drawn.count("<path") > 10


def test_a_notebook_shows_them_without_a_network(charts):
    for chart in charts.values():
        shown = chart._repr_mimebundle_()
        assert shown["image/svg+xml"].startswith("<svg")
        assert "text/html" not in shown


def test_specs_are_strict_json(charts):
    for chart in charts.values():
        json.dumps(chart.to_dict(), allow_nan=False)


def test_without_evidence_the_scores_and_pairs_alone_are_drawn():
    assert list(figures(digits_document(), Evidence())) == ["scores", "pairs"]


def test_without_any_score_nothing_is_drawn():
    diverged = tuple(each for each in digits_document().learners if each.name == "convnet")
    assert figures(digits_document(learners=diverged, comparisons=()), Evidence()) == {}


def test_a_learner_has_one_colour_in_every_chart():
    document = digits_document()
    scales = []

    def collect(node):
        if isinstance(node, dict):
            if node.get("field") == "learner" and "range" in (scale := node.get("scale") or {}):
                scales.append((tuple(scale["domain"]), tuple(scale["range"])))
            for value in node.values():
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)

    for chart in figures(document, evidence_of(document)).values():
        collect(chart.to_dict())
    colours = {scale for scale in scales if scale[1][0].startswith("#")}
    shapes = {scale for scale in scales if not scale[1][0].startswith("#")}
    assert len(colours) == len(shapes) == 1
    pairs = list(zip(next(iter(colours))[1], next(iter(shapes))[1], strict=True))
    assert len(set(pairs)) == len(document.learners) == 9


def test_score_bars_are_one_and_two_standard_errors():
    spec = figures(digits_document(), Evidence())["scores"].to_dict()
    (values,) = spec["datasets"].values()
    rows = {row["learner"]: row for row in values}
    svm = rows["svm"]
    assert svm["at-2"] == pytest.approx(-0.0689 - 2 * 0.0113)
    assert svm["at+1"] == pytest.approx(-0.0689 + 0.0113)
    assert "convnet" not in rows


def losses(n: int, last: float = 0.5) -> pl.DataFrame:
    rows = [("mlp", "split 0", step, 1.0, last if step == n - 1 else 2.0) for step in range(n)]
    return pl.DataFrame(rows, schema=LOSSES, orient="row")


@pytest.mark.parametrize("n", [1, 2, MAX_POINTS, 12_345])
def test_long_curves_are_thinned_and_keep_their_ends(n):
    kept = thin(losses(n))
    assert kept.height == min(n, MAX_POINTS)
    assert kept["step"].to_list()[0] == 0
    assert kept["step"].to_list()[-1] == n - 1
    assert kept["step"].is_sorted()


def test_each_run_is_thinned_by_itself():
    two = pl.concat([losses(1000), losses(1000).with_columns(run=pl.lit("split 1"))])
    assert thin(two).group_by("run").len()["len"].to_list() == [MAX_POINTS, MAX_POINTS]


@pytest.mark.parametrize(("last", "scale"), [(0.5, "log"), (math.nan, "log"), (-0.5, "linear"), (0.0, "linear")])
def test_losses_are_logarithmic_only_where_all_are_positive(last, scale):
    chart = figures(digits_document(), Evidence(losses=losses(3, last)))["losses"]
    assert chart.to_dict()["spec"]["encoding"]["y"]["scale"]["type"] == scale
