"""The planning benchmark runs whole commands: what they print says that all runs were planned, and all found."""

from benchmarks import planning


def test_a_finished_sweep_is_planned_and_resumed_in_processes_of_their_own(monkeypatch):
    monkeypatch.setattr(planning, "REPEATS", 1)
    monkeypatch.setattr(planning, "RUNS_WANTED", 200)
    found = planning.measure(sizes=[(1, 1)])  # checks what the commands print
    (size,) = found["sizes"]
    assert size["runs"] == found["stored"] == 200
    assert min(size["check"]["peak_bytes"], size["run"]["peak_bytes"]) > 2**26
    commands, _ = planning.tables(found)
    assert [row[:2] for row in commands.rows] == [
        ["plan 200 runs", "10"],
        ["resume a sweep of 200 runs, all of them stored", "15"],
    ]
