"""Routes of the pages. Each page is sent at once; what takes long to make are parts that it asks for by itself."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any
from urllib.parse import parse_qs, quote, urlencode

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, StreamingResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from cluster.errors import ClusterError
from services.api.access import COOKIE, find, of_another_site, requires
from services.api.context import Here, follower
from services.api.errors import FAULTS, ApiError, told
from services.errors import NotStoredError, ScheduleError, ServiceError
from services.sweeps.definition import NAME
from services.web import assets, events, runs
from services.web.checks import EXAMPLE, check
from services.web.overview import PAGE, asked, names, progress
from services.web.rendering import render

SHOWN = (
    *("learner", "dataset", "split", "seed", "status", "method", "learning_rate", "batch_size"),
    *("n_parameters", "r_hat_max", "wall_seconds", "stored_at"),
)
_COOKIE_SECONDS = 30 * 86400
_FIELDS = 8
SweepName = Annotated[str, Path(pattern=f"^{NAME}$")]
DatasetName = Annotated[str, Query(max_length=500)]


class PageRoute(APIRoute):
    """A route whose errors are pages, too: who is not signed in is asked to, and the others are told in plain words."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """The handler, with its errors told as a page."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except (ApiError, HTTPException, RequestValidationError, ServiceError, ClusterError) as error:
                return _fault(request, error)

        return handled


def pages() -> APIRouter:
    """All routes of the pages, for an application that has a `Context`."""
    router = APIRouter(include_in_schema=False)
    router.include_router(_open())
    router.include_router(_shells(), dependencies=[requires("read")])
    router.include_router(_parts(), prefix="/web", dependencies=[requires("read")])
    return router


def _open() -> APIRouter:
    """What needs no token."""
    router = APIRouter(route_class=PageRoute)

    @router.get("/web/static/{tag}/{name}")
    def static(request: Request, tag: str, name: str) -> Response:
        return assets.serve(name, tag, request)

    @router.get("/login")
    def login_page(request: Request, next: str = "/") -> HTMLResponse:
        return render(request, "login.html", next=_local(next), fault=None)

    @router.post("/login")
    async def login(request: Request) -> Response:
        try:
            form = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=_FIELDS)
        except ValueError:
            raise ApiError("invalid_request", "expected the two fields of this form") from None
        token, next_page = form.get("token", [""])[0].strip(), _local(form.get("next", ["/"])[0])
        if of_another_site(request):
            return render(request, "login.html", 403, next=next_page, fault="Sign in on this page itself.")
        if await find(request, token) is None:
            fault = "This token is not known here: it was mistyped, revoked, or has expired."
            return render(request, "login.html", 401, next=next_page, fault=fault)
        answer = RedirectResponse(next_page, 303)
        # A server in front, which speaks HTTPS with the browser, says so.
        secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
        answer.set_cookie(COOKIE, token, _COOKIE_SECONDS, httponly=True, samesite="strict", secure=secure)
        return answer

    @router.post("/logout")
    def logout() -> Response:
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    return router


def _shells() -> APIRouter:
    """The pages, as they are sent first."""
    router = APIRouter(route_class=PageRoute)
    router.add_api_route("/", _sweeps_page)
    router.add_api_route("/sweeps/{name}", _sweep_page)
    router.add_api_route("/submit", _submit_page)
    router.add_api_route("/runs", _runs_page)
    router.add_api_route("/runs/{run_key}", _run_page)
    router.add_api_route("/pair", _pair_page)
    router.add_api_route("/schedules", _schedules_page)
    router.add_api_route("/schedules/{name}", _schedule_page)
    return router


def _parts() -> APIRouter:
    """What pages ask for by themselves."""
    router = APIRouter()
    router.add_api_route("/sweeps/{name}/comparison", _comparison)
    router.add_api_route("/sweeps/{name}/geometry", _geometry)
    router.add_api_route("/runs/{run_key}/details", _run_details)
    router.add_api_route("/pair", _pair_details)
    router.add_api_route("/events", _events, dependencies=[Depends(follower)])
    router.add_api_route("/check", _check, methods=["POST"])
    return router


# --- pages ------------------------------------------------------------------------------------------------------------


def _sweeps_page(request: Request, here: Here, start: Annotated[str, Query(alias="from")] = "") -> HTMLResponse:
    every = names(here)
    at = sum(name < start for name in every)
    found = progress(here, every[at : at + PAGE])
    return render(
        request,
        "sweeps.html",
        sweeps=found,
        watched=urlencode([("sweep", each.name) for each in found]),
        before=every[max(0, at - PAGE)] if at else None,
        after=every[at + PAGE] if at + PAGE < len(every) else None,
    )


def _sweep_page(request: Request, here: Here, name: str, dataset: str | None = None) -> HTMLResponse:
    if name not in names(here):
        raise NotStoredError(f"no sweep {name!r}", here.store.location, "the first page lists those that there are")
    found = asked(here.store, name)
    datasets = found.datasets if found else []
    shown = dataset if dataset in datasets else next(iter(datasets), "")
    (now,) = progress(here, [name])
    return render(request, "sweep.html", name=name, asked=found, now=now, dataset=shown)


def _submit_page(request: Request, here: Here) -> HTMLResponse:
    return render(request, "submit.html", text="", example=EXAMPLE, runs_here=here.serving.dashboard is not None)


def _runs_page(request: Request) -> HTMLResponse:
    from services.store.queries import columns_of

    columns = columns_of("runs")
    texts = [name for name in SHOWN if not columns[name].is_numeric()]
    return render(request, "runs.html", columns=list(dict.fromkeys((*SHOWN, *columns))), shown=SHOWN, texts=texts)


def _run_page(request: Request, here: Here, run_key: str) -> HTMLResponse:
    return render(request, "run.html", **runs.facts(here.store, run_key, here.told_location))


def _pair_page(request: Request, here: Here, a: str = "", b: str = "") -> HTMLResponse:
    found = runs.pair_facts(here.store, a.strip(), b.strip()) if a and b else {"runs": []}
    return render(request, "pair.html", a=a, b=b, **found)


def _schedules_page(request: Request, here: Here) -> HTMLResponse:
    from services.web import schedules

    return render(request, "schedules.html", **schedules.listing(here.ledger, datetime.now(UTC)))


def _schedule_page(request: Request, here: Here, name: str) -> HTMLResponse:
    from services.web import schedules

    try:
        found = schedules.facts(here.ledger, name, datetime.now(UTC))
    except ScheduleError as error:
        raise ApiError("not_found", str(error)) from None
    return render(request, "schedule.html", **found)


# --- parts of pages ---------------------------------------------------------------------------------------------------


async def _comparison(here: Here, name: SweepName, dataset: DatasetName) -> HTMLResponse:
    def part() -> str:
        from services.web import analyses  # JAX, and seconds to import

        return analyses.comparison_part(here, name, dataset)

    return await _slowly(part)


async def _geometry(here: Here, name: SweepName, dataset: DatasetName) -> HTMLResponse:
    def part() -> str:
        from services.web import analyses

        return analyses.geometry_part(here, name, dataset)

    return await _slowly(part)


async def _run_details(here: Here, run_key: str) -> HTMLResponse:
    def part() -> str:
        from services.web import run_parts

        return run_parts.details_part(here, run_key)

    return await _slowly(part)


async def _pair_details(here: Here, a: str, b: str) -> HTMLResponse:
    def part() -> str:
        from services.web import run_parts

        return run_parts.pair_part(here, a, b)

    return await _slowly(part)


# What takes seconds leaves the threads of quick answers alone.
_at_once = CapacityLimiter(4)


async def _slowly(part: Callable[[], str]) -> HTMLResponse:
    return HTMLResponse(await to_thread.run_sync(part, limiter=_at_once))


async def _events(
    request: Request,
    here: Here,
    sweep: Annotated[list[Annotated[str, Query(pattern=f"^{NAME}$")]], Query(max_length=PAGE)] = [],  # noqa: B006 - not changed
) -> StreamingResponse:
    look = partial(progress, here, sweep)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events.standings(request, look), media_type="text/event-stream", headers=headers)


async def _check(request: Request, here: Here) -> JSONResponse:
    text = await request.body()
    return JSONResponse(await to_thread.run_sync(check, text, here.serving.data_roots, limiter=_at_once))


# --- signing in, and what goes wrong ----------------------------------------------------------------------------------


def _fault(request: Request, error: Exception) -> Response:
    said = told(error)
    if said.code == "unauthorized":
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(path)}", 303)
    heading = {"forbidden": "Not allowed", "not_found": "Not found", "unavailable": "Not now"}
    status, words = FAULTS[said.code].status, heading.get(said.code, "This did not work")
    return render(request, "fault.html", status, heading=words, message=said.message)


def _local(path: str) -> str:
    """A path of this server; anything else, which could lead elsewhere, is the first page."""
    plain = path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable()
    return path if plain else "/"
