"""The server where something else runs it, such as Ray Serve: `services.server.deployment:application` makes one."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI


def application() -> "FastAPI":
    """The application as the environment says, with what it does in the background.

    BASIN_STORE, BASIN_LEDGER and BASIN_ADDRESS (http://HOST:8265) name the store, the ledger and the cluster. Several
    share a ledger on Postgres. A token is always asked for.

    Raises:
        StoreError, LedgerError: they cannot be used now; whoever runs it tries again.
    """
    from services.api.envelope import log_json
    from services.api.settings import serving
    from services.server.application import create_application
    from services.server.background import at_work
    from services.server.preload import warm_up
    from services.store.location import make
    from services.store.objects import Storage

    found = serving()
    make(Storage(found.store))
    log_json()
    warm_up()
    background = ExitStack()
    background.enter_context(at_work(found))
    return create_application(found, background.close)
