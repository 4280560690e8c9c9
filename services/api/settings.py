"""What a server is told when it starts: where things are, who may ask, and how much."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from models.spec.settings import Count, Positive, Settings
from services.ledger.database import default_url
from services.settings import settings
from services.sweeps.yaml_file import MOST_VALUES


class Limits(Settings):
    """How much may be asked of a server."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    request_bytes: Count = 4 * 2**20
    """Of a request's body."""
    json_depth: Count = 32
    """Of mappings and lists in a request's body."""
    json_values: Count = MOST_VALUES
    """Values in it, mappings and lists among them."""
    requests_per_second: Positive = 50.0
    """Of one token, or of one address where there is none."""
    burst: Count = 200
    """Requests at once before that rate applies."""
    seconds: Positive = 30.0
    """For an answer to begin."""
    followers: Count = 200
    """Who may follow sweeps by events at once; each is looked after every second."""
    storage_seconds: Positive = 5.0
    """How long a store that is away is waited for."""
    cache_bytes: Count = 64 * 2**20
    """Of answers that are kept, since the same is asked again."""


class Serving(Settings):
    """The settings of a server."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    store: str
    """Where runs are: a folder, or `s3://BUCKET/PREFIX`."""
    cache: Path
    """Folder of what was fetched or compiled, and can be had again."""
    ledger: Annotated[str, Field(repr=False)]
    """URL of the database of schedules, tokens and submissions; it may have a password in it."""
    dashboard: str | None = None
    """Of the Ray cluster that runs sweeps, `http://HOST:8265`; None: sweeps cannot be run from here."""
    own_cluster: bool = False
    """Whether that cluster ends with the server. Schedules, which outlive it, are then run beside it."""
    authentication: bool = True
    """Whether a token is asked for. Off on a loopback address alone."""
    workers: Count | None = None
    """Of sweeps that do not say how many they want; None: as many as there are cores."""
    sweeps_at_once: Count = 4
    """Accepted sweeps that are at the cluster at the same time; the others wait for their turn, the oldest first."""
    data_roots: tuple[Path, ...] = ()
    """Folders where alone files of submitted sweeps may lie; empty: they may name no files."""
    limits: Limits = Limits()


def serving(**stated: Any) -> Serving:
    """The settings that are stated, the others by the environment."""
    environment = settings()
    store, cache = stated.get("store") or environment.store, stated.get("cache") or environment.cache
    dashboard = environment.address if (environment.address or "").startswith(("http://", "https://")) else None
    known = {
        "store": store,
        "cache": cache,
        "ledger": environment.ledger or default_url(store, cache),
        "dashboard": dashboard,
        "data_roots": environment.data_roots,
        "sweeps_at_once": environment.sweeps_at_once,
    }
    return Serving(**known | {name: value for name, value in stated.items() if value is not None})
