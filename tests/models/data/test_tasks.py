import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from models.data.dataset import DataError, Partition
from models.data.preparation import prepare
from models.data.tasks import linear_gaussian, randomise_labels, sparse_parity, teacher_student, two_moons

ALL = (linear_gaussian, two_moons, sparse_parity, teacher_student)


@pytest.mark.parametrize("generate", ALL)
def test_a_seed_fixes_the_data_and_another_seed_changes_them(generate):
    first, again, other = generate(seed=1).dataset, generate(seed=1).dataset, generate(seed=2).dataset
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert np.array_equal(first.numeric, again.numeric)


@pytest.mark.parametrize("generate", ALL)
def test_every_task_can_be_prepared_at_its_stated_size(generate):
    task = generate(n=120)
    split = prepare(task.dataset, Partition())
    assert task.dataset.numeric.shape == (120, len(task.dataset.names))
    assert task.log_score.shape == (120,)
    assert split.train.x.shape == (72, len(task.dataset.names))


@pytest.mark.parametrize("generate", [linear_gaussian, teacher_student])
def test_log_score_of_noise_matches_its_entropy(generate):
    scores = generate(n=4000, noise=0.3, seed=5).log_score
    best = -np.log(0.3 * np.sqrt(2 * np.pi * np.e))
    assert abs(scores.mean() - best) < 4 * scores.std() / np.sqrt(4000)


def test_linear_gaussian_truth_is_what_least_squares_finds():
    task = linear_gaussian(n=5000, d=4, noise=0.2, seed=3)
    x, y = task.dataset.numeric, task.dataset.target
    fit = LinearRegression().fit(x, y)
    error = 0.2 / np.sqrt(5000)
    assert np.all(np.abs(fit.coef_ - task.truth["coefficients"]) < 5 * error)
    assert abs(fit.intercept_ - task.truth["intercept"]) < 5 * error


def test_teacher_truth_reproduces_the_target_up_to_its_noise():
    task = teacher_student(n=4000, d=6, width=3, noise=0.1, seed=2)
    truth = task.truth
    hidden = np.maximum(task.dataset.numeric @ truth["hidden_weights"] + truth["hidden_biases"], 0)
    residual = task.dataset.target - hidden @ truth["output_weights"]
    assert abs(residual.mean()) < 4 * 0.1 / np.sqrt(4000)
    assert residual.std() == pytest.approx(0.1, rel=0.05)


def test_sparse_parity_is_the_parity_of_its_bits():
    task = sparse_parity(n=500, d=10, k=3, seed=4)
    assert np.array_equal(task.dataset.numeric[:, task.truth["bits"]].sum(axis=1) % 2, task.dataset.target)
    assert np.all(task.log_score == 0)


def test_sparse_parity_flips_labels_at_the_stated_rate():
    task = sparse_parity(n=5000, d=5, k=2, flip=0.1, seed=4)
    wrong = task.dataset.numeric[:, task.truth["bits"]].sum(axis=1) % 2 != task.dataset.target
    assert abs(wrong.mean() - 0.1) < 4 * np.sqrt(0.09 / 5000)
    np.testing.assert_allclose(task.log_score, np.where(wrong, np.log(0.1), np.log(0.9)))


def test_two_moons_log_score_is_the_posterior_of_the_generating_densities():
    noise, grid = 0.3, np.linspace(0, np.pi, 4001)
    task = two_moons(n=50, noise=noise, seed=1)
    assert task.dataset.classes == ("outer", "inner")
    for x, y, score in zip(task.dataset.numeric, task.dataset.target, task.log_score, strict=True):
        outer = np.exp(-((x[0] - np.cos(grid)) ** 2 + (x[1] - np.sin(grid)) ** 2) / (2 * noise**2))
        inner = np.exp(-((x[0] - 1 + np.cos(grid)) ** 2 + (x[1] - 0.5 + np.sin(grid)) ** 2) / (2 * noise**2))
        densities = np.trapezoid(np.stack([outer, inner]), grid, axis=1)
        assert score == pytest.approx(np.log(densities[y] / densities.sum()), abs=1e-5)


def test_two_moons_probabilities_are_calibrated():
    task = two_moons(n=20_000, noise=0.4, seed=0)
    confidence = np.exp(task.log_score)
    # Of points given probability p of their own class or 1 - p of the other, a share p has the label with p.
    p = np.where(task.dataset.target == 1, confidence, 1 - confidence)
    for low in np.arange(0, 1, 0.2):
        chosen = (p >= low) & (p < low + 0.2)
        gap = task.dataset.target[chosen].mean() - p[chosen].mean()
        assert abs(gap) < 4 * 0.5 / np.sqrt(chosen.sum())


def test_random_labels_are_a_permutation_that_the_inputs_do_not_predict():
    dataset = linear_gaussian(n=2000, d=3, noise=0.1).dataset
    shuffled = randomise_labels(dataset, seed=7)
    assert np.array_equal(np.sort(shuffled.target), np.sort(dataset.target))
    assert np.array_equal(shuffled.numeric, dataset.numeric)
    assert shuffled.fingerprint != dataset.fingerprint
    assert shuffled.name == "random-labels:linear-gaussian"
    assert LinearRegression().fit(dataset.numeric, dataset.target).score(dataset.numeric, dataset.target) > 0.9
    assert LinearRegression().fit(shuffled.numeric, shuffled.target).score(shuffled.numeric, shuffled.target) < 0.01


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: linear_gaussian(n=0), "n is 0, expected at least 1"),
        (lambda: linear_gaussian(noise=0.0), "noise is 0.0, expected more than 0"),
        (lambda: two_moons(noise=-1.0), "noise is -1.0"),
        (lambda: sparse_parity(d=2, k=3), "k = 3 of d = 2"),
        (lambda: sparse_parity(flip=0.5), "flip is 0.5"),
        (lambda: teacher_student(width=0), "width is 0"),
    ],
)
def test_impossible_parameters_are_refused(make, message):
    with pytest.raises(DataError, match=message):
        make()
