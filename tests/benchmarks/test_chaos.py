"""The chaos benchmark decides by its seed alone, and its comparison sees every bit."""

from collections import Counter

import numpy as np
import polars as pl
import pytest

from benchmarks import chaos
from benchmarks.chaos_monkey import Kind, draw_strikes
from benchmarks.chaos_stores import EXEMPT, _bits, _of_frames
from services.store.schemas import SCHEMAS
from services.sweeps.definition import parse_sweep

FRAME = pl.DataFrame({"run_key": ["a", "b"], "value": [0.0, float("nan")], "warnings": [["x"], []]})


def test_a_seed_decides_what_is_struck_and_when():
    strikes = draw_strikes(3, 210, chaos.STRIKES)
    assert strikes == draw_strikes(3, 210, chaos.STRIKES)
    assert strikes != draw_strikes(4, 210, chaos.STRIKES)
    assert Counter(strike.kind for strike in strikes) == chaos.STRIKES
    assert all(0 <= strike.due < 0.75 * 210 and 0 <= strike.pick < 1 for strike in strikes)
    assert len({strike.due for strike in strikes}) > len(strikes) / 2


def test_every_kind_is_struck_in_the_full_sweep_the_driver_twice_or_more():
    assert set(chaos.STRIKES) == set(Kind)
    assert chaos.STRIKES[Kind.COMMIT] + chaos.STRIKES[Kind.DRIVER] >= 2


def test_the_full_sweep_has_as_many_runs_as_it_says():
    sweep = parse_sweep(dict(chaos.FULL))
    assert len(sweep.datasets) * len(sweep.learners or ()) * sweep.n_splits * sweep.n_seeds == 210


def test_the_order_of_rows_is_no_difference():
    assert _of_frames(FRAME, FRAME.reverse()) == []


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("run_key", ["a", "c"]),
        ("value", [-0.0, float("nan")]),
        ("value", [np.nextafter(0.0, 1.0), float("nan")]),
        ("value", [0.0, None]),
        ("warnings", [["x"], ["y"]]),
    ],
)
def test_another_bit_is_a_difference(column, values):
    other = FRAME.with_columns(pl.Series(column, values))
    assert _of_frames(FRAME, other) == [f"column {column} differs"]


def test_rows_that_are_lost_or_doubled_are_a_difference():
    assert _of_frames(FRAME, FRAME.head(1)) == ["2 and 1 rows"]
    assert _of_frames(FRAME, pl.concat([FRAME, FRAME.head(1)])) == ["2 and 3 rows"]


def test_arrays_differ_by_type_shape_and_bits():
    zeros = np.zeros(4, np.float32)
    others = (zeros.astype(np.float64), zeros.reshape(2, 2), -zeros)
    assert all(_bits(zeros) != _bits(other) for other in others)


def test_only_columns_that_tell_of_the_work_are_left_out():
    known = {name for schema in SCHEMAS.values() for name in schema}
    assert set(EXEMPT) <= known
    assert not set(EXEMPT) & {"attempt", "bundle", "error", "status", "value", "versions"}


def test_the_tables_tell_the_times_of_both():
    calm, disturbed = {"seconds": 10.0, "worker_seconds": 20.0}, {"seconds": 30.0, "worker_seconds": 50.0}
    struck = {Kind.NODE: [2, 3], Kind.IDLE: [1, 0]}
    found = {"seed": 5, "runs": 210, "rows": 1234, "nodes": 3, "struck": struck, "calm": calm, "chaos": disturbed}
    kills, costs = chaos.tables(found)
    assert list(kills.rows) == [[Kind.NODE, "2", "3"], [Kind.IDLE, "1", "0"], ["in all", "3", "3"]]
    assert list(costs.rows)[:2] == [
        ["wall time, seconds", "10", "30", "3"],
        ["processor time of all workers, seconds", "20", "50", "2.5"],
    ]
