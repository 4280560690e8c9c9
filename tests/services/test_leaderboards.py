"""Comparisons of what a store has of a sweep, against summaries of the same runs."""

import dataclasses
from pathlib import Path

import pytest

from models.result import RunRequest
from services.errors import StoreError
from services.leaderboards import leaderboards
from services.summary import collect, summarise
from tests.services.stored import ended, net, request, result
from tests.services.sweeps import Member, put_sweep

A, B = net("a"), net("b")


def grid(learner, level: float, splits: int = 3, **fields) -> list[Member]:
    asked = [request(learner, split) for split in range(splits)]
    return [Member(each, result(each, level), **fields) for each in asked]


def on(member: Member, fingerprint: str) -> Member:
    """The same run on another dataset."""
    moved = RunRequest(member.request.learner, member.request.partition, member.request.seed, fingerprint)
    assert member.result is not None
    return member._replace(request=moved, result=dataclasses.replace(member.result, run_key=moved.run_key))


def test_learners_come_best_first_with_the_numbers_of_their_runs(tmp_path: Path) -> None:
    members = [*grid(A, -0.9), *grid(B, -0.5)]
    store = put_sweep(tmp_path, "s", members)
    (board,) = leaderboards(store, "s")
    expected = summarise(collect(store, [m.request.run_key for m in members]), ["a", "b"], "classes")
    assert (board.dataset, board.task, board.splits, board.seeds) == ("made-up", "classes", 3, 1)
    assert board.summary.learners == expected.learners[::-1]
    assert board.summary.comparisons == expected.comparisons
    assert board.summary.verdict == expected.verdict


def test_each_choice_of_the_varied_settings_is_a_learner(tmp_path: Path) -> None:
    low, high = net("a", learning_rate=0.1), net("a", learning_rate=1.0)
    members = [
        *grid(low, -0.9, varied={"inference.learning_rate": 0.1}),
        *grid(high, -0.5, varied={"inference.learning_rate": 1.0}),
        *grid(B, -0.7),
    ]
    (board,) = leaderboards(put_sweep(tmp_path, "s", members), "s")
    names = [each.name for each in board.summary.learners]
    assert names == ["a, learning_rate 1.0", "b", "a, learning_rate 0.1"]
    assert {(c.a, c.b) for c in board.summary.comparisons if c.metric == "log_score"} == {
        ("a, learning_rate 0.1", "a, learning_rate 1.0"),
        ("a, learning_rate 0.1", "b"),
        ("a, learning_rate 1.0", "b"),
    }


def test_datasets_stand_apart_in_the_order_of_the_sweep(tmp_path: Path) -> None:
    second = [on(member._replace(dataset="second"), "e" * 32) for member in grid(A, -0.4)]
    boards = leaderboards(put_sweep(tmp_path, "s", [*second, *grid(A, -0.9)]), "s")
    assert [board.dataset for board in boards] == ["second", "made-up"]
    scores = [board.summary.learners[0].parts.test.log_score.value for board in boards]
    assert scores[0] > scores[1] + 0.3


def test_what_is_not_stored_is_left_out_and_what_failed_has_no_score(tmp_path: Path) -> None:
    missing = [Member(request(net("missing"), 0), None)]
    failed = [Member(asked := request(net("broken"), 0), ended(asked, "failed", "no memory"))]
    (board,) = leaderboards(put_sweep(tmp_path, "s", [*missing, *failed, *grid(A, -0.9)]), "s")
    assert [each.name for each in board.summary.learners] == ["a", "broken"]
    assert board.summary.learners[1].parts.test.log_score.value is None
    assert board.summary.learners[1].warnings == ("failed: no memory",)


def test_a_sweep_without_stored_runs_says_what_to_do(tmp_path: Path) -> None:
    store = put_sweep(tmp_path, "s", [Member(request(A), None)])
    with pytest.raises(StoreError, match=r"no run of sweep 's' is stored in .*`basin sweep resume s` fits them"):
        leaderboards(store, "s")
    with pytest.raises(StoreError, match="no sweep 't'"):
        leaderboards(store, "t")
