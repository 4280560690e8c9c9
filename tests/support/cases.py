"""Inputs that were read wrongly once: small files in folders beside that of the data sets."""

import os
from pathlib import Path

import pytest


def case(name: str) -> Path:
    """The folder of the inputs of this name; the test is skipped where they are not."""
    folder = Path(os.environ.get("BASIN_DATA") or "none").parent / "cases"
    found = [path for path in (folder / name, *folder.glob(f"*-{name}")) if path.is_dir()]
    if not found:
        pytest.skip("the folder of cases is not beside that of BASIN_DATA")
    return found[0]
