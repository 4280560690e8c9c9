"""GLMs against exact posteriors and long reference runs, and their predictions against the formula by hand."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as stats
import xarray as xr

from models.data.dataset import Part, Split
from models.glm.fit import fit_formula, flat_vectors
from models.joint.build import model_of
from models.spec.likelihoods import Bernoulli, Gaussian
from models.spec.predictors import Formula
from models.spec.priors import Flat, Normal
from tests.support.glm_problems import FAMILIES, assert_moments, learner, random_split, split_of


def fit(spec, split, seed=0):
    return fit_formula(spec, split, seed, lambda *_: None)


def linear_gaussian_moments(x, y, scales):
    """Exact mean and sd of (beta, log sigma) where y ~ N([x, 1] beta, sigma^2) and log sigma ~ N(0, 1).

    The prior of beta is N(0, diag scales^2). Given sigma all is conjugate, so log sigma alone is left to a fine grid.
    """
    design = np.column_stack([x, np.ones(len(x))])
    grid = np.linspace(-3, 3, 2001)
    log_weights, means, variances = [], [], []
    for log_sigma in grid:
        noise = np.exp(2 * log_sigma)
        marginal = noise * np.eye(len(y)) + (design * scales**2) @ design.T
        log_weights.append(stats.multivariate_normal(cov=marginal).logpdf(y) + stats.norm.logpdf(log_sigma))
        covariance = np.linalg.inv(design.T @ design / noise + np.diag(scales**-2.0))
        means.append(np.append(covariance @ design.T @ y / noise, log_sigma))
        variances.append(np.append(np.diag(covariance), 0.0))
    weights = np.exp(np.array(log_weights) - max(log_weights))
    weights /= weights.sum()
    mean = weights @ np.array(means)
    second = weights @ (np.array(variances) + np.array(means) ** 2)
    return mean, np.sqrt(second - mean**2)


def test_linear_gaussian_posterior_is_the_exact_one():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 2))
    y = x @ [0.8, -0.3] + 0.2 + 0.5 * rng.normal(size=30)
    spec = learner(Gaussian(), prior=Normal(scale=1, bias_scale=0.5), chains=4, warmup=500, draws=500)
    got = fit(spec, split_of("real", x, y))
    means, sds = linear_gaussian_moments(x, y, np.array([1 / np.sqrt(2), 1 / np.sqrt(2), 0.5]))
    assert got.theta is not None and got.theta.shape == (4, 500, 4)
    for j in range(4):
        assert_moments(got.theta[:, :, j], means[j], sds[j])


@pytest.mark.parametrize("family", FAMILIES)
def test_theta_and_eta_are_those_of_a_linear_net(family, tmp_path):
    likelihood, _, n_classes = FAMILIES[family]
    split = random_split(family, n=20)
    got = fit(learner(likelihood, warmup=20, draws=10), split)
    net = model_of(Formula(), likelihood, n_classes, 3, None)
    assert got.theta is not None and got.n_parameters == net.n_parameters == got.theta.shape[2]
    flat = got.theta.reshape(20, -1)
    with jax.enable_x64(True):
        eta = [net.predict(jnp.asarray(theta), jnp.asarray(split.test.x)) for theta in flat]
    np.testing.assert_allclose(got.eta(split.test), np.stack(eta), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(got.extra, flat[:, net.n_weights :])
    # What is stored under the parameters' names gives the flat vectors back.
    got.posterior.to_netcdf(tmp_path / "posterior.nc", engine="h5netcdf")
    stored = xr.load_datatree(tmp_path / "posterior.nc", engine="h5netcdf")
    np.testing.assert_array_equal(flat_vectors(stored["posterior"].to_dataset()), got.theta)
    named = got.posterior["posterior"]
    if family == "categorical":
        # Row 1 of the weights is the third class's, as the first has none.
        np.testing.assert_array_equal(named["slope"].sel({"class": 2, "column": "x1"}), got.theta[:, :, 3 + 1])
        np.testing.assert_array_equal(named["intercept"].sel({"class": 2}), got.theta[:, :, 9 + 1])
    elif n_classes == 0:
        np.testing.assert_array_equal(named["slope"].sel(column="x2"), got.theta[:, :, 2])
        np.testing.assert_array_equal(named["intercept"], got.theta[:, :, 3])


def test_one_column_is_laid_out_like_many():
    split = random_split("categorical", n=20, d=1)
    got = fit(learner(FAMILIES["categorical"][0], warmup=20, draws=10), split)
    assert got.theta is not None
    slope = got.posterior["posterior"]["slope"]
    assert slope.dims == ("chain", "draw", "class", "column") and list(slope["column"].values) == ["x0"]
    np.testing.assert_array_equal(slope[..., 0], got.theta[:, :, :3])


def test_formula_predicts_what_its_terms_say_by_hand():
    groups = np.array(["a", "b", "c", "a"] * 5, object)
    split = random_split("gaussian", n=20, factors={"g": groups})
    got = fit(learner(Gaussian(), "x0:x1 + g + (0 + x2|g)", warmup=20, draws=10), split)
    named = got.posterior["posterior"]
    assert got.theta is None
    assert got.n_parameters == 1 + 1 + 1 + 2 + 3 + 1  # log sigma, intercept, x0:x1, g[b], g[c], three slopes, their sd
    x = split.test.x
    level = np.searchsorted(["a", "b", "c"], groups.astype(str))
    main = np.pad(named["g"].values, ((0, 0), (0, 0), (1, 0)))[:, :, level]
    own = named["x2|g"].values[:, :, level] * x[:, 2]
    eta = named["Intercept"].values[..., None] + named["x0:x1"].values[..., None] * x[:, 0] * x[:, 1] + main + own
    np.testing.assert_allclose(got.eta(split.test), eta.reshape(20, 20, 1), rtol=1e-10)
    np.testing.assert_array_equal(got.extra[:, 0], named["log_sigma"].values.ravel())
    assert got.warnings == ()


def test_formula_for_classes_predicts_against_the_first_class():
    split = random_split("categorical", n=20)
    got = fit(learner(FAMILIES["categorical"][0], "x0", warmup=20, draws=10), split)
    named = got.posterior["posterior"]
    eta = named["Intercept"].values[:, :, None, :] + split.test.x[:, 0, None] * named["x0"].values[:, :, None, :]
    np.testing.assert_allclose(got.eta(split.test), eta.reshape(20, 20, 3), rtol=1e-12)
    assert list(named["class"].values) == [1, 2, 3]


def with_test_groups(split, groups):
    return replace(split, test=split.test._replace(factors={"g": np.array(groups, object)}))


@pytest.mark.parametrize(
    ("family", "formula"), [("gaussian", "(x0|g)"), ("categorical", "(x0|g)"), ("gaussian", "(h|g)")]
)
def test_new_group_has_an_effect_drawn_from_the_prior_of_groups_in_each_draw(family, formula):
    h = np.array(["u", "v", "v", "u", "u"] * 4, object)
    split = random_split(family, n=20, factors={"g": np.array(["a", "b"] * 10, object), "h": h})
    test = split.test._replace(factors={"g": np.array(["z", "w", "z", *["b", "a"] * 8, "b"], object), "h": h})
    split = replace(split, test=test)
    got = fit(learner(FAMILIES[family][0], formula, warmup=30, draws=300), split)
    named = got.posterior["posterior"]
    draws = {name: named[name].values.reshape(600, *named[name].shape[2:]) for name in named}
    eta = got.eta(split.test)
    np.testing.assert_array_equal(eta, got.eta(split.test))
    # What is left of a new row without the intercept, in units of its prior's scale, is N(0, 1).
    x = split.test.x[:, 0]
    for row in range(3):
        variance = draws["1|g_sigma"] ** 2
        if formula == "(h|g)":
            variance = variance + (h[row] == "v") * draws["h|g_sigma"][:, 0] ** 2
        else:
            variance = variance + (draws["x0|g_sigma"] * x[row]) ** 2
        z = (eta[:, row] - draws["Intercept"].reshape(600, -1)) / np.sqrt(variance.reshape(600, -1))
        assert stats.kstest(z[:, 0], "norm").pvalue > 0.001
    effect = eta - draws["Intercept"].reshape(600, 1, -1)
    if formula == "(x0|g)":
        # All rows of a group share its effects, and other new groups have others.
        slope = (effect[:, 0] - effect[:, 2]) / (x[0] - x[2])
        again = replace(split, test=split.test._replace(x=split.test.x[[2, 1, 0, *range(3, 20)]]))
        np.testing.assert_allclose(got.eta(again.test)[:, 0] - eta[:, 0], slope * (x[2] - x[0]), rtol=1e-6, atol=1e-9)
        assert abs(np.corrcoef(effect[:, 0, 0], effect[:, 1, 0])[0, 1]) < 0.5
    # Known groups have their own.
    own = named["1|g"].isel(g__factor_dim=1)
    slope = named["x0|g"] * x[3] if formula == "(x0|g)" else named["h|g"].isel(h__expr_dim=0) * (h[3] == "v")
    own = own + slope.isel(g__factor_dim=1)
    np.testing.assert_allclose(effect[:, 3], own.values.reshape(600, -1), rtol=1e-9, atol=1e-9)
    said = "the test part has groups of 'g' that training lacks ('w', 'z')"
    assert all(warning.startswith(said) for warning in got.warnings) and len(got.warnings) == 2


def test_a_new_site_is_predicted_as_widely_as_sites_differ():
    rng = np.random.default_rng(0)
    sites = np.repeat(np.arange(12), 10)
    effect = rng.normal(0, 3, 12)
    effect[0] = 5.8  # the reference site is far from the others
    y = effect[sites] + 0.2 * rng.normal(size=120)
    x = rng.normal(size=(120, 1))
    groups = np.array([f"s{i:02d}" for i in sites], object)
    split = split_of("real", x, y, factors={"g": groups})
    split = with_test_groups(split, ["new"] * 120)
    got = fit(learner(Gaussian(), "(1|g)", Normal(scale=3, bias_scale=3), chains=2, warmup=300, draws=500), split)
    draws = got.eta(split.test)[:, 0, 0]
    assert abs(draws.mean() - effect.mean()) < 1
    assert 2 < draws.std() < 6


def test_level_of_a_common_term_that_training_lacks_reads_as_the_reference():
    split = random_split("gaussian", n=20, factors={"g": np.array(["a", "b"] * 10, object)})
    split = with_test_groups(split, ["z", *["b", "a"] * 9, "b"])
    got = fit(learner(Gaussian(), "g", warmup=10, draws=10), split)
    np.testing.assert_allclose(got.eta(split.test)[:, 0, 0], got.posterior["posterior"]["Intercept"].values.ravel())
    assert "the test part has levels of 'g' that training lacks ('z')" in got.warnings[0]


def test_numbers_as_levels_and_in_comparisons_are_those_of_the_data():
    rng = np.random.default_rng(1)
    k = np.resize([3.0, 10.0, 2.0], 40)
    x = ((k - k.mean()) / k.std())[:, None]
    part = Part(x, rng.normal(size=40), np.arange(40), {}, {"k": k})
    test = part._replace(numbers={"k": np.where(np.arange(40) == 0, 7.0, k)})
    split = Split("real", 0, ("k",), None, part, part, test)
    got = fit(learner(Gaussian(), "C(k) + (1|k) + I(k > 2.5):k", warmup=10, draws=10), split)
    named = got.posterior["posterior"]
    assert named["C(k)"].coords["C(k)_dim"].values.tolist() == ["3", "10"]
    assert named["1|k"].coords["k__factor_dim"].values.tolist() == ["2", "3", "10"]
    eta = named["Intercept"].values[..., None] + named["I(k > 2.5):k"].values[..., None] * (k > 2.5) * x[:, 0]
    eta = (
        eta + np.stack([0 * named["1|k"].values[..., 0], *np.moveaxis(named["C(k)"].values, 2, 0)], 2)[..., k_place(k)]
    )
    eta = eta + named["1|k"].values[..., k_place(k)]
    np.testing.assert_allclose(got.eta(split.train), eta.reshape(20, 40, 1), rtol=1e-9, atol=1e-9)
    assert any("levels of 'C(k)' that training lacks ('7')" in warning for warning in got.warnings)
    assert any("groups of 'k' that training lacks ('7')" in warning for warning in got.warnings)


def k_place(k):
    return np.searchsorted([2, 3, 10], k)


def reference(folder):
    data = json.loads((folder / "data.json").read_text())
    return data, json.loads((folder / "reference.json").read_text())["parameters"]


def assert_agrees(draws, expected, weights=None):
    assert_moments(draws, expected["mean"], expected["sd"], expected["mcse_mean"], expected["mcse_sd"], weights=weights)


def test_wells_is_the_long_run_under_flat_priors(basin_data):
    data, expected = reference(basin_data / "long_run_posteriors" / "wells_data-wells_dist100_model")
    split = split_of("classes", np.array(data["dist"])[:, None] / 100, np.array(data["switched"]), 2)
    got = fit(learner(Bernoulli(), prior=Flat(), chains=4, warmup=300, draws=300), split)
    assert got.theta is not None
    assert_agrees(got.theta[:, :, 1], expected["beta[1]"])
    assert_agrees(got.theta[:, :, 0], expected["beta[2]"])


def test_kidiq_is_the_posteriordb_reference_under_flat_priors(basin_data):
    data, expected = reference(basin_data / "posteriordb" / "kidiq-kidscore_momhs")
    y = np.array(data["kid_score"], float)
    location, scale = y.mean(), y.std()
    split = split_of("real", np.array(data["mom_hs"])[:, None], (y - location) / scale)
    got = fit(learner(Gaussian(), prior=Flat(), chains=4, warmup=400, draws=500), split)
    assert got.theta is not None
    slope, intercept, sigma = scale * got.theta[:, :, 0], scale * got.theta[:, :, 1], scale * np.exp(got.theta[:, :, 2])
    # Theirs is sigma ~ half-Cauchy(2.5), ours is log-normal about the target's sd.
    weights = stats.halfcauchy(scale=2.5).pdf(sigma) / stats.lognorm(1.0, scale=scale).pdf(sigma)
    assert_agrees(location + intercept, expected["beta[1]"], weights)
    assert_agrees(slope, expected["beta[2]"], weights)
    assert_agrees(sigma, expected["sigma"], weights)


@pytest.mark.slow
def test_radon_with_varying_intercepts_is_the_long_run(basin_data):
    name = "radon_mn-radon_hierarchical_intercept_noncentered"
    data, expected = reference(basin_data / "long_run_posteriors" / name)
    county = np.array([f"c{i:02d}" for i in data["county_idx"]], object)
    x = np.column_stack([data["log_uppm"], data["floor_measure"]])
    split = split_of("real", x, np.array(data["log_radon"]), columns=("uppm", "floor"), factors={"county": county})
    prior = Normal(scale=10, scaling="constant", bias_scale=10)
    got = fit(learner(Gaussian(), "uppm + floor + (1|county)", prior, chains=4, warmup=500, draws=500), split)
    named = got.posterior["posterior"]
    tau, sigma = named["1|county_sigma"].values, np.exp(named["log_sigma"].values)
    # Theirs are half-normal(1), ours half-normal(10) and log-normal(0, 1).
    weights = stats.halfnorm.pdf(tau) / stats.halfnorm(scale=10).pdf(tau)
    weights *= stats.halfnorm.pdf(sigma) / stats.lognorm(1.0).pdf(sigma)
    assert_agrees(named["Intercept"].values, expected["mu_alpha"], weights)
    assert_agrees(named["uppm"].values, expected["beta[1]"], weights)
    assert_agrees(named["floor"].values, expected["beta[2]"], weights)
    assert_agrees(tau, expected["sigma_alpha"], weights)
    assert_agrees(sigma, expected["sigma_y"], weights)
