"""What stored runs tell: comparisons and rankings, computed when they are asked for, and kept by their content."""

from collections.abc import Callable
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

from models.spec.settings import digest
from services.api.access import requires
from services.api.context import Context, Here
from services.api.errors import COMMON, documented
from services.api.formats import KNOWN_HEADERS, MEDIA_TYPES, NOT_MODIFIED, REVALIDATE, Answer, Known, is_known, tag
from services.api.parameters import only_known
from services.comparison.document import Document
from services.geometry import BARRIER_THRESHOLD
from services.geometry.document import GeometryDocument
from services.provenance import provenance
from services.sweeps.definition import NAME

router = APIRouter(prefix="/api/v1/sweeps", tags=["analyses"], dependencies=[requires("read"), Depends(only_known)])

# What takes seconds leaves the threads of quick answers alone.
_at_once = CapacityLimiter(4)

SweepName = Annotated[str, Path(pattern=f"^{NAME}$", description="Of the sweep.", examples=["flat-or-sharp"])]
_RESPONSES = {200: {"headers": KNOWN_HEADERS}, 304: NOT_MODIFIED, **documented(*COMMON, "not_found")}


@router.get(
    "/{name}/comparison",
    operation_id="compare_sweep",
    summary="A sweep's learners compared",
    response_model=list[Document],
    responses=_RESPONSES,
)
async def compare_sweep(
    context: Here,
    name: SweepName,
    dataset: Annotated[
        str | None, Query(max_length=500, description="Name or fingerprint of one of its datasets; all without it.")
    ] = None,
    known: Known = None,
) -> Response:
    """The stored runs of a sweep compared, on each of its datasets: scores with intervals, all pairs, the verdict.

    Where settings vary, each learner is compared at its best configuration by the log score on validation rows. A
    dataset without a stored run is left out.
    """

    def make() -> bytes:
        from services.comparison.stored import compare_stored  # JAX, and seconds to import

        found = [each.document.model_dump_json() for each in compare_stored(context.store, name, dataset)]
        return f"[{','.join(found)}]".encode()

    return await _answer(context, ["comparison", name, dataset], (name,), make, known)


@router.get(
    "/{name}/ranking",
    operation_id="rank_measures",
    summary="Which measure tells what generalises",
    response_model=GeometryDocument,
    responses=_RESPONSES,
)
async def rank_measures(
    context: Here,
    name: SweepName,
    threshold: Annotated[
        float, Query(ge=0, le=1e6, description="Largest barrier within one basin, in nats per row.")
    ] = BARRIER_THRESHOLD,
    known: Known = None,
) -> Response:
    """What a sweep's stored geometry says: each measure's distribution, its rank correlation with the generalisation
    gap, effective numbers of parameters, barriers and basins.
    """

    def make() -> bytes:
        from services.geometry.summary import collect, summarise

        return summarise(collect(context.store, name), name, threshold).model_dump_json().encode()

    return await _answer(context, ["ranking", name, threshold], (name, "measurements"), make, known)


async def _answer(
    context: Context, what: list[object], of: tuple[str, ...], make: Callable[[], bytes], known: str | None
) -> Response:
    """The answer by its content: what the store has of the runs, and the Basin that reads it."""

    def found() -> Response:
        key = digest({"what": what, "content": context.content(*of), "by": provenance().model_dump(mode="json")})
        etag = tag(key)
        if is_known(etag, known):
            return Response(status_code=304, headers={"ETag": etag, "Cache-Control": REVALIDATE})
        return context.answers.get(key, lambda: Answer(make(), MEDIA_TYPES["json"], etag)).response(known)

    return await to_thread.run_sync(found, limiter=_at_once)
