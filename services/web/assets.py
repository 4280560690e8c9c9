"""Scripts and styles of the pages, each at a URL that names its content, so that browsers keep it for good."""

import gzip
import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from fastapi import Request, Response

from services.api.errors import ApiError
from services.rendering import page

STATIC = Path(__file__).parent / "static"
LIBRARY = "vega.js"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_FOR_GOOD = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """A file as it is sent, plain and compressed."""

    body: bytes
    compressed: bytes


@cache
def url(name: str) -> str:
    """Where a file is served."""
    return f"/web/static/{_tag(name)}/{name}"


def serve(name: str, tag: str, request: Request) -> Response:
    """The file of this name and content.

    Raises:
        ApiError: there is none.
    """
    if name not in _files() or tag != _tag(name):
        raise ApiError("not_found", "no such file: the pages name those that there are")
    asset, packed = _asset(name), "gzip" in request.headers.get("accept-encoding", "")
    headers = {"Cache-Control": _FOR_GOOD, "Vary": "Accept-Encoding"} | ({"Content-Encoding": "gzip"} if packed else {})
    return Response(asset.compressed if packed else asset.body, media_type=_TYPES[Path(name).suffix], headers=headers)


@cache
def _files() -> dict[str, Path | None]:
    """What there is: own files, those that reports have as well, and the library, which is made when asked for."""
    own = {path.name: path for path in STATIC.iterdir()}
    shared = {name: page.TEMPLATES / name for name in ("report.css", "charts.js")}
    return {**own, **shared, LIBRARY: None}


@cache
def _tag(name: str) -> str:
    path = _files()[name]
    # Making the library takes seconds, and no page should wait for that: its version says what it is.
    content = path.read_bytes() if path else f"vl-convert {metadata.version('vl-convert-python')}".encode()
    return hashlib.sha256(content).hexdigest()[:16]


@cache
def _asset(name: str) -> Asset:
    path = _files()[name]
    body = path.read_bytes() if path else page.library().encode()
    return Asset(body, gzip.compress(body, mtime=0))
