"""Specs: refused with the path and the remedy, canonical, hashed by meaning."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from models.spec.inference import NUTS, Library, Optimise, PyMC
from models.spec.learner import Learner, resolve
from models.spec.likelihoods import Bernoulli, Categorical, HeteroscedasticGaussian, NegativeBinomial, Poisson
from models.spec.parsing import parse_learner
from models.spec.predictors import MLP, BoostedTrees, ConvNet, Formula, Linear
from models.spec.priors import GLM_PRIOR, Flat, Normal
from models.spec.settings import SpecError, canonical_json, digest

NET = {"name": "net", "predictor": {"kind": "mlp"}, "inference": {"method": "optimise"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictor": {"kind": "mlp", "widht": [3]}}, "learner.predictor.widht: unknown key; did you mean 'widths'?"),
        ({"inference": {"method": "optimise", "learning_rte": 1}}, "did you mean 'learning_rate'?"),
        ({"predictor": {"kind": "mpl"}}, "learner.predictor.kind is 'mpl': did you mean 'mlp'?"),
        (
            {"predictor": {"kind": "mlp", "widths": ["wide"]}},
            "learner.predictor.widths.0: Input should be a valid integer",
        ),
        ({"predictor": {"kind": "mlp", "widths": []}}, "learner.predictor.widths"),
        ({"inference": {"method": "optimise", "learning_rate": -1}}, "learner.inference.learning_rate"),
        ({"inference": {"method": "optimise", "learning_rate": float("nan")}}, "learner.inference.learning_rate"),
        ({"inference": {"method": "nuts"}}, "needs a proper prior: set prior.kind to 'normal'"),
        ({"inference": {"method": "library"}}, "'mlp' cannot be fitted by 'library'"),
        ({"inference": {"method": "optimise", "optimiser": "lbfgs"}}, "set batch_size to null"),
        (
            {"prior": {"kind": "normal"}, "inference": {"method": "optimise", "weight_decay": 0.1}},
            "state prior or weight_decay, not both",
        ),
        (
            {"predictor": {"kind": "linear"}, "inference": {"method": "optimise", "dropout": 0.5}},
            "set inference.dropout to 0",
        ),
        (
            {
                "prior": {"kind": "normal"},
                "inference": {"method": "nuts", "init": {"optimiser": "lbfgs", "batch_size": None}},
            },
            "set inference.init.optimiser to 'adam' or 'sgd'",
        ),
        ({"name": "a/../b"}, "learner.name"),
        ({"name": True}, "learner.name: expected text, and YAML reads yes, on and true as an answer"),
        (
            {"predictor": {"kind": "formula", "formula": "a" * 20_001}, "inference": {"method": "pymc"}},
            "has 20,001 characters",
        ),
        ({"inference": {"method": "optimise", "epochs": True}}, "learner.inference.epochs: expected a number"),
        ({"inference": {"method": "optimise", "epochs": 10**10}}, "learner.inference.epochs"),
        ({"inference": {"method": "optimise", "momentum": False}}, "learner.inference.momentum: expected a number"),
        ({"inference": {"method": "optimise", "schedule": {"kind": "cosine", "warmup": True}}}, "expected a number"),
        ({"predictor": {"kind": "convnet", "channels": [10**6]}}, "less than or equal to 100000"),
        (
            {"prior": {"kind": "normal"}, "inference": {"method": "nuts", "draws": 10**6}},
            "set draws to 250,000 or fewer",
        ),
        (
            {"predictor": {"kind": "formula"}, "inference": {"method": "pymc", "chains": 8, "draws": 200_000}},
            "8 chains of 200,000 draws are 1,600,000 draws of the posterior, and 1,000,000 is the most",
        ),
    ],
)
def test_refuses_what_cannot_be_meant_with_path_and_remedy(change, message):
    with pytest.raises(SpecError) as error:
        parse_learner(NET | change)
    assert message in str(error.value)


def test_lists_every_fault_at_once():
    faulty = {"name": "net", "predictor": {"kind": "mlp", "a": 1}, "inference": {"method": "optimise", "b": 2}}
    with pytest.raises(SpecError) as error:
        parse_learner(faulty)
    assert len(str(error.value).splitlines()) == 2


def test_yaml_and_json_round_trip_to_the_same_learner():
    learner = parse_learner(NET)
    assert parse_learner(json.loads(canonical_json(learner))) == learner
    assert parse_learner(yaml.safe_load(yaml.safe_dump(learner.model_dump(mode="json")))) == learner


@given(st.permutations(list(NET.items())))
def test_hash_ignores_the_order_of_keys_and_stated_defaults(items):
    stated = dict(items) | {"predictor": {"activation": "relu", "kind": "mlp", "widths": [32, 32]}}
    assert digest(parse_learner(stated)) == digest(parse_learner(NET))


def test_hash_is_pinned():
    """Stored keys depend on it: when this fails, the schema version has to rise."""
    assert digest({"b": 1.5, "a": ["x", None]}) == "e1fa7a64086b035ff5e961d750276ce0"


def test_hash_changes_with_any_setting():
    assert digest(parse_learner(NET)) != digest(parse_learner(NET | {"predictor": {"kind": "mlp", "widths": [32, 33]}}))


def test_schema_describes_every_part():
    schema = Learner.model_json_schema()
    assert set(schema["properties"]) == {"name", "predictor", "likelihood", "prior", "inference"}


def test_kinds():
    assert Learner(name="a", predictor=MLP(), inference=Optimise()).kind == "deterministic"
    assert Learner(name="a", predictor=ConvNet(), prior=Normal(), inference=NUTS()).kind == "bayesian-net"
    assert Learner(name="a", predictor=Formula(), inference=PyMC()).kind == "glm"
    assert Learner(name="a", predictor=Linear(), inference=Optimise()).kind == "glm"
    assert Learner(name="a", predictor=BoostedTrees(), inference=Library()).kind == "baseline"


@pytest.mark.parametrize(
    ("predictor", "task", "n_classes", "expected"),
    [
        (MLP(), "classes", 2, Bernoulli()),
        (MLP(), "classes", 3, Categorical(coding="softmax")),
        (Linear(), "classes", 3, Categorical(coding="reference")),
        (MLP(), "real", 0, HeteroscedasticGaussian()),
        (MLP(), "count", 0, NegativeBinomial()),
    ],
)
def test_resolves_the_likelihood_by_task(predictor, task, n_classes, expected):
    learner = Learner(name="a", predictor=predictor, inference=Optimise())
    assert resolve(learner, task, n_classes).likelihood == expected


@pytest.mark.parametrize(
    ("likelihood", "task", "n_classes", "message"),
    [
        (Poisson(), "real", 0, "'poisson' does not fit a target of real numbers; use 'gaussian' or"),
        (Bernoulli(), "classes", 3, "'bernoulli' does not fit a target of 3 classes; use 'categorical'"),
        (Categorical(), "count", 0, "does not fit a target of counts"),
    ],
)
def test_refuses_a_likelihood_that_does_not_fit_the_target(likelihood, task, n_classes, message):
    learner = Learner(name="a", predictor=MLP(), likelihood=likelihood, prior=Flat(), inference=Optimise())
    with pytest.raises(SpecError, match="learner 'a'") as error:
        resolve(learner, task, n_classes)
    assert message in str(error.value)


def test_a_formula_without_a_prior_has_a_proper_one_and_an_optimised_net_its_weight_decay_alone():
    formula = {"name": "a", "predictor": {"kind": "formula"}, "inference": {"method": "pymc"}}
    stated = formula | {"prior": {"kind": "normal", "scale": 2.5, "scaling": "fan-in", "bias_scale": 2.5}}
    assert digest(parse_learner(formula)) == digest(parse_learner(stated))
    assert parse_learner(formula | {"prior": {"kind": "flat"}}).prior == Flat()
    assert Learner(name="a", predictor=Formula(), inference=PyMC()).prior == GLM_PRIOR
    assert parse_learner(NET).prior == Flat()


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"predictor": {"kind": "mpl"}}, "learner.predictor.kind is 'mpl': did you mean 'mlp'?"),
        ({"predictor": {"kind": 3}}, "learner.predictor.kind is '3': expected 'linear', 'mlp', 'convnet', 'formula', "),
        ({"predictor": {}}, "learner.predictor: has no `kind`; expected 'linear', 'mlp', "),
        ({"inference": "nuts"}, "learner.inference: expected a mapping with `method`, which is 'optimise', "),
        ({"prior": []}, "learner.prior: expected a mapping with `kind`, which is 'normal', 'flat'"),
        (
            {"predictor": {"kind": "svm", "gamma": "much"}},
            "learner.predictor.gamma: Input should be 'scale' or 'auto'",
        ),
        (
            {"predictor": {"kind": "formula", "formula": "os.system('x')"}, "inference": {"method": "pymc"}},
            "learner.predictor.formula: formula \"os.system('x')\" calls 'os.system'; it may call B, C, I, S, T, abs",
        ),
    ],
)
def test_a_choice_of_records_is_refused_in_the_words_of_the_file(stated, said):
    with pytest.raises(SpecError) as caught:
        parse_learner({"name": "a", "predictor": {"kind": "mlp"}, "inference": {"method": "optimise"}} | stated)
    assert said in str(caught.value)
    assert "tag" not in str(caught.value) and "discriminator" not in str(caught.value)
