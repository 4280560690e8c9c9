"""What a worker does with a pack: whole runs, or chains of runs. A pack holds one sort of them."""

from collections.abc import Sequence

from models.dataset import Dataset
from models.fit import Checkpoints, fit
from models.result import RunRequest
from models.run import Emit
from models.spreading import ChainsRequest, fit_chains


def work(
    requests: Sequence[RunRequest] | Sequence[ChainsRequest], dataset: Dataset, checkpoints: Checkpoints, emit: Emit
) -> None:
    """Fit whole runs, or sample chains; see `models.fit.fit` and `models.spreading.fit_chains`."""
    do = fit_chains if isinstance(requests[0], ChainsRequest) else fit
    do(requests, dataset, checkpoints, emit)  # pyright: ignore[reportArgumentType] - all of them are of one sort
