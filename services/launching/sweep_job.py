"""Sweeps as Ray jobs: what travels to the cluster, and submitting it once.

A job's command, variables and folder can be seen by everybody who can see the cluster's dashboard, so no secret goes
into them, and nothing of this environment does: the credentials of the store are in the cluster's own.
"""

import hashlib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from cluster.jobs import Job, Jobs
from cluster.runtime import PACKAGES
from models.spec.settings import SpecError, canonical_json
from services.datasets.permitted import permitted
from services.datasets.registry import file_of
from services.errors import ServiceError
from services.provenance import travelling
from services.settings import settings
from services.sweeps.definition import Sweep

PREFIX = "basin-"
MAX_FILES_BYTES = 32 * 2**20
_FILES = "files"


@dataclass(frozen=True)
class SweepJob:
    """A sweep as a job.

    Attributes:
        sweep: settled.
        store: a whole path on the cluster's head, or a URL.
        files: of its data, that travel; the sweep names them by their whole paths.
        python: interpreter on the cluster's machines.
        workers: None is what the sweep's `resources` say; so for `gpus`.
    """

    sweep: Sweep
    store: str
    files: tuple[Path, ...]
    python: str
    workers: int | None = None
    gpus: float | None = None

    @property
    def key(self) -> str:
        """Equal for jobs that do the same: one sweep, on files of one content, for one store."""
        parts = [canonical_json(self.sweep), self.store, *map(_sha256, self.files)]
        return f"{PREFIX}{self.sweep.name}-{hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:12]}"

    @property
    def entrypoint(self) -> str:
        """The command, one process that gets the signals."""
        command = [self.python, "-m", "services.cli", "sweep", "run", "sweep.json"]
        command += ["--address", "auto", "--store", self.store]
        command += [] if self.workers is None else ["--workers", str(self.workers)]
        command += [] if self.gpus is None else ["--gpus", str(self.gpus)]
        return f"exec {shlex.join(command)}"

    def fill(self, folder: Path) -> None:
        """Put there what travels: the sweep, the three packages, and the files of data under their whole paths."""
        (folder / "sweep.json").write_text(canonical_json(self.sweep), encoding="utf-8")
        for package in PACKAGES:
            shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        for file in self.files:
            target = folder / _FILES / file.relative_to(file.anchor)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


class Submitted(NamedTuple):
    """The job that does the work, and whether it was submitted just now."""

    job: Job
    is_new: bool


def sweep_job(
    sweep: Sweep,
    store: str,
    *,
    python: str | None = None,
    workers: int | None = None,
    gpus: float | None = None,
    shared: Sequence[Path] = (),
) -> SweepJob:
    """The job that runs a settled sweep.

    Args:
        sweep: its files of data travel, unless they lie in a `shared` folder or are not here at all.
        store: a URL, or a path on the cluster's head; a relative one is taken from the folder of this process.
        python: interpreter on the cluster; None is BASIN_CLUSTER_PYTHON, or the path of this one.
        workers: None is what the sweep's `resources` say.
        gpus: as for `workers`.
        shared: folders that the cluster's machines have under the same path.

    Raises:
        SpecError: a file of data that is not here and could not be found there, that may not be read, or is too large
            to travel.
        ServiceError: a store with a secret in its URL, no worker, or an interpreter that is not a whole path.
    """
    python = python or settings().cluster_python or sys.executable
    if not os.path.isabs(python):  # noqa: PTH117 - of another machine
        raise ServiceError(
            f"interpreter {python!r}: expected its whole path on the cluster, as in /opt/basin/bin/python"
        )
    if workers == 0:
        raise ServiceError("--workers 0 works in one process without Ray: a job needs a worker, so leave it out")
    return SweepJob(sweep, _location(store), _travelling(sweep, shared), python, workers, gpus)


def submit(jobs: Jobs, job_id: str, job: SweepJob) -> bool:
    """Submit a job under an id of the caller's choice; False where there is one of this id, whatever became of it.

    Raises:
        ClusterError: as `Jobs` does.
    """
    if jobs.find(job_id) is not None:
        return False
    with tempfile.TemporaryDirectory(prefix="basin-job-") as folder:
        job.fill(Path(folder))
        variables = {"BASIN_JOB": job_id, "BASIN_FILES": _FILES, **travelling()}
        return jobs.submit(job_id, job.entrypoint, Path(folder), variables)


def submit_once(jobs: Jobs, job: SweepJob, *, again: bool = False) -> Submitted:
    """Submit a job unless one that does the same is waiting, running or has succeeded.

    Its id is its key and the number of the attempt, so that of several who submit it at the same time one does. With
    `again` one that has succeeded is submitted anew, too.

    Raises:
        ClusterError: as `Jobs` does.
    """
    prefix = f"{job.key}-"
    done = ("pending", "running") if again else ("pending", "running", "succeeded")
    while True:
        attempts = {int(each.id.removeprefix(prefix)): each for each in jobs.list(prefix)}
        number = max(attempts, default=0)
        if number and attempts[number].state in done:
            return Submitted(attempts[number], is_new=False)
        job_id = f"{prefix}{number + 1}"
        if submit(jobs, job_id, job):
            return Submitted(jobs.get(job_id), is_new=True)
        # Somebody else was faster with this attempt: it is looked at like those before.


def _location(store: str) -> str:
    if "://" not in store:
        return str(Path(store).expanduser().resolve())
    if "@" in urlsplit(store).netloc:
        raise ServiceError(
            "the store's URL has a secret in it, which everybody who sees the cluster's dashboard would see: leave it "
            "out, and give it to the cluster's machines"
        )
    return store


def _travelling(sweep: Sweep, shared: Sequence[Path]) -> tuple[Path, ...]:
    """The files of data that are here and that the cluster does not have.

    Raises:
        SpecError: as `sweep_job` does.
    """
    folders = [folder.expanduser().resolve() for folder in shared]
    files = []
    for data in sweep.datasets:
        path = file_of(data.data)
        if path is None or any(path.is_relative_to(folder) for folder in folders):
            continue
        if path.is_file():
            files.append(permitted(path, f"dataset {data.data!r}"))
        elif not path.is_absolute():
            raise SpecError(
                f"dataset {data.data!r}: there is no such file here; one that is on the cluster goes by its whole path"
            )
    size = sum(file.stat().st_size for file in files)
    if size > MAX_FILES_BYTES:
        largest = max(files, key=lambda file: file.stat().st_size)
        raise SpecError(
            f"the sweep's files of data have {size / 2**20:,.0f} MiB, {str(largest)!r} the most, and at most "
            f"{MAX_FILES_BYTES // 2**20} MiB travel with a job: put them in a folder that the cluster's machines have "
            "under the same path, and name that by --shared; or in the folder that BASIN_DATA names there, with a "
            "NAME.SOURCE.txt beside NAME.csv"
        )
    return tuple(dict.fromkeys(files))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
