"""One run: what its bundle says, and the parts of the bundle, whole or by range."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from models.spec.settings import Settings
from services.api.access import requires
from services.api.context import Context, Here
from services.api.errors import COMMON, ApiError, documented
from services.api.formats import (
    IMMUTABLE,
    KNOWN_HEADERS,
    NOT_MODIFIED,
    REVALIDATE,
    Known,
    column_schema,
    is_known,
    json_answer,
)
from services.api.parameters import only_known
from services.errors import NotStoredError
from services.provenance import reproducing
from services.store import bundles, tables
from services.store import ranges as parts
from services.store.bundles import Manifest
from services.store.ranges import Directory
from services.store.rows import run_rows
from services.store.schemas import SCHEMAS

router = APIRouter(prefix="/api/v1", tags=["runs"], dependencies=[requires("read"), Depends(only_known)])

MEDIA_TYPES: Mapping[str, str] = {
    bundles.MANIFEST: "application/json",
    bundles.PARAMETERS: "application/zip",
    bundles.PREDICTIONS: "application/zip",
    bundles.POSTERIOR: "application/x-netcdf",
    bundles.ROWS: "application/vnd.apache.arrow.stream",
}
ABOUT: Mapping[str, str] = {
    bundles.MANIFEST: "settings, provenance, timings and outcome",
    bundles.PARAMETERS: "point estimates, as NPZ",
    bundles.PREDICTIONS: "arrays of the test part, as NPZ",
    bundles.POSTERIOR: "the posterior, an ArviZ DataTree as netCDF",
    bundles.ROWS: "the run's rows for the tables",
}
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")

RunKey = Annotated[
    str,
    Path(
        pattern="^[0-9a-f]{32}$",
        description="As in the column `run_key`.",
        examples=["0123456789abcdef0123456789abcdef"],
    ),
]


class PartFacts(Settings):
    """A part of a run's bundle."""

    name: Annotated[str, Field(examples=["posterior.nc"])]
    bytes: int
    media_type: str
    etag: str
    about: str


class RunFacts(Settings):
    """What is known about a run."""

    run_key: str
    row: Annotated[
        dict[str, Any],
        Field(
            json_schema_extra={
                "properties": {name: column_schema(dtype) for name, dtype in SCHEMAS["runs"].items()},
                "additionalProperties": False,
            }
        ),
    ]
    """Its row in `runs`."""
    manifest: dict[str, Any]
    """What its bundle says: `run.json`. Numbers that are not finite are texts there."""
    provenance: dict[str, Any]
    """Of the manifest: code, packages and hardware that made it."""
    reproduce: Annotated[
        str, Field(examples=["basin reproduce 0123456789abcdef0123456789abcdef --store s3://lab/basin"])
    ]
    """The command that fits the run again, and says whether it is the same."""
    parts: tuple[PartFacts, ...]


class Parts(Settings):
    """The parts of a run's bundle."""

    run_key: str
    parts: tuple[PartFacts, ...]


@router.get(
    "/runs/{run_key}",
    operation_id="get_run",
    summary="One run",
    response_model=RunFacts,
    responses={200: {"headers": KNOWN_HEADERS}, 304: NOT_MODIFIED, **documented(*COMMON, "not_found")},
)
def get_run(context: Here, run_key: RunKey, known: Known = None) -> Response:
    """A run's row, its manifest with its provenance, the command that reproduces it, and the parts of its bundle."""
    where = find(context, run_key)
    text = b"".join(parts.chunks(context.store.storage, where, bundles.MANIFEST, 0, where.parts[bundles.MANIFEST].size))
    manifest = json.loads(text)
    (row,) = json.loads(run_rows([Manifest.model_validate_json(text)]).write_json())
    return json_answer(
        {
            "run_key": run_key,
            "row": row,
            "manifest": manifest,
            "provenance": manifest["provenance"],
            "reproduce": reproducing(run_key, context.told_location),
            "parts": [each.model_dump() for each in _facts(where)],
        }
    ).response(known)


@router.get(
    "/runs/{run_key}/parts",
    operation_id="list_parts",
    summary="The parts of a run's bundle",
    responses=documented(*COMMON, "not_found"),
)
def list_parts(context: Here, run_key: RunKey) -> Parts:
    """Names, sizes and types of the parts of a run's bundle."""
    return Parts(run_key=run_key, parts=_facts(find(context, run_key)))


_CONTENT = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES.values()}
_WHOLE = _CONTENT | {MEDIA_TYPES[bundles.MANIFEST]: {"schema": {"type": "object"}}}
_ACCEPT_RANGES = {"Accept-Ranges": {"schema": {"type": "string"}, "description": "`bytes`"}}


@router.get(
    "/runs/{run_key}/parts/{part}",
    operation_id="read_part",
    summary="A part of a run's bundle",
    response_class=Response,
    responses={
        200: {"description": "All of it.", "content": _WHOLE, "headers": KNOWN_HEADERS | _ACCEPT_RANGES},
        206: {
            "description": "The range that was asked for.",
            "content": _CONTENT,
            "headers": KNOWN_HEADERS | {"Content-Range": {"schema": {"type": "string"}, "description": "Which it is."}},
        },
        304: NOT_MODIFIED,
        **documented(*COMMON, "not_found", "range_not_satisfiable"),
    },
)
def read_part(
    context: Here,
    run_key: RunKey,
    part: Annotated[str, Path(pattern=r"^[a-z]{1,32}\.[a-z]{1,8}$", examples=["posterior.nc"])],
    wanted: Annotated[
        str | None, Header(alias="Range", description="One range, as `bytes=0-1023`; of several all is sent.")
    ] = None,
    only_of: Annotated[
        str | None, Header(alias="If-Range", description="The tag that the range is of; of another all is sent.")
    ] = None,
    known: Known = None,
) -> Response:
    """The bytes of a part, all of them or a range; they never change, but where a failed run is fitted again."""
    where = find(context, run_key)
    if part not in where.parts:
        raise ApiError("not_found", f"run {run_key} has no part {part!r}: it has {', '.join(where.parts)}")
    size, etag = where.parts[part].size, _etag(where, part)
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": IMMUTABLE if where.name == run_key else REVALIDATE,
        "Content-Disposition": f'attachment; filename="{run_key}-{part}"',
    }
    if is_known(etag, known):
        return Response(status_code=304, headers=headers)
    found = _range(wanted, size) if only_of in (None, etag) else None
    start, end = found or (0, size)
    headers["Content-Length"] = str(end - start)
    if found:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    chunks = parts.chunks(context.store.storage, where, part, start, end)
    return StreamingResponse(
        chunks, 206 if found else 200, headers, media_type=MEDIA_TYPES.get(part, "application/octet-stream")
    )


def find(context: Context, run_key: str) -> Directory:
    """The bundle of a run's last attempt.

    Raises:
        NotStoredError: there is no such run.
        StoreError: the store cannot be read, or the bundle is damaged.
    """
    try:
        return _directory(context, run_key)
    except FileNotFoundError:
        rows = context.store.runs().filter(run_key=run_key).select("bundle")
        found = tables.evaluate(context.store.storage, "runs", rows)["bundle"].to_list()
    try:
        return _directory(context, found[0])
    except (IndexError, FileNotFoundError):
        remedy = "GET /api/v1/runs lists those that are stored"
        raise NotStoredError(f"no run {run_key}", context.store.location, remedy) from None


def _directory(context: Context, name: str) -> Directory:
    return context.directories.get(name, lambda: parts.directory(context.store.storage, bundles.FOLDER, name))


def _facts(where: Directory) -> tuple[PartFacts, ...]:
    return tuple(
        PartFacts(
            name=name,
            bytes=part.size,
            media_type=MEDIA_TYPES.get(name, "application/octet-stream"),
            etag=_etag(where, name),
            about=ABOUT.get(name, ""),
        )
        for name, part in where.parts.items()
    )


def _etag(where: Directory, part: str) -> str:
    return f'"{where.seal[:32]}-{part}"'


def _range(text: str | None, size: int) -> tuple[int, int] | None:
    """Start and end of the range that a header asks for; None for all (RFC 9110, section 14.2).

    Raises:
        ApiError: it lies outside.
    """
    asked = _RANGE.fullmatch((text or "").strip())
    if asked is None:  # what is not understood, and several ranges, may be answered by all
        return None
    first, last, suffix = asked.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    if start >= end:
        headers = {"Content-Range": f"bytes */{size}"}
        raise ApiError("range_not_satisfiable", f"the part has {size} bytes: ask for a range within it", headers)
    return start, end
