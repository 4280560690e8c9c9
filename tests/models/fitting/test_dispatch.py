"""The dispatch: one result for each request, packs that share programs, and faults that stay with their own run."""

import jax
import numpy as np
import pytest

from models.data.dataset import Partition
from models.fitting.dispatch import cost, fit, program_key
from models.runs.events import START, Progress, Result, begun
from models.runs.result import RunRequest
from models.spec.inference import HMC, NUTS, Constant, Library, Optimise, PyMC
from models.spec.learner import Learner
from models.spec.predictors import MLP, BoostedTrees, ConvNet, Formula, Linear
from models.spec.priors import Normal
from tests.support.runs import assert_same_bits, fit_all, request, table

DATASET = table("classes")
NET = Learner(
    name="net",
    predictor=MLP(widths=(4,)),
    inference=Optimise(optimiser="sgd", learning_rate=0.05, epochs=6, batch_size=8, weight_decay=1e-3, dropout=0.1),
)


def varied(name="net", **inference):
    return NET.model_copy(update={"name": name, "inference": NET.inference.model_copy(update=inference)})


PACK = [
    request(NET, DATASET),
    request(NET, DATASET, seed=1, split=2),
    request(varied(learning_rate=0.2, momentum=0.5, weight_decay=0.0, dropout=0.3), DATASET, seed=1),
]


@pytest.fixture
def accelerator(monkeypatch):
    """The way that packs are trained on an accelerator, on this CPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def test_a_runs_bits_do_not_depend_on_its_company_or_order():
    alone = [fit_all([each], DATASET)[0] for each in PACK]
    together = fit_all(PACK, DATASET)
    backwards = fit_all(PACK[::-1], DATASET)[::-1]
    for a, b, c in zip(alone, together, backwards, strict=True):
        assert a.status == "finished"
        assert_same_bits(a, b)
        assert_same_bits(a, c)
    assert len({result.metrics for result in together}) == len(PACK)


def test_a_pack_compiles_its_programs_once():
    fit_all(PACK[:1], DATASET)
    assert [result.seconds.compile for result in fit_all(PACK, DATASET)] == [0.0] * len(PACK)


def test_seconds_add_up():
    (result,) = fit_all(PACK[:1], DATASET)
    assert result.seconds.device > 0
    assert result.seconds.device + result.seconds.compile <= result.seconds.wall


def test_one_program_for_runs_that_differ_in_seed_partition_and_scalars():
    same = [
        *PACK,
        request(varied(name="other"), DATASET),
        request(varied(patience=3), DATASET),
        RunRequest(PACK[0].learner, Partition(seed=5), 0, DATASET.fingerprint),
    ]
    assert len({program_key(each, DATASET) for each in same}) == 1


@pytest.mark.parametrize(
    "other",
    [
        request(varied(epochs=7), DATASET),
        request(varied(batch_size=16), DATASET),
        request(varied(optimiser="adam"), DATASET),
        request(varied(schedule=Constant()), DATASET),
        request(varied(dropout=0.0), DATASET),
        request(NET.model_copy(update={"predictor": MLP(widths=(5,))}), DATASET),
        request(NET, DATASET, test=0.3),
    ],
    ids=lambda each: "",
)
def test_another_program_for_what_changes_shapes_or_code(other):
    assert program_key(other, DATASET) != program_key(PACK[0], DATASET)


def test_another_program_for_other_data():
    other = table("classes", n=61)
    assert program_key(request(NET, other), other) != program_key(PACK[0], DATASET)


def test_every_run_is_announced_before_it_is_computed_and_after_the_results_before_it():
    events = []
    fit(PACK[:3], DATASET, {}, events.append)
    keys = [request.run_key for request in PACK[:3]]
    ends = [event for event in events if isinstance(event, Result) or event == begun(event.run_key)]
    assert ends[0] == begun(keys[0])
    assert [(event.run_key, type(event)) for event in ends] == [
        (key, kind) for key in keys for kind in (Progress, Result)
    ]


def test_progress_of_each_phase_ends_at_its_total():
    events = []
    fit(PACK[:1], DATASET, {}, events.append)
    progress = [event for event in events if isinstance(event, Progress) and event.phase != START]
    assert all(0 <= event.done <= event.total for event in progress)
    last = {event.phase: event for event in progress}
    assert {phase: (event.done, event.total) for phase, event in last.items()} == {
        "epochs": (6, 6),
        "measures": (3, 3),
    }
    assert isinstance(events[-1], Result)


def test_a_run_that_diverges_is_a_row_and_leaves_its_neighbours_alone():
    wild = request(varied(learning_rate=1e30), DATASET)
    calm, gone, other = fit_all([PACK[0], wild, PACK[1]], DATASET)
    assert gone.status == "diverged"
    assert gone.error == "the loss was no longer finite in epoch 1: lower the learning rate"
    assert gone.metrics == ()
    assert gone.curves["step"].tolist() == [1]
    assert gone.n_parameters == calm.n_parameters == 3 * 4 + 4 + 4 * 3 + 3
    assert_same_bits(calm, fit_all(PACK[:1], DATASET)[0])
    assert other.status == "finished"


CONVNET = request(Learner(name="conv", predictor=ConvNet(), inference=Optimise(epochs=1)), DATASET)
TOO_SMALL = request(NET, DATASET, test=0.01)
UNRESOLVED = RunRequest(NET, Partition(), 0, DATASET.fingerprint)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (TOO_SMALL, "'made-up-classes' has 60 rows, which leaves 1 for the test part"),
        (CONVNET, "a convnet needs images or sequences; this dataset is a table: use an 'mlp'"),
        (UNRESOLVED, "AssertionError"),
    ],
    ids=["data", "spec", "bug"],
)
def test_a_run_that_cannot_be_fitted_is_a_row_that_says_why(bad, message):
    first, failed, last = fit_all([PACK[0], bad, PACK[1]], DATASET)
    assert failed.status == "failed"
    assert failed.error.startswith(message)
    assert (failed.metrics, failed.n_parameters) == ((), 0)
    assert (first.status, last.status) == ("finished", "finished")


def test_an_interrupt_is_no_row():
    def interrupt(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(PACK, DATASET, {}, interrupt)


@pytest.mark.slow
@pytest.mark.usefixtures("accelerator")
def test_on_an_accelerator_a_fault_stays_with_its_run_and_programs_are_kept_apart():
    wild = request(varied(learning_rate=1e30), DATASET)
    mixed = [PACK[0], TOO_SMALL, CONVNET, wild, PACK[2]]
    results = fit_all(mixed, DATASET)
    assert [result.status for result in results] == ["finished", "failed", "failed", "diverged", "finished"]
    alone = fit_all([PACK[2]], DATASET)[0]
    assert_same_bits(results[4], alone)
    np.testing.assert_array_less(0.0, alone.curves["learning_rate"][:-1])


def test_long_runs_cost_more():
    learners = {
        "trees": Learner(name="a", predictor=BoostedTrees(), inference=Library()),
        "short": NET,
        "long": varied(epochs=600),
        "hmc": Learner(name="a", predictor=Linear(), prior=Normal(), inference=HMC()),
        "glm": Learner(name="a", predictor=Formula(), inference=PyMC()),
        "nuts": Learner(name="a", predictor=Linear(), prior=Normal(), inference=NUTS(max_tree_depth=8)),
    }
    costs = {name: cost(request(learner, DATASET), DATASET) for name, learner in learners.items()}
    assert costs["short"] < costs["trees"] < costs["long"] < costs["hmc"] < costs["glm"] < costs["nuts"]
    double = table("classes", n=120)
    for name, learner in learners.items():
        assert cost(request(learner, double), double) == 2 * costs[name]
