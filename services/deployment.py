"""The server where something else runs it, such as Ray Serve: `services.deployment:application` makes one."""

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
    from services.api.application import create_application
    from services.api.envelope import log_json
    from services.background import at_work
    from services.opening import make
    from services.serving import serving
    from services.storage import Storage
    from services.warming import warm_up

    found = serving()
    make(Storage(found.store))
    log_json()
    warm_up()
    background = ExitStack()
    background.enter_context(at_work(found))
    return create_application(found, background.close)
