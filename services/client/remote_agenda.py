"""The schedules of a server."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from services.client.backend import Change, Timing
from services.client.connection import Connection

if TYPE_CHECKING:
    from services.sweeps import Sweep
