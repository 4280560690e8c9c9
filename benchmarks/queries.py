"""Questions to a store with a million runs, and to SQLite with the same rows.

The rows are written through the store's own committer in a hundred large commits, after which it compacts them; then
small commits follow, until just before the next compaction. Every question goes through what commands and pages use,
and opens the table's log anew, as SQLite opens its file.
"""

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from deltalake import DeltaTable
from polars.testing import assert_frame_equal

from benchmarks import runs_table
from benchmarks.table import Table, figure
from services.store.commits import COMPACT_EVERY, Committer
from services.store.queries import rows
from services.store.store import Store
from services.store.tables import FITTED
from services.store.writer import BATCH, writing

SMALL_COMMITS = COMPACT_EVERY - 10
PEER_REPEATS = 5
SELECTED = ("run_key", "split", "seed", "learning_rate", "wall_seconds")
FILTER = {"sweep": "sweep-3", "dataset": "wine", "learner": "mlp-adam"}


class Question(NamedTuple):
    """What is asked, of Basin and in SQL; `wanted` is the most milliseconds that the median should take."""

    words: str
    ask: Callable[[Store], pl.DataFrame]
    sql: str
    wanted: float | None = None


def _filtered(store: Store, *conditions: str) -> pl.DataFrame:
    where = [*(f"{column}={value}" for column, value in FILTER.items()), *conditions]
    return rows(store, "runs", where, SELECTED, sort=["-wall_seconds", "run_key"], limit=100)


def _grouped(store: Store) -> pl.DataFrame:
    figures = (pl.col("wall_seconds").mean(), pl.len().cast(pl.Int64).alias("runs"))
    return store.runs().group_by("learner", "dataset").agg(*figures).sort("learner", "dataset").collect()


def _sql(condition: str) -> str:
    where = " AND ".join(f"{column} = '{value}'" for column, value in FILTER.items())
    return (
        f"SELECT {', '.join(SELECTED)} FROM runs WHERE {where} AND {condition} "
        "ORDER BY wall_seconds DESC, run_key LIMIT 100"
    )


_LAST = (
    f"(status IN {FITTED} OR NOT EXISTS (SELECT 1 FROM runs AS other WHERE other.run_key = runs.run_key "
    f"AND (other.status IN {FITTED} OR other.attempt > runs.attempt)))"
)

QUESTIONS = (
    Question(
        "finished runs of one sweep, dataset and learner: five columns of the longest 100",
        lambda store: _filtered(store, "status=finished"),
        _sql("status = 'finished'"),
        30.0,
    ),
    Question("the same, failed and diverged ones among them", _filtered, _sql(_LAST)),
    Question(
        "mean wall time and number of all runs by learner and dataset",
        _grouped,
        f"SELECT learner, dataset, AVG(wall_seconds) AS wall_seconds, COUNT(*) AS runs FROM runs WHERE {_LAST} "
        "GROUP BY learner, dataset ORDER BY learner, dataset",
        150.0,
    ),
)


def measure(runs: int = 1_000_000, repeats: int = 30) -> dict[str, Any]:
    """Milliseconds of each question, by the clock and of the processor, and the sizes of both stores."""
    n_small = SMALL_COMMITS * BATCH
    rows = runs_table.make(runs + n_small)
    large, small = rows[:-n_small], rows[-n_small:]
    with tempfile.TemporaryDirectory() as folder:
        path, database = Path(folder) / "store", Path(folder) / "runs.sqlite"
        with writing(path) as writer:
            committer = Committer(writer.storage)
        store = Store(path)
        start = time.perf_counter()
        runs_table.append(committer, {"runs": large}, COMPACT_EVERY)
        seconds = time.perf_counter() - start
        _fill(database, large)
        compacted = [_beside_sqlite(question, store, database, repeats) for question in QUESTIONS]
        sizes = {"files": len(_files(path)), "bytes": sum(file.stat().st_size for file in _files(path))}
        sizes |= {"sqlite_bytes": database.stat().st_size}
        runs_table.append(committer, {"runs": small}, SMALL_COMMITS)
        before = [_times([lambda q=question: q.ask(store)], repeats)[0] for question in QUESTIONS]
        sizes |= {"files_before_compaction": len(_files(path))}
    questions = [
        {"words": q.words, "wanted": q.wanted} | both | {"before_compaction": times}
        for q, both, times in zip(QUESTIONS, compacted, before, strict=True)
    ]
    facts = {"runs": large["run_key"].n_unique(), "rows": len(large), "repeats": repeats, "seconds_to_write": seconds}
    return facts | sizes | {"sqlite": sqlite3.sqlite_version, "questions": questions}


def tables(found: dict[str, Any]) -> list[Table]:
    """Each question with its times, then what was asked."""
    header = ["question", "wanted p50 ms", "p50 ms", "p95 ms", "processor ms", "p50 ms before compaction"]
    header += ["SQLite p50 ms", "Basin is faster by"]
    rows = []
    for question in found["questions"]:
        sqlite = question["sqlite"]["p50"]
        times = [question["wanted"], *question["basin"].values(), question["before_compaction"]["p50"], sqlite]
        rows.append([question["words"], *map(figure, times), figure(sqlite / question["beside_sqlite"]["p50"])])
    facts = [
        ["rows, with all attempts", f"{found['rows']:,}"],
        ["files after compaction", f"{found['files']}"],
        ["files before the next one", f"{found['files_before_compaction']}"],
        ["MB of files", figure(found["bytes"] / 1e6)],
        [f"MB of SQLite {found['sqlite']}, with two indices", figure(found["sqlite_bytes"] / 1e6)],
        ["seconds to write and compact", figure(found["seconds_to_write"])],
    ]
    title = f"Questions to {found['runs']:,} runs, {found['repeats']} times each; {PEER_REPEATS} times beside SQLite"
    return [Table(title, header, rows), Table("The table that was asked", ["what", "how much"], facts)]


def _files(path: Path) -> list[Path]:
    """Those that the table consists of now; older ones are kept for a while."""
    return [Path(file) for file in DeltaTable(path / "tables" / "runs").file_uris()]


def _fill(database: Path, rows: pl.DataFrame) -> None:
    """The same rows in SQLite, indexed for the questions."""
    rows = rows.with_columns(
        pl.col("stored_at").dt.epoch("us"), pl.col("warnings").list.join("; "), pl.col("git_dirty").cast(pl.Int64)
    )
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"CREATE TABLE runs ({', '.join(rows.columns)})")
        connection.executemany(f"INSERT INTO runs VALUES ({', '.join('?' * rows.width)})", rows.iter_rows())
        connection.execute("CREATE INDEX by_key ON runs (run_key)")
        connection.execute("CREATE INDEX by_name ON runs (sweep, dataset, learner, status)")
        connection.execute("ANALYZE")
        connection.commit()


def _beside_sqlite(question: Question, store: Store, database: Path, repeats: int) -> dict[str, Any]:
    def ask_sqlite() -> list[tuple]:
        with closing(sqlite3.connect(database)) as connection:
            return connection.execute(question.sql).fetchall()

    answer = question.ask(store)
    assert_frame_equal(pl.DataFrame(ask_sqlite(), answer.schema, orient="row"), answer)
    (alone,) = _times([lambda: question.ask(store)], repeats)
    beside, sqlite = _times([lambda: question.ask(store), ask_sqlite], PEER_REPEATS)
    return {"basin": alone, "beside_sqlite": beside, "sqlite": sqlite}


def _times(asks: list[Callable[[], object]], repeats: int) -> list[dict[str, float]]:
    """Milliseconds of each: median and 95th percentile by the clock, median of the processor. They take turns."""
    found: list[list[tuple[float, float]]] = [[] for _ in asks]
    for _ in range(repeats):
        for ask, times in zip(asks, found, strict=True):
            wall, processor = time.perf_counter(), time.process_time()
            ask()
            times.append((1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor)))
    return [_summary(times) for times in found]


def _summary(times: list[tuple[float, float]]) -> dict[str, float]:
    wall, processor = zip(*times, strict=True)
    return {
        "p50": statistics.median(wall),
        "p95": statistics.quantiles(wall, n=20)[-1],
        "processor": statistics.median(processor),
    }
