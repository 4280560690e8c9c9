"""Chains of one run, sampled by several workers and put together to the run that one worker would have sampled.

The parts end in one checkpoint of the whole run with nothing left to sample, and the ordinary
`models.fitting.dispatch.fit` makes the run's result of that, with the same bits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from models.data.dataset import Dataset
from models.data.preparation import prepare
from models.fitting.dispatch import Checkpoints, reason_of
from models.fitting.sampled import sample_chains
from models.inference.state import CheckpointError
from models.runs.events import Result, begun
from models.runs.result import RunRequest, Seconds
from models.runs.run import SECONDS, Arrays, Emit, Run
from models.spec.inference import HMC, NUTS, PyMC
from models.spec.settings import digest


@dataclass(frozen=True)
class ChainsRequest:
    """Some of the chains of a run, numbered from 0, in rising order."""

    run: RunRequest
    chains: tuple[int, ...]

    @property
    def key(self) -> str:
        """A hash of the run and the chains: what the events of this part go by."""
        return digest({"run": self.run.run_key, "chains": list(self.chains)})


@dataclass(frozen=True)
class FittedChains:
    """What became of a `ChainsRequest`.

    Attributes:
        arrays: a checkpoint of these chains with nothing left to sample; empty where they could not be sampled.
        seconds: spent on them in all, before interruptions too.
        reason: why they could not be sampled, in plain words; None where they were.
    """

    run_key: str
    chains: tuple[int, ...]
    arrays: Arrays
    seconds: Seconds
    device: str
    reason: str | None = None


def n_chains(request: RunRequest) -> int:
    """How many chains a run has; 0 where it samples nothing."""
    inference = request.learner.inference
    return inference.chains if isinstance(inference, NUTS | HMC | PyMC) else 0


def spread(request: RunRequest, parts: int) -> list[ChainsRequest]:
    """Cut the chains of a run into as many parts, as equal as can be; no part is empty.

    It saves time where chains run one by one, which is on CPUs. On an accelerator they advance in lock step, and each
    part takes as long as the whole.
    """
    n = n_chains(request)
    cuts = np.array_split(np.arange(n), min(parts, n)) if n else []
    return [ChainsRequest(request, tuple(chains.tolist())) for chains in cuts]


def fit_chains(requests: Sequence[ChainsRequest], dataset: Dataset, checkpoints: Checkpoints, emit: Emit) -> None:
    """Sample the chains of a pack, and emit one `Result` of a `FittedChains` for each request, by its `key`.

    `checkpoints` are of these requests, by their keys. A chain's bits are those that it has in the whole run.
    """
    for request in requests:
        emit(begun(request.key))
        emit(Result(request.key, _fitted(request, dataset, checkpoints.get(request.key), emit)))


def merge_chains(parts: Sequence[FittedChains]) -> dict[str, np.ndarray] | None:
    """The checkpoint of a run of which all chains are sampled.

    None where a part could not be sampled: then the ordinary fit, without a checkpoint, meets the same fault and says
    it as that run's result.

    Raises:
        ValueError: the parts are not of one run, or some of its chains are missing or there twice.
    """
    chains = [chain for part in parts for chain in part.chains]
    if len({part.run_key for part in parts}) != 1 or sorted(chains) != list(range(len(chains))):
        raise ValueError(f"expected the parts of one run, each chain once; found chains {chains}")
    if any(part.reason is not None for part in parts):
        return None
    order = np.argsort(chains)
    merged = {
        # Every array leads with the chains; a number, as of iterations done, is the same for all of them.
        name: np.concatenate([part.arrays[name] for part in parts])[order] if array.ndim else array
        for name, array in parts[0].arrays.items()
    }
    return {**merged, SECONDS: np.array([part.seconds for part in parts]).sum(axis=0)}


def _fitted(request: ChainsRequest, dataset: Dataset, checkpoint: Arrays | None, emit: Emit) -> FittedChains:
    run_key, device = request.run.run_key, jax.devices()[0].device_kind
    try:
        run = Run(request.run, prepare(dataset, request.run.partition), emit, request.key, checkpoint)
        arrays = _sampler(request.run)(run, request.chains)
    except CheckpointError:
        return _fitted(request, dataset, None, emit)
    except Exception as error:  # noqa: BLE001 - the whole run meets it again, and that is its result
        return FittedChains(run_key, request.chains, {}, Seconds(0.0, 0.0, 0.0), device, reason_of(error))
    return FittedChains(run_key, request.chains, arrays, run.seconds, device)


def _sampler(request: RunRequest) -> Callable[[Run, Sequence[int]], Arrays]:
    if isinstance(request.learner.inference, PyMC):
        from models.fitting.glm import sample_glm_chains  # takes seconds to import, and a bare GPU machine lacks PyMC

        return sample_glm_chains
    return lambda run, chains: sample_chains(run, chains).checkpoint
