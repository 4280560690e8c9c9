"""Varying settings by their paths."""

import pytest

from models.spec import NUTS, Learner, Linear, Normal, SpecError
from services.learners import presets
from services.varying import check_varied, paths_of, variants

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
