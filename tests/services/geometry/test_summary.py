"""What a sweep's geometry is said to be, on made-up rows whose answer can be had by hand."""

import json

import numpy as np
import polars as pl
import pytest

from models.runs.result import Connected, Measurement, Seconds
from services.geometry.summary import collect, summarise
from services.store.measurements import MeasurementRecord
from services.store.store import Store
from services.store.writer import writing
from tests.support.factories import PROVENANCE, STORED_AT, measured
from tests.support.stored import TREES, bnn, ended, net, put_all, request, result

SPLITS = 6
RATES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
NETS = [net("net", learning_rate=rate) for rate in RATES]
BNN = bnn("bnn")
CHAINS = {"r_hat_max": 1.0, "ess_min": 50.0, "divergences": 0, "n_chains": 2, "n_draws": 10}


def level(rate: float, split: int) -> float:
    """A test score that falls with the learning rate, so that the gap rises with it."""
    return -0.5 - rate - 0.01 * split


def point_rows(rate: float, split: int):
    """Sharper where the learning rate is larger; flatter by the second measure; the third never converges."""
    return (
        measured("hessian_trace", 10 * rate + 0.001 * split),
        measured("pac_bayes_sigma", 1 / rate, standard_error=0.01),
        measured("spectral_norms", 2.0, component="layers.0"),
        measured("spectral_norms", 3.0, component="layers.1"),
        measured("sharpness_l2", None),
    )


def connection(other: str, draw: int, barrier: float | None, method: str = "linear") -> Connected:
    status = "converged" if barrier is not None else "not_applicable"
    return Connected(draw, other, -1, method, barrier, barrier, 0.5, (0.0, 0.0), status, None, 3, {"points": 2})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("geometry")
    runs = [
        (asked, result(asked, level=level(rate, split)))
        for rate, learner in zip(RATES, NETS, strict=True)
        for split in range(SPLITS)
        if (asked := request(learner, split))
    ]
    posterior = request(BNN)
    trees = request(TREES)
    runs += [(posterior, result(posterior, summary=CHAINS)), (trees, result(trees))]
    put_all(folder, [*runs, (lost := request(net("lost")), ended(lost, "diverged", "NaN"))])
    varied = {
        request(n, s).run_key: {"inference.learning_rate": r}
        for r, n in zip(RATES, NETS, strict=True)
        for s in range(SPLITS)
    }
    keys = [asked.run_key for asked, _ in runs] + [lost.run_key]
    members = pl.DataFrame({"run_key": keys, "varied": [json.dumps(varied.get(key, {})) for key in keys]})
    with writing(folder) as writer:
        writer.put_sweep("all", "{}", members)
        for rate, learner in zip(RATES, NETS, strict=True):
            for split in range(SPLITS):
                keep(writer, request(learner, split).run_key, geometry=point_rows(rate, split))
        draws = tuple(measured("hessian_trace", 20.0 if draw < 10 else 40.0, draw) for draw in (0, 9, 10, 19))
        first, second = (request(n).run_key for n in NETS[:2])
        paths = tuple(connection(first, draw, 0.01 if draw < 10 else 0.2) for draw in (0, 9, 10, 19))
        keep(writer, posterior.run_key, geometry=draws, connections=paths)
        keep(writer, first, connections=(connection(second, -1, 0.3), connection(second, -1, None, "aligned")))
        black = measured("hessian_trace", None, status="not_applicable", reason="boosted-trees is a black box")
        keep(writer, trees.run_key, geometry=(black,))
    return Store(folder)


def keep(writer, run_key: str, **fields) -> None:
    key = f"{run_key}-{'-'.join(fields)}"
    found = Measurement(key, run_key, Seconds(1.0, 0.5, 0.5), "cpu", **fields)
    writer.put_measurement(MeasurementRecord(found, "all", PROVENANCE, STORED_AT))


@pytest.fixture(scope="module")
def document(store: Store):
    return summarise(collect(store, "all"), "all", threshold=0.05)


def of(document, learner: str, measure: str, component: str = ""):
    (found,) = [m for m in document.measures if (m.learner, m.measure, m.component) == (learner, measure, component)]
    return found


def test_a_measure_is_summarised_over_runs(document):
    found = of(document, "net", "hessian_trace")
    values = [10 * rate + 0.001 * split for rate in RATES for split in range(SPLITS)]
    assert (found.n_values, found.scope, found.invariance, found.larger) == (36, "estimate", "permutation", "sharper")
    assert found.median == pytest.approx(np.median(values))
    assert found.lower == pytest.approx(pl.Series(values).quantile(0.05))
    assert of(document, "net", "pac_bayes_sigma").standard_error == pytest.approx(0.01)


def test_components_stand_by_themselves(document):
    assert of(document, "net", "spectral_norms", "layers.0").median == 2.0
    assert of(document, "net", "spectral_norms", "layers.1").median == 3.0


def test_posteriors_are_summarised_over_draws(document):
    found = of(document, "bnn", "hessian_trace")
    assert (found.scope, found.n_values, found.median) == ("draws", 4, 30.0)


def test_what_has_no_value_is_counted_with_its_reason(document):
    bad = of(document, "net", "sharpness_l2")
    assert (bad.n_values, bad.n_unconverged, bad.median) == (0, 36, None)
    black = of(document, "boosted-trees", "hessian_trace")
    assert (black.n_not_applicable, black.reasons) == (1, ("boosted-trees is a black box",))
    assert "sharpness l2 did not converge at 36 vectors" in document.warnings


def test_a_measure_that_follows_the_gap_is_ranked_first_with_its_interval(document):
    best = {ranking.measure: ranking for ranking in document.rankings}
    trace, sigma = best["hessian_trace"], best["pac_bayes_sigma"]
    assert (trace.tau.value, sigma.tau.value) == (1.0, -1.0)
    assert trace.tau.lower > 0 and sigma.tau.upper < 0
    assert (trace.n_runs, trace.n_splits) == (36, 6)
    assert set(trace.granulated) == {"inference.learning_rate"}
    assert trace.granulated["inference.learning_rate"].value == 1.0
    # The other measures are the same at all runs, or have no value.
    assert {r.measure for r in document.rankings if abs(r.tau.value or 0) > 0} == {"hessian_trace", "pac_bayes_sigma"}
    assert document.varied == ("inference.learning_rate",)


def test_the_verdict_says_which_measure_tells(document):
    assert "On made-up: Sharper solutions generalise worse here" in document.verdict
    assert "hessian trace" in document.verdict


def test_draws_are_held_against_point_estimates_of_the_same_net(tmp_path):
    """`net` has another width than `bnn`, so nothing is compared in the first store."""
    nets, posterior = net("twin", widths=BNN.predictor.widths), request(BNN)
    point = request(nets)
    put_all(tmp_path, [(point, result(point)), (posterior, result(posterior, summary=CHAINS))])
    members = pl.DataFrame({"run_key": [point.run_key, posterior.run_key], "varied": ["{}", "{}"]})
    with writing(tmp_path) as writer:
        writer.put_sweep("two", "{}", members)
        keep(writer, point.run_key, geometry=(measured("hessian_trace", 10.0),))
        draws = tuple(measured("hessian_trace", 20.0 if draw < 10 else 40.0, draw) for draw in (0, 9, 10, 19))
        keep(writer, posterior.run_key, geometry=draws)
    (found,) = summarise(collect(Store(tmp_path), "two"), "two", 0.05).typical
    assert (found.posterior, found.estimate) == ("bnn", "twin")
    assert found.ratio == pytest.approx(3.0)
    assert found.lower < 1 < found.upper  # two chains say little
    assert "no difference is shown" in found.sentence


def test_draws_of_a_posterior_that_failed_its_checks_are_not_called_the_posterior(document):
    (said,) = [text for text in document.warnings if "posterior's checks" in text]
    assert said.startswith("bnn on made-up failed its posterior's checks (effective sample size 50, below 400)")
    assert said.endswith("what is said of its draws holds for these draws, not for the posterior")


def test_nothing_is_compared_between_different_nets(document):
    assert document.typical == ()


def test_barriers_are_a_symmetric_matrix_by_split_and_method(document):
    (linear,) = [b for b in document.barriers if b.method == "linear"]
    assert (linear.split, len(linear.labels)) == (0, 6)
    matrix = np.array(linear.barriers, float)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(np.diag(matrix), 0.0)
    a, b = (linear.labels.index(f"net, learning_rate {rate}, seed 0") for rate in RATES[:2])
    assert matrix[a, b] == 0.3
    draw = linear.labels.index("bnn, seed 0, draw 19")
    assert matrix[a, draw] == 0.2 and np.isnan(matrix[b, draw])
    (aligned,) = [b for b in document.barriers if b.method == "aligned"]
    assert aligned.barriers[0][1] is None


def test_the_share_of_draws_in_a_basin_has_an_error_over_chains(document):
    (basin,) = document.basins
    assert (basin.posterior, basin.estimate, basin.method) == ("bnn", "net", "linear")
    assert (basin.share, basin.threshold, basin.n_draws) == (0.5, 0.05, 4)
    assert basin.standard_error > 0.3  # one chain is in, and one is out


def test_runs_that_did_not_finish_are_left_out(document):
    assert document.n_runs == 38
    assert "lost" not in {m.learner for m in document.measures}


def test_a_sweep_without_measures_is_an_answer_too(tmp_path):
    asked = request(TREES)
    put_all(tmp_path, [(asked, result(asked))])
    with writing(tmp_path) as writer:
        writer.put_sweep("bare", "{}", pl.DataFrame({"run_key": [asked.run_key], "varied": ["{}"]}))
    found = summarise(collect(Store(tmp_path), "bare"), "bare", 0.05)
    assert (found.measures, found.rankings, found.barriers) == ((), (), ())
    assert "cannot be said" in found.verdict


def test_settings_of_one_measure_stand_apart(tmp_path):
    asked = request(NETS[0])
    put_all(tmp_path, [(asked, result(asked))])
    with writing(tmp_path) as writer:
        writer.put_sweep("one", "{}", pl.DataFrame({"run_key": [asked.run_key], "varied": ["{}"]}))
        rows = [measured("sharpness_l2", rho, settings={"rho": rho}) for rho in (0.1, 0.2)]
        keep(writer, asked.run_key, geometry=tuple(rows))
    found = summarise(collect(Store(tmp_path), "one"), "one", 0.05)
    assert [(m.settings, m.median) for m in found.measures] == [({"rho": 0.1}, 0.1), ({"rho": 0.2}, 0.2)]
