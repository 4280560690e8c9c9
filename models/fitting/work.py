"""What a worker does with a pack: whole runs, or chains of runs. A pack holds one sort of them."""

from collections.abc import Sequence

from models.data.dataset import Dataset
from models.fitting.chains import ChainsRequest, fit_chains
from models.fitting.dispatch import Checkpoints, fit
from models.runs.result import RunRequest
from models.runs.run import Emit


def work(
    requests: Sequence[RunRequest] | Sequence[ChainsRequest], dataset: Dataset, checkpoints: Checkpoints, emit: Emit
) -> None:
    """Fit whole runs, or sample chains; see `models.fitting.dispatch.fit` and `models.fitting.chains.fit_chains`."""
    do = fit_chains if isinstance(requests[0], ChainsRequest) else fit
    do(requests, dataset, checkpoints, emit)  # pyright: ignore[reportArgumentType] - all of them are of one sort
