"""The tables: filtered, selected, sorted, page by page, as JSON, Arrow or Parquet."""

from collections.abc import Callable
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, Header
from fastapi import Query as Parameter
from pydantic import Field
from starlette.responses import Response

from models.spec.settings import Settings, digest
from services.api.access import requires
from services.api.context import Context, Here
from services.api.errors import COMMON, documented
from services.api.formats import (
    CURSOR_HEADER,
    KNOWN_HEADERS,
    MEDIA_TYPES,
    NOT_MODIFIED,
    Answer,
    Known,
    column_schema,
    negotiate,
    page_answer,
)
from services.api.parameters import only_known
from services.store.conditions import operators_of
from services.store.queries import (
    KEYS,
    MAX_CONDITIONS,
    MAX_LIMIT,
    Query,
    Table,
    answer,
    columns_of,
    tables_of,
)
from services.store.schemas import SCHEMAS
from services.sweeps.definition import NAME

router = APIRouter(prefix="/api/v1", tags=["tables"], dependencies=[requires("read"), Depends(only_known)])

_EXAMPLES = {
    "run_key": "0123456789abcdef0123456789abcdef",
    "part": "test",
    "metric": "log_score",
    "step": 100,
    "draw": -1,
    "measure": "hessian_trace",
    "component": "",
}
ABOUT = {
    "runs": "One row for each run: its last attempt.",
    "metrics": "Scores of runs on each part of their split.",
    "curves": "Losses and the like by step.",
    "diagnostics": "Convergence of posteriors, quantity by quantity.",
    "geometry": "Measures at point estimates (draw -1) and posterior draws.",
    "profiles": "Curves and surfaces: slices of the loss, spectral densities.",
    "connections": "The loss along paths between two solutions.",
    "measurements": "When and by what each measurement was taken.",
    "pointwise": "Scores of single test rows.",
    "comparisons": "Pairs of learners, as `basin compare` stored them.",
}


class Asked:
    """The parameters of a question to a table."""

    def __init__(
        self,
        where: Annotated[
            list[str],
            Parameter(
                max_length=MAX_CONDITIONS,
                description="Condition `column:operator:value`; all must hold. Operators: eq ne lt le gt ge, in "
                "(values separated by commas), contains (a part of a text, an entry of a list), is_null "
                "(true or false; NaN is missing, too).",
                examples=[["learner:eq:mlp-sgd", "wall_seconds:gt:1.5"]],
            ),
        ] = [],  # noqa: B006 - FastAPI copies it
        select: Annotated[
            str | None,
            Parameter(description="Columns, separated by commas; none is all of the table's own.", max_length=4000),
        ] = None,
        sort: Annotated[
            str | None,
            Parameter(
                description="Columns, separated by commas; a minus before one sorts from the largest. Missing values "
                "come last.",
                examples=["-wall_seconds,run_key"],
                max_length=4000,
            ),
        ] = None,
        limit: Annotated[int, Parameter(ge=1, le=MAX_LIMIT, description="Rows of a page.")] = 100,
        cursor: Annotated[
            str | None,
            Parameter(description="`next_cursor` of the page before, with the same where, sort and sweep."),
        ] = None,
        sweep: Annotated[
            str | None,
            Parameter(
                description="Only rows of the runs that this sweep asks for, whichever sweep fitted them.",
                pattern=f"^{NAME}$",
            ),
        ] = None,
    ) -> None:
        self.parameters: dict[str, Any] = {
            "where": tuple(where),
            "select": _listed(select),
            "sort": _listed(sort),
            "limit": limit,
            "cursor": cursor,
            "sweep": sweep,
        }


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


Accept = Annotated[str | None, Header(include_in_schema=False)]  # OpenAPI has it in the types of answers


def read(context: Context, query: Query, accept: str | None, known: str | None) -> Response:
    """A page of the answer; one that was asked for since the tables changed last is not computed again."""
    form, store = negotiate(accept), context.store
    state = {table: store.version(table) for table in tables_of(query)}
    if query.sweep is not None:
        state["sweep"] = store.sweep_digest(query.sweep)

    def make() -> Answer:
        return page_answer(answer(store, query), form)

    key = digest({"query": query.model_dump(), "form": form, "state": state})
    return context.answers.get(key, make).response(known)


class Column(Settings):
    """A column that can be named in `where`, `select` and `sort`."""

    name: Annotated[str, Field(examples=["wall_seconds"])]
    type: Annotated[str, Field(examples=["Float64"])]
    """In the words of polars."""
    operators: tuple[str, ...]
    own: bool
    """Whether it is in the answer without being selected; the others are lent by `runs`."""


class TableFacts(Settings):
    """What a table holds."""

    name: Annotated[str, Field(examples=["runs"])]
    about: str
    columns: tuple[Column, ...]


class Tables(Settings):
    """All tables."""

    tables: tuple[TableFacts, ...]


@router.get(
    "/tables",
    operation_id="list_tables",
    summary="The tables and their columns",
    responses=documented(*COMMON),
)
def list_tables() -> Tables:
    """The tables and their columns, each with the operators that it goes with in conditions."""
    return Tables(tables=tuple(_facts(table) for table in get_args(Table)))


def _facts(table: Table) -> TableFacts:
    own = SCHEMAS[table]
    columns = (
        Column(name=name, type=str(dtype), operators=operators_of(dtype), own=name in own)
        for name, dtype in columns_of(table).items()
    )
    return TableFacts(name=table, about=ABOUT[table], columns=tuple(columns))


def _read_table(
    context: Here, table: Table, asked: Annotated[Asked, Depends()], accept: Accept = None, known: Known = None
) -> Response:
    return read(context, Query(table=table, **asked.parameters), accept, known)


def _reader_of(table: Table) -> Callable[..., Response]:
    def read_one(
        context: Here, asked: Annotated[Asked, Depends()], accept: Accept = None, known: Known = None
    ) -> Response:
        return read(context, Query(table=table, **asked.parameters), accept, known)

    return read_one


def _page_schema(tables: tuple[Table, ...]) -> dict[str, Any]:
    """A page in JSON. Columns that were not selected are absent."""
    rows = [
        {
            "type": "object",
            "title": f"Row of {table}",
            "properties": {name: column_schema(dtype) for name, dtype in columns_of(table).items()},
            "additionalProperties": False,
        }
        for table in tables
    ]
    return {
        "type": "object",
        "required": ["rows", "next_cursor"],
        "properties": {
            "rows": {"type": "array", "items": rows[0] if len(rows) == 1 else {"anyOf": rows}},
            "next_cursor": {"type": ["string", "null"], "description": "None after the last page."},
        },
    }


def _documented(*tables: Table) -> dict[int | str, dict[str, Any]]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    rows = [{name: _EXAMPLES.get(name) for name in KEYS[tables[0]]}]
    cursor = {"schema": {"type": "string"}, "description": "As `next_cursor`; absent after the last page."}
    page = {
        "description": "A page of rows.",
        "headers": KNOWN_HEADERS | {CURSOR_HEADER: cursor},
        "content": {
            MEDIA_TYPES["json"]: {
                "schema": _page_schema(tables),
                "example": {"rows": rows, "next_cursor": None},
            },
            MEDIA_TYPES["arrow"]: binary,
            MEDIA_TYPES["parquet"]: binary,
        },
    }
    return {200: page, 304: NOT_MODIFIED, **documented(*COMMON, "invalid_query", "not_found", "not_acceptable")}


def _add(path: str, endpoint: Callable[..., Response], name: str, about: str, *tables: Table) -> None:
    router.add_api_route(
        path,
        endpoint,
        operation_id=f"read_{name}",
        summary=about,
        description="Filtered, selected, sorted and page by page, as JSON, Arrow or Parquet by `Accept`. Rows that are "
        "there all the time are given exactly once while others are added. In JSON, numbers that are not finite are "
        "null.",
        response_class=Response,
        responses=_documented(*tables),
    )


_add("/tables/{table}", _read_table, "table", "Rows of a table", *get_args(Table))
for _table in get_args(Table):
    _add(f"/{_table}", _reader_of(_table), _table, ABOUT[_table], _table)
