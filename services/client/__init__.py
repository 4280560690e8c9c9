"""The client for notebooks and programs: `Basin` over a server or over a store."""

from services.client.basin import Basin
from services.client.errors import BasinError

__all__ = ["Basin", "BasinError"]
