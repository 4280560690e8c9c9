"""The scaling benchmark counts every run, and tells efficiency as the best time over the time that it took."""

import pytest

from benchmarks import scaling
from benchmarks.work import sleep
from models.runs.events import Result


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called:RuntimeWarning")
def test_sleeping_runs_are_measured_on_a_machine_that_joined():
    found = scaling.measure(machines=(1,), runs=12)
    (step,) = found["steps"]
    assert step["seconds"] > step["at_best"] > 0.6  # twelve runs of 0.1 to 0.3 s on two workers


def test_the_table_tells_efficiency_against_the_best_and_against_one_machine():
    steps = [
        {"machines": 1, "seconds": 10.0, "at_best": 9.0},
        {"machines": 4, "seconds": 3.0, "at_best": 2.25},
    ]
    (table,) = scaling.tables({"runs": 1500, "cpus": 2, "steps": steps})
    assert table.rows == [["1", "2", "10", "9", "0.900", "1.000"], ["4", "8", "3", "2.25", "0.750", "0.833"]]


def test_sleeping_work_gives_one_result_for_each_run():
    events = []
    sleep([("a", 0.0), ("b", 0.0)], None, {}, events.append)
    assert [event.run_key for event in events if isinstance(event, Result)] == ["a", "b"]
