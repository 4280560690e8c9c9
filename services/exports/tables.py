"""A sweep's rows of all tables, as files that any program reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import polars as pl

from services.errors import ServiceError
from services.files import written_aside
from services.rendering.rows import for_csv
from services.store.queries import CONTEXT
from services.store.schemas import SCHEMAS
from services.store.store import Store
from services.store.tables import UNREADABLE

Format = Literal["csv", "parquet"]


def export_tables(store: Store, sweep: str, folder: Path, form: Format) -> Iterator[Path]:
    """Write a file for each table, such as `metrics.csv`, with the rows of the sweep's runs; yields each once written.

    Tables of runs have the columns of `services.store.queries.CONTEXT` as well. `runs` has a row for each run, its last
    attempt, and the settings that the sweep varied as JSON. CSV is as `services.rendering.rows.for_csv` has it.

    Args:
        store: where the runs are.
        sweep: its name.
        form: of the files.
        folder: it is made where it is missing; files of these names are replaced.

    Raises:
        ServiceError: there is no such sweep, or the folder cannot be written to.
    """
    frames = _frames(store, sweep)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ServiceError(f"cannot make the folder {folder}: {error.strerror or error}; name another one") from error
    for table, frame in frames.items():
        path = folder / f"{table}.{form}"
        try:
            with written_aside(path) as aside:
                store.storage.patiently(lambda frame=frame, aside=aside: _write(frame, aside, form))
        except UNREADABLE as error:
            raise ServiceError(f"cannot write table {table!r} to {path}: {error}") from error
        yield path


def _frames(store: Store, sweep: str) -> dict[str, pl.LazyFrame]:
    _, members = store.sweep(sweep)
    asked = members.lazy().select("run_key", "varied").unique("run_key")
    runs = store.runs().join(asked, on="run_key").sort("dataset", "learner", "varied", "split", "seed")
    context = runs.select("run_key", *CONTEXT)
    of_runs = {
        table: store.scan(table).join(context, on="run_key", maintain_order="left")
        for table in SCHEMAS
        if table not in ("runs", "comparisons")
    }
    return {"runs": runs} | of_runs | {"comparisons": store.scan("comparisons").filter(pl.col("sweep") == sweep)}


def _write(frame: pl.LazyFrame, path: Path, form: Format) -> None:
    """Row by row, so that the longest table takes no more memory than the others."""
    if form == "parquet":
        frame.sink_parquet(path)
        return
    for_csv(frame).sink_csv(path)
