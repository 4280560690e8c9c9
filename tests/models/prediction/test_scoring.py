import numpy as np
import pytest
from scipy import stats

from models.prediction.predictive import Predictive
from models.prediction.scoring import (
    calibration_error,
    classwise_calibration_error,
    coverage_error,
    crps,
    mean_with_error,
    pit,
    pit_bounds,
    pointwise,
    reliability_curve,
    root_mean_with_error,
    score,
)


def class_predictive(p, y):
    with np.errstate(divide="ignore"):
        return Predictive(np.log(p[np.arange(len(y)), y]), probabilities=p)


def named(metrics):
    return {m.metric: m for m in metrics}


def random_classes(n, k, rng):
    p = rng.dirichlet(np.ones(k), size=n)
    return p, (p.cumsum(axis=1) > rng.random(n)[:, None]).argmax(axis=1)


def slow_calibration_error(confidence, hit, bins):
    total = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        inside = [i for i, c in enumerate(confidence) if (low < c <= high) or (b == 0 and c == 0)]
        total += abs(sum(hit[i] - confidence[i] for i in inside))
    return total / len(confidence)


def test_scores_of_classes_are_those_worked_out_by_hand():
    p = np.array([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4], [0.1, 0.9]])
    y = np.array([0, 1, 1, 1])
    found = named(score(class_predictive(p, y), y, "classes", "test"))
    logs = np.log([0.8, 0.7, 0.4, 0.9])
    assert found["log_score"].value == pytest.approx(logs.mean())
    assert found["log_score"].standard_error == pytest.approx(np.std(logs, ddof=1) / 2)
    assert found["accuracy"].value == 0.75
    assert found["brier"].value == pytest.approx(np.mean([0.08, 0.18, 0.72, 0.02]))
    assert all(m.part == "test" and m.n == 4 for m in found.values())


def test_brier_spans_zero_to_two():
    p, y = np.eye(3), np.array([0, 1, 2])
    assert named(score(class_predictive(p, y), y, "classes", "test"))["brier"].value == 0
    assert named(score(class_predictive(p, y[[1, 2, 0]]), y[[1, 2, 0]], "classes", "test"))["brier"].value == 2


def test_calibration_errors_equal_a_loop_over_bins():
    p, y = random_classes(200, 4, np.random.default_rng(0))
    hit = p.argmax(axis=1) == y
    assert calibration_error(p, y)[0] == pytest.approx(slow_calibration_error(p.max(axis=1), hit, 15))
    by_class = [slow_calibration_error(p[:, k], y == k, 15) for k in range(4)]
    assert classwise_calibration_error(p, y)[0] == pytest.approx(np.mean(by_class))


@pytest.mark.parametrize("bins", [5, 7, 10, 15, 20])
def test_confidence_on_an_edge_belongs_to_the_bin_below_it_and_none_is_lost(bins):
    edges = np.arange(bins + 1) / bins
    p = np.column_stack([edges, np.zeros(bins + 1)])  # the top label's confidence is the edge itself
    count = reliability_curve(p, np.zeros(bins + 1, int), bins).count
    assert count.tolist() == [2] + [1] * (bins - 1)  # 0 joins the first bin


def test_certain_and_right_is_perfectly_calibrated_certain_and_wrong_is_one():
    p = np.eye(2)[np.zeros(30, int)]
    assert calibration_error(p, np.zeros(30, int)) == (0.0, 0.0)
    assert calibration_error(p, np.ones(30, int)) == (1.0, 0.0)


def test_reliability_curve_gives_the_calibration_error_back():
    p, y = random_classes(300, 3, np.random.default_rng(1))
    curve = reliability_curve(p, y)
    full = curve.count > 0
    gap = np.abs(curve.accuracy - curve.confidence)[full] * curve.count[full] / 300
    assert gap.sum() == pytest.approx(calibration_error(p, y)[0])
    assert np.isnan(curve.accuracy[~full]).all()


@pytest.mark.parametrize("error", [calibration_error, classwise_calibration_error])
def test_calibration_standard_error_is_the_spread_over_new_rows(error):
    rng = np.random.default_rng(2)

    def overconfident(n):
        p = np.column_stack([share := rng.uniform(0.6, 1.0, n), 1 - share])
        return p, (rng.random(n) > share - 0.3).astype(int)

    values, errors = np.array([error(*overconfident(400)) for _ in range(300)]).T
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.15)


def test_calibration_standard_error_depends_on_its_seed_only():
    p, y = random_classes(50, 3, np.random.default_rng(3))
    assert calibration_error(p, y, seed=1) == calibration_error(p, y, seed=1)
    assert calibration_error(p, y, seed=1)[1] != calibration_error(p, y, seed=2)[1]


def test_zero_density_is_reported_as_minus_infinity_and_leaves_other_scores_alone():
    p, y = np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]]), np.array([0, 1, 0])
    found = named(score(class_predictive(p, y), y, "classes", "test"))
    assert found["log_score"].value == -np.inf
    assert np.isnan(found["log_score"].standard_error)
    assert found["accuracy"].value == pytest.approx(2 / 3)
    assert np.isfinite([found["brier"].value, found["calibration_error"].value]).all()


def test_predictive_that_is_not_finite_gives_nan_scores():
    p, y = np.array([[0.5, 0.5], [np.nan, np.nan]]), np.array([0, 1])
    for metric in score(Predictive(np.array([-1.0, np.nan]), probabilities=p), y, "classes", "test"):
        assert np.isnan(metric.value), metric
        assert np.isnan(metric.standard_error), metric
    broken = Predictive(np.array([-1.0, np.inf]), mean=np.array([0, np.inf]), samples=np.array([[0.0, 1], [np.inf, 1]]))
    for metric in score(broken, np.zeros(2), "real", "test"):
        assert np.isnan(metric.value), metric


def test_one_row_has_scores_without_standard_errors():
    for metric in score(class_predictive(np.array([[0.5, 0.5]]), np.array([0])), np.array([0]), "classes", "test"):
        assert np.isfinite(metric.value), metric
        assert np.isnan(metric.standard_error), metric


def test_rmse_error_is_the_spread_over_new_rows():
    rng = np.random.default_rng(4)
    values, errors = np.array([root_mean_with_error(rng.normal(size=200) ** 2) for _ in range(2000)]).T
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.06)
    assert root_mean_with_error(np.zeros(5)) == (0.0, 0.0)


def test_crps_equals_the_double_loop_over_samples():
    rng = np.random.default_rng(5)
    samples, y = rng.normal(size=(6, 9)).round(1), rng.normal(size=6)
    for row, (x, target) in enumerate(zip(samples, y, strict=True)):
        pairs = sum(abs(a - b) for a in x for b in x) / (2 * 9 * 8)
        assert crps(samples, y)[row] == pytest.approx(np.mean(np.abs(x - target)) - pairs)


@pytest.mark.parametrize("m", [2, 10])
def test_crps_from_few_samples_is_unbiased_for_the_gaussian_closed_form(m):
    rng = np.random.default_rng(6)
    y = 0.7
    rows = crps(rng.normal(size=(40_000, m)), np.full(40_000, y))
    truth = y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - 1 / np.sqrt(np.pi)
    assert abs(rows.mean() - truth) < 4 * rows.std() / np.sqrt(len(rows))


@pytest.mark.parametrize("draw", [np.random.Generator.normal, lambda g, size: g.poisson(0.7, size=size)])
def test_point_drawn_in_the_pit_cell_is_uniform_for_a_calibrated_learner(draw):
    rng = np.random.default_rng(7)
    samples, y = draw(rng, size=(4000, 9)), draw(rng, size=4000)
    assert stats.kstest(pit(samples, y, seed=0), "uniform").pvalue > 0.01


def test_pit_without_a_seed_is_the_middle_of_the_cell():
    samples = np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 5.0]])
    y = np.array([1.5, 1.0])
    assert pit_bounds(samples, y)[0].tolist() == [0.5, 0.0]
    assert pit_bounds(samples, y)[1].tolist() == [0.75, 0.75]
    assert pit(samples, y).tolist() == [0.625, 0.375]


@pytest.mark.parametrize("m", [5, 200])
@pytest.mark.parametrize("draw", [np.random.Generator.normal, lambda g, size: g.poisson(0.7, size=size)])
def test_coverage_error_of_a_calibrated_learner_is_sampling_noise_alone(draw, m):
    rng = np.random.default_rng(8)
    n = 20_000
    value, _ = coverage_error(draw(rng, size=(n, m)), draw(rng, size=n))
    assert value < 4 * 0.32 / np.sqrt(n)


def test_coverage_error_of_an_overconfident_gaussian_is_its_closed_form():
    rng = np.random.default_rng(9)
    value, error = coverage_error(rng.normal(size=(20_000, 400)), 2 * rng.normal(size=20_000))
    levels = np.arange(1, 20) / 20
    covered = 2 * stats.norm.cdf(stats.norm.ppf(0.5 + levels / 2) / 2) - 1
    assert abs(value - np.mean(np.abs(covered - levels))) < 4 * error + 1 / 400


def test_coverage_standard_error_is_the_spread_over_new_rows():
    rng = np.random.default_rng(10)
    values, errors = np.array(
        [coverage_error(rng.normal(size=(200, 50)), 2 * rng.normal(size=200)) for _ in range(200)]
    ).T
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.2)


def test_bias_of_a_calibrated_coverage_error_is_the_documented_one():
    rng = np.random.default_rng(11)
    values = [coverage_error(rng.normal(size=(400, 100)), rng.normal(size=400))[0] for _ in range(200)]
    assert np.mean(values) == pytest.approx(0.016, abs=0.003)


def test_real_and_count_targets_have_the_same_scores_and_no_brier():
    rng = np.random.default_rng(12)
    y = rng.poisson(3, 20)
    predictive = Predictive(np.full(20, -1.5), mean=np.full(20, 3.0), samples=rng.poisson(3, (20, 50)))
    names = ["log_score", "rmse", "crps", "calibration_error"]
    assert [m.metric for m in score(predictive, y, "count", "validation")] == names
    assert [m.metric for m in score(predictive, y.astype(float), "real", "validation")] == names


def test_pointwise_rows_average_to_the_scores():
    p, y = random_classes(40, 3, np.random.default_rng(13))
    table = pointwise(class_predictive(p, y), y, "classes", np.arange(40) + 7)
    found = named(score(class_predictive(p, y), y, "classes", "test"))
    assert table["log_score"].mean() == pytest.approx(found["log_score"].value)
    assert table["correct"].mean() == pytest.approx(found["accuracy"].value)
    assert table["row"].tolist() == list(range(7, 47))
    real = Predictive(np.zeros(2), mean=np.array([1.0, 2.0]), samples=np.zeros((2, 3)))
    assert pointwise(real, np.array([1.0, 4.0]), "real", np.arange(2))["squared_error"].tolist() == [0.0, 4.0]


@pytest.mark.parametrize(
    ("predictive", "y", "task", "message"),
    [
        (
            Predictive(np.zeros(3)),
            np.zeros(2, int),
            "classes",
            r"log_density: expected shape \(2,\) as y, received \(3,\)",
        ),
        (Predictive(np.zeros(2)), np.zeros(2, int), "classes", "probabilities: expected .* received None"),
        (Predictive(np.zeros(2), np.zeros((3, 2))), np.zeros(2, int), "classes", r"shape \(2, K\), received \(3, 2\)"),
        (Predictive(np.zeros(2), np.full((2, 2), 0.5)), np.array([0, 2]), "classes", "codes 0 to 1, received 0 to 2"),
        (
            Predictive(np.zeros(2), np.full((2, 2), 0.5)),
            np.zeros(2),
            "classes",
            "integer class codes, received float64",
        ),
        (Predictive(np.zeros(0)), np.zeros(0), "real", r"n >= 1, received \(0,\)"),
        (Predictive(np.zeros(2)), np.zeros(2), "real", "mean: expected an array .* received None"),
        (Predictive(np.zeros(2), mean=np.zeros(2)), np.zeros(2), "count", "samples: expected an array"),
        (
            Predictive(np.zeros(2), mean=np.zeros(3), samples=np.zeros((2, 4))),
            np.zeros(2),
            "real",
            "mean: expected shape",
        ),
        (
            Predictive(np.zeros(2), mean=np.zeros(2), samples=np.zeros(2)),
            np.zeros(2),
            "real",
            r"shape \(2, m\), received",
        ),
        (
            Predictive(np.zeros(2), mean=np.zeros(2), samples=np.zeros((2, 1))),
            np.zeros(2),
            "real",
            "at least 2 samples",
        ),
        (Predictive(np.zeros(2)), np.array([0.0, np.nan]), "real", "finite values, received 1"),
    ],
)
def test_input_that_does_not_fit_is_refused_with_what_was_received(predictive, y, task, message):
    with pytest.raises(ValueError, match=message):
        score(predictive, y, task, "test")


def test_pointwise_refuses_rows_of_another_length():
    p, y = random_classes(4, 2, np.random.default_rng(14))
    with pytest.raises(ValueError, match=r"rows: expected shape \(4,\), received \(3,\)"):
        pointwise(class_predictive(p, y), y, "classes", np.arange(3))


@pytest.mark.parametrize("size", [1e-308, 1e200, 1e308])
def test_a_mean_of_any_size_has_an_error_in_proportion(size):
    values = np.array([-1.0, -0.5, 0.25, -0.75])
    mean, error = mean_with_error(size * values)
    assert mean / size == pytest.approx(np.mean(values))
    assert error / size == pytest.approx(np.std(values, ddof=1) / 2)
