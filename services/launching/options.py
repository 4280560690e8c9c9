"""How a sweep that somebody else starts is to be run: store, cluster, workers."""

from models.spec.settings import Settings


class RunOptions(Settings):
    """How a schedule's sweep is run.

    Attributes:
        store: location of the store, that means the same wherever the scheduler runs.
        address: `http://HOST:PORT` submits Ray jobs there; `HOST:PORT` of a Ray cluster; None starts Ray on the
            scheduler's machine.
        workers: Ray actors; 0 works without Ray; None is what the sweep says.
        gpus: share of a GPU for each net's worker; None is what the sweep says.
    """

    store: str
    address: str | None = None
    workers: int | None = None
    gpus: float | None = None
