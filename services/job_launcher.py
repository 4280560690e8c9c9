"""Launches as Ray jobs: the cluster keeps them, whichever scheduler asks."""

import json
from typing import TYPE_CHECKING

from services.launchers import LaunchState
from services.schedules import RunOptions
from services.sweeps import parse_sweep

if TYPE_CHECKING:
    from cluster.jobs import Jobs


class JobLauncher:
    """Submits `basin sweep run` to the cluster whose dashboard is at an address. The launch id makes the job's id."""

    place = None

    def __init__(self, address: str) -> None:
        """Launch at `http://HOST:PORT`; it is connected to when it is needed."""
        self._address = address
        self._connected: Jobs | None = None

    def launch(self, launch_id: str, sweep: str, options: RunOptions) -> None:
        """See `Launcher`."""
        from services.submission import submit, sweep_job

        job = sweep_job(parse_sweep(json.loads(sweep)), options.store, workers=options.workers, gpus=options.gpus)
        submit(self._jobs(), _job_id(launch_id), job)

    def state(self, launch_id: str) -> LaunchState | None:
        """See `Launcher`."""
        job = self._jobs().find(_job_id(launch_id))
        return job and LaunchState(job.state, job.message if job.state in ("failed", "stopped") else "")

    def stop(self, launch_id: str) -> None:
        """See `Launcher`."""
        self._jobs().stop(_job_id(launch_id))

    def _jobs(self) -> "Jobs":
        from cluster.jobs import Jobs

        if self._connected is None:
            self._connected = Jobs(self._address)
        return self._connected


def _job_id(launch_id: str) -> str:
    """As `basin jobs list` knows the jobs of sweeps."""
    from services.submission import PREFIX

    return f"{PREFIX}{launch_id}"
