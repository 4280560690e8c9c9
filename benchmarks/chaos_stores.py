"""Whether two stores hold the same results, bit for bit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs

from services.integrity import check
from services.store.bundles import Bundle
from services.store.schemas import SCHEMAS
from services.store.store import Store

# Columns that tell of the work instead of the result. All others are compared, `attempt`, `bundle` and `error` among
# them: no run may fail because of what is killed.
EXEMPT: Mapping[str, str] = {
    "stored_at": "when the driver stored the run",
    "wall_seconds": "how long its worker took, on a machine as busy as it was",
    "compile_seconds": "how long compiling took; nothing where another worker's program was found in the cache",
    "device_seconds": "how long computing took, from the last checkpoint where the run was taken up again",
    "git_commit": "which commit was checked out when the driver started: a person may commit meanwhile",
    "git_dirty": "whether files were changed then",
}


def differences(one: Path, other: Path) -> list[str]:
    """In what the stores in two folders differ, in words; nothing where they hold the same bits."""
    a, b = Store(one), Store(other)
    found = [f"table {table}: {what}" for table in SCHEMAS for what in _of_frames(_table(a, table), _table(b, table))]
    keys = [set(store.scan("runs").select("run_key").collect().to_series()) for store in (a, b)]
    for key in sorted(keys[0] & keys[1]):
        found += [f"bundle {key}: {what}" for what in _of_bundles(a.bundle(key), b.bundle(key))]
    return found


def faults(store: Path, n_runs: int) -> list[str]:
    """What is wrong with a store in which each of `n_runs` runs should be finished, and nothing else be left."""
    opened = Store(store)
    runs = opened.scan("runs").collect()
    n_lost, n_doubled = n_runs - runs["run_key"].n_unique(), len(runs) - runs["run_key"].n_unique()
    n_bundles, left = len(bundle_files(store)), [path.name for path in (store / "checkpoints").glob("*")]
    found = {
        f"{n_lost} runs are lost": n_lost,
        f"{n_doubled} rows of runs are doubled": n_doubled,
        f"runs ended as {dict(runs['status'].value_counts().iter_rows())}": (runs["status"] != "finished").any(),
        f"attempts failed before: {runs['attempt'].sum()}": runs["attempt"].sum(),
        f"there are {n_bundles} bundles": n_bundles != n_runs,
        f"checkpoints are left: {left[:3]}": left,
    }
    by_itself = [f"{problem.kind}: {problem.name}" for problem in check(opened.storage)]
    return [what for what, is_so in found.items() if is_so] + by_itself


def bundle_files(store: Path) -> list[Path]:
    """The bundles, in order of their names; those that are being written aside are none yet."""
    return _visible(store / "bundles")


def bundle_names(store: Path) -> set[str]:
    """Names of the bundles, as the tables have them."""
    return {path.name.removesuffix(".zip") for path in bundle_files(store)}


def checkpoint_times(store: Path) -> list[float]:
    """When each of the checkpoints was saved, in seconds since the epoch."""
    times = []
    for path in _visible(store / "checkpoints"):
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:  # its run has ended just now
            continue
    return times


def uncommitted(store: Path) -> set[str]:
    """Names of the bundles whose rows are in no table yet."""
    kept = bundle_names(store)  # the tables are made before the first
    return kept and kept - set(Store(store).scan("runs").select("bundle").collect().to_series())


def n_rows(store: Path) -> int:
    """Rows of all tables."""
    return sum(Store(store).scan(table).select(pl.len()).collect().item() for table in SCHEMAS)


def _visible(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if not path.name.startswith(".") and "#" not in path.name)


def _table(store: Store, table: str) -> pl.DataFrame:
    return store.scan(table).collect()


def _of_frames(one: pl.DataFrame, other: pl.DataFrame) -> list[str]:
    if one.schema != other.schema:
        return ["the columns differ"]
    a, b = _in_bits(one), _in_bits(other)
    if len(a) != len(b):
        return [f"{len(a):,} and {len(b):,} rows"]
    return [f"column {name} differs" for name in a.columns if not a[name].equals(b[name], null_equal=True)]


def _in_bits(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows in one order, floats as the integers that have their bits, so that -0 is not 0 and NaN is itself."""
    frame = frame.drop(*EXEMPT, strict=False).with_columns(cs.float().reinterpret(dtype=pl.Int64))
    return frame.sort(cs.exclude(cs.nested()))


def _of_bundles(one: Bundle, other: Bundle) -> list[str]:
    found = [f"rows, {what}" for what in _of_frames(one.rows(), other.rows())]
    a, b = _arrays(one), _arrays(other)
    return found + [f"array {name} differs" for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]


def _arrays(bundle: Bundle) -> dict[str, Any]:
    """Type, shape and bytes of each array by its name."""
    found = {f"parameters/{name}": array for name, array in bundle.parameters().items()}
    found |= {f"predictions/{name}": array for name, array in bundle.predictions().items()}
    if (posterior := bundle.posterior()) is not None:
        for node in posterior.subtree:
            for name, values in node.to_dataset(inherit=False).variables.items():
                found[f"posterior{node.path}/{name}"] = values.to_numpy()
    return {name: _bits(np.asarray(array)) for name, array in found.items()}


def _bits(array: np.ndarray) -> tuple[str, tuple[int, ...], Any]:
    return str(array.dtype), array.shape, array.tolist() if array.dtype.hasobject else array.tobytes()
