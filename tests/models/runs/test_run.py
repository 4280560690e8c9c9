"""Streams of randomness by seed and partition, and a voice that is not raised too often."""

import itertools

import jax
import numpy as np

from models.data.dataset import Partition
from models.data.preparation import prepare
from models.runs.events import Checkpoint, Progress
from models.runs.result import RunRequest
from models.runs.run import Run
from models.spec.inference import Optimise
from models.spec.learner import Learner
from models.spec.likelihoods import Categorical
from models.spec.predictors import MLP, Linear
from tests.support.runs import table

DATASET = table("classes")
SPLIT = prepare(DATASET, Partition())
NET = Learner(name="net", predictor=MLP(), likelihood=Categorical(), inference=Optimise())
LINEAR = Learner(name="linear", predictor=Linear(), likelihood=Categorical(), inference=Optimise())


def run(learner=NET, seed=0, emit=lambda event: None, **partition):
    return Run(RunRequest(learner, Partition(**partition), seed, DATASET.fingerprint), SPLIT, emit)


def bits(run):
    return [tuple(jax.random.key_data(key).tolist()) for key in run.keys]


def test_streams_differ_between_seeds_and_partitions_and_from_each_other():
    runs = [
        Run(RunRequest(NET, Partition(index=i, seed=p), s, ""), SPLIT, lambda event: None)
        for s, i, p in itertools.product(range(3), repeat=3)
    ]
    streams = [stream for each in runs for stream in bits(each)]
    assert len(set(streams)) == 27 * 5
    assert len({each.library_seed for each in runs}) == 27


def test_learners_on_the_same_seed_and_partition_share_their_streams():
    assert bits(run(NET, seed=1, index=2)) == bits(run(LINEAR, seed=1, index=2))
    assert run(NET, index=2).library_seed == run(LINEAR, index=2).library_seed


def test_library_seeds_fit_31_bits():
    assert all(0 <= Run(RunRequest(NET, Partition(), s, ""), SPLIT, print).library_seed < 2**31 for s in range(200))


def test_progress_is_said_now_and_then_and_always_at_the_end():
    events = []
    speaker = run(emit=events.append)
    for done in range(1, 1001):
        speaker.progress("epochs", done, 1000, {"divergences": 0})
    assert all(isinstance(event, Progress) and event.run_key == speaker.request.run_key for event in events)
    assert len(events) < 100
    assert (events[-1].done, events[-1].total) == (1000, 1000)


def test_each_phase_ends_at_its_total_however_soon():
    events = []
    speaker = run(emit=events.append)
    for phase in ("epochs", "measures"):
        for done in (1, 2):
            speaker.progress(phase, done, 2)
    assert [(e.phase, e.done) for e in events if e.done == e.total] == [("epochs", 2), ("measures", 2)]


def test_checkpoints_are_all_emitted():
    events = []
    speaker = run(emit=events.append)
    for i in range(3):
        speaker.checkpoint({"done": np.array(i)})
    assert [int(event.arrays["done"]) for event in events] == [0, 1, 2]
    assert all(isinstance(event, Checkpoint) for event in events)


def test_a_checkpoint_is_due_after_seconds_of_work_and_not_of_compiling(monkeypatch):
    monkeypatch.setattr("models.runs.run.CHECKPOINT_SECONDS", 100.0)
    speaker = run()
    monkeypatch.setattr(type(speaker.clock), "wall", 150.0)
    assert speaker.checkpoint_due
    monkeypatch.setattr(type(speaker.clock), "compile", 60.0)
    assert not speaker.checkpoint_due
    monkeypatch.setattr(type(speaker.clock), "wall", 260.0)
    assert speaker.checkpoint_due
    speaker.checkpoint({})
    assert not speaker.checkpoint_due


def test_seconds_go_on_from_those_of_the_checkpoint():
    events = []
    first = run(emit=events.append)
    first.checkpoint({})
    spent = events[0].arrays["seconds"]
    second = Run(first.request, SPLIT, events.append, resume={"seconds": spent + 10.0})
    assert second.seconds.wall > spent[0] + 10.0
    assert second.seconds.device == spent[2] + 10.0
