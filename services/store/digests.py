"""What rows hold, as one number for each owner of some: equal rows give equal numbers, in whatever order they are.

Equal to the bit: -0.0 is not 0.0, nor is one NaN another. The numbers are compared within one process, and never kept.
"""

import polars as pl

from services.store.schemas import OWNERS, SCHEMAS

DIGESTS = pl.Schema({"table": pl.String, "owner": pl.String, "n": pl.UInt32, "digest": pl.UInt64})


def digests(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Owners of rows of a table: how many each has, and the sum of their hashes modulo 2**64; columns as in `DIGESTS`.

    Sums of several frames' digests are the digests of all of their rows.
    """
    exact = rows.select(_bits(name, dtype) for name, dtype in SCHEMAS[table].items())
    hashed = rows.select(pl.col(OWNERS[table]).alias("owner"), exact.hash_rows().alias("digest"))
    return added(hashed.select(pl.lit(table).alias("table"), "owner", pl.lit(1, pl.UInt32).alias("n"), "digest"))


def added(found: pl.DataFrame) -> pl.DataFrame:
    """Digests with one row for each table and owner."""
    return found.group_by("table", "owner").agg(pl.col("n").sum(), pl.col("digest").sum()).cast(DIGESTS)


def _bits(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name).cast(dtype)
    if dtype == pl.Float64:
        return column.reinterpret(dtype=pl.UInt64)
    if dtype == pl.List(pl.Float64):
        return column.list.eval(pl.element().reinterpret(dtype=pl.UInt64))
    return column
