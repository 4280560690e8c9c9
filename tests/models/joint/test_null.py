"""Null models against SciPy: each is where its family's likelihood is largest without any column."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from models.joint import likelihoods

RNG = np.random.default_rng(0)
CODES, COUNTS = RNG.integers(0, 3, 50), RNG.negative_binomial(2.0, 0.02, 400)
REAL = RNG.standard_t(3, 200) * 2 + 5


@pytest.mark.parametrize(
    ("family", "y", "bound"),
    [
        (likelihoods.categorical(3), CODES, 0.0),
        (likelihoods.categorical(3, reference=True), CODES, 0.0),
        (likelihoods.bernoulli(), CODES % 2, 0.0),
        (likelihoods.gaussian(), REAL, 0.0),
        (likelihoods.heteroscedastic_gaussian(), REAL, 0.0),
        (likelihoods.student_t(3.0), REAL, 0.0),
        (likelihoods.poisson(), COUNTS, 0.0),
        (likelihoods.negative_binomial(), COUNTS, 2.0),  # moments come close
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_nothing_without_columns_is_likelier(family, y, bound):
    with jax.enable_x64(True):
        eta, extra = family.null(y)

        def loss(theta):
            parts = jnp.asarray(theta[: len(eta)]), jnp.asarray(theta[len(eta) :])
            return -float(jnp.sum(family.log_density(jnp.tile(parts[0], (len(y), 1)), parts[1], jnp.asarray(y))))

        start = np.concatenate([eta, extra])
        best = optimize.minimize(loss, start + 0.1, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
        assert loss(start) <= best.fun + bound + 1e-6


def test_log_alpha_is_finite_and_large_where_counts_vary_no_more_than_poisson():
    y = stats.poisson(1e6).rvs(100, random_state=1)
    _, (log_alpha,) = likelihoods.negative_binomial().null(y)
    assert np.log(1e6) < log_alpha < 20


def test_residuals_that_are_all_0_have_a_scale():
    for family in (likelihoods.gaussian(), likelihoods.student_t(4.0)):
        (location,), (log_scale,) = family.null(np.zeros(8))
        assert (location, log_scale) == pytest.approx((0.0, np.log(1e-6)))


def test_a_glitch_does_not_decide_where_a_students_t_starts():
    (location,), (log_scale,) = likelihoods.student_t(4.0).null(np.r_[RNG.normal(size=200), 1e7])
    assert abs(location) < 0.3
    assert abs(log_scale) < 0.5
