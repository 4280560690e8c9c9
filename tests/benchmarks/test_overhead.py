"""The overhead benchmark measures whole work: every run comes back, and is stored."""

from benchmarks import overhead
from benchmarks.work import trivial
from cluster.executor import InProcessExecutor
from models.runs.events import Result


def test_the_trivial_work_gives_one_result_for_each_request():
    dataset = overhead._dataset()
    requests = overhead._requests(dataset, 5)
    events = []
    trivial(requests, dataset, {}, events.append)
    assert [event.run_key for event in events] == [request.run_key for request in requests]
    assert all(isinstance(event, Result) and event.value.status == "finished" for event in events)
    assert len({request.run_key for request in requests}) == 5


def test_runs_are_timed_through_the_store_and_through_the_executor():
    dataset = overhead._dataset()
    requests = overhead._requests(dataset, 20)
    assert overhead._stored(requests, dataset, InProcessExecutor()) > 0.0
    assert overhead._executed(requests, dataset, InProcessExecutor()) > 0.0


def test_the_table_says_what_was_not_measured():
    found = {"runs": 10, "part": 5, "trials": 3, "workers": 2, "width": 16, "cold_ms": 2.0}
    found["memory_bytes"] = [2**20 * (100 + i) for i in range(11)]
    times, memory = overhead.tables(found)
    rows = {row[0]: row[1:] for row in times.rows}
    assert rows["Ray Tune, 3 trials, an actor each"] == ["–", "", ""]
    assert rows["Basin, 10 runs, cold: packs of 16 at most, Ray, bundles and tables"][0] == "2"
    assert memory.rows[0] == ["0", "100"]
    assert memory.rows[10] == ["10", "110"]
