import re

import numpy as np
import pytest

from models.comparison.estimate import Estimate
from models.comparison.influence import Decisive
from models.comparison.ranking import Comparison
from models.comparison.verdict import Splits, Trust, posterior_faults, verdict

SOUND = {"posterior": True, "r_hat_max": 1.004, "ess_min": 900.0, "divergences": 0}
GLM = Trust("glm", **SOUND, calibration_error=Estimate(0.021, 0.004, 5, 1, 4.0))
NET = Trust("deterministic", calibration_error=Estimate(0.03, 0.01, 5, 1, 4.0))
BNN = Trust("bayesian-net", posterior=True, r_hat_max=1.31, ess_min=12.3, divergences=3)


def at(value, n_splits=5):
    return Estimate(value, 0.01, n_splits, 1, 4.0)


def pair(a, b, difference, outcome, error=0.02, p_worse=0.2):
    equivalent = 0.97 if outcome == "equivalent" else 0.1
    return Comparison(a, b, "log_score", difference, error, 4.0, 0.1, equivalent, p_worse, 0.5, 5, 0.5, 0.01, outcome)


def sentences(text):
    return re.split(r"(?<=\.) (?=[A-Za-z])", text)


def test_equivalent_glm_with_a_sound_posterior_is_preferred():
    text = verdict(
        [pair("mlp", "glm", 0.001, "equivalent")], {"mlp": at(-0.1), "glm": at(-0.101)}, {"mlp": NET, "glm": GLM}
    )
    assert "mlp (test log score -0.100 ± 0.010) scores best; no difference from it is shown for glm" in text
    assert "(practically equivalent, within 0.010 nats per row)" in text
    assert "Prefer glm: it is the simplest of these, and its posterior is readable and passed its checks" in text
    assert "calibration error is 0.0210 ± 0.0040" in text
    assert "The spread of glm can be read as posterior uncertainty." in text


def test_glm_whose_posterior_failed_is_not_preferred():
    text = verdict(
        [pair("mlp", "glm", 0.001, "equivalent")],
        {"mlp": at(-0.1), "glm": at(-0.101)},
        {"mlp": NET, "glm": GLM._replace(r_hat_max=1.2)},
    )
    assert "Prefer glm" not in text
    assert "Use mlp for its predictions; it has no posterior" in text
    assert "Do not read the spread of glm (R-hat 1.200, above 1.01) as posterior uncertainty." in text


def test_glm_that_probably_matters_worse_is_not_preferred_for_being_simple():
    text = verdict(
        [pair("glm", "mlp", -0.3, "not shown", error=0.2, p_worse=0.9)],
        {"mlp": at(-0.1), "glm": at(-0.4)},
        {"mlp": NET, "glm": GLM},
    )
    assert "Prefer glm" not in text
    assert "Use mlp" in text
    assert (
        "the difference of glm from mlp has a 95 % interval of 0.56 nats per row to either side, "
        "so use more than 5 splits" in text
    )


def test_point_estimated_glm_is_preferred_for_predictions_only():
    text = verdict(
        [pair("mlp", "linear-map", 0.001, "equivalent")],
        {"mlp": at(-0.1), "linear-map": at(-0.101)},
        {"mlp": NET, "linear-map": Trust("glm")},
    )
    assert "Prefer linear-map for its predictions: it is the simplest of these, but has no posterior" in text
    assert "posterior uncertainty" not in text


def test_clear_winner_is_named_with_its_margin_and_error():
    text = verdict([pair("mlp", "glm", 0.12, "better")], {"glm": at(-0.22), "mlp": at(-0.1)}, {"mlp": NET, "glm": GLM})
    assert "mlp (test log score -0.100 ± 0.010) scores best." in text
    assert "mlp predicts better than glm by 0.120 ± 0.020 nats per row." in text
    assert "Use mlp for its predictions; it has no posterior" in text
    assert "Next" not in text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (7.9e-18, "its calibration error is 0.05000"),  # of equal values: rounding
        (2e-9, "its calibration error is 0.050000 ± 2.0e-9"),
        (0.00021, "its calibration error is 0.05000 ± 0.00021"),
    ],
)
def test_an_error_far_below_its_value_does_not_spell_out_every_digit(error, said):
    glm = GLM._replace(calibration_error=Estimate(0.05 - 1e-17, error, 5, 1, 4.0))
    assert f"{said}." in verdict([], {"glm": at(-0.2)}, {"glm": glm})


def test_order_of_the_pair_does_not_change_the_verdict():
    estimates, trust = {"a": at(-0.1), "b": at(-0.3), "c": at(-0.2)}, {"a": NET, "b": GLM, "c": BNN}
    table = [
        pair("a", "b", 0.2, "better"),
        pair("a", "c", 0.1, "not shown"),
        pair("b", "c", -0.1, "not shown"),
    ]
    assert verdict(table, estimates, trust) == verdict([c.swapped() for c in table], estimates, trust)


def test_lowest_rmse_leads():
    table = [pair("a", "b", -2.0, "better")._replace(metric="rmse")]
    text = verdict(table, {"b": at(5.0), "a": at(3.0)}, {"a": NET, "b": NET}, "rmse")
    assert "a predicts better than b by 2.000 ± 0.020 in RMSE." in text


def test_failed_net_posterior_is_used_for_predictions_only_and_asks_for_more_draws():
    text = verdict([pair("bnn", "mlp", 0.2, "better")], {"bnn": at(-0.1), "mlp": at(-0.3)}, {"bnn": BNN, "mlp": NET})
    assert "bnn is not recommended: its posterior failed its checks" in text
    assert "the first of those that are not ruled out so is mlp." in text
    assert "R-hat 1.310, above 1.01, effective sample size 12, below 400, 3 divergences" in text
    assert "a larger budget gives the chains that failed their checks more draws" in text


def test_one_split_says_what_it_cannot_tell():
    text = verdict(
        [pair("mlp", "glm", 0.12, "better")], {"mlp": at(-0.1, 1), "glm": at(-0.22, 1)}, {"mlp": NET, "glm": GLM}
    )
    assert "one split tells of these fits only, not of fits to other rows" in text


def test_learner_without_runs_is_named_and_warnings_are_pointed_to():
    text = verdict(
        [pair("mlp", "glm", 0.12, "better")],
        {"mlp": at(-0.1), "glm": at(-0.22), "svm": None},
        {"mlp": NET._replace(warnings=("one",)), "glm": GLM, "svm": Trust("baseline")},
    )
    assert "Not compared with mlp, for want of common finished runs: svm." in text
    assert "read its warning first" in text


def test_nothing_finished_one_finished_and_zero_densities_have_their_own_words():
    assert verdict([], {"mlp": None}, {"mlp": NET}).startswith("No learner finished a run")
    assert verdict([], {"mlp": at(-0.1)}, {"mlp": NET}).startswith("Only mlp (test log score -0.100 ± 0.010) finished")
    infinite = Estimate(-np.inf, np.nan, 3, 1, np.nan)
    assert "density of zero" in verdict([], {"a": infinite, "b": infinite}, {"a": NET, "b": NET})


def test_infinitely_worse_learner_is_reported():
    lost = pair("mlp", "trees", np.inf, "better", error=np.nan)._replace(degrees=np.nan)
    infinite = Estimate(-np.inf, np.nan, 3, 1, np.nan)
    text = verdict([lost], {"mlp": at(-0.1), "trees": infinite}, {"mlp": NET, "trees": Trust("baseline")})
    assert "mlp predicts better than trees by inf nats per row." in text


def test_verdict_has_two_to_six_sentences_even_when_everything_must_be_said():
    table = [
        pair("bnn", "mlp", 0.05, "not shown"),
        pair("bnn", "glm", 0.001, "equivalent"),
        pair("bnn", "svm", 0.5, "better"),
        pair("bnn", "trees", 0.6, "better"),
    ]
    estimates = {"bnn": at(-0.1), "mlp": at(-0.15), "glm": at(-0.101), "svm": at(-0.6), "trees": at(-0.7), "cnn": None}
    trust = {"bnn": BNN, "mlp": NET, "glm": GLM, "svm": Trust("baseline"), "trees": Trust("baseline"), "cnn": NET}
    text = verdict(table, estimates, trust)
    assert 2 <= len(sentences(text)) <= 6
    assert (
        "no difference from it is shown for glm and mlp (glm is practically equivalent, within 0.010 nats per row)"
        in text
    )
    assert "bnn predicts better than svm by 0.500 ± 0.020 and trees by 0.600 ± 0.020 nats per row." in text


@pytest.mark.parametrize("field", ["r_hat_max", "ess_min", "divergences"])
def test_missing_diagnostics_are_faults(field):
    assert posterior_faults(GLM) == ()
    assert len(posterior_faults(GLM._replace(**{field: None}))) == 1
    if field != "divergences":
        assert len(posterior_faults(GLM._replace(**{field: np.nan}))) == 1


def test_fault_just_over_the_limit_is_not_rounded_to_it():
    assert posterior_faults(GLM._replace(r_hat_max=1.012)) == ("R-hat 1.012, above 1.01",)


def test_learner_without_facts_and_another_metric_are_refused():
    with pytest.raises(ValueError, match="none received for glm"):
        verdict([], {"glm": at(-0.1)}, {})
    with pytest.raises(ValueError, match="expected the metric 'accuracy', received log_score"):
        verdict([pair("a", "b", 0, "not shown")], {"a": at(0.9), "b": at(0.9)}, {"a": NET, "b": NET}, "accuracy")


def test_survivor_of_some_splits_ranks_below_whatever_its_score_and_is_not_preferred():
    """Of five splits the net lost the two that are hard for everybody."""
    survivor = NET._replace(splits=Splits(3, 5))
    text = verdict(
        [pair("net", "glm", 0.4, "better")._replace(n_splits=3)],
        {"net": at(-0.1, 3), "glm": at(-0.6)},
        {"net": survivor, "glm": GLM._replace(splits=Splits(5, 5))},
    )
    assert text.startswith(
        "glm (test log score -0.600 ± 0.010) scores best of those that finished on as many splits. "
        "net finished on 3 of 5 splits only, so it ranks below (on 3 common splits its log score minus that of glm is "
        "0.400 ± 0.020: better than glm, which says nothing of the others). Prefer glm"
    )


def test_where_nobody_finished_on_all_splits_the_top_one_says_so():
    net, glm = NET._replace(splits=Splits(4, 5)), GLM._replace(splits=Splits(3, 5))
    text = verdict(
        [pair("glm", "net", 0.1, "not shown")], {"net": at(-0.3, 4), "glm": at(-0.1, 3)}, {"net": net, "glm": glm}
    )
    assert text.startswith("net (test log score -0.300 ± 0.010, on 4 of 5 splits only, as no other finished on more)")


def test_improper_posterior_is_not_recommended_and_its_cause_and_remedy_are_said():
    cause = "its prior is flat and the column dose separates the classes"
    improper = GLM._replace(improper=cause)
    text = verdict(
        [pair("glm", "mlp", 0.4, "better")], {"glm": at(0.0), "mlp": at(-0.4)}, {"glm": improper, "mlp": NET}
    )
    assert f"glm is not recommended: {cause}; the first of those that are not ruled out so is mlp." in text
    assert "Next: give glm a proper prior: more draws would not help." in text
    assert "a larger budget" not in text


def test_row_that_makes_the_difference_is_to_be_looked_at_before_more_splits():
    found = Decisive("glm", "mlp", "log_score", (60,), 0.99, 0.01, 0.02)
    text = verdict(
        [pair("glm", "mlp", -5e5, "not shown", error=4.2e5)],
        {"mlp": at(-0.1), "glm": at(-5e5)},
        {"mlp": NET, "glm": GLM},
        decisive=[found],
    )
    assert "look at row 61, which makes most of the difference of glm from mlp" in text
    assert "use more than" not in text


def test_single_chain_is_a_fault_whatever_its_figures():
    assert posterior_faults(GLM._replace(n_chains=4)) == ()
    (fault,) = posterior_faults(GLM._replace(n_chains=1))
    assert fault.startswith("a single chain")


@pytest.mark.parametrize("r_hat", [1.0100001, 1.0104, 1.012, 1.05])
def test_number_that_is_above_its_limit_reads_so(r_hat):
    (fault,) = posterior_faults(GLM._replace(r_hat_max=r_hat))
    assert float(fault.split()[1].rstrip(",")) > 1.01
    assert posterior_faults(GLM._replace(ess_min=399.9)) == ("effective sample size 399, below 400",)
