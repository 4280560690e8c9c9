"""Measuring on Ray: the same bits as in one process, whatever is killed, and nothing twice."""

import shutil
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from services.store.store import Store
from tests.acceptance.conftest import Basin, Undisturbed

pytestmark = pytest.mark.slow

MEASURES = ("--measures", "l2_norm,ggn_trace,sharpness_sam,hessian_spectral_density:steps=5", "--draws", "4", "--paths")
OF_THE_COMMAND = ("stored_at", "wall_seconds", "compile_seconds", "device_seconds", "git_commit", "git_dirty")


def later(store: Path, name: str) -> pl.DataFrame:
    """What was measured after the fits, in one order."""
    frame = Store(store).scan(name).drop(OF_THE_COMMAND, strict=False)
    frame = frame.filter(pl.col("measurement") != pl.col("run_key")).collect()
    return frame.sort([column for column, dtype in frame.schema.items() if dtype != pl.List])


def assert_same(one: Path, other: Path) -> None:
    for name in ("geometry", "profiles", "connections"):
        a, b = (later(store, name).drop("measurement") for store in (one, other))
        assert len(a)
        assert_frame_equal(a, b, check_exact=True)


def test_measures_are_the_same_on_ray_in_process_and_after_a_kill(
    basin: Basin, undisturbed: Undisturbed, tmp_path: Path
):
    original = undisturbed.comparison.store
    (sweep,) = Store(original).sweeps()
    stores = {name: copied(original, tmp_path / name) for name in ("ray", "here", "killed")}

    for name, workers in (("ray", "2"), ("here", "0")):
        ended = basin.run("measure", sweep, *MEASURES, "--workers", workers, "--store", str(stores[name]))
        assert ended.status == 0, ended.stderr
    assert_same(stores["ray"], stores["here"])

    words = ("measure", sweep, *MEASURES, "--workers", "0", "--store", str(stores["killed"]))
    command = basin.start(*words)
    command.wait_until(lambda: any(not p.name.startswith(".") for p in (stores["killed"] / "measurements").glob("*")))
    command.kill()
    before = {path.name for path in (stores["killed"] / "measurements").iterdir() if not path.name.startswith(".")}
    ended = basin.run(*words)
    assert ended.status == 0, ended.stderr
    assert_same(stores["killed"], stores["here"])
    assert before <= {path.name for path in (stores["killed"] / "measurements").iterdir()}
    assert "Traceback" not in ended.stderr


def copied(store: Path, to: Path) -> Path:
    return Path(shutil.copytree(store, to))
