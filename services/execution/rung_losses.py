"""Validation losses at the rungs of early stopping, kept beside their sweep as a sealed JSON object."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress

import polars as pl

from models.fitting.halving import loss_at
from models.runs.result import RunRequest
from services.store.archive import DamagedError
from services.store.sealed_json import seal, unseal
from services.store.store import Store

RUNGS = ".rungs.json"


class RungLosses:
    """The best validation loss of runs up to rungs, kept as one object of the store beside the sweep."""

    def __init__(self, store: Store, sweep: str):
        self._store = store
        self._name = sweep + RUNGS
        self._losses: dict[str, dict[int, float]] = defaultdict(dict)
        with suppress(FileNotFoundError, DamagedError):  # what is not known is found again
            self._losses.update(parse_losses(store.storage.read("sweeps", self._name), self._name)[0])

    def has(self, run_key: str, rung: int) -> bool:
        """Whether it is known."""
        return rung in self._losses[run_key]

    def losses(self, requests: Iterable[RunRequest], rung: int) -> dict[str, float]:
        """The losses of runs up to a rung, by run key."""
        return {request.run_key: self._losses[request.run_key][rung] for request in requests}

    def note(self, run_key: str, rung: int, loss: float) -> None:
        """Take down a loss."""
        self._losses[run_key][rung] = loss

    def read_curves(self, rung_of: Mapping[str, int]) -> None:
        """Take down the losses of stored runs, which ended, by their curves."""
        wanted = [key for key, rung in rung_of.items() if not self.has(key, rung)]
        if not wanted:
            return
        keys = pl.LazyFrame({"run_key": wanted})
        curves = self._store.scan("curves").select("run_key", "step", "validation_loss")
        statuses = self._store.runs().select("run_key", "status")
        wanted_curves = curves.join(keys, on="run_key", how="semi").join(statuses, on="run_key")
        rows = self._store.collect(wanted_curves.sort("run_key", "step"))
        for (key,), curve in rows.partition_by("run_key", as_dict=True).items():
            losses = {"validation_loss": curve["validation_loss"].to_numpy()}
            diverged = curve["status"][0] == "diverged"
            self.note(key, rung_of[key], loss_at(losses, rung_of[key], diverged=diverged))

    def save(self) -> None:
        """Keep what is known.

        Raises:
            StoreError: the store cannot be written to.
        """
        known = {key: {str(rung): loss for rung, loss in at.items()} for key, at in sorted(self._losses.items()) if at}
        self._store.storage.replace("sweeps", self._name, seal(known))


def parse_losses(data: bytes, where: str) -> tuple[dict[str, dict[int, float]], bool]:
    """Losses by run key and rung, and whether they are sealed: those of earlier versions are not.

    Raises:
        DamagedError: they are not as they were written.
    """
    content, is_sealed = unseal(data, where)
    try:
        losses = {key: {int(rung): float(loss) for rung, loss in at.items()} for key, at in content.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise DamagedError(f"{where} is damaged: no losses by run and rung") from error
    return losses, is_sealed
