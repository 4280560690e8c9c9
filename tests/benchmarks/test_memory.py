"""The account of memory, and the peak of a process."""

import sys

import numpy as np
import pytest

from benchmarks import memory
from benchmarks.memory import FLOAT, Program, account, n_parameters, slope, tables


def test_the_account_has_results_and_scratch_space_but_no_inputs():
    rows, width = 50, 6
    p = n_parameters(width)
    assert memory.point(width, rows, "relu").theta.size == p
    assert account(Program(lambda point: 2.0 * point.theta), width, rows) == FLOAT * p
    outer = account(Program(lambda point: point.theta[:, None] * point.landscape.x[:, 0]), width, rows)
    assert outer == FLOAT * p * rows


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from Linux's /proc")
def test_a_processs_peak_is_its_own():
    ballast = np.ones(2**28)  # 2 GiB here must not show there
    assert 2**26 < memory.peak("path_norm", 6, 50) < ballast.nbytes


def test_tables_tell_what_a_parameter_and_a_row_bring():
    plan = memory.Plan(widths=(4, 8, 16), rows=(10, 20, 40))
    p = [n_parameters(width) for width in plan.widths]
    row = {
        "name": "three vectors and two numbers a row",
        "by_parameters": [FLOAT * (3 * q + 2 * plan.rows[1]) for q in p],
        "by_rows": [FLOAT * (3 * p[1] + 2 * n) for n in plan.rows],
        "peak": [10**6 + FLOAT * 5 * q for q in (p[0], p[2])],
    }
    (table,) = tables([row], plan)
    assert [line[-3:] for line in table.rows] == [
        ["12", "20", "8"],
        ["4", "4", "0"],
        ["80", "80", memory.figure(FLOAT * p[1])],
    ]
    assert slope([1, 3], [10, 14]) == 2.0
