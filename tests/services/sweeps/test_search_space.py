"""Varying settings by their paths."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.spec.inference import NUTS
from models.spec.learner import Learner
from models.spec.predictors import Linear
from models.spec.priors import Normal
from models.spec.settings import SpecError
from services.sweeps.learners import presets
from services.sweeps.search_space import Draw, Draws, Range, check_varied, paths_of, variants

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


NUMBERS = st.floats(-1e9, 1e9) | st.floats(1e-6, 1e3) | st.integers(-(10**6), 10**6).map(float)
LARGE = st.floats(1e-12, 1e12) | st.integers(1, 10**6).map(float)


def ends(data: st.DataObject, scale: str) -> tuple[float, float]:
    """A lower and a higher one, which may be close to each other."""
    low = data.draw(LARGE if scale == "log" else NUMBERS)
    high = data.draw((LARGE if scale == "log" else NUMBERS) | st.floats(1e-9, 2).map(lambda by: low + abs(low) * by))
    assume(math.isfinite(high) and high - low > 1e-10 * max(abs(low), abs(high), 1e-6))
    return low, high


@given(st.data(), st.integers(2, 60), st.sampled_from(["linear", "log"]))
def test_a_range_has_its_ends_and_as_many_values_within_as_are_asked_for(data: st.DataObject, count: int, scale: str):
    low, high = ends(data, scale)
    values = Range(low=low, high=high, count=count, scale=scale).values()
    assert (values[0], values[-1], len(values)) == (low, high, count)
    assert all(a < b for a, b in itertools.pairwise(values))
    exact = np.linspace(low, high, count) if scale == "linear" else np.geomspace(low, high, count)
    rounding = 1e-13 * np.abs(exact)  # of the twin's own powers
    assert np.all(np.abs(values - exact) <= 0.11 * np.diff(exact).min() + rounding)


@given(st.data(), st.integers(2, 60), st.sampled_from(["linear", "log"]))
def test_a_range_of_whole_numbers_has_no_others_and_each_once(data: st.DataObject, count: int, scale: str):
    low, high = ends(data, scale)
    first, last = math.ceil(low), math.floor(high)
    assume(first <= last)
    values = Range(low=low, high=high, count=count, scale=scale, whole=True).values()
    assert all(isinstance(value, int) for value in values)
    assert len(values) == min(count, last - first + 1) and values[0] == first
    assert values[-1] == last or len(values) == 1
    assert all(a < b for a, b in itertools.pairwise(values))
    if scale == "linear" and len(values) > 1:
        assert np.all(np.abs(values - np.linspace(first, last, len(values))) <= 0.5 + 1e-6)


@given(st.data(), st.sampled_from(["uniform", "log-uniform"]), st.booleans())
def test_what_is_drawn_lies_within(data: st.DataObject, draw: str, whole: bool):
    low, high = ends(data, "log" if draw == "log-uniform" else "linear")
    assume(not whole or math.ceil(low) <= math.floor(high))
    values = Draw(draw=draw, low=low, high=high, whole=whole).take(30, "s")
    assert all(low <= value <= high for value in values)
    assert not whole or all(isinstance(value, int) for value in values)
    assert whole or len(set(values)) > 15


@pytest.mark.parametrize(
    ("asked", "values"),
    [
        ({"low": 0.9, "high": 0.99999, "count": 2}, [0.9, 0.99999]),
        ({"low": 0.99991, "high": 0.99999, "count": 5}, [0.99991, 0.99993, 0.99995, 0.99997, 0.99999]),
        ({"low": 12341, "high": 12349, "count": 5}, [12341, 12343, 12345, 12347, 12349]),
        ({"low": 1e-5, "high": 12345, "count": 2, "scale": "log"}, [1e-5, 12345]),
        ({"low": 1, "high": 16, "count": 5, "scale": "log", "whole": True}, [1, 2, 4, 8, 16]),
        ({"low": 1, "high": 16, "count": 10, "scale": "log", "whole": True}, [1, 2, 3, 4, 5, 6, 7, 9, 12, 16]),
        ({"low": 8.5, "high": 10.5, "count": 2, "whole": True}, [9, 10]),
        ({"low": 7.5, "high": 8.5, "count": 4, "whole": True}, [8]),
        ({"low": 0.1, "high": 0.9, "count": 4}, [0.1, 0.3667, 0.6333, 0.9]),  # as ever
    ],
)
def test_values_of_ranges(asked: dict, values: list):
    found = Range(**asked).values()
    assert found == values
    assert [type(value) for value in found] == [int if asked.get("whole") else float] * len(values)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"low": 1, "high": 1 + 2**-52, "count": 5}, "no 5 different numbers"),
        ({"low": 1.2, "high": 1.8, "count": 5, "whole": True}, "no whole number from 1.2 to 1.8"),
        ({"low": -1e308, "high": 1e308, "count": 5}, "less far apart"),
        ({"low": True, "high": 2, "count": 5}, "expected a number"),
    ],
)
def test_ranges_that_there_are_not(asked: dict, words: str):
    with pytest.raises(ValidationError, match=words):
        Range(**asked)


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
