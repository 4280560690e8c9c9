"""A server's answers."""

import io
import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import polars as pl
from pydantic import ValidationError

from models.spec import Settings
from services.client.backend import Asked, RunFacts, Stands, Submitted, SweepFacts, Timing
from services.client.connection import ATTEMPTS, Connection, delay
from services.client.errors import BasinError
from services.document import Document
from services.geometry.document import GeometryDocument
from services.schemas import SCHEMAS
from services.standing import Standing

if TYPE_CHECKING:
    import altair as alt

    from services.sweeps import Sweep

ARROW = "application/vnd.apache.arrow.stream"
PAGE = 10_000
SUMMARY = 500  # sweeps of a page

Read = TypeVar("Read", bound=Settings)


class Remote:
    """See `services.client.backend.Backend`."""

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        """Speak to the server at `url`.

        Raises:
            BasinError: that is no URL of a server, or no token.
        """
        self._connection = Connection(url, token, timeout)
        self.where = self._connection.url

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    # --- tables ------------------------------------------------------------------------------------------------------

    def rows(self, asked: Asked) -> pl.DataFrame:
        """The rows that are asked for."""
        return pl.concat(self._pages(asked))

    def scan(self, asked: Asked) -> pl.LazyFrame:
        """The same, fetched when it is collected: the columns and the number of rows that the query needs."""
        from polars.io.plugins import register_io_source

        def fetch(
            columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
        ) -> Iterator[pl.DataFrame]:
            for page in self._pages(replace(asked, select=tuple(columns or ()), limit=n_rows)):
                yield page if predicate is None else page.filter(predicate)

        return register_io_source(fetch, schema=dict(SCHEMAS[asked.table]))

    def _pages(self, asked: Asked) -> Iterator[pl.DataFrame]:
        """One page after the other, the first one even where it is empty."""
        params = [("where", condition) for condition in asked.where]
        params += [(name, ",".join(of)) for name, of in (("select", asked.select), ("sort", asked.sort)) if of]
        params += [] if asked.sweep is None else [("sweep", asked.sweep)]
        left, cursor = asked.limit, None
        while True:
            size = PAGE if left is None else min(PAGE, max(1, left))
            place = [] if cursor is None else [("cursor", cursor)]
            answer = self._connection.get(
                f"/tables/{asked.table}", [*params, ("limit", str(size)), *place], accept=ARROW
            )
            page = pl.read_ipc_stream(io.BytesIO(answer.content))
            yield page if left is None else page.head(left)
            left = None if left is None else left - len(page)
            cursor = answer.headers.get("Basin-Next-Cursor")
            if not cursor or (left is not None and left <= 0):
                return
