"""How many workers machines hold, and how a job knows what it has before it."""

import time

import pytest
import ray

from cluster.packing import Item, Pack
from cluster.pool import Job, _fitting
from cluster.resources import Resources

CPU, GPU = Resources(), Resources(gpus=1)


@pytest.mark.parametrize(
    ("node", "resources", "claims", "n"),
    [
        ({"CPU": 4}, CPU, [], 4),
        ({"CPU": 1}, Resources(cpus=0.1), [], 10),
        ({"CPU": 4}, Resources(cpus=3), [], 1),
        ({"CPU": 4}, GPU, [], 0),
        ({"CPU": 4, "GPU": 2}, GPU, [], 2),
        ({"CPU": 1, "GPU": 2}, GPU, [], 1),
        ({"CPU": 8, "GPU": 1}, Resources(gpus=0.25), [], 4),
        ({"CPU": 4, "GPU": 2}, CPU, [GPU], 2),
        ({"CPU": 1, "GPU": 1}, CPU, [GPU], 0),
        ({"CPU": 4}, CPU, [GPU], 4),
        ({"CPU": 8, "GPU": 1}, CPU, [GPU, Resources(cpus=2, gpus=0.5)], 4),
        ({}, CPU, [], 0),
    ],
)
def test_room_on_a_machine_beside_those_that_need_its_gpus(node, resources, claims, n):
    assert _fitting(node, resources, claims) == n


def test_a_job_tells_what_it_has_not_begun_by_its_speed_so_far():
    items = tuple(Item(f"run-{i}", None, "p", "none", 2.0, CPU) for i in range(4))
    unfinished = {item.run_key: item for item in items[1:]}
    job = Job(1, Pack(items), unfinished, ray.ObjectRef.nil(), since=time.monotonic() - 5.0)
    job.begun |= {"run-0", "run-1"}
    job.done = 2.0
    assert [item.run_key for item in job.not_begun()] == ["run-2", "run-3"]
    assert job.seconds_not_begun() >= 10.0  # half of it is done after five seconds, and a little more
    assert not job.may_be_asked
    job.announces = True
    assert job.may_be_asked
