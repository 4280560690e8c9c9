"""`basin serve`: the HTTP API and its pages, with a Ray cluster of its own or another one's."""

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.commands.options import StoreOption
from services.commands.workers import again, tell
from services.errors import ServiceError
from services.settings import settings

if TYPE_CHECKING:
    from services.api.settings import Serving


def serve(
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 is all of this machine's.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 is one that is free.")] = 8000,
    store: StoreOption = None,
    ledger: Annotated[
        str | None,
        typer.Option(
            "--ledger",
            help="URL of the database of tokens, schedules and submissions; else in the store's folder. "
            "[env: BASIN_LEDGER]",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            help="http://HOST:8265 of a Ray cluster's dashboard, to run sweeps there; unless given, Ray is started on "
            "this machine. [env: BASIN_ADDRESS]",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-w", min=1, help="Ray actors of a sweep that does not say how many.")
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data", help="Folder whose files submitted sweeps may name (repeat it for more). [env: BASIN_DATA_ROOTS]"
        ),
    ] = None,
    no_authentication: Annotated[
        bool, typer.Option("--no-authentication", help="Ask for no token. On a loopback address alone.")
    ] = False,
) -> None:
    """Serve what is stored over HTTP, to programs and as pages, and run the sweeps that are submitted.

    For example:

      basin serve
      basin serve --data ~/tables --no-authentication
      basin serve --host 0.0.0.0 --port 8000 --store s3://lab/basin --address http://head:8265

    Then, in another terminal, make a token, and open the page that is named:

      basin token create ada --scope submit

    Sweeps go on as Ray jobs, and are kept in the store run by run. An accepted sweep is never lost: killed at any
    moment, the server goes on where it was when it is started again. It fires the schedules of `basin schedule`, too.

    Nothing is encrypted here: on a network, put a server in front that speaks HTTPS.
    """
    from services.api.access import is_loopback

    if no_authentication and not is_loopback(host):
        raise ServiceError(
            f"--no-authentication on {host} would let everybody in who can reach this machine: leave it out, and make "
            "tokens by `basin token create`, or listen on 127.0.0.1"
        )
    if data:
        os.environ["BASIN_DATA_ROOTS"] = os.pathsep.join(str(_folder(each)) for each in data)
        settings.cache_clear()
    dashboard = address or settings().address
    if dashboard is not None and "://" not in dashboard:
        raise ServiceError(f"--address {dashboard!r}: expected Ray's dashboard, as in http://HOST:8265")
    with ExitStack() as stack:
        _run(stack, host, port, store, ledger, dashboard, workers, authentication=not no_authentication)


def _run(
    stack: ExitStack,
    host: str,
    port: int,
    store: str | None,
    ledger: str | None,
    dashboard: str | None,
    workers: int | None,
    *,
    authentication: bool,
) -> None:
    from services.api.envelope import log_json
    from services.api.settings import serving
    from services.execution.interrupts import terminable
    from services.server.application import create_application
    from services.server.background import at_work
    from services.server.preload import warm_up
    from services.server.process import server
    from services.store.location import make
    from services.store.objects import Storage

    listening = stack.enter_context(_listen(host, port))
    stack.enter_context(terminable())
    environment = settings()
    make(Storage(store or environment.store))
    own_cluster = dashboard is None
    if dashboard is None:
        from cluster.local_head import local_head

        environment.cache.mkdir(parents=True, exist_ok=True)
        dashboard = stack.enter_context(local_head(environment.cache / "ray.log"))
    found = serving(
        store=store,
        ledger=ledger,
        dashboard=dashboard,
        own_cluster=own_cluster,
        workers=workers,
        authentication=authentication,
    )
    log_json()
    warm_up()
    stack.enter_context(at_work(found))
    _say(found, host, listening.getsockname()[1], again(store=store, ledger=ledger))
    server(create_application(found)).run(sockets=[listening])


def _say(found: "Serving", host: str, port: int, options: str) -> None:
    shown = f"[{host}]" if ":" in host else {"0.0.0.0": socket.gethostname()}.get(host, host)
    tell(f"Basin serves {found.store} at http://{shown}:{port}  (Ctrl-C ends it)")
    if found.authentication:
        tell(f"A token for it: basin token create NAME --scope submit{options}")
    else:
        tell("No token is asked for: everybody who uses this machine may do everything.")
    if not found.data_roots:
        tell("Sweeps may name the datasets of `basin data list`, and no files: --data FOLDER lets them.")


def _listen(host: str, port: int) -> socket.socket:
    """Bound before anything is started, so that a port that is taken is said at once."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise ServiceError(
            f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}; name another --port or "
            "--host"
        ) from None


def _folder(path: Path) -> Path:
    found = path.expanduser().resolve()
    if not found.is_dir():
        raise ServiceError(f"--data {str(path)!r}: there is no such folder")
    return found
