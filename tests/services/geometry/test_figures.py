import json

import altair as alt
import numpy as np
import polars as pl
import pytest
import vl_convert

from services.geometry.chart_data import PROFILES, GeometryEvidence
from services.geometry.figures import (
    BEST,
    MAX_POINTS,
    STRIPS,
    effective_frame,
    gap_frame,
    geometry_figures,
    ranking_frame,
    strip_frame,
)
from services.geometry.loss_figures import CONTOURS, SOLUTIONS, contour_frame
from services.geometry.words import ranked
from tests.support.geometry_documents import DATASETS, evidence_of, sweep_document

VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
EVERY = ["ranking", "gaps", "effective", "draws", "slices", "surfaces", "densities", "barriers"]


def svg(chart) -> str:
    return vl_convert.vegalite_to_svg(chart.to_json(), vl_version=VEGA_LITE)


@pytest.fixture(scope="module")
def charts():
    return geometry_figures(sweep_document(), evidence_of(sweep_document()), "digits")


def measures_of(document):
    return [row for row in document.measures if row.dataset == "digits"]


def surface(f, n: int = 41) -> pl.DataFrame:
    """A surface over [-1, 1] x [-1, 1]."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n), indexing="ij"))
    fixed = {"dataset": "digits", "learner": "mlp-sgd", "run": "split 0", "draw": -1, "measure": "loss_surface"}
    frame = pl.DataFrame({"x": x, "y": y, "value": f(x, y), "standard_error": np.zeros_like(x)})
    return frame.with_columns(**{name: pl.lit(value) for name, value in fixed.items()}).select(*PROFILES)


def test_every_figure_is_drawn_with_a_title_and_what_to_look_for(charts):
    assert list(charts) == EVERY
    for chart in charts.values():
        title = chart.to_dict()["title"]
        drawn = svg(chart)
        assert title["text"] in drawn
        assert title["subtitle"].endswith(".")
        assert drawn.count("<path") > 10


def test_specs_are_strict_json(charts):
    for chart in charts.values():
        json.dumps(chart.to_dict(), allow_nan=False)


def test_a_dataset_without_curves_or_ranking_has_the_other_charts():
    document = sweep_document()
    assert list(geometry_figures(document, evidence_of(document), DATASETS[1])) == ["effective", "draws", "barriers"]


def test_without_evidence_the_document_alone_is_drawn():
    found = geometry_figures(sweep_document(), GeometryEvidence(), "digits")
    assert list(found) == ["ranking", "effective", "barriers"]


def test_a_learner_has_one_colour_in_every_chart(charts):
    scales = set()

    def collect(node):
        if isinstance(node, dict):
            if node.get("field") == "learner" and "range" in (scale := node.get("scale") or {}):
                scales.add((tuple(scale["domain"]), tuple(scale["range"])))
            for value in node.values():
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)

    for chart in charts.values():
        collect(chart.to_dict())
    colours = {scale for scale in scales if scale[1][0].startswith("#")}
    assert len(colours) == 1
    assert next(iter(colours))[0] == ("bnn-nuts", "glm-bayes", "mlp-adam", "mlp-sgd")


def test_the_best_measures_are_held_against_the_gap_and_titled_with_their_tau():
    document = sweep_document()
    frame = gap_frame(ranked(document.rankings)[:BEST], evidence_of(document).values.filter(dataset="digits"))
    titles = frame["title"].unique(maintain_order=True).to_list()
    assert len(titles) == BEST
    assert titles[0] == "adaptive_sharpness_gaussian\ntau +0.52"
    assert titles[2] == "hessian_trace_by_layer [layers.1]\ntau −0.36"
    one = frame.filter(title=titles[0])
    assert one.group_by("learner").len().sort("learner")["len"].to_list() == [2, 2, 12, 12]


def test_a_posterior_stands_by_the_median_of_its_draws():
    document = sweep_document()
    values = evidence_of(document).values.filter(dataset="digits")
    (best, *_) = ranked(document.rankings)
    frame = gap_frame([best], values)
    drawn = values.filter(measure=best.measure, learner="bnn-nuts", run="split 0, seed 0, learning_rate 0")
    assert len(drawn) == 4
    (row,) = frame.filter(learner="bnn-nuts", run="split 0, seed 0, learning_rate 0").iter_rows(named=True)
    assert row["value"] == pytest.approx(np.median(drawn["value"]))


def test_many_runs_are_thinned_alike_in_each_panel():
    document = sweep_document()
    values = evidence_of(document, n_runs=1000).values.filter(dataset="digits")
    frame = gap_frame(ranked(document.rankings)[:BEST], values)
    assert set(frame.group_by("title").len()["len"]) == {MAX_POINTS}
    assert frame["gap"].max() > 9.9  # from one end to the other
    strips = strip_frame(measures_of(document), document.rankings, values)
    assert strips.group_by("title", "learner").len()["len"].max() <= MAX_POINTS


def test_draws_are_shown_of_measures_that_optima_have_too_whole_ones_first():
    document = sweep_document()
    values = evidence_of(document).values.filter(dataset="digits")
    frame = strip_frame(measures_of(document), ranked(document.rankings), values)
    titles = frame["title"].unique(maintain_order=True).to_list()
    assert len(titles) == STRIPS
    assert titles[0] == "adaptive_sharpness_gaussian"
    assert {"sharpness_l2, rho 0.05", "sharpness_l2, rho 0.1"} <= set(titles)
    assert "distance_from_initialisation" not in titles and not any("[" in title for title in titles)
    assert set(frame["at"]) == {"posterior draw", "point estimate"}


def test_the_ranking_has_both_criteria_with_their_intervals():
    frame = ranking_frame(ranked(sweep_document().rankings))
    first = frame.row(0, named=True)
    assert (first["measure"], first["criterion"], first["value"]) == ("adaptive_sharpness_gaussian", "tau", 0.52)
    assert (first["lower"], first["upper"]) == pytest.approx((0.31, 0.73))
    assert frame["criterion"].to_list()[:2] == ["tau", "psi"]
    assert frame.filter(measure="pac_bayes_sigma")["lower"].to_list() == [None, None]


def test_effective_numbers_stand_beside_the_raw_one_and_their_bars_stay_positive():
    document = sweep_document()
    (net,) = [row for row in document.effective if (row.dataset, row.learner) == ("digits", "mlp-sgd")]
    unsure = net.effective_dimension.model_copy(update={"value": 3.0, "standard_error": 5.0})
    frame = effective_frame([net.model_copy(update={"effective_dimension": unsure})])
    counts = {row["count"]: row for row in frame.iter_rows(named=True)}
    assert counts["raw parameters"]["value"] == 3466
    assert counts["effective dimension"]["lower"] > 0
    assert counts["effective dimension"]["upper"] == pytest.approx(8.0)
    assert "p_loo (posterior)" not in counts


def test_learners_without_any_count_are_left_out():
    rows = [row for row in sweep_document().effective if row.kind == "baseline"]
    assert effective_frame(rows).is_empty()


def test_contours_of_a_paraboloid_are_circles_at_even_steps_of_the_logarithm():
    frame = surface(lambda x, y: 0.01 + x**2 + y**2)
    contours = contour_frame(frame)
    levels = np.geomspace(0.01, 2.01, CONTOURS + 2)[1:-1]
    for level in levels[levels < 1.0]:
        line = contours.filter(pl.col("line") == f"{level:.4g} 0")
        np.testing.assert_allclose(0.01 + line["x"] ** 2 + line["y"] ** 2, level, atol=1.5e-3)
        assert line["place"].to_list() == list(range(len(line)))


def test_contours_keep_x_and_y_apart():
    contours = contour_frame(surface(lambda x, y: 1.0 + x + 0.0 * y + 1.0))
    assert all(line["x"].std() < 1e-9 < line["y"].std() for _, line in contours.group_by("line"))


def test_a_surface_with_a_hole_is_drawn_without_contours():
    frame = surface(lambda x, y: 1.0 + x**2 + y**2)
    assert contour_frame(frame.filter((pl.col("x") > -1) | (pl.col("y") > -1))).is_empty()


def test_surfaces_of_float32_nets_and_float64_models_have_cells_as_wide_as_the_grid():
    document, exact = sweep_document(), surface(lambda x, y: 1.0 + x**2 + y**2, 11)
    rounded = exact.with_columns(pl.col("x", "y").cast(pl.Float32).cast(pl.Float64), learner=pl.lit("mlp-adam"))
    evidence = GeometryEvidence(profiles=pl.concat([exact, rounded]))
    spec = geometry_figures(document, evidence, "digits")["surfaces"].to_dict()
    (left, *_) = (t["calculate"] for t in spec["spec"]["layer"][0]["transform"] if t.get("as") == "left")
    assert float(left.rpartition(" ")[2]) == pytest.approx(0.1, rel=0.1)


def test_losses_that_are_not_positive_have_a_linear_scale():
    evidence = GeometryEvidence(profiles=surface(lambda x, y: x + y))
    spec = geometry_figures(sweep_document(), evidence, "digits")["surfaces"].to_dict()
    assert spec["spec"]["layer"][0]["encoding"]["color"]["scale"]["type"] == "linear"


def test_a_large_matrix_of_barriers_is_thinned_and_names_each_learner_once():
    matrix = sweep_document().barriers[0]
    n = 100
    large = matrix.model_copy(
        update={
            "labels": tuple(f"net, seed {i}" for i in range(n)),
            "learners": ("a",) * 60 + ("b",) * 40,
            "barriers": tuple(tuple(float(abs(i - j)) for j in range(n)) for i in range(n)),
        }
    )
    spec = geometry_figures(sweep_document(barriers=(large,)), GeometryEvidence(), "digits")["barriers"].to_dict()
    (panel,) = spec["concat"]
    (values,) = spec["datasets"].values()
    assert len(values) == SOLUTIONS**2
    axis = panel["layer"][0]["encoding"]["x"]["axis"]["labelExpr"]
    labels = json.loads(axis.removesuffix("[datum.value]"))
    assert [label for label in labels if label] == ["a", "b"]
    assert len(panel["layer"]) == 1  # no numbers in cells this small
