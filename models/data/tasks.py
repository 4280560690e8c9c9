"""Synthetic tasks whose truth is known: what a learner finds can be held against what there is to find."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.datasets import make_moons

from models.data.dataset import DataError, Dataset, sealed


class SyntheticTask(NamedTuple):
    """A dataset and what generated it.

    Attributes:
        truth: the generator's parameters, by name.
        log_score: (n,) log p(y | x) of every row under the generator, in nats. Its mean is the best that any learner
            can expect, up to the sampling error of these rows.
    """

    dataset: Dataset
    truth: Mapping[str, np.ndarray]
    log_score: np.ndarray


def linear_gaussian(n: int = 200, d: int = 5, noise: float = 0.5, seed: int = 0) -> SyntheticTask:
    """Linear regression: y = a + x b + noise e, with x, b, a and e independent standard normal.

    The posterior under Gaussian priors is conjugate. Truth: `intercept` (), `coefficients` (d,), `noise` ().
    The best expected log score is -log(noise sqrt(2 pi e)).

    Raises:
        DataError: a size below 1, or noise that is not positive.
    """
    _check(n=n, d=d, noise=noise)
    rng = np.random.default_rng(seed)
    coefficients, intercept = rng.standard_normal(d), rng.standard_normal()
    x = rng.standard_normal((n, d))
    mean = intercept + x @ coefficients
    y = mean + noise * rng.standard_normal(n)
    truth = {"intercept": np.array(intercept), "coefficients": coefficients, "noise": np.array(noise)}
    return SyntheticTask(_table("linear-gaussian", x, y), truth, _normal_log_density(y, mean, noise))


def two_moons(n: int = 500, noise: float = 0.2, seed: int = 0) -> SyntheticTask:
    """Two interleaving half circles of radius 1 with Gaussian noise of sd `noise`, one class each (scikit-learn's).

    The posterior class probability follows from the density of each moon, (1/pi) * integral over the arc of
    N(x; point(t), noise^2 I) dt, by Gauss-Legendre quadrature on 400 nodes, enough for noise of 0.02 or more.
    Truth: `noise` ().

    Raises:
        DataError: fewer than 2 rows, or noise that is not positive.
    """
    _check(n=n // 2, noise=noise)
    moons: tuple[np.ndarray, np.ndarray] = make_moons(n, noise=noise, random_state=seed)  # pyright: ignore[reportAssignmentType]
    x, y = moons
    nodes, weights = np.polynomial.legendre.leggauss(400)
    t = np.pi * (nodes + 1) / 2
    arcs = (np.stack([np.cos(t), np.sin(t)], 1), np.stack([1 - np.cos(t), 0.5 - np.sin(t)], 1))
    squares = (cdist(x, arc, "sqeuclidean") for arc in arcs)
    log_density = np.stack(
        [np.asarray(logsumexp(-0.5 * square / noise**2, axis=1, b=weights)) for square in squares], 1
    )
    log_posterior = log_density - logsumexp(log_density, axis=1, keepdims=True)
    dataset = _table("two-moons", x, y.astype(np.int64), classes=("outer", "inner"))
    return SyntheticTask(dataset, {"noise": np.array(noise)}, log_posterior[np.arange(n), y])


def sparse_parity(n: int = 1000, d: int = 20, k: int = 3, flip: float = 0.0, seed: int = 0) -> SyntheticTask:
    """The parity of k of d fair bits; each label is flipped with probability `flip`.

    No linear function of the bits says anything about it for k > 1. Truth: `bits` (k,), the columns that count, and
    `flip` (). The best expected log score is -H(flip), the binary entropy, and the best accuracy 1 - flip.

    Raises:
        DataError: a size below 1, more bits wanted than there are, or `flip` outside [0, 1/2).
    """
    _check(n=n, k=k)
    if k > d:
        raise DataError(f"sparse-parity: k = {k} of d = {d} bits is impossible: make d at least k")
    if not 0 <= flip < 0.5:
        raise DataError(f"sparse-parity: flip is {flip}, expected at least 0 and below 0.5")
    rng = np.random.default_rng(seed)
    bits = np.sort(rng.choice(d, size=k, replace=False))
    x = rng.integers(0, 2, size=(n, d))
    flipped = rng.random(n) < flip
    y = (x[:, bits].sum(axis=1) + flipped) % 2
    log_score = np.log(np.where(flipped, flip or 1.0, 1 - flip))
    dataset = _table("sparse-parity", x.astype(float), y, classes=("even", "odd"))
    return SyntheticTask(dataset, {"bits": bits, "flip": np.array(flip)}, log_score)


def teacher_student(n: int = 1000, d: int = 10, width: int = 8, noise: float = 0.1, seed: int = 0) -> SyntheticTask:
    """A random two-layer net teaches: y = relu(x W + c) v + noise e, with x and e standard normal.

    W has variance 2 / d, c 1, and v 1 / width. Truth: `hidden_weights` (d, width), `hidden_biases` (width,),
    `output_weights` (width,), `noise` (). The best expected log score is -log(noise sqrt(2 pi e)).

    Raises:
        DataError: a size below 1, or noise that is not positive.
    """
    _check(n=n, d=d, width=width, noise=noise)
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((d, width)) * np.sqrt(2 / d)
    biases = rng.standard_normal(width)
    output = rng.standard_normal(width) / np.sqrt(width)
    x = rng.standard_normal((n, d))
    mean = np.maximum(x @ hidden + biases, 0) @ output
    y = mean + noise * rng.standard_normal(n)
    truth = {"hidden_weights": hidden, "hidden_biases": biases, "output_weights": output, "noise": np.array(noise)}
    return SyntheticTask(_table("teacher-student", x, y), truth, _normal_log_density(y, mean, noise))


def randomise_labels(dataset: Dataset, seed: int = 0) -> Dataset:
    """The same rows with the target permuted, so that no column says anything about it (Zhang et al. 2017, section 2).

    A permutation keeps the target's distribution. The best expected log score is minus the target's entropy.
    """
    target = np.random.default_rng(seed).permutation(dataset.target)
    note = f"the target was permuted at random (seed {seed}): there is nothing to learn"
    name = f"random-labels:{dataset.name}"
    return sealed(replace(dataset, name=name, target=target, notes=(*dataset.notes, note)))


def _table(name: str, x: np.ndarray, y: np.ndarray, classes: tuple[str, ...] = ()) -> Dataset:
    return sealed(
        Dataset(
            name=name,
            task="classes" if classes else "real",
            numeric=x,
            names=tuple(f"x{j}" for j in range(1, x.shape[1] + 1)),
            factors={},
            shape=None,
            target=y,
            target_name="y",
            classes=classes,
        )
    )


def _normal_log_density(y: np.ndarray, mean: np.ndarray, sd: float) -> np.ndarray:
    return -0.5 * ((y - mean) / sd) ** 2 - np.log(sd * np.sqrt(2 * np.pi))


def _check(**values: float) -> None:
    for name, value in values.items():
        if name == "noise":
            if not value > 0:
                raise DataError(f"noise is {value}, expected more than 0")
        elif value < 1:
            raise DataError(f"{name} is {value}, expected at least 1")
