"""A run's posterior as the netCDF file that it is stored as."""

from pathlib import Path

from services.errors import ServiceError
from services.files import written_aside
from services.store import archive, bundles
from services.store.store import Store


def export_posterior(store: Store, run_key: str, path: Path) -> None:
    """Write the posterior of a stored run, in ArviZ's layout: `arviz.from_netcdf` and `xarray.open_datatree` read it.

    Raises:
        ServiceError: the run is not stored, is damaged, or has no posterior.
        OSError: the file cannot be written.
    """
    run = store.bundle(run_key).manifest
    found = archive.read(store.storage, bundles.FOLDER, run_key)
    if bundles.POSTERIOR not in found:
        raise ServiceError(
            f"run {run_key} of learner {run.learner.name!r} has no posterior: those that are sampled have one, and "
            "`basin results runs --where 'n_draws>0' --select learner,run_key` lists them"
        )
    with written_aside(path) as aside:
        aside.write_bytes(found.read(bundles.POSTERIOR))
