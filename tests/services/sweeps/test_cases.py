"""Sweep files that were read as another sweep, or planned without end."""

import time
from pathlib import Path

import pytest

from models.spec.settings import SpecError
from services.sweeps.definition import read_sweep
from tests.support.cases import case


@pytest.mark.parametrize(
    ("folder", "name", "words"),
    [
        ("duplicate-keys", "dupkey", ["line 9, column 3", "'inference.batch_size' is there twice, first on line 7"]),
        ("duplicate-keys", "duptop", ["line 3, column 1", "the key 'datasets' is there twice, first on line 2"]),
        ("yaml-bool-number-text", "bools", ["bools.yaml.splits: expected a number, and this is yes"]),
        ("yaml-bool-number-text", "nameint", ["nameint.yaml.name: expected text", "put it in quotation marks"]),
        ("yaml-bool-number-text", "targetint", ["datasets.0.target: expected text", "put it in quotation marks"]),
        (
            "yaml-bool-number-text",
            "targetno",
            ["YAML reads no, off and false as an answer", "put it in quotation marks"],
        ),
        (
            "plan-without-bound",
            "grid",
            ["216,000 configurations, each on 5 splits with 20 seeds: that is 21,600,000 runs"],
        ),
        ("plan-without-bound", "big", ["100,000,000 seeds: that is 100,000,000 runs"]),
    ],
)
def test_it_is_refused_at_once_with_the_reason(
    folder: str, name: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(case(folder))
    start = time.process_time()
    with pytest.raises(SpecError) as refused:
        read_sweep(Path(f"{name}.yaml"))
    assert time.process_time() - start < 1
    assert [each for each in words if each not in str(refused.value)] == []
