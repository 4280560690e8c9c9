import io

import numpy as np
from rich.console import Console

from cluster.work import Lost
from models.runs.events import Checkpoint, Progress, Result, begun
from services.commands.progress import ProgressView

RUNS = {"k0": "bnn-nuts, split 0, seed 0", "k1": "svm, split 0, seed 0", "k2": "svm, split 1, seed 0"}


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def lines_of(events, runs=RUNS) -> list[str]:
    """What a pipe would receive, for (time, event) pairs."""
    out, clock = io.StringIO(), Clock()
    with ProgressView(runs, Console(file=out, width=80), clock) as view:
        for clock.now, event in events:
            view.consume(event)
    return out.getvalue().splitlines()


def draws(done: int, divergences: float = 0.0, key: str = "k0", phase: str = "draws") -> Progress:
    return Progress(key, phase, done, 400, {"divergences": divergences})


def test_without_a_terminal_a_line_comes_at_most_every_five_seconds():
    lines = lines_of([(0.1 * i, draws(i)) for i in range(1, 200)])  # 19.9 seconds
    assert len(lines) == 5  # at 0.1, 5.1, 10.1, 15.1 seconds and the end
    assert lines[0] == "runs 0/3; bnn-nuts, split 0, seed 0: 1/400 draws"


def test_a_run_that_has_just_begun_is_starting():
    assert lines_of([(0.0, begun("k0"))])[0] == "runs 0/3; bnn-nuts, split 0, seed 0: starting"


def test_lines_say_runs_done_divergences_and_time_left():
    events = [(0.0, draws(100)), (10.0, draws(200, 3.0)), (20.0, Result("k0", None)), (40.0, Result("k1", None))]
    lines = lines_of(events)
    assert lines[1].startswith("runs 0/3, 3 divergences; about ")
    assert "200/400 draws, 3 divergences" in lines[1]
    assert lines[2].startswith("runs 1/3, 3 divergences; about ")
    assert lines[-1].startswith("runs 2/3, 3 divergences; about ")


def test_time_left_follows_from_the_pace_so_far():
    runs = {f"k{i}": f"svm, split {i}" for i in range(10)}
    events = [(10.0 * (i + 1), Result(f"k{i}", None)) for i in range(5)]
    assert lines_of(events, runs)[-1] == "runs 5/10; about 50 s left"


def test_a_phase_that_follows_another_starts_anew():
    lines = lines_of([(0.0, draws(400, phase="epochs")), (6.0, draws(10))])
    assert lines[1].endswith("10/400 draws")


def test_checkpoints_strangers_and_late_events_change_nothing():
    events = [
        (0.0, Checkpoint("k0", {"theta": np.zeros(2)})),
        (6.0, Progress("stranger", "epochs", 1, 2, {})),
        (12.0, Result("k0", None)),
        (18.0, Result("k0", None)),
        (24.0, draws(1)),
    ]
    assert all("stranger" not in line and "draws" not in line for line in lines_of(events))
    assert lines_of(events)[-1].startswith("runs 1/3")


def test_a_run_that_was_given_up_is_said_at_once_and_counts_as_done():
    lines = lines_of([(0.0, draws(10)), (1.0, Lost("k0", "its worker was killed", 3))])
    assert lines[1] == "bnn-nuts, split 0, seed 0: given up after 3 attempts: its worker was killed"
    assert lines[-1].startswith("runs 1/3")


def test_nothing_to_do_says_nothing():
    assert lines_of([], {}) == []


def test_a_terminal_shows_every_phase_that_a_run_goes_through():
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True, color_system=None)
    with ProgressView(RUNS, console) as view:
        for event in (begun("k0"), draws(100, phase="warm-up"), draws(7)):
            view.consume(event)
            view._bars.refresh()  # as it does by itself, ten times a second
    shown = out.getvalue()
    assert shown.index("starting") < shown.index("100/400 warm-up") < shown.index("7/400 draws")


def test_a_terminal_shows_bars_for_all_runs_and_each_running_one():
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, width=120, force_terminal=True, color_system=None)
    runs = {f"k{i}": f"mlp-sgd, split {i}, seed 0" for i in range(12)}
    with ProgressView(runs, console, clock) as view:
        for key in runs:
            view.consume(draws(100, 2.0, key))
        view._bars.refresh()
        screen = out.getvalue()
        assert "0/12 done, 24 divergences, 4 more running" in screen
        assert "mlp-sgd, split 7, seed 0" in screen
        assert "mlp-sgd, split 8, seed 0" not in screen
        view.consume(Result("k0", None))
        view._bars.refresh()
        assert "mlp-sgd, split 8, seed 0" in out.getvalue()
