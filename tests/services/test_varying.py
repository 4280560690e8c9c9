"""Varying settings by their paths."""

import pytest

from models.spec import NUTS, Learner, Linear, Normal, SpecError
from services.learners import presets
from services.varying import Draw, Draws, Range, check_varied, paths_of, variants

PRESETS = presets("quick")
SGD, SVM, BNN = PRESETS["mlp-sgd"], PRESETS["svm"], PRESETS["bnn-nuts"]


def changed(learner: Learner, **inference: object) -> Learner:
    return learner.model_copy(update={"inference": learner.inference.model_copy(update=inference)})


def test_values_are_crossed_and_all_else_is_left_alone():
    found = variants(SGD, {"inference.learning_rate": [0.1, 0.2], "inference.batch_size": [8, None]})
    assert [v.learner for v in found] == [
        changed(SGD, learning_rate=rate, batch_size=size) for rate in (0.1, 0.2) for size in (8, None)
    ]
    assert found[1].varied == {"inference.learning_rate": 0.1, "inference.batch_size": None}
    assert {v.learner.name for v in found} == {"mlp-sgd"}


def test_a_learner_without_the_setting_stays_as_it_is():
    assert variants(SVM, {"inference.learning_rate": [0.1, 0.2]}) == [(SVM, {})]
    assert variants(SGD, {}) == [(SGD, {})]
    # The same name elsewhere is another setting: that of the members that chains start from.
    assert [v.learner for v in variants(BNN, {"inference.learning_rate": [0.1, 0.2]})] == [BNN]
    assert len(variants(BNN, {"inference.init.learning_rate": [0.1, 0.2]})) == 2


def test_values_that_mean_the_same_are_one_and_are_told_as_the_learner_holds_them():
    found = variants(SGD, {"inference.learning_rate": ["1e-3", 0.001, 1, 1.0]})
    assert [v.varied for v in found] == [{"inference.learning_rate": 0.001}, {"inference.learning_rate": 1.0}]


def test_whole_groups_of_settings_can_be_varied():
    found = variants(SGD, {"inference.schedule": [{"kind": "constant"}, {"kind": "cosine", "warmup": 0.1}]})
    assert [v.varied["inference.schedule"] for v in found] == [
        {"kind": "constant"},
        {"kind": "cosine", "warmup": 0.1},
    ]
    assert len(variants(SGD, {"predictor.widths": [[8], [8, 8]]})) == 2


def test_values_that_are_only_possible_together_are_possible():
    found = variants(
        SGD, {"inference.optimiser": ["lbfgs"], "inference.batch_size": [None], "inference.patience": [None]}
    )
    assert [v.learner.inference.optimiser for v in found] == ["lbfgs"]


PINNED = [0.1031, 0.0235, 0.00104, 0.0001697]


def rates(found) -> list[float]:
    return [v.varied["inference.learning_rate"] for v in found]


def test_ranges_have_equal_distances_or_equal_ratios_and_both_ends():
    assert Range(low=0, high=1, count=5).values() == [0, 0.25, 0.5, 0.75, 1]
    assert Range(low=1e-4, high=1, count=5, scale="log").values() == [1e-4, 1e-3, 1e-2, 0.1, 1]
    assert Range(low=1, high=3, count=5, whole=True).values() == [1, 2, 3]
    vary = {"inference.learning_rate": Range(low=0.1, high=0.3, count=3), "inference.batch_size": [8, 16]}
    assert rates(variants(SGD, vary)) == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]


def test_draws_are_the_same_always_and_go_together():
    vary = {
        "inference.learning_rate": Draw(draw="log-uniform", low=1e-4, high=1),
        "inference.momentum": Draw(draw="choice", values=[0.0, 0.5, 0.9]),
    }
    found = variants(SGD, vary, Draws(4, 0))
    assert found == variants(SGD, dict(reversed(vary.items())), Draws(4, 0))
    # Pinned: what was drawn for a sweep must be drawn again by every later version.
    assert rates(found) == PINNED
    assert rates(variants(SGD, {"inference.learning_rate": vary["inference.learning_rate"]}, Draws(4, 0))) == PINNED
    assert rates(variants(SGD, vary, Draws(6, 0)))[:4] == PINNED
    assert rates(variants(SGD, vary, Draws(4, 1))) != PINNED
    crossed = variants(SGD, vary | {"inference.batch_size": [8, 16]}, Draws(4, 0))
    assert rates(crossed) == PINNED * 2


def test_draws_spread_as_they_should():
    values = Draw(draw="log-uniform", low=1e-4, high=1).take(4000, "s")
    assert min(values) >= 1e-4 and max(values) <= 1
    assert abs(sum(value < 1e-2 for value in values) / 4000 - 0.5) < 4 * 0.5 / 4000**0.5
    whole = Draw(draw="uniform", low=0, high=4, whole=True).take(4000, "s")
    assert all(abs(whole.count(number) / 4000 - 0.2) < 4 * 0.4 / 4000**0.5 for number in range(5))


def test_a_path_stands_where_it_applies():
    assert "prior.scale" in paths_of(BNN)
    assert "prior.scale" not in paths_of(SGD)
    assert "inference.schedule.warmup" in paths_of(SGD)
    assert "name" not in paths_of(SGD)
    check_varied([SGD, BNN], {"prior.scale": [1]})


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("weight_decay", ["vary.weight_decay", "did you mean", "'inference.weight_decay'"]),
        ("inference.learning_rat", ["did you mean 'inference.learning_rate'"]),
        ("prior.scale", ["vary.prior.scale: no learner of the sweep has this setting"]),
        ("name", ["no learner of the sweep has this setting"]),
        ("xyz", ["there are predictor, predictor.kind"]),
    ],
)
def test_a_path_that_no_learner_has_is_told_with_the_nearest(path, words):
    with pytest.raises(SpecError) as refused:
        check_varied([SGD, SVM], {path: [1]})
    assert [word for word in words if word not in str(refused.value)] == []


@pytest.mark.parametrize(
    ("learner", "path", "value", "words"),
    [
        (SGD, "inference.learning_rate", -1, ["'mlp-sgd' cannot have inference.learning_rate = -1", "greater than 0"]),
        (SGD, "inference.epochs", "many", ['inference.epochs = "many"', "valid integer"]),
        (SGD, "inference.optimiser", "lbfgs", ["set batch_size to null"]),
        (SGD, "prior", {"kind": "normal"}, ["a weight decay is a Gaussian prior"]),
        (BNN, "prior", {"kind": "flat"}, ["needs a proper prior"]),
        (SGD, "predictor.kind", "linear", ["mlp-sgd.predictor.widths: unknown key"]),
    ],
)
def test_a_value_that_the_learner_cannot_have_is_told_with_path_value_and_remedy(learner, path, value, words):
    with pytest.raises(SpecError) as refused:
        variants(learner, {path: [value]})
    assert [word for word in words if word not in str(refused.value)] == []


def test_what_is_impossible_together_is_told_with_all_its_values():
    learner = Learner(name="bnn", predictor=Linear(), prior=Normal(), inference=NUTS())
    vary = {"prior.scale": [2.0], "inference.init.weight_decay": [0, 0.1]}
    with pytest.raises(SpecError, match=r"prior\.scale = 2\.0, inference\.init\.weight_decay = 0\.1: .*to 0"):
        variants(learner, vary)
