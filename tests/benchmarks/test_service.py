"""The load on a small store: all is answered, and every figure that the page shows is there."""

import pytest

from benchmarks import service

pytestmark = [pytest.mark.slow, pytest.mark.soak]


def test_a_server_is_read_from_submitted_to_and_killed_without_an_error_or_a_loss(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(service, "READERS", 5)
    monkeypatch.setattr(service, "THINK_SECONDS", 0.1)
    found = service.measure(runs=1_000, seconds=2.0, cluster=False)
    paced, killed = found["paced"], found["killed"]
    assert paced["faults"] == found["saturated"]["faults"] == found["trivial"]["faults"] == []
    assert {"all reads", "submit a sweep"} < set(paced["questions"])
    assert paced["accepted"] == paced["in_ledger"] == paced["questions"]["submit a sweep"]["n"] > 0
    assert paced["appended"] > 0
    assert killed["accepted"] > 0 and killed["cut_off"] > 0
    assert killed["lost"] == 0
    questions, server, limits, kill = service.tables(found)
    assert all(len(row) == len(table.header) for table in (questions, server, limits, kill) for row in table.rows)
