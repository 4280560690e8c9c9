"""The presets and learner files: every preset can be meant, and every message says what to do."""

import pytest
import yaml
from typer.testing import CliRunner

from models.joint.build import model_of
from models.spec.inference import Optimise
from models.spec.learner import Learner, resolve
from models.spec.predictors import Formula, Linear, SupportVectors
from models.spec.priors import Flat
from models.spec.settings import SpecError, digest
from services.cli import app
from services.sweeps.learners import EFFORTS, choose, default_names, presets, read_learners

NAMES = [
    "mlp-sgd",
    "mlp-sgd-large-batch",
    "mlp-adam",
    "convnet",
    "bnn-nuts",
    "glm-bayes",
    "linear-map",
    "svm",
    "boosted-trees",
]


@pytest.mark.parametrize("budget", EFFORTS)
def test_names_are_unique_and_the_same_at_every_budget(budget):
    assert list(presets(budget)) == NAMES
    assert len({digest(learner) for learner in presets(budget).values()}) == len(NAMES)


def test_kinds_are_those_of_the_comparison():
    kinds = {name: learner.kind for name, learner in presets("quick").items()}
    assert kinds["bnn-nuts"] == "bayesian-net"
    assert kinds["glm-bayes"] == kinds["linear-map"] == "glm"
    assert kinds["svm"] == kinds["boosted-trees"] == "baseline"
    assert {kinds[n] for n in ("mlp-sgd", "mlp-sgd-large-batch", "mlp-adam", "convnet")} == {"deterministic"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("task", "classes"), [("classes", 2), ("classes", 10), ("real", 0), ("count", 0)])
def test_every_preset_resolves_for_every_task(name, task, classes):
    learner = resolve(presets("standard")[name], task, classes)
    Learner.model_validate(learner.model_dump())  # settings changed by a copy are still possible ones
    if learner.kind == "baseline":
        assert learner.likelihood is None
    else:
        model = model_of(learner.predictor, learner.likelihood, classes, 64, (8, 8, 1))
        assert model.n_parameters > 64


def test_the_glm_and_its_convex_control_are_one_model():
    for task, classes in (("classes", 2), ("classes", 3), ("real", 0), ("count", 0)):
        bayes, optimised = (resolve(presets("quick")[n], task, classes) for n in ("glm-bayes", "linear-map"))
        assert (bayes.likelihood, bayes.prior) == (optimised.likelihood, optimised.prior)
        assert isinstance(bayes.predictor, Formula)
        assert bayes.predictor.formula is None
        assert isinstance(optimised.predictor, Linear)


def test_larger_budgets_work_harder():
    for smaller, larger in (("quick", "standard"), ("standard", "thorough")):
        assert all(a <= b for a, b in zip(EFFORTS[smaller], EFFORTS[larger], strict=True))
        assert EFFORTS[smaller] != EFFORTS[larger]


def test_nets_are_one_family_and_none_has_two_priors():
    learners = presets("standard")
    assert len({learners[n].predictor for n in ("mlp-sgd", "mlp-sgd-large-batch", "mlp-adam", "bnn-nuts")}) == 1
    for name in ("mlp-sgd", "mlp-sgd-large-batch", "mlp-adam", "convnet"):
        assert isinstance(learners[name].prior, Flat)
        assert learners[name].inference.weight_decay > 0


def test_the_conv_net_is_a_default_for_arrays_only():
    assert default_names(has_shape=True) == NAMES
    assert default_names(has_shape=False) == [name for name in NAMES if name != "convnet"]


@pytest.mark.parametrize("name", NAMES)
def test_what_the_command_prints_is_a_file_that_means_the_same(name, tmp_path):
    shown = CliRunner().invoke(app, ["learners", name, "--budget", "quick"])
    assert shown.exit_code == 0, shown.output
    path = tmp_path / "mine.yaml"
    path.write_text(shown.stdout, encoding="utf-8")
    assert read_learners(path) == [presets("quick")[name]]


def test_names_and_files_are_chosen_together_in_order(tmp_path):
    mine = presets("quick")["linear-map"].model_copy(update={"name": "mine"})
    other = mine.model_copy(update={"name": "other"})
    path = tmp_path / "mine.json"
    path.write_text(yaml.safe_dump([mine.model_dump(mode="json"), other.model_dump(mode="json")]), encoding="utf-8")
    assert choose(["svm", str(path), "mlp-sgd"], "quick") == [
        presets("quick")["svm"],
        mine,
        other,
        presets("quick")["mlp-sgd"],
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mlp-sdg", r"unknown learner 'mlp-sdg': did you mean 'mlp-sgd'"),
        ("zzzz", r"unknown learner 'zzzz': known: mlp-sgd, .* \(or give a \.yaml or \.json file\)"),
        ("absent.yaml", r"no file 'absent\.yaml': give the path of a learner file, or a learner's name"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(name, message):
    with pytest.raises(SpecError, match=message):
        choose([name], "quick")


def test_a_name_given_twice_is_refused():
    with pytest.raises(SpecError, match="learner 'svm' is named twice: give each its own name"):
        choose(["svm", "svm"], "quick")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "is not YAML"),
        ("", r"mine\.yaml"),
        ("- 3", r"mine\.yaml\[0\]"),
        (
            "name: a\npredictor: {kind: svm, gama: 1}\ninference: {method: library}",
            r"mine\.yaml\.predictor\.gama: unknown key; did you mean 'gamma'",
        ),
    ],
)
def test_a_wrong_file_is_named_with_the_path_of_the_fault(text, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match=message):
        read_learners(path)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="cannot read"):
        read_learners(tmp_path / "mine.yaml")
    with pytest.raises(SpecError, match="cannot read"):
        read_learners(tmp_path)


def test_large_batches_keep_their_own_settings():
    small, large = (presets("quick")[n].inference for n in ("mlp-sgd", "mlp-sgd-large-batch"))
    assert isinstance(small, Optimise)
    assert (large.batch_size, large.epochs) == (512, 4 * small.epochs)
    assert isinstance(presets("quick")["svm"].predictor, SupportVectors)
