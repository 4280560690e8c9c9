"""Peers in interpreters of their own."""

import sys

import pytest

from benchmarks.peer import PeerError, run_peer


def test_without_an_interpreter_nothing_is_measured(monkeypatch):
    monkeypatch.delenv("BASIN_TORCH_PYTHON", raising=False)
    assert run_peer("BASIN_TORCH_PYTHON", "torch_training.py", "data.npz") is None


def test_a_peer_that_fails_is_named_with_what_it_said(monkeypatch):
    monkeypatch.setenv("BASIN_TUNE_PYTHON", sys.executable)
    with pytest.raises(PeerError, match=r"(?s)tune_overhead\.py in .*BASIN_TUNE_PYTHON.*Error"):
        run_peer("BASIN_TUNE_PYTHON", "tune_overhead.py")  # without its arguments, and here without ray[tune] too
