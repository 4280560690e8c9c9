"""Summaries of small stores against arithmetic on the numbers that were put in."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from models.comparison.estimate import estimate
from services.comparison.document import Curvature
from services.comparison.summary import collect, summarise
from services.rendering.records import NOT_AVAILABLE
from services.store.store import Store
from tests.support.stored import TREES, N, bnn, ended, log_scores, net, put_all, request, result

A, B = net("a"), net("b-other", optimiser="sgd")
SPLITS, SEEDS = 5, 2
LEVEL = {"a": -0.5, "b-other": -0.9}


def grid(learner, splits=SPLITS, seeds=SEEDS):
    return [request(learner, j, s) for j in range(splits) for s in range(seeds)]


def summary_of(path, runs, names=None):
    keys = put_all(path, runs)
    names = names or list(dict.fromkeys(asked.learner.name for asked, _ in runs))
    return summarise(collect(Store(path), keys), names, "classes")


def rows_of(asked):
    return log_scores(asked, LEVEL[asked.learner.name])


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two nets on five splits and two seeds, shuffled."""
    asked = [*grid(A), *grid(B)]
    order = np.random.default_rng(0).permutation(len(asked))
    runs = [(asked[i], result(asked[i], LEVEL[asked[i].learner.name], curvature=1.0 + asked[i].seed)) for i in order]
    return summary_of(tmp_path_factory.mktemp("store"), runs, ["a", "b-other"])


def test_learners_come_in_the_order_asked_for(pair):
    assert [learner.name for learner in pair.learners] == ["a", "b-other"]
    assert [learner.kind for learner in pair.learners] == ["deterministic", "deterministic"]


@pytest.mark.parametrize("learner", [A, B], ids=lambda each: each.name)
def test_scores_are_means_over_seeds_then_splits_with_corrected_errors(pair, learner):
    (found,) = [each for each in pair.learners if each.name == learner.name]
    values = np.array([rows_of(each).mean() for each in grid(learner)]).reshape(SPLITS, SEEDS)
    score = found.parts.test.log_score
    assert score.value == pytest.approx(values.mean())
    # Nadeau and Bengio's variance, and the floor that the rows of one test set leave.
    corrected = (1 / SPLITS + N["test"] / N["train"]) * values.mean(axis=1).var(ddof=1)
    share = N["test"] / (N["train"] + N["test"])
    rows = np.mean([rows_of(each).var(ddof=1) / N["test"] for each in grid(learner)])
    seeds = values.var(axis=1, ddof=1).mean() / (SPLITS * SEEDS)
    floor = (1 / SPLITS + (1 - 1 / SPLITS) * share) * rows + seeds
    assert score.standard_error == pytest.approx(np.sqrt(max(corrected, floor)))
    correct = [np.mean(rows_of(each) > LEVEL[learner.name]) for each in grid(learner)]
    assert found.parts.test.accuracy.value == pytest.approx(np.mean(correct))
    assert found.parts.test.rmse is None


def test_the_gap_is_train_minus_test_run_by_run(pair):
    values = np.array([-0.3 - rows_of(each).mean() for each in grid(A)]).reshape(SPLITS, SEEDS)
    errors = np.array([np.hypot(0.02, stats.sem(rows_of(each))) for each in grid(A)]).reshape(SPLITS, SEEDS)
    expected = estimate(values, errors, N["train"], N["test"])
    gap = pair.learners[0].gap
    assert (gap.value, gap.standard_error) == pytest.approx((expected.value, expected.standard_error))


def test_comparisons_are_paired_row_by_row(pair):
    by_metric = {c.metric: c for c in pair.comparisons}
    assert set(by_metric) == {"log_score", "accuracy"}
    found = by_metric["log_score"]
    rows = [rows_of(a) - rows_of(b) for a, b in zip(grid(A), grid(B), strict=True)]
    values = np.array([r.mean() for r in rows]).reshape(SPLITS, SEEDS)
    errors = np.array([stats.sem(r) for r in rows]).reshape(SPLITS, SEEDS)
    expected = estimate(values, errors, N["train"], N["test"])
    assert (found.a, found.b) == ("a", "b-other")
    assert found.difference == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(expected.standard_error)
    # What the learners share cancels: far less than the two errors together.
    apart = [each.parts.test.log_score.standard_error for each in pair.learners]
    assert found.standard_error < 0.5 * np.hypot(*apart)
    t = stats.t(expected.degrees)
    assert found.p_better == pytest.approx(t.sf((0.01 - found.difference) / found.standard_error))
    assert found.p_better + found.p_equivalent + found.p_worse == pytest.approx(1.0)
    assert (found.outcome, found.shown) == ("better", True)
    assert pair.verdict.startswith("a")


def test_seeds_past_nine_stay_with_their_rows(tmp_path):
    """As text, seed 10 comes before seed 2."""
    runs = []
    for seed in range(12):
        for learner in (A, B):
            asked = request(learner, 0, seed)
            runs.append((asked, result(asked, LEVEL[learner.name] - 0.1 * seed)))
    found = summary_of(tmp_path, runs).comparisons[0]
    differences = [
        log_scores(request(A, 0, s), LEVEL["a"]) - log_scores(request(B, 0, s), LEVEL["b-other"]) for s in range(12)
    ]
    values = np.array([[d.mean() for d in differences]])
    expected = estimate(values, np.array([[stats.sem(d) for d in differences]]), N["train"], N["test"])
    assert (found.difference, found.standard_error) == pytest.approx((expected.value, expected.standard_error))


def test_only_runs_that_both_finished_are_paired(tmp_path):
    runs = [(each, result(each, LEVEL["a"])) for each in grid(A, 3, 1)]
    last = request(B, 2)
    runs += [(each, result(each, LEVEL["b-other"])) for each in grid(B, 2, 1)] + [
        (last, ended(last, "diverged", "NaN"))
    ]
    found = summary_of(tmp_path, runs)
    difference = [rows_of(request(A, j)).mean() - rows_of(request(B, j)).mean() for j in range(2)]
    assert found.comparisons[0].difference == pytest.approx(np.mean(difference))
    second = found.learners[1]
    assert (second.runs.finished, second.runs.diverged, second.runs.failed) == (2, 1, 0)
    assert second.parts.test.log_score.value == pytest.approx(
        np.mean([rows_of(request(B, j)).mean() for j in range(2)])
    )
    assert second.warnings == ("1 of 3 runs: diverged: NaN",)
    assert second.seconds == pytest.approx(2 * 2.0 + 1.0)


def test_survivor_of_some_splits_is_said_to_be_one_and_ranks_below(tmp_path):
    """The better net has no predictions on two of five splits."""
    runs = [(each, result(each, LEVEL["b-other"])) for each in grid(B, 5, 1)]
    runs += [(each, result(each, LEVEL["a"])) for each in grid(A, 3, 1)]
    runs += [(each, ended(each, "diverged", "NaN")) for each in (request(A, 3), request(A, 4))]
    found = summary_of(tmp_path, runs, ["a", "b-other"])
    survivor, whole = found.learners
    assert str(survivor.splits) == "3 of 5 splits"
    assert survivor.splits.partial
    assert not whole.splits.partial
    assert {c.n_splits for c in found.comparisons} == {3}
    assert found.verdict.startswith("b-other")
    assert "a finished on 3 of 5 splits only, so it ranks below" in found.verdict
    assert "Use b-other" in found.verdict
    assert found.warnings[0].startswith("a finished on 3 of 5 splits: ")


def test_split_with_one_lost_seed_is_not_finished(tmp_path):
    runs = [(each, result(each, LEVEL[each.learner.name])) for each in [*grid(A), *grid(B)[1:]]]
    lost = grid(B)[0]
    runs.append((lost, ended(lost, "diverged", "NaN")))
    assert str(summary_of(tmp_path, runs, ["a", "b-other"]).learners[1].splits) == "4 of 5 splits"


def test_row_that_makes_the_difference_is_named_with_its_column(tmp_path):
    about = "row 61 (load = 9,999,999) is 1.0e7 standard deviations from the training rows"
    runs = []
    for each in [*grid(A, 5, 1), *grid(B, 5, 1)]:
        made = result(each, LEVEL[each.learner.name], warnings=(f"{about}: is it a glitch?",))
        scores = {name: column.copy() for name, column in made.pointwise.items()}
        if each.learner.name == "a":
            scores["row"][0] = 60
            scores["log_score"][0] = -1e6
            metrics = [
                m._replace(value=float(scores["log_score"].mean()))
                if (m.part, m.metric) == ("test", "log_score")
                else m
                for m in made.metrics
            ]
            made = replace(made, pointwise=scores, metrics=tuple(metrics))
        else:
            scores["row"][0] = 60
            made = replace(made, pointwise=scores)
        runs.append((each, made))
    found = summary_of(tmp_path, runs, ["a", "b-other"])
    (told,) = [text for text in found.warnings if "makes" in text]
    assert told.startswith(f"{about} and makes nearly all of the difference of a from b-other in log score")
    assert "look at row 61" in found.verdict


def test_learners_without_a_finished_run_are_told_and_not_compared(tmp_path):
    runs = [(each, result(each, LEVEL["a"])) for each in grid(A, 2, 1)]
    runs += [
        (each, ended(each, status, why))
        for each, status, why in [
            (request(B, 0), "failed", "its worker was lost"),
            (request(B, 1), "diverged", "loss in epoch 3"),
        ]
    ]
    found = summary_of(tmp_path, runs)
    empty = found.learners[1]
    assert empty.parts.test.log_score == empty.gap == NOT_AVAILABLE
    assert empty.geometry.hessian_trace == Curvature(value=None, standard_error=None)
    assert empty.n_parameters is None
    assert empty.warnings == ("1 of 2 runs: failed: its worker was lost", "1 of 2 runs: diverged: loss in epoch 3")
    assert found.comparisons == ()
    assert "b-other" in found.verdict


def test_nothing_finished_at_all_is_still_told(tmp_path):
    found = summary_of(tmp_path, [(each, ended(each, "failed", "no")) for each in (request(A), request(B))])
    assert [learner.runs.failed for learner in found.learners] == [1, 1]
    assert found.comparisons == ()
    assert found.verdict


def test_one_learner_is_compared_with_nobody(tmp_path):
    found = summary_of(tmp_path, [(each, result(each)) for each in grid(A)])
    assert found.comparisons == ()
    assert found.learners[0].parts.test.log_score.value is not None
    assert found.verdict


def test_one_split_has_the_error_of_its_rows(tmp_path):
    runs = [(request(each), result(request(each), LEVEL[each.name])) for each in (A, B)]
    found = summary_of(tmp_path, runs)
    score = found.learners[0].parts.test.log_score
    assert score.standard_error == pytest.approx(stats.sem(rows_of(request(A))))
    rows = rows_of(request(A)) - rows_of(request(B))
    assert found.comparisons[0].standard_error == pytest.approx(stats.sem(rows))
    assert found.comparisons[0].degrees == N["test"] - 1


def test_alike_warnings_are_told_once_with_how_many_runs_say_so(tmp_path):
    texts = [
        ("3 of 8 draws diverged", "always"),
        ("4 of 8 draws diverged", "always"),
        ("12 of 8 draws diverged", "always", "once"),
    ]
    runs = [(request(A, j), result(request(A, j), warnings=w)) for j, w in enumerate(texts)]
    assert summary_of(tmp_path, runs).learners[0].warnings == (
        "3 of 3 runs: 3 to 12 of 8 draws diverged",
        "3 of 3 runs: always",
        "1 of 3 runs: once",
    )


def test_alike_warnings_of_one_run_count_one_run(tmp_path):
    texts = ("levels of 'g1' are new", "levels of 'g2' are new")
    runs = [(request(A, j), result(request(A, j), warnings=texts)) for j in range(2)]
    assert summary_of(tmp_path, runs).learners[0].warnings == ("2 of 2 runs, such as: levels of 'g1' are new",)


def test_a_single_run_tells_every_warning(tmp_path):
    texts = ("levels of 'g1' are new", "levels of 'g2' are new")
    found = summary_of(tmp_path, [(request(A), result(request(A), warnings=texts))])
    assert found.learners[0].warnings == texts


def test_the_posterior_is_the_worst_of_all_runs(tmp_path):
    def judged(r_hat, ess, divergences):
        return {"r_hat_max": r_hat, "ess_min": ess, "divergences": divergences, "n_chains": 4, "n_draws": 50}

    learner = bnn("bnn")
    judgements = [judged(1.02, 300.0, 2), judged(1.31, 40.0, 0), judged(1.001, 350.0, 5)]
    asked = grid(learner, 3, 1)
    found = summary_of(tmp_path, [(a, result(a, summary=s)) for a, s in zip(asked, judgements, strict=True)])
    posterior = found.learners[0].posterior
    assert posterior.model_dump() == judged(1.31, 40.0, 7)
    assert found.learners[0].kind == "bayesian-net"


def test_curvature_of_a_posterior_is_the_median_over_draws_with_its_spread(tmp_path):
    learner = bnn("bnn")
    draws = [[1.0, 2.0, 9.0], [3.0, 4.0, 5.0]]
    runs = [(request(learner, j), result(request(learner, j), curvature=values)) for j, values in enumerate(draws)]
    found = summary_of(tmp_path, runs).learners[0].geometry.hessian_top_eigenvalue
    assert found.value == pytest.approx(np.mean([2.0, 4.0]))
    assert found.standard_error == pytest.approx(np.sqrt((1 / 2 + N["test"] / N["train"]) * np.var([2.0, 4.0], ddof=1)))
    assert (found.lower, found.upper) == (1.0, 9.0)


def test_curvature_of_a_point_estimate_has_no_spread(pair):
    found = pair.learners[0].geometry.hessian_trace
    assert found.value == pytest.approx(1.5)
    assert (found.lower, found.upper) == (None, None)


def test_effective_parameters_name_their_method(tmp_path):
    learner = bnn("bnn")
    runs = [(request(A), result(request(A), effective=(7.0, "effective_dimension")))]
    runs += [(request(learner), result(request(learner), effective=(5.0, "p_loo")))]
    runs += [(request(TREES), result(request(TREES)))]
    first, second, third = (each for each in summary_of(tmp_path, runs).learners)
    assert first.effective_parameters.model_dump() == {"value": 7.0, "standard_error": 0.5, "method": "laplace"}
    assert (second.effective_parameters.value, second.effective_parameters.method) == (5.0, "p_loo")
    assert third.effective_parameters.model_dump() == {"value": None, "standard_error": None, "method": None}
    assert (first.n_parameters, third.n_parameters) == (17, None)
    assert third.posterior is None


def sharp(learner, splits, sign):
    """Runs whose curvature orders their gaps (sign 1) or does the reverse (-1)."""
    for each in grid(learner, splits, 1):
        level = LEVEL.get(each.learner.name, -2.0)
        yield each, result(each, level, curvature=float(np.exp(-sign * level)))


def test_flatness_is_told_of_nets_of_one_architecture_alone(tmp_path):
    """A net of another shape, whose points would turn the verdict round, is left out."""
    other = net("wide", widths=(64,))
    runs = [*sharp(A, 6, 1), *sharp(B, 6, 1)]
    alone = summary_of(tmp_path / "alone", runs).verdict
    assert "Kendall's tau with the generalisation gap +1.00" in alone
    assert "12 runs on 6 splits" in alone
    beside = summary_of(tmp_path / "beside", [*runs, *sharp(other, 6, -1)]).verdict
    assert "+1.00" in beside
    assert "12 runs on 6 splits" in beside


def test_flatness_is_not_told_of_a_single_net(tmp_path):
    runs = [*sharp(A, 6, 1), *sharp(net("wide", widths=(64,)), 6, 1)]
    assert "generalisation gap" not in summary_of(tmp_path, runs).verdict


def test_a_run_that_failed_before_counts_by_its_last_attempt(tmp_path):
    asked = request(A)
    put_all(tmp_path, [(asked, ended(asked, "failed", "its worker was lost"))])
    put_all(tmp_path, [(asked, result(asked))])
    found = summarise(collect(Store(tmp_path), [asked.run_key]), ["a"], "classes").learners[0]
    assert (found.runs.finished, found.runs.failed) == (1, 0)
    assert found.warnings == ()


def test_runs_that_were_not_asked_for_are_left_out(tmp_path):
    keys = put_all(tmp_path, [(each, result(each, LEVEL["a"])) for each in grid(A, 2, 1)])
    rows = collect(Store(tmp_path), keys[:1])
    assert rows.runs["run_key"].to_list() == keys[:1]
    assert set(rows.metrics["run_key"]) == set(rows.pointwise["run_key"]) == set(keys[:1])
