"""No broken posterior may pass: each way of being broken, and the words it is told in."""

import numpy as np
import pytest

from models.diagnostics.chains import _stuck as stuck
from models.diagnostics.chains import bfmi, chain_faults, disagreeing
from models.diagnostics.convergence import convergence, mcse_mean
from models.diagnostics.diagnose import diagnose
from models.diagnostics.draws import to_datatree
from models.diagnostics.warnings import warnings
from tests.support.posteriors import changed, healthy

ROWS = np.array([7, 11, 13, 17, 19])


def judge(draws):
    diagnosis = diagnose(draws, test_rows=ROWS)
    return diagnosis, list(warnings(diagnosis.summary))


@pytest.fixture(params=[True, False], ids=["glm", "net"])
def identified(request):
    return request.param


def assert_refused(draws, words):
    diagnosis, texts = judge(draws)
    assert diagnosis.summary["r_hat_max"] == np.inf
    assert diagnosis.summary["ess_min"] == 0
    assert any(words in text and "do not read its uncertainty as posterior uncertainty" in text for text in texts), (
        texts
    )


def test_a_healthy_posterior_draws_no_warning(identified):
    diagnosis, texts = judge(healthy(identified=identified))
    assert texts == []
    assert diagnosis.summary["r_hat_max"] < 1.01
    assert diagnosis.summary["ess_min"] > 400
    assert diagnosis.summary["chains_disagreeing"] == 0


def test_rows_hold_the_figures_of_each_quantity():
    draws = healthy()
    rows = {row.quantity: row for row in judge(draws)[0].rows}
    expected, error = convergence(draws.parameters["theta"]), mcse_mean(draws.parameters["theta"])
    for i in range(3):
        row = rows[f"theta[{i}]"]
        assert row.scope == "parameter"
        figures = (row.r_hat, row.ess_bulk, row.ess_tail, row.mcse)
        assert figures == pytest.approx((expected.r_hat[i], expected.ess_bulk[i], expected.ess_tail[i], error[i]))
    assert rows["test row 11, class 1"].scope == "prediction"
    assert "test row 11, class 0" not in rows  # 1 - p says nothing new
    assert rows["all chains"].divergences == 0
    assert rows["chain 3"].bfmi == pytest.approx(bfmi(draws.stats["energy"])[3])


def test_a_net_is_judged_by_its_predictions_and_its_weights_are_recorded():
    draws = healthy(identified=False)
    # A unit of the first chain and its sign-flipped twin: other weights, the same function.
    draws.parameters["theta"][0, :, 2] += 50.0
    diagnosis, texts = judge(draws)
    rows = {row.quantity: row for row in diagnosis.rows}
    assert texts == []
    assert diagnosis.summary["r_hat_max"] == rows["predictions (worst)"].r_hat < 1.01
    assert diagnosis.summary["r_hat_weights_max"] == rows["weights (worst)"].r_hat > 1.5
    assert rows["weights (median)"].r_hat < 1.05
    assert "theta[0]" not in rows


def test_the_twenty_worst_predictions_are_rows():
    draws = healthy(identified=False)
    means = np.random.default_rng(1).normal(size=(4, 250, 40, 1))
    means[0, :, 33] += 1.0
    diagnosis = diagnose(draws._replace(predictions=means), test_rows=np.arange(100, 140))
    named = [row for row in diagnosis.rows if row.quantity.startswith("test row")]
    assert len(named) == 20
    assert named[0].quantity == "test row 133, mean"
    assert [row.r_hat for row in named] == sorted((row.r_hat for row in named), reverse=True)


def test_chains_that_disagree_are_counted_and_told():
    draws = healthy(identified=False)
    draws.parameters["theta"][0] += 1.0
    draws.predictions[0] = draws.predictions[0] * 0.3 + [0.0, 0.7]
    diagnosis, texts = judge(draws)
    worst = diagnosis.summary["r_hat_max"]
    assert worst > 1.1
    assert texts[0] == (
        f"1 of 4 chains disagree on predictions (R-hat {worst:.3f}): "
        "do not read its uncertainty as posterior uncertainty"
    )


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ((0, 0, 0, 0), [False] * 4),
        ((0, 0, 0, 3), [False, False, False, True]),
        ((0, 0, 3, 3), [True] * 4),
        ((0, 3, 6, 9), [True] * 4),
        ((0, 3), [True] * 2),
        ((0,), [False]),
        ((0,) * 40 + (3,), [False] * 40 + [True]),
    ],
)
def test_a_chain_disagrees_when_it_differs_from_half_of_the_others(offsets, expected):
    x = np.random.default_rng(0).normal(size=(len(offsets), 100, 2))
    x[:, :, 1] += np.array(offsets)[:, None]
    assert disagreeing(x).tolist() == expected


def test_a_chain_of_another_width_disagrees():
    x = np.random.default_rng(0).normal(size=(4, 200, 1))
    x[2] *= 10
    assert disagreeing(x).tolist() == [False, False, True, False]


def test_a_drift_within_chains_is_no_agreement():
    draws = healthy()
    draws.parameters["theta"][..., 0] += np.linspace(-3, 3, 250)
    diagnosis, texts = judge(draws)
    assert diagnosis.summary["chains_disagreeing"] == 0
    assert diagnosis.summary["r_hat_within_max"] > 1.5
    assert "chains have not settled on parameters" in texts[0]


def test_constant_chains_are_refused(identified):
    def freeze(values):
        values[:] = values[:1, :1]

    assert_refused(changed(healthy(identified=identified), freeze), "4 of 4 chains are stuck")


def test_chains_frozen_in_different_places_are_refused(identified):
    def freeze(values):
        values[:] = values[:, :1]

    assert_refused(changed(healthy(identified=identified), freeze), "4 of 4 chains are stuck")


def test_one_stuck_chain_is_refused(identified):
    def freeze(values):
        values[2] = values[2, 0]

    assert_refused(changed(healthy(identified=identified), freeze), "1 of 4 chains are stuck")


def test_a_chain_that_gets_stuck_halfway_is_refused(identified):
    def freeze(values):
        values[2, 125:] = values[2, 125]

    assert_refused(changed(healthy(identified=identified), freeze), "1 of 4 chains are stuck")


def test_draws_that_are_not_finite_are_refused(identified):
    def spoil(values):
        values[1, 3] = np.nan

    assert_refused(changed(healthy(identified=identified), spoil), "1 of 4 chains hold values that are not finite")


def test_one_value_that_is_not_finite_is_refused(identified):
    draws = healthy(identified=identified)
    draws.parameters["theta"][3, 200, 2] = np.inf
    assert_refused(draws, "1 of 4 chains hold values that are not finite")


def test_duplicated_chains_are_refused(identified):
    def copy(values):
        values[3] = values[1]

    assert_refused(changed(healthy(identified=identified), copy), "1 of 4 chains repeat the draws of another")


def shuffled(values):
    return values[np.random.default_rng(0).permutation(len(values))]


@pytest.mark.parametrize(
    "copy",
    [
        lambda values: values + 1e-9,
        lambda values: values * (1 + 1e-7),
        lambda values: np.roll(values, 40, axis=0),
        lambda values: np.concatenate([values[100:], values[:100] + 0.3]),
        lambda values: values[::-1],
        lambda values: -values,
        shuffled,
        lambda values: shuffled(values + 1e-9),
        lambda values: values + 1e-3 * np.random.default_rng(1).normal(size=values.shape),
    ],
    ids=["near", "scaled", "lagged", "cut", "reversed", "mirrored", "shuffled", "shuffled and near", "noisy"],
)
def test_near_copies_of_a_chain_are_refused(copy, identified):
    draws = healthy(identified=identified)
    draws.parameters["theta"][3] = copy(draws.parameters["theta"][1])
    assert_refused(draws, "1 of 4 chains repeat the draws of another")


def test_chain_that_rests_at_its_end_is_refused(identified):
    draws = healthy(identified=identified)
    draws.parameters["theta"][2, 220:] = draws.parameters["theta"][2, 220]
    assert_refused(draws, "1 of 4 chains are stuck")


@pytest.mark.parametrize("in_order", [True, False])
def test_chain_that_goes_through_the_same_draws_again_is_refused(in_order, identified):
    draws = healthy(identified=identified)
    at = np.arange(250) % 50 if in_order else np.random.default_rng(0).integers(50, size=250)
    draws.parameters["theta"][2] = draws.parameters["theta"][2, at]
    assert_refused(draws, "1 of 4 chains go through the same draws again and again")


@pytest.mark.parametrize(("n_chains", "apart"), [(2, 1), (4, 1), (4, 2), (16, 1)])
def test_chains_in_another_mode_are_not_passed(n_chains, apart):
    draws = healthy(n_chains=n_chains)
    draws.parameters["theta"][:apart, :, 1] += 6.0
    assert judge(draws)[0].summary["r_hat_max"] > 1.1


def test_healthy_chains_are_not_taken_for_copies_or_for_stuck():
    """Slow ones, ones that reject, ones of a variable that single precision hardly resolves, ties."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        theta = rng.normal(size=(4, 500, 1))
        walk = theta.copy()
        for t in range(1, 500):
            walk[:, t] = 0.98 * walk[:, t - 1] + 0.2 * theta[:, t]
        kept = np.maximum.accumulate(np.where(rng.random((4, 500)) < 0.3, np.arange(500), 0), axis=1)
        rejecting = np.take_along_axis(theta, kept[..., None], axis=1)
        coarse = (1e6 + theta).astype(np.float32)
        for values in (theta, walk, np.cumsum(theta, axis=1), rejecting, coarse, np.round(theta, 2) + 1e-3 * theta):
            draws = healthy(n_draws=500, seed=seed)
            faults = chain_faults(draws._replace(parameters={"theta": values}))
            assert not any(faults.values()), faults


@pytest.mark.parametrize("acceptance", [0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("n", [250, 1000])
def test_metropolis_chains_that_often_reject_are_not_stuck_and_those_that_stop_are(acceptance, n):
    rng = np.random.default_rng(3)
    step = 2 / np.tan(acceptance * np.pi / 2)  # acceptance is 2 / pi arctan(2 / step) at a normal distribution
    x = rng.normal(size=(400, 1))
    theta = np.empty((400, n, 1), np.float32)
    for t in range(n):
        proposed = x + step * rng.normal(size=x.shape)
        x = np.where(np.log(rng.random(x.shape)) < (x**2 - proposed**2) / 2, proposed, x)
        theta[:, t] = x
    assert np.mean(theta[:, 1:] != theta[:, :-1]) == pytest.approx(acceptance, abs=0.03)
    assert sum(stuck([chain]) for chain in theta) <= 2
    if acceptance * n >= 100:  # fewer moves do not tell a rest of half the draws from bad luck
        theta[:, n // 2 :] = theta[:, n // 2, None]
        assert all(stuck([chain]) for chain in theta)


def test_too_few_draws_are_refused(identified):
    for n_draws in (1, 2, 4, 24):
        assert_refused(healthy(n_draws=n_draws, identified=identified), f"{n_draws} draws per chain are too few")


def test_one_parameter_that_never_changes_is_refused():
    draws = healthy()
    draws.parameters["theta"][..., 1] = 3.0
    assert_refused(draws, "chains have not settled on parameters (R-hat cannot be had)")


def test_every_draw_divergent_is_said(identified):
    draws = healthy(identified=identified)
    draws.stats["diverging"][:] = True
    diagnosis, texts = judge(draws)
    assert diagnosis.summary["divergences"] == 1000
    assert texts == ["every draw diverged: do not read its uncertainty as posterior uncertainty"]


def test_a_few_divergences_are_counted():
    draws = healthy()
    draws.stats["diverging"][1, :3] = True
    diagnosis, texts = judge(draws)
    rows = {row.quantity: row for row in diagnosis.rows}
    assert (rows["chain 1"].divergences, rows["all chains"].divergences) == (3, 3)
    assert "3 of 1000 draws diverged" in texts[0]


def test_a_single_chain_cannot_pass_unremarked(identified):
    diagnosis, texts = judge(healthy(n_chains=1, n_draws=1000, identified=identified))
    assert diagnosis.summary["r_hat_max"] == np.inf
    assert texts == [
        "a single chain cannot show that chains disagree, so it has no R-hat: run 4 or more; "
        "do not read its uncertainty as posterior uncertainty"
    ]


def test_few_effective_draws_are_said():
    _, texts = judge(healthy(n_draws=60))
    assert any("few effective draws of parameters" in text and "want 400" in text for text in texts)


def test_slow_energy_is_said():
    draws = healthy()
    draws.stats["energy"][2] = np.cumsum(draws.stats["energy"][2])
    diagnosis, texts = judge(draws)
    assert diagnosis.summary["bfmi_min"] < 0.3
    assert "energy is explored slowly" in texts[0]


def test_energy_that_cannot_be_judged_counts_as_slow():
    draws = healthy()
    draws.stats["energy"][0], draws.stats["energy"][1] = 1.0, np.nan
    assert judge(draws)[0].summary["bfmi_min"] == 0.0


def test_saturated_trees_are_said_and_absent_where_there_are_no_trees():
    draws = healthy()
    draws.stats["reached_max_treedepth"][:, :50] = True
    diagnosis, texts = judge(draws)
    assert diagnosis.summary["treedepth_share"] == pytest.approx(0.2)
    assert "20% of trajectories reached the largest tree depth" in texts[0]
    del draws.stats["reached_max_treedepth"]
    diagnosis, texts = judge(draws)
    assert texts == []
    assert "treedepth_share" not in diagnosis.summary


def test_probabilities_too_small_to_matter_are_not_judged():
    draws = healthy(identified=False)
    # The first chain says 1e-9 where the others say 1e-7: apart in ranks, the same to anyone who acts on it.
    tiny = np.abs(np.random.default_rng(3).normal(size=(4, 250))) * np.array([1e-9, 1e-7, 1e-7, 1e-7])[:, None]
    draws.predictions[:, :, 2, 1], draws.predictions[:, :, 2, 0] = tiny, 1 - tiny
    diagnosis, texts = judge(draws)
    assert texts == []
    assert not any("test row 13" in row.quantity for row in diagnosis.rows)


def test_predictions_that_are_all_alike_are_judged_all_the_same():
    draws = healthy(identified=False)
    draws.predictions[:] = draws.predictions * 1e-6
    draws.predictions[0] *= 2
    assert judge(draws)[0].summary["r_hat_max"] > 1.1


def test_bfmi_of_independent_energies_is_two_and_of_a_random_walk_near_zero():
    rng = np.random.default_rng(0)
    independent = bfmi(rng.normal(size=(20, 2000)))
    # E (e_t - e_s)^2 = 2 var.
    assert abs(independent.mean() - 2) < 4 * independent.std(ddof=1) / np.sqrt(20)
    assert np.all(bfmi(np.cumsum(rng.normal(size=(20, 2000)), axis=1)) < 0.1)


@pytest.mark.parametrize("keep_parameters", [True, False])
def test_the_tree_has_the_layout_of_arviz(keep_parameters):
    draws = healthy()
    tree = to_datatree(draws, train_rows=np.arange(30), test_rows=ROWS, keep_parameters=keep_parameters)
    assert ("posterior" in tree.children) == keep_parameters
    assert tree["predictions"]["probability"].dims == ("chain", "draw", "test_row", "class")
    np.testing.assert_array_equal(tree["predictions"]["probability"], draws.predictions)
    np.testing.assert_array_equal(tree["predictions"]["test_row"], ROWS)
    np.testing.assert_array_equal(tree["log_likelihood"]["y"], draws.log_likelihood)
    np.testing.assert_array_equal(tree["sample_stats"]["energy"], draws.stats["energy"])
    if keep_parameters:
        assert tree["posterior"]["theta"].dims == ("chain", "draw", "parameter")


def test_a_tree_of_means_has_no_class_dimension():
    draws = healthy()._replace(predictions=np.zeros((4, 250, 5, 1)))
    tree = to_datatree(draws, train_rows=np.arange(30), test_rows=ROWS, keep_parameters=False)
    assert tree["predictions"]["mean"].dims == ("chain", "draw", "test_row")


def test_labelled_parameters_are_called_by_their_coordinates():
    draws = healthy(identified=True)
    rng = np.random.default_rng(0)
    labels = {"slope": {"class": np.array([1, 2]), "column": np.array(["age", "income"])}}
    chains, n = draws.stats["diverging"].shape
    draws = draws._replace(parameters={"slope": rng.normal(size=(chains, n, 2, 2))}, labels=labels)
    names = [row.quantity for row in judge(draws)[0].rows if row.scope == "parameter"]
    assert names == ["slope[1, age]", "slope[1, income]", "slope[2, age]", "slope[2, income]"]
    tree = to_datatree(draws, train_rows=np.arange(draws.log_likelihood.shape[2]), test_rows=ROWS, keep_parameters=True)
    np.testing.assert_array_equal(
        tree["posterior"]["slope"].sel({"class": 2, "column": "income"}), draws.parameters["slope"][:, :, 1, 1]
    )
