"""What an answer looks like: the format that was asked for, its content tag, and whether it is known already."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import polars as pl
from fastapi import Header
from starlette.responses import Response

from services.api.errors import ApiError
from services.store.queries import Page

Format = Literal["json", "arrow", "parquet"]

MEDIA_TYPES: Mapping[Format, str] = {
    "json": "application/json",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
CURSOR_HEADER = "Basin-Next-Cursor"
Known = Annotated[str | None, Header(alias="If-None-Match", description="Tags of content that you have already.")]
KNOWN_HEADERS = {"ETag": {"schema": {"type": "string"}, "description": "Of this content: see `If-None-Match`."}}
NOT_MODIFIED = {"description": "`If-None-Match` names this content.", "headers": KNOWN_HEADERS}
REVALIDATE = "private, no-cache"  # keep it, and ask each time whether it is still true
IMMUTABLE = "private, max-age=31536000, immutable"


@dataclass(frozen=True)
class Answer:
    """The body of an answer, as it is kept."""

    body: bytes
    media_type: str
    etag: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Bytes that it takes to keep, about: an empty one takes some, too."""
        return len(self.body) + 1000

    def response(self, known: str | None, cache_control: str = REVALIDATE) -> Response:
        """To who has the content of some tags (`If-None-Match`)."""
        headers = {"ETag": self.etag, "Cache-Control": cache_control, **self.headers}
        if is_known(self.etag, known):
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.media_type)


def negotiate(accept: str | None) -> Format:
    """The format that a header `Accept` prefers (RFC 9110, section 12.5.1); JSON where it leaves the choice.

    Raises:
        ApiError: it allows none of them.
    """
    ranges = [_media_range(part) for part in (accept or "*/*").split(",")]
    best = max(MEDIA_TYPES, key=lambda form: _quality(MEDIA_TYPES[form], ranges))  # the first of equals
    if not _quality(MEDIA_TYPES[best], ranges):
        raise ApiError(
            "not_acceptable",
            f"none of what the header Accept allows can be had: ask for {', '.join(MEDIA_TYPES.values())}",
        )
    return best


def _media_range(text: str) -> tuple[str, float]:
    media_type, *parameters = (part.strip().lower() for part in text.split(";"))
    stated = [part.removeprefix("q=") for part in parameters if part.startswith("q=")]
    try:
        quality = float(stated[0]) if stated else 1.0
    except ValueError:
        quality = 0.0
    return media_type, quality if 0 <= quality <= 1 else 0.0


def _quality(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """By the most specific range that it is in."""
    for wanted in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        found = [quality for name, quality in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0


def page_answer(page: Page, form: Format) -> Answer:
    """A page of rows. In JSON, numbers that are not finite are null."""
    headers = {"Vary": "Accept"}
    if page.next_cursor is not None:
        headers[CURSOR_HEADER] = page.next_cursor
    if form == "json":
        body = b'{"rows":%b,"next_cursor":%b}' % (
            page.rows.write_json().encode(),
            json.dumps(page.next_cursor).encode(),
        )
    elif form == "arrow":
        # Without string views and compression, so that every reader of Arrow understands it.
        page.rows.write_ipc_stream(stream := io.BytesIO(), compat_level=pl.CompatLevel.oldest())
        body = stream.getvalue()
    else:
        page.rows.write_parquet(buffer := io.BytesIO())
        body = buffer.getvalue()
    return Answer(body, MEDIA_TYPES[form], tag(body, form, page.next_cursor or ""), headers)


def json_answer(value: Any) -> Answer:
    """A document."""
    body = json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    return Answer(body, MEDIA_TYPES["json"], tag(body))


def tag(*parts: str | bytes) -> str:
    """An entity tag of some content."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(len(data).to_bytes(8))
        found.update(data)
    return f'"{found.hexdigest()[:32]}"'


def is_known(etag: str, known: str | None) -> bool:
    """Whether a header `If-None-Match` names a tag (RFC 9110, section 13.1.2)."""
    tags = [each.strip().removeprefix("W/") for each in (known or "").split(",")]
    return "*" in tags or etag in tags


def column_schema(dtype: pl.DataType) -> dict[str, Any]:
    """A column's values in JSON, as JSON Schema."""
    if isinstance(dtype, pl.List):
        return {"type": ["array", "null"], "items": column_schema(dtype.inner)}  # pyright: ignore[reportArgumentType] - a type, not a class
    if dtype.is_integer():
        return {"type": ["integer", "null"]}
    if dtype.is_float():
        return {"type": ["number", "null"]}
    if dtype == pl.Boolean:
        return {"type": ["boolean", "null"]}
    if dtype.is_temporal():
        return {"type": ["string", "null"], "format": "date-time"}
    return {"type": ["string", "null"]}
